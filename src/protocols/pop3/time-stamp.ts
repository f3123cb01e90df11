/**
 * The local time, `2026-11-28 15:02:03`, in answers to what is not the client's fault: why it went wrong is in the log, under
 * that time, and never in the answer.
 */
export function timeStamp(now: number): string {
  const time = new Date(now)
  const two = (value: number) => String(value).padStart(2, '0')
  const date = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join('-')
  return `${date} ${[time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(':')}`
}

/** What the queue says of itself in a header. */

/** RFC 5322 section 3.3, in UTC. */
export function mailDate(time: number): string {
  return new Date(time).toUTCString().replace('GMT', '+0000')
}

/** The Received field of mail that begins here, without the last CRLF: RFC 5321 section 4.4. */
export function traceField(hostname: string, queueId: string, now: number): string {
  return `Received: by ${hostname} (mailactors) id ${queueId};\r\n\t${mailDate(now)}`
}

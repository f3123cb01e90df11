/** The order in which new mails get their UIDs, for as many as a large mailbox has. */
import { compareOrders, orderOf } from './maildir-name.ts'
import { type Steps, sorted, stepLength } from './turns.ts'

/**
 * Base names in the order of `compareNames`. By their seconds first: numbers are sorted many times as fast as names
 * are compared, and few mails of a mailbox have come in the same second.
 */
export function* inDeliveryOrder(bases: Iterable<string>): Steps<string[]> {
  const bySecond = new Map<number, string | string[]>()
  let count = 0
  for (const base of bases) {
    const { seconds } = orderOf(base)
    const others = bySecond.get(seconds)
    if (others === undefined) bySecond.set(seconds, base)
    else if (typeof others === 'string') bySecond.set(seconds, [others, base])
    else others.push(base)
    if (++count % stepLength === 0) yield
  }
  const ordered: string[] = []
  for (const [i, second] of (yield* sortedNumbers([...bySecond.keys()])).entries()) {
    if (i % stepLength === 0) yield
    const names = bySecond.get(second)!
    if (typeof names === 'string') ordered.push(names)
    else for (const { name } of yield* sorted(names.map(orderOf), compareOrders)) ordered.push(name)
  }
  return ordered
}

/** Numbers that are sorted at once, in some milliseconds. */
const runLength = 32_768

export function* sortedNumbers(numbers: readonly number[]): Steps<Float64Array> {
  const values = Float64Array.from(numbers)
  for (let start = 0; start < values.length; start += runLength) {
    values.subarray(start, start + runLength).sort()
    yield
  }
  let from = values
  let to = new Float64Array(values.length > runLength ? values.length : 0)
  for (let width = runLength; width < values.length; width *= 2) {
    for (let start = 0; start < values.length; start += 2 * width) {
      yield* merge(
        from.subarray(start, start + width),
        from.subarray(start + width, start + 2 * width),
        to,
        start,
      )
    }
    ;[from, to] = [to, from]
  }
  return from
}

function* merge(left: Float64Array, right: Float64Array, to: Float64Array, at: number): Steps<void> {
  let l = 0
  let r = 0
  for (let next = at; l < left.length || r < right.length; next++) {
    const takesLeft = r === right.length || (l < left.length && left[l]! <= right[r]!)
    to[next] = takesLeft ? left[l++]! : right[r++]!
    if (next % runLength === 0) yield
  }
}

import { describe, expect, test } from 'vitest'
import { expiresAt, nextAttempt } from '../../src/queue/backoff.ts'
import { deliveryDelays, formatDelay } from '../../src/queue/delays.ts'
import { QueueIdSource, queueIdPattern, queueIdTime } from '../../src/queue/queue-id.ts'

const settings = { minimal_backoff_time: 300_000, maximal_backoff_time: 4_000_000 }
const now = 1_800_000_000_000

describe('the next attempt', () => {
  test.each([
    { age: 10, wait: 300 },
    { age: 300, wait: 300 },
    { age: 1000, wait: 1000 },
    { age: 3999, wait: 3999 },
    { age: 9000, wait: 4000 },
    { age: -50, wait: 300 },
  ])('of a mail $age s old is in $wait s', ({ age, wait }) => {
    expect(nextAttempt(now, now - age * 1000, settings)).toBe(now + wait * 1000)
  })
})

describe('expiry', () => {
  const lifetimes = { maximal_queue_lifetime: 5000, bounce_queue_lifetime: 1000 }
  test('mail with a sender lives for maximal_queue_lifetime', () => {
    expect(expiresAt('a@b.test', 100, lifetimes)).toBe(5100)
  })
  test('notices live for bounce_queue_lifetime', () => {
    expect(expiresAt('', 100, lifetimes)).toBe(1100)
  })
})

describe('delays in the log', () => {
  test.each([
    { ms: 4, text: '0' },
    { ms: 123, text: '0.12' },
    { ms: 125, text: '0.13' },
    { ms: 1250, text: '1.3' },
    { ms: 9940, text: '9.9' },
    { ms: 9960, text: '10' },
    { ms: 12_300, text: '12' },
    { ms: 1000, text: '1' },
    { ms: 0, text: '0' },
    { ms: -700, text: '0' },
  ])('$ms ms is $text s', ({ ms, text }) => {
    expect(formatDelay(ms)).toBe(text)
  })

  test('each part is the time between two stamps', () => {
    const stamps = { arrivedAt: now, activeAt: now + 500, startedAt: now + 750, setupAt: now + 1000 }
    expect(deliveryDelays({ ...stamps, doneAt: now + 1250 })).toEqual({
      delay: 1.3,
      delays: '0.5/0.25/0.25/0.25',
    })
  })

  test.each([
    { name: 'never active', activeAt: 0, startedAt: 0, setupAt: 0, delays: '2/0/0/0' },
    { name: 'never started', activeAt: now + 500, startedAt: 0, setupAt: 0, delays: '0.5/1.5/0/0' },
    { name: 'no session', activeAt: now + 500, startedAt: now + 1000, setupAt: 0, delays: '0.5/0.5/0/1' },
  ])('$name: the rest is in the part before', ({ name: _, delays, ...stamps }) => {
    expect(deliveryDelays({ arrivedAt: now, doneAt: now + 2000, ...stamps }).delays).toBe(delays)
  })
})

describe('queue ids', () => {
  test('of one source ascend, also within a microsecond and when the clock goes back', () => {
    const source = new QueueIdSource(3)
    const ids = [now, now, now, now - 5000, now + 1].map((time) => source.next(time))
    expect([...ids].sort()).toEqual(ids)
    expect(new Set(ids).size).toBe(ids.length)
    for (const id of ids) expect(id).toMatch(queueIdPattern)
  })

  test('of two threads differ at the same moment', () => {
    expect(new QueueIdSource(1, 7).next(now)).not.toBe(new QueueIdSource(2, 7).next(now))
  })

  test('of two starts differ at the same moment', () => {
    expect(new QueueIdSource(1, 7).next(now)).not.toBe(new QueueIdSource(1, 8).next(now))
  })

  test('say when they were made', () => {
    expect(queueIdTime(new QueueIdSource(1).next(now))).toBe(now)
    expect(queueIdTime('nonsense')).toBeNaN()
  })

  test('sort by time as text', () => {
    const source = new QueueIdSource(0)
    expect(source.next(now) < source.next(now + 36 ** 5)).toBe(true)
  })
})

import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { afterEach, describe, expect, test } from 'vitest'
import type { Frame, InboxHalf, OutboxHalf } from '../../../src/runtime/transport/index.ts'
import {
  Codec,
  createDoorbell,
  createLink,
  halfPorts,
  Outbox,
  runInbox,
} from '../../../src/runtime/transport/index.ts'
import { chosenSeed } from '../../support/seed.ts'
import { type TrafficOptions, type TrafficResult, traffic } from './traffic.ts'

const codec = new Codec()
const workers: Worker[] = []
const closables: { close(): void }[] = []

afterEach(async () => {
  for (const closable of closables.splice(0)) closable.close()
  await Promise.all(workers.splice(0).map((worker) => worker.terminate()))
})

function start(role: string, options: object, halves: readonly (OutboxHalf | InboxHalf)[]): Worker {
  const worker = new Worker(new URL('./worker.ts', import.meta.url), {
    workerData: { role, options },
    transferList: halves.flatMap((half) => halfPorts(half)),
  })
  workers.push(worker)
  return worker
}

function own<T extends { close(): void }>(closable: T): T {
  closables.push(closable)
  return closable
}

/** Resolves once `condition` holds; looked at each turn of the event loop. */
async function until(condition: () => boolean, what: string, deadlineMs = 10_000): Promise<void> {
  const end = performance.now() + deadlineMs
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within ${deadlineMs} ms: ${what}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** Two links, there and back, with this thread at one end. */
function pair(ringSize?: number) {
  const here = createDoorbell()
  const there = createDoorbell()
  return { here, there, out: createLink(there, ringSize), back: createLink(here, ringSize) }
}

describe('frames between two threads', () => {
  const seed = chosenSeed()
  test.each([
    { name: 'a small ring', ringSize: 4096, frames: 20_000 },
    { name: 'a large ring', ringSize: 1 << 18, frames: 20_000 },
  ])('arrive complete, unchanged and in order, both ways at once: $name', async ({ ringSize, frames }) => {
    const { here, there, out, back } = pair(ringSize)
    const common = { ringSize, frames }
    const theirs: TrafficOptions = {
      ...common,
      outbox: back.outbox,
      inbox: out.inbox,
      doorbell: there,
      sendSeed: seed + 1,
      receiveSeed: seed,
    }
    const worker = start('traffic', theirs, [back.outbox, out.inbox])
    const answer = once(worker, 'message')
    const ours = traffic({
      ...common,
      outbox: out.outbox,
      inbox: back.inbox,
      doorbell: here,
      sendSeed: seed,
      receiveSeed: seed + 1,
    })
    const results: TrafficResult[] = [await ours, (await answer)[0]]
    for (const result of results) {
      expect(result.fault, `seed ${seed}`).toBeUndefined()
      expect(result.received, `seed ${seed}`).toBe(frames)
    }
    // Otherwise the test would not have met a full ring at all.
    if (ringSize === 4096) expect(results[0]!.refused + results[1]!.refused).toBeGreaterThan(0)
  })

  test('wake the consumer each time: three threads ask and wait for each answer', async () => {
    const here = createDoorbell()
    const stop = performance.now() + 2_000
    let answers = 0
    const done: Promise<void>[] = []
    const peers: Outbox[] = []
    const settled: (() => void)[] = []
    const waiting = [0, 0, 0]
    const inbox = own(
      runInbox({ doorbell: here, codec }, (frame, from) => {
        expect(frame.seq).toBe(waiting[from])
        answers++
        if (performance.now() > stop) settled[from]!()
        else peers[from]!.send(1, 2, 'ask', ++waiting[from]!, [])
      }),
    )
    for (let i = 0; i < 3; i++) {
      const there = createDoorbell()
      const out = createLink(there, 1024)
      const back = createLink(here, 1024)
      start('echo', { outbox: back.outbox, inbox: out.inbox, doorbell: there }, [back.outbox, out.inbox])
      inbox.add(i, back.inbox)
      peers.push(own(new Outbox(out.outbox, { codec })))
      done.push(new Promise((resolve) => settled.push(resolve)))
      peers[i]!.send(1, 2, 'ask', 0, [])
    }
    await Promise.all(done)
    expect(answers).toBeGreaterThan(100)
  })
})

describe('a full ring', () => {
  test('refuses, and calls back when there is room again', async () => {
    const { here, there, out, back } = pair(1024)
    const outbox = own(new Outbox(out.outbox, { codec }))
    const arrived: number[] = []
    const inbox = own(runInbox({ doorbell: here, codec }, (frame) => arrived.push(frame.seq as number)))
    let sent = 0
    while (outbox.send(1, 2, 'fill', sent, ['x'.repeat(20)])) sent++
    expect(sent).toBeGreaterThan(10)
    expect(sent).toBeLessThan(1024 / 24)
    expect(outbox.send(1, 2, 'fill', sent, ['x'.repeat(20)])).toBe(false)

    const room = new Promise<boolean>((resolve) => outbox.whenRoom(resolve))
    inbox.add(0, back.inbox)
    start('echo', { outbox: back.outbox, inbox: out.inbox, doorbell: there }, [back.outbox, out.inbox])
    expect(await room).toBe(true)
    expect(outbox.send(1, 2, 'fill', sent++, [])).toBe(true)
    await until(() => arrived.length === sent, 'all frames echoed')
    expect(arrived).toEqual(Array.from({ length: sent }, (_, i) => i))
  })

  test('calls back at once when it was emptied in the meantime', async () => {
    const { here, back } = pair(1024)
    const outbox = own(new Outbox(back.outbox, { codec }))
    let arrived = 0
    const inbox = own(runInbox({ doorbell: here, codec }, () => arrived++))
    let sent = 0
    while (outbox.send(1, 2, 'fill', sent, ['x'.repeat(20)])) sent++
    inbox.add(0, back.inbox)
    await until(() => arrived === sent, 'all frames read')
    expect(await new Promise<boolean>((resolve) => outbox.whenRoom(resolve))).toBe(true)
  })

  test('payloads larger than the ring are bounded too', async () => {
    const { here, back } = pair(1024)
    const outbox = own(new Outbox(back.outbox, { codec, maxOversize: 100_000 }))
    const sizes: number[] = []
    const inbox = own(
      runInbox({ doorbell: here, codec }, (frame) => sizes.push((frame.body[0] as string).length)),
    )
    const big = 'x'.repeat(30_000)
    let sent = 0
    while (sent < 50 && outbox.send(1, 2, 'big', sent, [big])) sent++
    expect(sent).toBe(3)
    const room = new Promise<boolean>((resolve) => outbox.whenRoom(resolve))
    inbox.add(0, back.inbox)
    expect(await room).toBe(true)
    expect(outbox.send(1, 2, 'big', sent, ['y'.repeat(300_000)])).toBe(true)
    await until(() => sizes.length === 4, 'all arrived')
    expect(sizes).toEqual([30_000, 30_000, 30_000, 300_000])
  })
})

describe('when a thread dies', () => {
  test.each([
    { name: 'small frames', size: 40 },
    { name: 'frames larger than the ring', size: 40_000 },
  ])('what its outbox had published is read to the end: $name', async ({ size }) => {
    const here = createDoorbell()
    const back = createLink(here, 1 << 14)
    const progress = new SharedArrayBuffer(4)
    const published = new Int32Array(progress)
    let next = 0
    let closed = false
    const handler = (frame: Frame) => {
      expect(frame.seq).toBe(next++)
      expect((frame.body[0] as Buffer).length).toBe(size)
    }
    const inbox = own(
      runInbox(
        {
          doorbell: here,
          codec,
          onClose: () => {
            closed = true
          },
        },
        handler,
      ),
    )
    const worker = start('flood', { outbox: back.outbox, progress, size }, [back.outbox])
    // The ring fills while nobody reads: at its death there is something left in it.
    await until(() => Atomics.load(published, 0) > 0 || size > 1 << 14, 'the flood began')
    inbox.add(5, back.inbox)
    await until(() => next > 0, 'some frames')
    await worker.terminate()
    await until(() => closed, 'the end of the link')
    inbox.finish(5, handler)
    expect(next).toBeGreaterThanOrEqual(Atomics.load(published, 0))
  })

  test('who sends to it is told, and other links go on', async () => {
    const deaf = createLink(createDoorbell(), 1024)
    const { here, there, out, back } = pair(1024)
    let closes = 0
    const toDeaf = own(new Outbox(deaf.outbox, { codec, onClose: () => closes++ }))
    const worker = start('deaf', { inbox: deaf.inbox }, [deaf.inbox])
    await once(worker, 'online')
    while (toDeaf.send(1, 2, 'fill', 0, ['x'.repeat(50)]));
    const room = new Promise<boolean>((resolve) => toDeaf.whenRoom(resolve))
    await worker.terminate()
    expect(await room).toBe(false)
    await until(() => closes === 1, 'onClose')
    expect(toDeaf.isClosed).toBe(true)
    expect(toDeaf.send(1, 2, 'late', 0, [])).toBe(false)
    expect(await new Promise<boolean>((resolve) => toDeaf.whenRoom(resolve))).toBe(false)

    const echoes: unknown[] = []
    own(runInbox({ doorbell: here, codec }, (frame) => echoes.push(frame.seq))).add(0, back.inbox)
    start('echo', { outbox: back.outbox, inbox: out.inbox, doorbell: there }, [back.outbox, out.inbox])
    own(new Outbox(out.outbox, { codec })).send(1, 2, 'hello', 9, [])
    await until(() => echoes.length === 1, 'the echo')
    expect(echoes).toEqual([9])
  })

  test('a consumer whose other producer took its nudge along is woken by the end of that one', async () => {
    const here = createDoorbell()
    const dying = createLink(here, 1024)
    const living = createLink(here, 1024)
    const seen: unknown[] = []
    const inbox = own(runInbox({ doorbell: here, codec }, (frame) => seen.push(frame.seq)))
    inbox.add(1, dying.inbox)
    inbox.add(2, living.inbox)
    const word = new Int32Array(here)
    await until(() => Atomics.load(word, 0) === 1, 'sleep')
    // What a producer does that dies between winning the word and nudging.
    Atomics.store(word, 0, 0)
    const outbox = own(new Outbox(living.outbox, { codec }))
    outbox.send(1, 2, 'unheard', 3, [])
    outbox.flush()
    expect(outbox.statistics.nudges).toBe(0)
    dying.outbox.nudge.close()
    await until(() => seen.length === 1, 'the frame of the living producer')
  })

  test('is not nudged when something else wakes it, and is when that could not be sent', async () => {
    const { here, back } = pair()
    const outbox = own(new Outbox(back.outbox, { codec }))
    const seen: unknown[] = []
    own(runInbox({ doorbell: here, codec }, (frame) => seen.push(frame.seq))).add(1, back.inbox)
    const word = new Int32Array(here)
    await until(() => Atomics.load(word, 0) === 1, 'sleep')
    let wasVisible = false
    outbox.send(1, 2, 'first', 1, [])
    outbox.flushWith(() => {
      wasVisible = Atomics.load(word, 0) === 0
    })
    expect({ wasVisible, nudges: outbox.statistics.nudges }).toEqual({ wasVisible: true, nudges: 0 })
    // Nothing woke it here; as if the thread had drained for another reason.
    Atomics.store(word, 0, 1)
    outbox.send(1, 2, 'second', 2, [])
    const broken = () => {
      throw new Error('not sent')
    }
    expect(() => outbox.flushWith(broken)).toThrow('not sent')
    expect(outbox.statistics.nudges).toBe(1)
    await until(() => seen.length === 2, 'both frames')
  })
})

describe('frames that may wait', () => {
  /** A consumer that sleeps, with what it has seen. */
  async function sleeper() {
    const { here, back } = pair(4096)
    const outbox = own(new Outbox(back.outbox, { codec }))
    const seen: unknown[] = []
    own(runInbox({ doorbell: here, codec }, (frame) => seen.push(frame.seq))).add(1, back.inbox)
    const word = new Int32Array(here)
    await until(() => Atomics.load(word, 0) === 1, 'sleep')
    return { outbox, seen, nudges: () => outbox.statistics.nudges }
  }
  const hour = 3_600_000

  test('come in time, all with one nudge', async () => {
    const { outbox, seen, nudges } = await sleeper()
    for (let seq = 1; seq <= 3; seq++) {
      outbox.send(1, 2, 'patient', seq, [], 20)
      outbox.flush()
    }
    expect(nudges()).toBe(0)
    await until(() => seen.length === 3, 'all frames')
    expect([seen, nudges()]).toEqual([[1, 2, 3], 1])
  })

  test('come with the next one that may not, in their order', async () => {
    const { outbox, seen, nudges } = await sleeper()
    outbox.send(1, 2, 'patient', 1, [], hour)
    outbox.flush()
    outbox.send(1, 2, 'urgent', 2, [])
    outbox.flush()
    expect(nudges()).toBe(1)
    await until(() => seen.length === 2, 'both frames')
    expect(seen).toEqual([1, 2])
  })

  test('in one turn with one that may not are not held back', async () => {
    const { outbox, seen } = await sleeper()
    outbox.send(1, 2, 'urgent', 1, [])
    outbox.send(1, 2, 'patient', 2, [], hour)
    await until(() => seen.length === 2, 'both frames')
  })

  test('wait for the one that may wait least', async () => {
    const { outbox, seen } = await sleeper()
    outbox.send(1, 2, 'patient', 1, [], hour)
    outbox.flush()
    outbox.send(1, 2, 'less patient', 2, [], 5)
    await until(() => seen.length === 2, 'both frames')
  })

  test('do not fill the ring for long, nor get lost when the link closes', async () => {
    const { outbox, seen, nudges } = await sleeper()
    let sent = 0
    while (outbox.send(1, 2, 'patient', sent + 1, ['x'.repeat(200)], hour)) {
      sent++
      outbox.flush()
    }
    expect(nudges()).toBe(1)
    await until(() => seen.length === sent, 'what was in the ring')
    await new Promise((resolve) => setImmediate(resolve))
    outbox.send(1, 2, 'patient', sent + 1, [], hour)
    outbox.close()
    await until(() => seen.length === sent + 1, 'the last one')
  })
})

describe('a frame', () => {
  test('sent before the other thread knows the link arrives', async () => {
    const { here, back } = pair()
    const outbox = own(new Outbox(back.outbox, { codec }))
    outbox.send(1, 2, 'early', 1, [])
    outbox.flush()
    const seen: unknown[] = []
    const inbox = own(runInbox({ doorbell: here, codec }, (frame) => seen.push(frame.type)))
    inbox.add(1, back.inbox)
    await until(() => seen.length === 1, 'the frame')
  })

  test('that cannot be decoded is left out and reported, and the next one arrives', async () => {
    const { here, back } = pair()
    const seen: unknown[] = []
    const bad: unknown[] = []
    const revive = new Codec({
      hooks: {
        reviveRef: () => 0,
        reviveDefinition: () => {
          throw new Error('no such definition')
        },
      },
    })
    const { actor } = await import('../../../src/actors/index.ts')
    const definition = actor({ name: 'gone', module: 'file:///gone.ts', init: () => ({}) })
    const inbox = own(
      runInbox({ doorbell: here, codec: revive, onBadFrame: (error) => bad.push(error) }, (frame) =>
        seen.push(frame.seq),
      ),
    )
    const outbox = own(new Outbox(back.outbox, { codec }))
    outbox.send(1, 2, 'bad', 1, [definition])
    outbox.send(1, 2, 'good', 2, [])
    inbox.add(1, back.inbox)
    await until(() => seen.length === 1, 'the good frame')
    expect(seen).toEqual([2])
    expect(String(bad[0])).toContain('no such definition')
  })
})

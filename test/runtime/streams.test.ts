import { afterEach, describe, expect, test } from 'vitest'
import { type ActorRef, ActorSystem, ReplyStream, type StreamReader } from '../../src/index.ts'
import { TestSystem } from '../../src/testing/index.ts'
import { relay, type Writer, writer } from './fixtures/streams.ts'

let system: { stop(): Promise<void> } | undefined
afterEach(() => system?.stop())

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 5_000
  while (!(await condition())) {
    if (performance.now() > end) throw new Error('never came true')
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}

async function all<T>(reader: StreamReader<T>): Promise<T[]> {
  const items: T[] = []
  for await (const item of reader) items.push(item)
  return items
}

async function closed(ref: ActorRef<Writer>, ...why: string[]): Promise<void> {
  await until(async () => (await ref.ask('seen')).closed.length >= why.length)
  expect((await ref.ask('seen')).closed).toEqual(why)
}

describe.each([
  ['the same thread', 'here' as const],
  ['another thread', { pool: 'a' }],
])('a stream from an actor of %s', (_name, placement) => {
  let actors: ActorSystem
  const start = async () => {
    actors = await ActorSystem.start(
      placement === 'here' ? {} : { pools: { a: { minThreads: 1, maxThreads: 1 } } },
    )
    system = actors
    return actors.spawn(writer, undefined, { placement })
  }

  test('yields its items in order and ends once they are read', async () => {
    const ref = await start()
    const reader = ref.stream('count', 1_000)
    expect(await all(reader)).toEqual(Array.from({ length: 1_000 }, (_, i) => i))
    expect(await reader.ended).toEqual({ kind: 'done' })
    expect(await reader.next()).toEqual({ done: true, value: undefined })
    await closed(ref, 'end', 'left')
  })

  test('runs no further ahead of its reader than its window', async () => {
    const ref = await start()
    const reader = ref.streamWith({ window: 8 }, 'count', 1_000)
    await until(async () => (await ref.ask('seen')).yielded === 8)
    for (let i = 0; i < 4; i++) expect((await reader.next()).value).toBe(i)
    await until(async () => (await ref.ask('seen')).yielded === 12)
    reader.cancel()
    await closed(ref, 'left')
  })

  test('refuses to be written when reader and writer hold all they may', async () => {
    const ref = await start()
    const reader = ref.streamWith({ window: 2 }, 'follow')
    await until(async () => (await ref.ask('seen')).followers === 1)
    // Two of the window, ten of the writer.
    const taken: number[] = []
    for (let i = 0; i < 15; i++) taken.push(await ref.ask('publish', String(i)))
    expect(taken).toEqual([...Array(12).fill(1), 0, 0, 0])
    await ref.ask('finish', null)
    expect(await all(reader)).toEqual(Array.from({ length: 12 }, (_, i) => String(i)))
    await closed(ref, 'done')
  })

  test('tells its writer when the reader leaves the loop', async () => {
    const ref = await start()
    for await (const item of ref.stream('count', 1_000)) if (item === 5) break
    await closed(ref, 'left')
  })

  test('ends with the failure the writer gives, after the items before it', async () => {
    const ref = await start()
    const reader = ref.stream('follow')
    await until(async () => (await ref.ask('seen')).followers === 1)
    ref.tell('publish', 'last words')
    ref.tell('finish', 'it is over')
    expect(await reader.next()).toEqual({ done: false, value: 'last words' })
    await expect(reader.next()).rejects.toMatchObject({
      code: 'MA_DOWN',
      exitReason: { kind: 'error', message: 'it is over' },
    })
    expect(await reader.next()).toEqual({ done: true, value: undefined })
    expect(await reader.ended).toMatchObject({ kind: 'down' })
    // The actor goes on.
    await closed(ref, 'failed')
  })

  test('ends with what its source throws', async () => {
    const ref = await start()
    const reader = ref.stream('broken')
    await expect(all(reader)).rejects.toMatchObject({ exitReason: { message: 'source failed' } })
    expect(await ref.ask('plain')).toBe(1)
  })

  test('ends with down when its actor does', async () => {
    const ref = await start()
    const reader = ref.stream('follow')
    await until(async () => (await ref.ask('publish', 'x')) === 1)
    ref.tell('fail', 'broken')
    expect((await reader.next()).value).toBe('x')
    await expect(reader.next()).rejects.toMatchObject({ code: 'MA_DOWN', exitReason: { message: 'broken' } })
    await expect(all(ref.stream('follow'))).rejects.toMatchObject({ code: 'MA_NO_ACTOR' })
  })

  test('is cancelled by its signal, before it began as well', async () => {
    const ref = await start()
    const abort = new AbortController()
    const reader = ref.streamWith({ signal: abort.signal }, 'follow')
    await until(async () => (await ref.ask('seen')).followers === 1)
    abort.abort()
    await expect(reader.next()).rejects.toMatchObject({ code: 'MA_CANCELLED' })
    await closed(ref, 'cancelled')
    const late = ref.streamWith({ signal: abort.signal }, 'follow')
    await expect(late.next()).rejects.toMatchObject({ code: 'MA_CANCELLED' })
    const early = ref.stream('follow')
    early.cancel()
    expect(await early.next()).toEqual({ done: true, value: undefined })
    expect(await early.ended).toMatchObject({ kind: 'cancelled' })
    await closed(ref, 'cancelled', 'cancelled')
  })

  test('ends with a timeout when no item comes', async () => {
    const ref = await start()
    const reader = ref.streamWith({ timeoutMs: 20 }, 'follow')
    await expect(reader.next()).rejects.toMatchObject({ code: 'MA_TIMEOUT' })
    await closed(ref, 'cancelled')
  })

  test('is not confused with a reply', async () => {
    const ref = await start()
    const misled = ref as unknown as { ask(type: string): Promise<unknown> }
    await expect(misled.ask('follow')).rejects.toMatchObject({ exitReason: { code: 'MA_USAGE' } })
    await closed(ref, 'cancelled')
    const reader = (ref.stream as (type: string) => StreamReader<number>).call(ref, 'plain')
    await expect(reader.next()).rejects.toMatchObject({ exitReason: { code: 'MA_USAGE' } })
    ref.tell('follow')
    await closed(ref, 'cancelled', 'cancelled')
  })

  test('that is passed on goes straight to who asked', async () => {
    const ref = await start()
    for (const where of ['here', placement] as const) {
      const between = actors.spawn(relay, undefined, { placement: where })
      expect(await between.ask('plain', ref)).toBe(1)
      const reader = between.stream('follow', ref)
      await until(async () => (await ref.ask('publish', 'x')) === 1)
      // Who passed it on is not needed any more.
      actors.kill(between)
      expect((await reader.next()).value).toBe('x')
      reader.cancel()
      await until(async () => (await ref.ask('seen')).followers === 0)
    }
  })

  test('ends when the actor that reads it does', async () => {
    const ref = await start()
    const reading = actors.spawn(relay, undefined)
    expect(await reading.ask('read', ref, 100)).toBe(5050)
    const holding = reading.ask('hold', ref)
    await until(async () => (await ref.ask('publish', 'x')) === 1)
    expect(await holding).toBe(true)
    expect((await ref.ask('seen')).followers).toBe(1)
    actors.kill(reading)
    await until(async () => (await ref.ask('seen')).followers === 0)
  })
})

test('a stream ends once when the thread of either side dies', async () => {
  const actors = await ActorSystem.start({ pools: { a: { minThreads: 1 }, b: { minThreads: 1 } } })
  system = actors
  const there = actors.spawn(writer, undefined, { placement: { pool: 'a' } })
  const here = actors.spawn(writer, undefined)
  const elsewhere = actors.spawn(relay, undefined, { placement: { pool: 'b' } })
  const reader = there.stream('follow')
  await until(async () => (await there.ask('publish', 'x')) === 1)
  actors.killThread(there.thread)
  expect((await reader.next()).value).toBe('x')
  await expect(reader.next()).rejects.toMatchObject({ code: 'MA_DOWN', exitReason: { kind: 'thread_exit' } })
  const holding = elsewhere.ask('hold', here)
  await until(async () => (await here.ask('publish', 'x')) === 1)
  expect(await holding).toBe(true)
  actors.killThread(elsewhere.thread)
  await closed(here, 'cancelled')
})

test('an item that cannot cross a thread fails the stream, and the actor goes on', async () => {
  const actors = await ActorSystem.start({ pools: { a: { minThreads: 1, maxThreads: 1 } } })
  system = actors
  const ref = actors.spawn(writer, undefined, { placement: { pool: 'a' } })
  await expect(all(ref.stream('unsendable'))).rejects.toMatchObject({ exitReason: { code: 'MA_USAGE' } })
  expect(await ref.ask('plain')).toBe(1)
})

test('streams that are open at the stop of the system end', async () => {
  const actors = await TestSystem.start()
  system = actors
  const ref = actors.spawn(writer, undefined)
  const open = ref.stream('follow')
  ref.tell('block')
  const waiting = ref.stream('follow')
  await actors.settle()
  await actors.stop()
  expect((await open.ended).kind).toBe('down')
  expect((await waiting.ended).kind).toBe('down')
})

test('a stream that was written and ended before it is returned loses nothing', () => {
  const stream = new ReplyStream<number>()
  const seen: unknown[] = []
  stream.write(1)
  stream.write(2)
  stream.end()
  expect(stream.write(3)).toBe(false)
  stream.onClosed((why) => seen.push(why))
  stream.connect({ item: (n) => seen.push(n), done: () => seen.push('end'), failed: () => seen.push('?') }, 1)
  expect(seen).toEqual([1])
  stream.granted(1)
  expect(seen).toEqual([1, 2, 'end', 'done'])
})

/** Deliveries that stay for the next mail: what they are given while they work, and what becomes of it when they fail. */
import { afterEach, describe, expect, test } from 'vitest'
import { Random } from '../../src/testing/index.ts'
import { chosenSeed } from '../support/seed.ts'
import { Harness, soft } from './harness.ts'

let harness: Harness

afterEach(() => harness[Symbol.asyncDispose]())

/** One delivery at a time to one next hop, and the first one, before which connections are not kept, is over. */
async function start(queue: object = {}, smtp: object = {}): Promise<void> {
  harness = await Harness.start({
    config: {
      smtp: { relayhost: '[192.0.2.1]', ...smtp },
      queue: { default_destination_concurrency_limit: 1, initial_destination_concurrency: 1, ...queue },
    },
  })
}

/** Queues so many mails behind one that is at work already; returns all ids. */
async function enqueue(count: number): Promise<string[]> {
  const ids: string[] = []
  for (let index = 0; index < count; index++) ids.push(await harness.enqueue([`u${index}@d.test`]))
  return ids
}

const begun = (): string[] => harness.started.map(({ request }) => request.queueId)
const atWork = (): string[] => harness.open.map(({ request }) => request.queueId)
const given = (): (string | undefined)[] => harness.open.map((one) => one.given?.queueId)

async function act(what: () => void): Promise<void> {
  what()
  await harness.system.settle()
}

const stats = () => harness.queue.ask('stats')

describe('a delivery at work', () => {
  test('is given the next mail and goes on to it, in the order of arrival', async () => {
    await start()
    const ids = await enqueue(5)
    await act(() => harness.open[0]!.report({}))
    expect([atWork(), given()]).toEqual([[ids[1]], [ids[2]]])
    for (const next of [2, 3, 4]) {
      await act(() => harness.open[0]!.goOn({}))
      expect([atWork(), given()]).toEqual([[ids[next]], [ids[next + 1]]])
    }
    expect(harness.open[0]!.request.stays).toBeUndefined()
    await act(() => harness.open[0]!.report({}))
    expect(begun()).toEqual(ids)
    expect(await harness.queue.ask('counts')).toMatchObject({ active: 0, deferred: 0 })
    expect(await stats()).toMatchObject({ running: 0, waiting: 0 })
  })

  test('is given nothing while the window still grows: nothing new overtakes it', async () => {
    await start({ default_destination_concurrency_limit: 20 })
    const ids = await enqueue(8)
    await act(() => harness.open[0]!.report({}))
    expect(given()).toEqual([undefined, undefined])
    expect(begun()).toEqual(ids.slice(0, 3))
  })

  test('that ends instead leaves the next mail to another one, before all others', async () => {
    await start()
    const ids = await enqueue(5)
    await act(() => harness.open[0]!.report({}))
    await act(() => harness.open[0]!.report({}))
    expect([atWork(), given()]).toEqual([[ids[2]], [ids[3]]])
    expect(begun()).toEqual(ids.slice(0, 3))
  })

  test('that crashes takes only its own mail along', async () => {
    await start({ default_destination_concurrency_failed_cohort_limit: 10 })
    const ids = await enqueue(4)
    await act(() => harness.open[0]!.report({}))
    await act(() => harness.open[0]!.crash())
    expect([atWork(), given()]).toEqual([[ids[2]], [ids[3]]])
    expect((await harness.queue.ask('show', ids[1]!))?.recipients[0]).toMatchObject({ attempts: 1 })
    expect((await harness.queue.ask('show', ids[2]!))?.recipients[0]).toMatchObject({ attempts: 0 })
  })

  test('that takes long gives the next mail back, and gets no other', async () => {
    await start()
    const ids = await enqueue(4)
    await act(() => harness.open[0]!.report({}))
    await act(() => harness.open[0]!.giveBack())
    expect([atWork(), given()]).toEqual([[ids[1]], [undefined]])
    expect((await harness.queue.ask('why', ids[2]!))?.recipients[0]?.waitsFor.kind).toBe('window')
    await act(() => harness.open[0]!.goOn({}))
    expect([atWork(), given()]).toEqual([[ids[2]], [ids[3]]])
  })

  test('is given only what may go over the same connection', async () => {
    await start({}, { sasl_auth_enable: true, sender_dependent_authentication: true })
    const ids: string[] = []
    for (const sender of ['a@s.test', 'a@s.test', 'a@s.test', 'b@s.test', 'b@s.test']) {
      ids.push(await harness.enqueue(['u@d.test'], { sender }))
    }
    await act(() => harness.open[0]!.report({}))
    expect([atWork(), given()]).toEqual([[ids[1]], [ids[2]]])
    await act(() => harness.open[0]!.goOn({}))
    expect([atWork(), given()]).toEqual([[ids[2]], [undefined]])
    await act(() => harness.open[0]!.goOn({}))
    expect(harness.dismissed).toBe(1)
    expect([atWork(), given()]).toEqual([[ids[3]], [ids[4]]])
  })

  test('`queue why`: what it was given waits for the window still', async () => {
    await start()
    const ids = await enqueue(3)
    await act(() => harness.open[0]!.report({}))
    const waitsFor = async (id: string) => (await harness.queue.ask('why', id))?.recipients[0]?.waitsFor.kind
    expect(await waitsFor(ids[1]!)).toBe('delivery')
    expect(await waitsFor(ids[2]!)).toBe('window')
  })

  test('whose site dies: the next mail is put off with the others', async () => {
    await start({ default_destination_concurrency_failed_cohort_limit: 1 })
    const ids = await enqueue(4)
    await act(() => harness.open[0]!.report({}))
    const hopStatus = { dsn: '4.4.1', reason: 'connect to mx.test: timed out' }
    await act(() => harness.open[0]!.report({ status: 'deferred', dsn: '4.4.1' }, { hopStatus }))
    expect(begun()).toEqual(ids.slice(0, 2))
    expect(harness.events('delivery').slice(1)).toHaveLength(3)
    expect(
      harness.events('delivery').every(({ status }, index) => status === (index === 0 ? 'sent' : 'deferred')),
    ).toBe(true)
    expect(await stats()).toMatchObject({ running: 0, waiting: 0 })
  })

  test('that ends leaves nothing of a mail that was deleted meanwhile', async () => {
    await start()
    const ids = await enqueue(4)
    await act(() => harness.open[0]!.report({}))
    await harness.operate('delete', ids.slice(2))
    await act(() => harness.open[0]!.report({}))
    expect(begun()).toEqual(ids.slice(0, 2))
    expect(await harness.queue.ask('counts')).toMatchObject({ active: 0, deferred: 0, hold: 0 })
    expect(await stats()).toMatchObject({ running: 0, waiting: 0 })
  })

  test('at a stop: what it was given stays in the queue', async () => {
    await start()
    const ids = await enqueue(3)
    await act(() => harness.open[0]!.report({}))
    const drained = harness.queue.ask('drain')
    await act(() => harness.open[0]!.report({}))
    await drained
    expect(begun()).toEqual(ids.slice(0, 2))
    expect(await harness.queue.ask('counts')).toMatchObject({ active: 1 })
  })
})

describe('a delivery that waits', () => {
  test('gets the next mail, and is told when there is none', async () => {
    await start({ default_destination_concurrency_limit: 0 })
    const ids = await enqueue(6)
    await act(() => harness.open[0]!.report({}))
    expect(begun()).toEqual(ids.slice(0, 3))
    expect(harness.open[0]!.request.stays).toBe(true)
    await act(() => harness.open[0]!.goOn({}))
    await act(() => harness.open[0]!.goOn({}))
    expect(begun()).toEqual(ids)
    const before = harness.dismissed
    for (const one of harness.open)
      await act(() => (one.request.stays === true ? one.goOn({}) : one.report({})))
    expect(harness.dismissed).toBeGreaterThan(before)
    expect(await stats()).toMatchObject({ running: 0, waiting: 0 })
  })
})

test('whatever deliveries do, each mail is with one at most and is delivered in the end', async () => {
  const seed = chosenSeed()
  const random = new Random(seed)
  await start({
    default_destination_concurrency_limit: 4,
    minimal_backoff_time: 1_000,
    maximal_backoff_time: 1_000,
  })
  const ids = new Set(await enqueue(60))
  const sent = new Set<string>()
  for (let step = 0; sent.size < ids.size; step++) {
    const story = `seed ${seed}, step ${step}`
    expect(step, story).toBeLessThan(5_000)
    const working = atWork()
    expect(working.length, story).toBeLessThanOrEqual(4)
    const held = [...working, ...given().filter((id) => id !== undefined)]
    expect(new Set(held).size, story).toBe(held.length)
    const { open } = harness
    if (open.length === 0) {
      await harness.system.advance(2_000)
      continue
    }
    const one = open[random.below(open.length)]!
    const { queueId } = one.request
    const kind = random.below(10)
    if (kind < 5 && (one.request.stays === true || one.given !== undefined)) {
      sent.add(queueId)
      await act(() => one.goOn({}))
    } else if (kind < 7) {
      expect(sent.has(queueId), story).toBe(false)
      sent.add(queueId)
      await act(() => one.report({}))
    } else if (kind === 7) await act(() => one.report(soft))
    else if (kind === 8) await act(() => one.crash())
    else if (one.given !== undefined) await act(() => one.giveBack())
  }
  await harness.system.settle()
  expect(await stats()).toMatchObject({ running: 0, waiting: 0 })
  expect(await harness.queue.ask('counts')).toMatchObject({ active: 0, deferred: 0 })
})

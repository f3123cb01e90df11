/** Whatever an actor does wrong, again and again: its siblings answer, and nothing of it stays behind. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type ActorRef, ActorSystem, type ChildSpec, type ExitReason } from '../../src/index.ts'
import { expectNoMore, ofTheSystem, resources } from '../support/leak-probe.ts'
import { until } from '../support/until.ts'
import { type Faulty, type FaultyArgs, faulty } from './fault-actors.ts'

let system: ActorSystem

const spawn = (args: FaultyArgs = {}, pool?: string): ActorRef<Faulty> =>
  system.spawn(faulty, args, pool === undefined ? {} : { placement: { pool } })

/** Watched by an actor that ends with it. */
async function endOf(ref: ActorRef<Faulty>, act: () => void): Promise<ExitReason> {
  const watcher = spawn()
  const end = watcher.askWith({ timeoutMs: 60_000 }, 'watch', ref)
  await ref.ask('ping')
  act()
  const reason = await end
  watcher.tell('stop')
  return reason
}

const child = (id: string, args: FaultyArgs): ChildSpec => ({ id, actor: faulty, args, restart: 'temporary' })

interface Fault {
  readonly name: string
  readonly times: number
  run(): Promise<void>
}

const here: Fault[] = [
  {
    name: 'a bad child spec',
    times: 50,
    run: async () =>
      expect(await system.startChild({ id: '' } as ChildSpec)).toMatchObject({ ok: false, error: 'invalid' }),
  },
  {
    name: 'an unknown pool',
    times: 50,
    run: async () =>
      expect(await system.startChild({ ...child('x', {}), placement: { pool: 'nowhere' } })).toMatchObject({
        ok: false,
        reason: { code: 'MA_USAGE' },
      }),
  },
  {
    name: 'a throw in init',
    times: 50,
    run: async () =>
      expect(await system.startChild(child('x', { throwIn: 'init' }))).toMatchObject({
        ok: false,
        error: 'failed',
        reason: { kind: 'error', message: 'init' },
      }),
  },
  {
    name: 'a throw in a handler',
    times: 50,
    async run() {
      const ref = spawn()
      expect(await endOf(ref, () => ref.tell('odd', 'thenThrows'))).toMatchObject({ kind: 'error' })
    },
  },
  {
    name: 'a throw in terminate',
    times: 50,
    async run() {
      const ref = spawn({ throwIn: 'terminate' })
      expect(await endOf(ref, () => ref.tell('stop'))).toMatchObject({ kind: 'error', message: 'terminate' })
    },
  },
  {
    name: 'an answer that never comes',
    times: 50,
    async run() {
      const ref = spawn()
      await expect(ref.askWith({ timeoutMs: 1 }, 'never')).rejects.toMatchObject({ code: 'MA_TIMEOUT' })
      system.kill(ref)
    },
  },
  {
    name: 'a flood',
    times: 5,
    async run() {
      const ref = spawn()
      let taken = 0
      for (let i = 0; i < 20_000; i++) if (ref.tell('count')) taken++
      expect(taken).toBeLessThan(20_000)
      await until('it answers', async () => (await ref.ask('counted').catch(() => -1)) === taken)
      ref.tell('stop')
    },
  },
  {
    name: 'a stop during a start',
    times: 10,
    async run() {
      const other = await ActorSystem.start({ pools: {} })
      const starting = other.startChild(child('x', {})).catch(() => undefined)
      await other.stop()
      await starting
    },
  },
]

const ofThreads: Fault[] = [
  ...(['block', 'exhaust', 'exit', 'throwOutside', 'rejectOutside'] as const).map((message) => ({
    name: `a thread lost by ${message}`,
    times: 1,
    async run() {
      const ref = spawn({}, 'bad')
      expect(await endOf(ref, () => ref.tell(message))).toMatchObject({ kind: 'thread_exit' })
    },
  })),
  {
    name: 'a second system with a thread',
    times: 1,
    async run() {
      const other = await ActorSystem.start({ pools: { a: { minThreads: 1 } } })
      await other.spawn(faulty, {}, { placement: { pool: 'a' } }).ask('ping')
      await other.stop()
    },
  },
]

const actors = async () =>
  (await system.inspect()).flatMap((one) => [one, ...one.children]).filter(({ name }) => name === 'faulty')
    .length

beforeAll(async () => {
  system = await ActorSystem.start({
    pools: {
      bad: {
        maxThreads: 1,
        stallMs: 1_000,
        resourceLimits: { maxOldGenerationSizeMb: 24, maxYoungGenerationSizeMb: 4 },
      },
      good: { minThreads: 1, maxThreads: 1 },
    },
    children: [
      { id: 'here', actor: faulty, args: {}, registerAs: 'here' },
      { id: 'there', actor: faulty, args: {}, registerAs: 'there', placement: { pool: 'good' } },
    ],
  })
  await spawn({}, 'bad').ask('stop')
})
afterAll(() => system.stop())

test.each([...here, ...ofThreads])(
  '$name: siblings answer, and nothing stays',
  async ({ times, run }) => {
    const siblings = ['here', 'there'].map((id) => system.whereis<Faulty>(id)!)
    const gone = () => until('its actors are gone', async () => (await actors()) === siblings.length)
    await run()
    await gone()
    const before = { threads: ofTheSystem().threads, resources: resources() }
    for (let i = 0; i < times; i++) await run()
    await gone()
    expect(await Promise.all(siblings.map((one) => one.ask('ping')))).toEqual(
      siblings.map(({ thread }) => thread),
    )
    await expectNoMore(before.resources)
    // V8's and libuv's own come and go.
    await until('its threads are gone', () => ofTheSystem().threads < before.threads + 4)
  },
  90_000,
)

/**
 * The runtime under many orders of events: simulated threads with the real peers, supervisors and registry, actors and threads
 * killed at random. What must hold whatever happens is checked for each seed.
 */
import { expect, test } from 'vitest'
import {
  type ActorInfo,
  type ActorRef,
  type AnyRef,
  AskError,
  actor,
  type Contract,
  Deferred,
  type Down,
  type SupervisorContract,
  supervisor,
} from '../../src/index.ts'
import { explore, type TestSystem } from '../../src/testing/index.ts'

type Peer = Contract<{
  ping(): number
  hold(): number
  release(): void
  forward(to: AnyRef, hops: number): number
  watch(to: AnyRef): void
  link(to: AnyRef): void
  downs(): { readonly [id: string]: number }
  fail(): void
  find(name: string): AnyRef | null
}>

const peer = actor<Peer, { readonly traps?: boolean } | undefined>({
  name: 'peer',
  module: import.meta.url,
  init(context, args) {
    if (args?.traps === true) context.trapExit()
    const held: Deferred<number>[] = []
    const downs: Record<string, number> = {}
    return {
      ping: () => 1,
      hold() {
        const reply = new Deferred<number>()
        held.push(reply)
        return reply
      },
      release() {
        for (const reply of held.splice(0)) reply.resolve(2)
      },
      async forward(to, hops) {
        const next = to as ActorRef<Peer>
        return hops === 0 ? next.ask('ping') : next.ask('forward', context.self, hops - 1)
      },
      watch(to) {
        context.monitor(to)
      },
      link(to) {
        context.link(to)
      },
      downs: () => downs,
      handleDown({ ref }: Down) {
        downs[ref.id] = (downs[ref.id] ?? 0) + 1
      },
      fail() {
        throw new Error('failed')
      },
      find: (name) => context.whereis(name) ?? null,
    }
  },
})

const inPool = { pool: 'a' } as const
const branch = supervisor<{ readonly name: string }>({
  name: 'branch',
  module: import.meta.url,
  init: (_context, { name }) => ({
    strategy: 'one_for_one',
    intensity: 1_000,
    children: [
      { id: 'one', actor: peer, placement: inPool, registerAs: `${name}.one` },
      { id: 'two', actor: peer, placement: inPool, registerAs: `${name}.two` },
    ],
  }),
})

const options = {
  threads: { a: 2, b: 1 },
  intensity: 1_000,
  children: [
    { id: 'x', actor: branch, args: { name: 'x' }, placement: { pool: 'b' }, registerAs: 'x' },
    { id: 'y', actor: branch, args: { name: 'y' }, registerAs: 'y' },
  ],
}
const names = ['x', 'y', 'x.one', 'x.two', 'y.one', 'y.two']

/** Waits until each name is held by a living actor, and all threads agree on who it is. */
async function allBack(system: TestSystem): Promise<void> {
  for (const name of names) {
    await system.until(`${name} answers`, async () => {
      const ref = system.whereis(name)
      if (ref === undefined) return false
      const type = name.includes('.') ? 'ping' : 'countChildren'
      return await ref.ask(type).then(
        () => true,
        () => false,
      )
    })
  }
  await system.settle()
  const finders = ['a', 'a', 'b'].map((pool) => system.spawn(peer, undefined, { placement: { pool } }))
  for (const name of names) {
    const here = system.whereis(name)!.id
    for (const finder of finders) expect([name, (await finder.ask('find', name))?.id]).toEqual([name, here])
  }
}

const seeds = 400

test('after actors and threads were killed, every name is held by one living actor, known to all', async () => {
  await explore({
    ...options,
    seeds,
    async scenario(system) {
      const end = system.steps + 150
      system.chaos({ actors: 3, threads: 2, withinSteps: 150 })
      while (system.steps <= end) {
        await Promise.allSettled(
          names.map((name) => system.whereis(name)?.askWith({ timeoutMs: 100 }, 'ping')),
        )
        await system.advance(10)
      }
      await allBack(system)
      const all = await system.inspect()
      const count = (list: readonly ActorInfo[]): number =>
        list.reduce((sum, info) => sum + 1 + count(info.children), 0)
      // Root, two branches with two children each, three finders: nobody twice.
      expect(count(all)).toBe(10)
    },
  })
}, 120_000)

test('every ask settles once, whoever dies, and in time', async () => {
  await explore({
    ...options,
    seeds,
    latencyMs: 5,
    async scenario(system) {
      const { random } = system
      system.chaos({ actors: 4, threads: 2, withinSteps: 400 })
      const refs: ActorRef<Peer>[] = Array.from({ length: 6 }, (_, i) =>
        system.spawn(
          peer,
          { traps: i % 2 === 0 },
          { placement: random.pick([inPool, { pool: 'b' }, 'here']) },
        ),
      )
      const outcomes: string[] = []
      let asked = 0
      const track = (asking: Promise<unknown>): void => {
        asked++
        let settled = false
        const settle = (how: string): void => {
          if (settled) throw new Error('settled twice')
          settled = true
          outcomes.push(how)
        }
        asking.then(
          () => settle('reply'),
          (error) => settle(error instanceof AskError ? error.code : String(error)),
        )
      }
      for (let i = 0; i < 40; i++) {
        const [one, other] = [random.pick(refs), random.pick(refs)]
        switch (random.below(8)) {
          case 0:
            track(one.ask('hold'))
            break
          case 1:
            one.tell('release')
            break
          case 2:
            track(one.ask('forward', other, random.below(3)))
            break
          case 3:
            one.tell('link', other)
            break
          case 4:
            one.tell('watch', other)
            break
          case 5:
            if (random.chance(0.3)) one.tell('fail')
            break
          case 6:
            await system.advance(random.below(5))
            break
          default:
            track(one.ask('ping'))
        }
      }
      // Asks of main take 5 s at most, whatever becomes of the callee.
      await system.advance(6_000)
      expect(outcomes).toHaveLength(asked)
      for (const outcome of outcomes)
        expect(outcome).toMatch(/^(?:reply|MA_(?:DOWN|NO_ACTOR|TIMEOUT|CANCELLED))$/)
    },
  })
}, 120_000)

test('a monitor tells once, whenever it was made', async () => {
  await explore({
    threads: { a: 1, b: 1 },
    seeds,
    async scenario(system) {
      const watcher = system.spawn(peer, { traps: true }, { placement: { pool: 'b' } })
      const targets = Array.from({ length: 4 }, () => system.spawn(peer, undefined, { placement: inPool }))
      await watcher.ask('ping')
      for (const target of targets) {
        watcher.tell('watch', target)
        watcher.tell('link', target)
      }
      if (system.random.chance(0.5)) await system.settle()
      system.kill(targets[0]!)
      targets[1]!.tell('fail')
      if (system.random.chance(0.5)) await new Promise((resolve) => setImmediate(resolve))
      system.killThread(targets[0]!.thread)
      const expected = Object.fromEntries(targets.map(({ id }) => [id, 1]))
      await system.until('all are told', async () => Object.keys(await watcher.ask('downs')).length === 4)
      await system.settle()
      expect(await watcher.ask('downs')).toEqual(expected)
    },
  })
}, 120_000)

test('children started and stopped by two at once: the answers are true, and the count is right', async () => {
  await explore({
    ...options,
    seeds,
    async scenario(system) {
      const tree = await system.until('x', () => system.whereis<SupervisorContract>('x'))
      const spec = (id: string) => ({ id, actor: peer, placement: inPool, restart: 'transient' as const })
      const work = async (name: string): Promise<number> => {
        let running = 0
        for (let i = 0; i < 3; i++) {
          const id = `${name}${i}`
          const started = await tree.ask('startChild', spec(id))
          if (!started.ok) throw new Error(started.error)
          expect(await tree.ask('startChild', spec(id))).toMatchObject({ error: 'already_started' })
          running++
          if (!system.random.chance(0.5)) continue
          expect(await tree.ask('terminateChild', id)).toEqual({ ok: true })
          expect(await tree.ask('deleteChild', id)).toEqual({ ok: true })
          running--
        }
        return running
      }
      const [one, other] = await Promise.all([work('p'), work('q')])
      expect(await tree.ask('countChildren')).toMatchObject({ active: 2 + one + other })
    },
  })
}, 120_000)

test('a stop at any moment ends everything, and every ask', async () => {
  await explore({
    ...options,
    seeds,
    lateness: 0.02,
    async scenario(system) {
      const { random } = system
      system.chaos({ actors: 2, threads: 1, withinSteps: 100 })
      const refs = Array.from({ length: 4 }, () =>
        system.spawn(peer, undefined, { placement: random.pick([inPool, 'here']) }),
      )
      let open = 0
      const track = (asking: Promise<unknown>): void => {
        open++
        const close = (): void => {
          open--
        }
        asking.then(close, close)
      }
      for (let i = 0; i < 12; i++) {
        track(random.pick(refs).askWith({ timeoutMs: Infinity }, random.pick(['ping', 'hold'])))
        track(random.pick(refs).askWith({ timeoutMs: Infinity }, 'forward', random.pick(refs), 2))
        track(system.startChild({ id: `late${i}`, actor: peer, placement: inPool, restart: 'transient' }))
      }
      for (let i = random.below(120); i > 0; i--) await new Promise((resolve) => setImmediate(resolve))
      await system.stop()
      expect(open).toBe(0)
      expect(await system.inspect()).toEqual([])
    },
  })
}, 120_000)

/** A ref is good as soon as someone has it, also where the actor's start has not arrived yet. Orders drawn from seeds. */
import { expect, test } from 'vitest'
import { type ActorRef, type AnyRef, actor, type Contract, type Down } from '../../src/index.ts'
import { explore, type TestSystem } from '../../src/testing/index.ts'

type Sink = Contract<{ take(n: number): void; taken(): readonly number[] }>
const sink = actor<Sink>({
  name: 'sink',
  module: import.meta.url,
  init() {
    const taken: number[] = []
    return {
      take(n) {
        taken.push(n)
      },
      taken: () => taken,
    }
  },
})

type Other = Contract<{
  tell(to: AnyRef): void
  ask(to: AnyRef): readonly number[]
  watch(to: AnyRef): void
  link(to: AnyRef): void
  end(to: AnyRef, how: string): void
  downs(): readonly string[]
}>
const other = actor<Other>({
  name: 'other',
  module: import.meta.url,
  init(context) {
    context.trapExit()
    const downs: string[] = []
    return {
      tell(to) {
        for (let n = 0; n < 3; n++) to.tell('take', n)
      },
      ask: (to) => (to as ActorRef<Sink>).ask('taken'),
      watch(to) {
        context.monitor(to)
      },
      link(to) {
        context.link(to)
      },
      end(to, how) {
        context.exit(to, { kind: how as 'killed' })
      },
      downs: () => downs,
      handleDown({ reason }: Down) {
        downs.push(`down ${reason.kind}`)
      },
      handleExit(_ref: AnyRef, reason) {
        downs.push(`exit ${reason.kind}`)
      },
    }
  },
})

const start = (system: TestSystem, to = 'a') => ({
  helper: system.spawn(other, undefined, { placement: { pool: 'b' } }),
  target: system.spawn(sink, undefined, { placement: { pool: to } }),
})
const threads = { a: 1, b: 1 }

// On the same thread too: the ref may come back to it sooner than the start.
test.each(['a', 'b'])('messages and asks of a third actor wait for the start: pool %s', async (pool) => {
  await explore({
    seeds: 200,
    threads,
    latencyMs: 10,
    async scenario(system) {
      const { helper, target } = start(system, pool)
      const relay = system.spawn(other, undefined, { placement: { pool: 'a' } })
      relay.tell('tell', target)
      expect(await helper.ask('ask', target)).toEqual(expect.any(Array))
      await system.until('all taken', async () => (await target.ask('taken')).length === 3)
      expect(await target.ask('taken')).toEqual([0, 1, 2])
      expect(system.deadLetters).toEqual([])
    },
  })
})

test('monitors, links and requests to end wait for it too', async () => {
  await explore({
    seeds: 200,
    threads,
    latencyMs: 10,
    async scenario(system) {
      const { helper, target } = start(system)
      helper.tell('watch', target)
      helper.tell('link', target)
      await helper.ask('downs')
      helper.tell('end', target, system.seed! % 2 === 0 ? 'killed' : 'shutdown')
      const downs = await system.until('both are told', async () => {
        const now = await helper.ask('downs')
        return now.length === 2 && now
      })
      const how = system.seed! % 2 === 0 ? 'killed' : 'shutdown'
      expect(downs.toSorted()).toEqual([`down ${how}`, `exit ${how}`])
    },
  })
})

test('what waits for a start that never comes is told, once its spawner has died', async () => {
  const spawner = actor<Contract<{ go(to: ActorRef<Other>): void }>>({
    name: 'spawner',
    module: import.meta.url,
    init: (context) => ({
      go(to) {
        const child = context.spawnLink(sink, undefined, { placement: { pool: 'a' } })
        to.tell('watch', child)
        to.tell('link', child)
      },
    }),
  })
  await explore({
    seeds: 200,
    threads: { a: 1, b: 1, c: 1 },
    latencyMs: 10,
    async scenario(system) {
      const helper = system.spawn(other, undefined, { placement: { pool: 'b' } })
      const one = system.spawn(spawner, undefined, { placement: { pool: 'c' } })
      await Promise.all([helper.ask('downs')])
      one.tell('go', helper)
      for (let i = system.random.below(20); i > 0; i--) await new Promise((resolve) => setImmediate(resolve))
      system.killThread(one.thread)
      await system.advance(100)
      const downs = await helper.ask('downs')
      // The child ended with its parent, or never was; or the messages about it were lost with the thread.
      expect(downs.length).toBeLessThanOrEqual(2)
      for (const down of downs) expect(down).toMatch(/thread_exit|no_actor/)
    },
  })
})

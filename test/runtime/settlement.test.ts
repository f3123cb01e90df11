/** Random trees, random asks and random ends: every ask settles exactly once. The seed: test/support/seed.ts. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type ActorRef, AskError, type SupervisorContract } from '../../src/index.ts'
import { TestSystem } from '../../src/testing/index.ts'
import { chosenSeed } from '../support/seed.ts'
import { branch, type Node, node } from './settlement-actors.ts'

fc.configureGlobal({ seed: chosenSeed() })

const messages = ['reply', 'hold', 'release', 'wait', 'never', 'fail', 'quit', 'forward'] as const
const index = fc.nat({ max: 1_000 })
const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('start' as const),
      at: index,
      restart: fc.constantFrom('permanent', 'transient', 'temporary'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('branch' as const), at: index }) },
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constant('ask' as const),
      at: index,
      to: index,
      message: fc.constantFrom(...messages),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('kill' as const), at: index }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('terminate' as const), at: index, to: index }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('advance' as const), ms: fc.integer({ min: 1, max: 1_000 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('settle' as const) }) },
)

const codes = new Set(['MA_DOWN', 'MA_NO_ACTOR', 'MA_TIMEOUT', 'MA_OVERLOADED', 'MA_CANCELLED'])

test('every ask settles exactly once, and no actor is left after the stop', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 120 }), async (steps) => {
      const system = await TestSystem.start({
        intensity: 1_000,
        children: [{ id: 'b', actor: branch, registerAs: 'b', shutdown: 'infinity' }],
      })
      const nodes: ActorRef<Node>[] = [system.spawn(node, undefined)]
      const branches: ActorRef<SupervisorContract>[] = [system.whereis<SupervisorContract>('b')!]
      const ids: string[] = []
      const pick = <T>(list: readonly T[], at: number): T => list[at % list.length]!
      let asked = 0
      const outcomes: string[] = []
      const track = (asking: Promise<unknown>): void => {
        asked++
        asking.then(
          () => outcomes.push('reply'),
          (error) => outcomes.push(error instanceof AskError ? error.code : String(error)),
        )
      }
      for (const one of steps) {
        switch (one.do) {
          case 'start': {
            const id = `n${ids.length}`
            ids.push(id)
            const spec = { id, actor: node, restart: one.restart as 'permanent' }
            const starting = pick(branches, one.at).ask('startChild', spec)
            track(starting)
            starting.then(
              (answer) => answer.ok && nodes.push(answer.ref as ActorRef as ActorRef<Node>),
              () => {},
            )
            break
          }
          case 'branch': {
            const id = `b${ids.length}`
            ids.push(id)
            const starting = pick(branches, one.at).ask('startChild', { id, actor: branch })
            track(starting)
            starting.then(
              (answer) => answer.ok && branches.push(answer.ref as ActorRef as ActorRef<SupervisorContract>),
              () => {},
            )
            break
          }
          case 'ask': {
            const ref = pick(nodes, one.at)
            if (one.message === 'forward') track(ref.ask('forward', pick(nodes, one.to)))
            else if (one.message === 'wait') track(ref.ask('wait', one.to * 7))
            else track(ref.ask(one.message))
            break
          }
          case 'kill':
            system.system.kill(pick([...nodes, ...branches.slice(1)], one.at))
            break
          case 'terminate':
            if (ids.length > 0) track(pick(branches, one.at).ask('terminateChild', pick(ids, one.to)))
            break
          case 'advance':
            await system.advance(one.ms)
            break
          default:
            await system.settle()
        }
      }
      await system.stop()
      await system.settle()
      expect(outcomes.length).toBe(asked)
      for (const outcome of outcomes) if (outcome !== 'reply') expect(codes).toContain(outcome)
      expect(await system.inspect()).toEqual([])
    }),
    { numRuns: 150, endOnFailure: true },
  )
}, 60_000)

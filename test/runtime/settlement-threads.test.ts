/**
 * The same property across threads: random trees, random kills of actors and threads, random delays. Once on simulated
 * threads, where a seed replays the very schedule, and once on real ones, where it replays what is done.
 */
import { expect, test } from 'vitest'
import { type ActorRef, ActorSystem, AskError, type SupervisorContract } from '../../src/index.ts'
import { explore, Random } from '../../src/testing/index.ts'
import { chosenSeed } from '../support/seed.ts'
import { branch, type Node, node } from './settlement-actors.ts'

const patience = { timeoutMs: 800 }
const codes = /^(?:reply|MA_(?:DOWN|NO_ACTOR|TIMEOUT|OVERLOADED|CANCELLED|USAGE))$/

/** What a random walk needs of a system. */
interface World {
  readonly random: Random
  readonly pools: readonly string[]
  spawn(pool: string): ActorRef<Node>
  top(): ActorRef<SupervisorContract>
  kill(ref: ActorRef): void
  killThread(): void
  delay(ms: number): Promise<void>
}

/** Grows a tree, asks around in it, and kills; returns how each ask settled. @throws when one settles twice or never. */
async function walk(world: World, steps: number): Promise<string[]> {
  const { random, pools } = world
  const nodes: ActorRef<Node>[] = [world.spawn(pools[0]!), world.spawn('here')]
  const branches: ActorRef<SupervisorContract>[] = [world.top()]
  const asks: Promise<unknown>[] = []
  const outcomes: string[] = []
  const track = (asking: Promise<unknown>): void => {
    asks.push(asking)
    const place = asks.length - 1
    const settle = (how: string): void => {
      if (outcomes[place] !== undefined) throw new Error('settled twice')
      outcomes[place] = how
    }
    asking.then(
      () => settle('reply'),
      (error) => settle(error instanceof AskError || error?.code === 'MA_USAGE' ? error.code : String(error)),
    )
  }
  const place = () => (random.chance(0.3) ? ('here' as const) : { pool: random.pick(pools) })
  for (let i = 0; i < steps; i++) {
    switch (random.below(12)) {
      case 0: {
        const restart = random.pick(['permanent', 'transient', 'temporary'] as const)
        const spec = { id: `n${i}`, actor: node, restart, placement: place(), shutdown: 50 }
        const starting = random.pick(branches).askWith(patience, 'startChild', spec)
        track(starting)
        starting.then(
          (answer) => answer.ok && nodes.push(answer.ref as ActorRef as ActorRef<Node>),
          () => {},
        )
        break
      }
      case 1: {
        const spec = { id: `b${i}`, actor: branch, placement: place() }
        const starting = random.pick(branches).askWith(patience, 'startChild', spec)
        track(starting)
        starting.then(
          (answer) => answer.ok && branches.push(answer.ref as ActorRef as ActorRef<SupervisorContract>),
          () => {},
        )
        break
      }
      case 2:
        if (random.chance(0.5)) world.kill(random.pick([...nodes, ...branches]) as ActorRef)
        break
      case 3:
        if (random.chance(0.15)) world.killThread()
        break
      case 4:
        track(random.pick(branches).askWith(patience, 'terminateChild', `n${random.below(i + 1)}`))
        break
      case 5:
        await world.delay(random.below(20))
        break
      case 6:
        track(random.pick(nodes).askWith(patience, 'forward', random.pick(nodes)))
        break
      case 7:
        track(random.pick(nodes).askWith(patience, 'wait', random.below(50)))
        break
      default:
        track(
          random
            .pick(nodes)
            .askWith(patience, random.pick(['reply', 'hold', 'never', 'fail', 'quit', 'reply'])),
        )
    }
  }
  await Promise.allSettled(asks)
  expect(Object.keys(outcomes)).toHaveLength(asks.length)
  for (const outcome of outcomes) expect(outcome).toMatch(codes)
  return outcomes
}

test('every ask settles exactly once on simulated threads, whoever dies, and a seed replays it', async () => {
  const runs: string[][] = []
  const seeds = Array.from({ length: 40 }, (_, index) => index + 1)
  const run = async (list: readonly number[]): Promise<void> => {
    await explore({
      seeds: list,
      threads: { a: 2, b: 1 },
      latencyMs: 4,
      intensity: 1_000,
      children: [{ id: 'top', actor: branch, registerAs: 'top' }],
      async scenario(system) {
        system.chaos({ actors: 2, threads: 1, withinSteps: 500, only: ({ name }) => name === 'node' })
        runs.push(
          await walk(
            {
              random: system.random,
              pools: ['a', 'b'],
              spawn: (pool) => system.spawn(node, undefined, pool === 'here' ? {} : { placement: { pool } }),
              top: () => system.whereis<SupervisorContract>('top')!,
              kill: (ref) => system.kill(ref),
              killThread: () => {
                const ended = new Set(system.threadsEnded)
                const living = [1, 2, 3, 4, 5, 6].filter((thread) => !ended.has(thread))
                try {
                  system.killThread(system.random.pick(living))
                } catch {
                  // There is none of that number yet.
                }
              },
              delay: (ms) => system.advance(ms),
            },
            60,
          ),
        )
      },
    })
  }
  await run(seeds)
  await run([7])
  expect(runs.at(-1)).toEqual(runs[6])
}, 120_000)

const seed = chosenSeed()

test(`every ask settles exactly once on real threads, whoever dies; seed ${seed}`, async () => {
  const random = new Random(seed)
  for (let round = 0; round < 3; round++) {
    const system = await ActorSystem.start({
      pools: { a: { minThreads: 2, maxThreads: 2 }, b: { minThreads: 1, maxThreads: 1 } },
      intensity: 1_000,
      children: [{ id: 'top', actor: branch, registerAs: 'top' }],
    })
    let top = system.whereis<SupervisorContract>('top')!
    const threads = [1, 2, 3]
    system.events.on('thread.started', ({ thread }) => threads.push(thread))
    await walk(
      {
        random,
        pools: ['a', 'b'],
        spawn: (pool) => system.spawn(node, undefined, pool === 'here' ? {} : { placement: { pool } }),
        top: () => {
          top = system.whereis<SupervisorContract>('top') ?? top
          return top
        },
        kill: (ref) => system.kill(ref),
        killThread: () => system.killThread(random.pick(threads)),
        delay: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
      },
      250,
    )
    await system.stop({ timeoutMs: 500 })
    expect(await system.inspect()).toEqual([])
  }
}, 120_000)

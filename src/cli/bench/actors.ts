/** Actors without mail: questions between threads, each answered before the next one is asked. */
import { type ActorRef, ActorSystem, actor, type Contract } from '../../index.ts'
import { Measured, type Result, resultOf } from './measured.ts'
import type { RunOptions } from './scenarios.ts'

type Echo = Contract<{ echo(text: string): string }>

export const echo = actor<Echo>({
  name: 'bench-echo',
  module: import.meta.url,
  init: () => ({ echo: (text) => text }),
})

const asking = 100

export async function runActors({ seconds }: RunOptions): Promise<Result> {
  await using system = await ActorSystem.start({
    pools: { work: { minThreads: 1, maxThreads: 1 } },
    children: [{ id: 'echo', actor: echo, args: undefined, placement: { pool: 'work' }, registerAs: 'echo' }],
  })
  const ref = system.whereis<Echo>('echo') as ActorRef<Echo>
  const run = async (limit: number): Promise<Measured> => {
    const measured = new Measured()
    const end = performance.now() + limit * 1000
    const asker = async (): Promise<void> => {
      while (performance.now() < end) {
        const beganAt = performance.now()
        await ref.ask('echo', 'hello')
        measured.done(performance.now() - beganAt)
      }
    }
    await Promise.all(Array.from({ length: asking }, asker))
    return measured
  }
  await run(Math.min(1, seconds))
  const cpu = process.cpuUsage()
  const measured = await run(seconds)
  const { user, system: kernel } = process.cpuUsage(cpu)
  return resultOf('actors', 'asks', measured, measured.seconds, (user + kernel) / 1e6)
}

import { ActorSystem } from 'mailactors'
import { type Counter, counter } from './counter.ts'
import { double } from './double.ts'

// Threads import the bundle and find this there.
export { runThread } from 'mailactors'

if (import.meta.main) {
  await using system = await ActorSystem.start({
    entry: import.meta.url,
    pools: { work: {} },
    children: [
      {
        id: 'counter',
        actor: counter,
        args: { start: 40 },
        placement: { pool: 'work' },
        registerAs: 'counter',
      },
    ],
  })
  const ref = system.whereis<Counter>('counter')
  if (ref === undefined) throw new Error('there is no counter')
  const two = await system.jobs.run(double, [1])
  console.log(await ref.ask('add', two), (await ref.ask('where')) === 0 ? 'main' : 'worker')
}

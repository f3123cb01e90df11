// Node runs the TypeScript as it is, in the worker threads too.
import { ActorSystem } from 'mailactors'
import { type Counter, counter } from './counter.ts'

await using system = await ActorSystem.start({
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
console.log(await ref.ask('add', 2), (await ref.ask('where')) === 0 ? 'main' : 'worker')

// One file: the program's own part runs only in the file that node was started with. Threads import the rest.
import { ActorSystem, actor } from 'mailactors'

export const counter = actor({
  name: 'counter',
  module: import.meta.url,
  init: ({ self }, { start }) => {
    let total = start
    return {
      add: (by) => (total += by),
      where: () => self.thread,
    }
  },
})

if (import.meta.main) {
  await using system = await ActorSystem.start({ pools: { work: {} } })
  const ref = system.spawn(counter, { start: 40 }, { placement: { pool: 'work' } })
  console.log(await ref.ask('add', 2), (await ref.ask('where')) === 0 ? 'main' : 'worker')
}

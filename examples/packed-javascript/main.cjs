// The same as a CommonJS module, which has no import.meta.
const { pathToFileURL } = require('node:url')
const { ActorSystem, actor } = require('mailactors')

const counter = actor({
  name: 'counter',
  module: pathToFileURL(__filename).href,
  init: ({ self }, { start }) => {
    let total = start
    return {
      add(by) {
        total += by
        return total
      },
      where: () => self.thread,
    }
  },
})

async function main() {
  const system = await ActorSystem.start({ pools: { work: {} } })
  const ref = system.spawn(counter, { start: 40 }, { placement: { pool: 'work' } })
  console.log(await ref.ask('add', 2), (await ref.ask('where')) === 0 ? 'main' : 'worker')
  await system.stop()
}

if (require.main === module) main()

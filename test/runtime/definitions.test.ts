/** How another thread finds the definition of an actor it is to start: by its module and name alone. */
import { afterEach, describe, expect, test } from 'vitest'
import { ActorSystem, actor, type Contract } from '../../src/index.ts'
import { entryFile } from '../../src/runtime/entry-file.ts'
import { looseActors } from '../../src/runtime/loose.ts'
import { root } from '../../src/runtime/root.ts'
import { definitions, jobs } from './fixtures/unexported.ts'

let system: ActorSystem
const start = async () => {
  system = await ActorSystem.start({ pools: { a: { minThreads: 1 } } })
}
const placement = { pool: 'a' }

afterEach(() => system?.stop())

describe('a definition that its module does not export', () => {
  test('is found all the same when it is made at the top', async () => {
    await start()
    const ref = system.spawn(definitions.alone, undefined, { placement })
    expect(ref.thread).not.toBe(0)
    expect(await ref.ask('where')).toBe(ref.thread)
  })

  test('is not guessed when there are two of its name', async () => {
    await start()
    for (const twin of [definitions.one, definitions.other]) {
      const answer = await system.startChild({ id: 'twin', actor: twin, placement })
      expect(answer).toMatchObject({
        ok: false,
        reason: { code: 'MA_USAGE', message: /not the only one of its name/ },
      })
    }
  })
})

test.each([root, looseActors])(
  'the runtime’s own $name leaves its name to a program bundled with it',
  ({ module }) => {
    expect(module).not.toMatch(/^file:/)
  },
)

describe('the entry of threads', () => {
  // With one, Node ends the whole process when a thread is ended in the moment after its entry was loaded.
  test.each(['thread-entry', 'jobs-entry'] as const)('%s has no default export', async (kind) => {
    const { filename, name } = entryFile(kind, undefined)
    const exported = (await import(filename)) as Record<string, unknown>
    expect(exported[name]).toBeTypeOf('function')
    expect(exported).not.toHaveProperty('default')
  })

  test.each(['./dist/main.js', 'file:///no/such/bundle.js'])('cannot be %s', async (entry) => {
    const starting = ActorSystem.start({ pools: { a: { minThreads: 1 } }, entry })
    await expect(starting).rejects.toMatchObject({ code: 'MA_START', cause: { code: 'MA_USAGE' } })
  })

  test('is a module that exports runThread', async () => {
    const entry = new URL('../../src/index.ts', import.meta.url).href
    system = await ActorSystem.start({ pools: { a: { minThreads: 1 } }, entry })
    const ref = system.spawn(definitions.alone, undefined, { placement })
    expect(await ref.ask('where')).toBe(ref.thread)
    expect(await system.jobs.run(jobs.double, [21])).toBe(42)
  })
})

test('a job that its module does not export is found when it is the only one of its name', async () => {
  system = await ActorSystem.start()
  expect(await system.jobs.run(jobs.double, [21])).toBe(42)
  await expect(system.jobs.run(jobs.first, [])).rejects.toMatchObject({ code: 'MA_USAGE' })
})

test('definitions made again and again in a function are good on their own thread', async () => {
  await start()
  for (let total = 0; total < 3; total++) {
    const again = actor<Contract<{ total(): number }>>({
      name: 'again',
      module: import.meta.url,
      init: () => ({ total: () => total }),
    })
    expect(await system.spawn(again, undefined).ask('total')).toBe(total)
  }
})

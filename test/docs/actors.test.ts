/** The code of docs/actors.md, run as it stands there: each block a module of its own, those without `export` in a system. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ActorDefinition, ActorRef, AnyContract } from '../../src/index.ts'
import { ActorSystem } from '../../src/index.ts'
import { TestSystem } from '../../src/testing/index.ts'

const root = join(import.meta.dirname, '../..')
const library = pathToFileURL(join(root, 'src/index.ts')).href
let folder: string
let blocks: string[]

beforeAll(async () => {
  // Within the checkout, so that Node takes the files for its modules.
  folder = await mkdtemp(join(import.meta.dirname, 'page-'))
  const page = await readFile(join(root, 'docs/actors.md'), 'utf8')
  blocks = [...page.matchAll(/^```ts\n(.*?)^```$/gms)].map((match) => match[1]!)
})
afterAll(() => rm(folder, { recursive: true }))

/** Imports the blocks that contain these words, as one module. */
async function load(name: string, ...words: string[]): Promise<Record<string, unknown>> {
  const code = words.map((word) => {
    const found = blocks.filter((block) => block.includes(word))
    expect(found.length, `one block with ${word}`).toBe(1)
    return found[0]!
  })
  // Blocks import what they need, and some the same.
  const names = new Set<string>()
  const body = code.join('\n').replaceAll(/^import \{ (.*) \} from 'mailactors'$/gm, (_, list: string) => {
    for (const one of list.split(', ')) names.add(one)
    return ''
  })
  const file = join(folder, `${name}.ts`)
  // What a block that starts a system has at hand.
  const made = body.includes('const any') ? 'export { any, system }' : ''
  await writeFile(file, `import { ${[...names].join(', ')} } from '${library}'\n${body}\n${made}\n`)
  return await import(pathToFileURL(file).href)
}
// biome-ignore lint/suspicious/noExplicitAny: contracts of the page
type Any = ActorDefinition<any, any>
// biome-ignore lint/suspicious/noExplicitAny: see above
type AnyAsk = ActorRef<AnyContract> & { ask(type: string, ...body: any[]): Promise<any> }

describe('the code of the page', () => {
  test('counter: told, asked, and merged with another', async () => {
    const { counter } = await load('counter', 'export const counter')
    const system = await TestSystem.start()
    const [one, two] = [3, 4].map((start) => system.spawn(counter as Any, { start }) as AnyAsk)
    one!.tell('add', 2)
    one!.tell('merge', two)
    await system.settle()
    expect(await one!.ask('total')).toBe(9)
    await system.stop()
  })

  test('words: the slow part of its start comes before the first request', async () => {
    const { words } = await load('words', 'export const words')
    const path = join(folder, 'words.txt')
    await writeFile(path, 'one\ntwo\n')
    const system = await ActorSystem.start()
    const known = system.spawn(words as Any, { path }) as AnyAsk
    expect(await known.ask('has', 'two')).toBe(true)
    await system.stop()
  })

  test('system: runs to its end', async () => {
    await load('system', 'export const counter', 'askWith({ timeoutMs: 100')
  })

  test('valve: puts messages aside', async () => {
    const { valve } = await load('valve', 'export const valve')
    const system = await TestSystem.start()
    const ref = system.spawn(valve as Any, undefined) as AnyAsk
    const taking = ref.ask('take', 2)
    await system.settle()
    ref.tell('open')
    expect(await taking).toBe(20)
    await system.stop()
  })

  test('ticker: streams', async () => {
    const { ticker } = await load('ticker', 'export const ticker')
    const reading = blocks.find((block) => block.includes("ticking.stream('count'"))!
    const system = await ActorSystem.start()
    const run = new Function(
      'system',
      'ticker',
      `return (async () => {${reading}; return { sum, first, end }})()`,
    )
    const { sum, first, end } = await run(system, ticker)
    expect(sum).toBe(55)
    expect(first).toEqual({ done: false, value: 'hello' })
    expect(end).toMatchObject({ kind: 'cancelled' })
    await system.stop()
  })

  test('door: a state machine', async () => {
    const { door } = await load('door', 'export const door')
    const system = await TestSystem.start()
    const ref = system.spawn(door as Any, { code: '1' }) as AnyAsk
    const walking = ref.ask('walkThrough', 'you')
    expect(await ref.ask('enter', '2')).toBe(false)
    expect(await ref.ask('enter', '1')).toBe(true)
    expect(await walking).toBe('welcome you')
    await system.advance(5_000)
    expect(await ref.ask('enter', '2')).toBe(false)
    await system.stop()
  })

  test('resizers: a router over a group, on a pool; accounts: one actor per key', async () => {
    const { accounts } = await load('resizers', 'export const counter', 'export const resizers')
    const { system, any } = (await load('main', "registerAs: 'resizers'")) as {
      system: ActorSystem
      any: AnyAsk
    }
    try {
      const end = performance.now() + 5_000
      const done = new Set<number>()
      while (done.size < 2 && performance.now() < end) {
        done.add(await any.ask('resize', 'a.png').catch(() => -1))
        done.delete(-1)
      }
      expect(done.size).toBe(2)
      const ref = system.spawn(accounts as Any, undefined) as AnyAsk
      ref.tell('add', 1)
      expect(await ref.ask('total')).toBe(0)
    } finally {
      await system.stop()
    }
  })
})

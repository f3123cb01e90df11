import { type AddressInfo, connect, createServer } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import {
  ActorSystem,
  actor,
  type Contract,
  type SupervisorContract,
  type SystemOptions,
} from '../../src/index.ts'
import { type Echo, echo, socketEcho, tree } from './fixtures/actors.ts'

let system: ActorSystem

const start = async (options: SystemOptions = {}) => {
  system = await ActorSystem.start({
    pools: { a: { minThreads: 1 }, b: { minThreads: 1 } },
    ...options,
  })
  return system
}
const spawn = (pool: string) => system.spawn(echo, undefined, { placement: { pool } })

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 5_000
  while (!(await condition())) {
    if (performance.now() > end) throw new Error('never came true')
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}

afterEach(() => system?.stop())

describe('an actor on another thread', () => {
  test('takes messages and asks, in the order they were sent', async () => {
    await start()
    const ref = spawn('a')
    expect(ref.thread).not.toBe(0)
    for (let i = 0; i < 1000; i++) ref.tell('add', i)
    expect(await ref.ask('total')).toBe(499_500)
    expect(await ref.ask('where')).toBe(ref.thread)
  })

  test('gets values as they were sent, refs among them', async () => {
    await start()
    const one = spawn('a')
    const other = spawn('b')
    const value = { text: 'äöü', list: [1, null, true], bytes: new Uint8Array([1, 2, 3]), nothing: undefined }
    expect(await one.ask('echo', value)).toEqual({ ...value, bytes: Buffer.from([1, 2, 3]) })
    expect(await one.ask('relay', other, 'via two threads')).toBe('via two threads')
    expect(await one.ask('echo', one)).toMatchObject({ id: one.id, thread: one.thread })
  })

  test('can start others, here and elsewhere', async () => {
    await start()
    const one = spawn('a')
    const other = (await one.ask('spawn', 'b')) as unknown as typeof one
    expect(other.thread).not.toBe(one.thread)
    expect(await other.ask('where')).toBe(other.thread)
  })

  test('that throws ends, and its asks fail with the reason', async () => {
    await start()
    const ref = spawn('a')
    const held = ref.ask('hold')
    await expect(ref.ask('fail', 'broken')).rejects.toMatchObject({
      code: 'MA_DOWN',
      exitReason: { kind: 'error', message: 'broken' },
    })
    await expect(held).rejects.toMatchObject({ code: 'MA_DOWN', exitReason: { message: 'broken' } })
    await expect(ref.ask('total')).rejects.toMatchObject({ code: 'MA_NO_ACTOR' })
  })

  test('that throws in a callback nobody bound ends alone', async () => {
    await start()
    const [one, other] = [spawn('a'), spawn('a')]
    expect(one.thread).toBe(other.thread)
    const held = one.ask('hold')
    one.tell('failUnbound', 'oops')
    await expect(held).rejects.toMatchObject({ exitReason: { kind: 'error', message: 'oops' } })
    expect(await other.ask('total')).toBe(0)
  })

  test('whose definition is not exported does not start, and says why', async () => {
    const hidden = actor<Contract<{ x(): void }>>({
      name: 'hidden',
      module: new URL('./fixtures/actors.ts', import.meta.url).href,
      init: () => ({ x() {} }),
    })
    await start()
    const answer = await system.startChild({ id: 'h', actor: hidden, placement: { pool: 'a' } })
    expect(answer).toMatchObject({ ok: false, reason: { code: 'MA_USAGE', message: /not exported/ } })
  })

  test('cannot be started with arguments that cannot cross', async () => {
    await start()
    const options = { placement: { pool: 'a' }, registerAs: 'n' }
    expect(() => system.spawn(echo, { fail: (() => 1) as never }, options)).toThrow(/function/)
    expect(system.whereis('n')).toBeUndefined()
  })

  test('whose reply cannot cross fails the ask and lives on', async () => {
    await start()
    const ref = spawn('a')
    await expect(ref.ask('unsendable')).rejects.toMatchObject({
      code: 'MA_DOWN',
      exitReason: { code: 'MA_USAGE' },
    })
    expect(await ref.ask('total')).toBe(0)
  })

  test('reads the settings of the system, also when they change', async () => {
    await start({ settings: { colour: 'red' } })
    const ref = spawn('a')
    expect(await ref.ask('setting', 'colour')).toBe('red')
    await system.configure({ colour: 'blue' })
    expect(await ref.ask('setting', 'colour')).toBe('blue')
  })
})

describe('monitors and links', () => {
  test('work across threads', async () => {
    await start()
    const [watcher, target, linked] = [spawn('a'), spawn('b'), spawn('a')]
    watcher.tell('watch', target)
    linked.tell('link', target, true)
    await Promise.all([watcher.ask('total'), linked.ask('total')])
    await target.ask('fail', 'x').catch(() => {})
    await until(async () => (await watcher.ask('notes')).includes('down error'))
    await until(async () => (await linked.ask('notes')).includes('exit error'))
    watcher.tell('watch', target)
    await until(async () => (await watcher.ask('notes')).includes('down no_actor'))
  })
})

describe('names', () => {
  test('are known on every thread, and free again after the end', async () => {
    await start()
    const [one, other] = [spawn('a'), spawn('b')]
    await one.ask('register', 'one')
    await until(() => system.whereis('one')?.id === one.id)
    await until(async () => (await other.ask('whereis', 'one')) !== undefined)
    await one.ask('fail', 'x').catch(() => {})
    await until(() => system.whereis('one') === undefined)
    await until(async () => (await other.ask('whereis', 'one')) === undefined)
  })
})

describe('a thread that dies', () => {
  test.each([
    { how: 'is killed', kill: (ref: ReturnType<typeof spawn>) => void system.killThread(ref.thread) },
    { how: 'calls process.exit', kill: (ref: ReturnType<typeof spawn>) => void ref.tell('exitProcess') },
    {
      how: 'throws what belongs to nobody',
      kill: (ref: ReturnType<typeof spawn>) => void ref.tell('failThread', 'x'),
    },
  ])('because it $how: asks, monitors and links are told, and another takes over', async ({ how, kill }) => {
    await start()
    const target = spawn('a')
    const watcher = spawn('b')
    watcher.tell('watch', target)
    watcher.tell('link', target, true)
    await watcher.ask('total')
    const asks: Promise<unknown>[] = [target.ask('hold'), target.ask('hold')]
    expect(await watcher.ask('relay', target, 'x')).toBe('x')
    if (how === 'is killed') asks.push(target.ask('never'))
    kill(target)
    for (const ask of asks) {
      await expect(ask).rejects.toMatchObject({ code: 'MA_DOWN', exitReason: { kind: 'thread_exit' } })
    }
    await until(async () => {
      const notes = await watcher.ask('notes')
      return notes.includes('down thread_exit') && notes.includes('exit thread_exit')
    })
    await expect(target.ask('total')).rejects.toMatchObject({ code: 'MA_NO_ACTOR' })
    const next = spawn('a')
    expect(next.thread).not.toBe(target.thread)
    expect(await next.ask('total')).toBe(0)
  })

  test('has its permanent children restarted on the new one, under their names', async () => {
    await start({
      children: [
        { id: 'p', actor: echo, placement: { pool: 'a' }, registerAs: 'p' },
        {
          id: 't',
          actor: tree,
          placement: { pool: 'b' },
          args: {
            strategy: 'one_for_one',
            children: [{ id: 'q', actor: echo, placement: { pool: 'a' }, registerAs: 'q' }],
          },
        },
      ],
    })
    await until(() => system.whereis('q') !== undefined)
    const before = system.whereis<Echo>('p')!
    expect(system.killThread(before.thread)).toBe(true)
    await until(() => system.whereis('p') !== undefined && system.whereis('p')!.thread !== before.thread)
    await until(() => system.whereis('q') !== undefined && system.whereis('q')!.thread !== before.thread)
    expect(await system.whereis<Echo>('p')!.ask('total')).toBe(0)
    expect(await system.whereis<Echo>('q')!.ask('total')).toBe(0)
  })

  test('again and again loses no ask', async () => {
    await start({
      children: [{ id: 'p', actor: echo, placement: { pool: 'a' }, registerAs: 'p' }],
      intensity: 100,
    })
    let settled = 0
    let asked = 0
    const seen = new Set<number>()
    for (let round = 0; round < 5; round++) {
      await until(() => system.whereis('p') !== undefined && !seen.has(system.whereis('p')!.thread))
      const ref = system.whereis<Echo>('p')!
      seen.add(ref.thread)
      await ref.ask('total')
      for (let i = 0; i < 200; i++) {
        asked++
        const count = () => void settled++
        ref.askWith({ timeoutMs: Infinity }, i % 2 ? 'hold' : 'total').then(count, count)
      }
      system.killThread(ref.thread)
    }
    await until(() => settled === asked)
    expect(settled).toBe(asked)
  })
})

describe('sockets', () => {
  test('move to the thread of their actor, and end with it', async () => {
    await start({
      children: [{ id: 's', actor: tree, args: { strategy: 'one_for_one', children: [] }, registerAs: 's' }],
    })
    const sessions = system.whereis<SupervisorContract>('s')!
    let n = 0
    const server = createServer({ pauseOnConnect: true }, (socket) => {
      sessions.tell('startChild', {
        id: `s${n++}`,
        actor: socketEcho,
        restart: 'temporary',
        placement: { pool: 'a' },
        socket,
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const talk = () =>
      new Promise<string>((resolve, reject) => {
        const client = connect(port, '127.0.0.1', () => client.write('hello'))
        client.on('data', (data) => {
          resolve(String(data))
          client.end()
        })
        client.on('error', reject)
      })
    const replies = await Promise.all(Array.from({ length: 50 }, talk))
    const threads = await system.threads()
    const poolThread = threads.find((one) => one.pool === 'a')!.thread
    expect(replies).toEqual(replies.map(() => `${poolThread} hello`))
    await until(async () => (await sessions.ask('countChildren')).active === 0)
    const last = connect(port, '127.0.0.1', () => last.write('x'))
    let all = ''
    const closed = new Promise((resolve) => last.on('close', resolve))
    last.on('data', (data) => {
      all += data
    })
    await until(() => all !== '')
    await system.stop()
    await closed
    expect(all).toBe(`${poolThread} xbye\n`)
    server.close()
  })
})

describe('inspect and threads', () => {
  test('show all threads', async () => {
    await start({ children: [{ id: 'p', actor: echo, placement: { pool: 'a' }, registerAs: 'p' }] })
    const [root] = await system.inspect()
    expect(root).toMatchObject({ name: 'root', thread: 0, type: 'supervisor' })
    expect(root?.children).toMatchObject([{ name: 'echo', childId: 'p', registeredAs: ['p'], state: 'idle' }])
    const threads = await system.threads()
    expect(threads.map(({ pool, actors }) => [pool, actors])).toEqual([
      ['main', 1],
      ['a', 1],
      ['b', 0],
    ])
  })
})

describe('pools', () => {
  test('with one actor a thread start threads up to their limit, then refuse', async () => {
    await start({ pools: { solo: { minThreads: 1, maxThreads: 3, actorsPerThread: 1 } } })
    const refs = [spawn('solo'), spawn('solo'), spawn('solo')]
    const threads = await Promise.all(refs.map((ref) => ref.ask('where')))
    expect(new Set(threads).size).toBe(3)
    expect(() => spawn('solo')).toThrow(/no room/)
  })

  test('that are used up are replaced when their actors have ended', async () => {
    await start({ pools: { a: { minThreads: 1, maxUse: 3 } } })
    const refs = [spawn('a'), spawn('a'), spawn('a')]
    const exits: { thread: number; expected: boolean }[] = []
    system.events.on('thread.exit', (event) => exits.push(event))
    const { thread } = refs[0]!
    await until(() => refs[refs.push(spawn('a')) - 1]!.thread !== thread)
    expect(await refs[0]!.ask('total')).toBe(0)
    expect(exits).toEqual([])
    for (const ref of refs) if (ref.thread === thread) system.kill(ref)
    await until(() => exits.length > 0)
    expect(exits).toMatchObject([{ thread, expected: true }])
  })

  test('that are not configured are an error when others are, and mean here when there are none', async () => {
    await start()
    expect(() => spawn('nowhere')).toThrow(
      expect.objectContaining({ code: 'MA_USAGE', message: expect.stringContaining("no pool 'nowhere'") }),
    )
    const child = { id: 'c', actor: echo, placement: { pool: 'nowhere' } }
    expect(await system.startChild(child)).toMatchObject({ ok: false, reason: { code: 'MA_USAGE' } })
    await system.stop()
    await start({ pools: {} })
    expect(spawn('nowhere').thread).toBe(0)
  })

  test('spread actors over their threads', async () => {
    await start({ pools: { two: { minThreads: 2 } } })
    const refs = Array.from({ length: 20 }, () => spawn('two'))
    const threads = new Set(refs.map((ref) => ref.thread))
    expect(threads.size).toBe(2)
  })

  test('whose threads cannot start fail the start', async () => {
    await expect(start({ settings: { notData: () => 1 } })).rejects.toMatchObject({ code: 'MA_START' })
  })
})

import { afterEach, describe, expect, test } from 'vitest'
import { ActorSystem, type AnyRef, type GroupsContract, groups, HashRing } from '../../src/index.ts'
import { TestSystem } from '../../src/testing/index.ts'
import { consistentHash, keyed, leastLoaded, roundRobin, worker } from '../runtime/fixtures/routees.ts'

let system: TestSystem
let threads: ActorSystem | undefined
afterEach(async () => {
  await system?.stop()
  await threads?.stop()
  threads = undefined
})

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 5_000
  while (!(await condition())) {
    if (performance.now() > end) throw new Error('never came true')
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}
const start = async () => {
  system = await TestSystem.start({ children: [{ id: 'groups', actor: groups, registerAs: 'groups' }] })
  return system.whereis<GroupsContract>('groups')!
}
const spawn = (n: number, group?: string) =>
  Array.from({ length: n }, () => system.spawn(worker, group === undefined ? undefined : { group }))
const ids = (refs: readonly AnyRef[]) => refs.map(({ id }) => id)

describe('groups', () => {
  test('have members that join, leave, and are gone when they end', async () => {
    const ref = await start()
    const [one, two, three] = spawn(3)
    for (const member of [one!, two!, two!, three!]) ref.tell('join', 'g', member)
    expect(ids(await ref.ask('members', 'g'))).toEqual(ids([one!, two!, three!]))
    expect(await ref.ask('leave', 'g', two!)).toBe(true)
    expect(ids(await ref.ask('members', 'g'))).toEqual(ids([one!, two!, three!]))
    expect(await ref.ask('leave', 'g', two!)).toBe(true)
    expect(await ref.ask('leave', 'g', two!)).toBe(false)
    system.system.kill(one!)
    await system.settle()
    expect(ids(await ref.ask('members', 'g'))).toEqual([three!.id])
    system.system.kill(three!)
    await system.settle()
    expect(await ref.ask('names')).toEqual([])
    // One that has ended cannot join.
    ref.tell('join', 'g', one!)
    await system.settle()
    expect(await ref.ask('members', 'g')).toEqual([])
  })

  test('can be followed, the latest change only when the reader is behind', async () => {
    const ref = await start()
    const [one, two] = spawn(2)
    const reader = ref.streamWith({ window: 1 }, 'follow', 'g')
    expect((await reader.next()).value).toEqual([])
    ref.tell('join', 'g', one!)
    expect(ids((await reader.next()).value ?? [])).toEqual([one!.id])
    for (let i = 0; i < 50; i++) {
      ref.tell('join', 'g', two!)
      ref.tell('leave', 'g', two!)
    }
    ref.tell('join', 'g', two!)
    await system.settle()
    const seen: number[][] = []
    while (seen.at(-1)?.length !== 2 || seen.length < 2) seen.push(ids((await reader.next()).value ?? []))
    expect(seen.length).toBeLessThan(6)
    expect(seen.at(-1)).toEqual(ids([one!, two!]))
    reader.cancel()
  })

  test('tell all members', async () => {
    const ref = await start()
    const members = spawn(3, 'g')
    await system.settle()
    expect(await ref.ask('publish', 'g', 'note', ['x'])).toBe(3)
    for (const member of members) expect(await member.ask('notes', '')).toEqual(['x'])
  })

  test('span threads, and lose the members of one that dies', async () => {
    threads = await ActorSystem.start({
      pools: { a: { minThreads: 1, maxThreads: 1 } },
      children: [{ id: 'groups', actor: groups, registerAs: 'groups' }],
    })
    const ref = threads.whereis<GroupsContract>('groups')!
    const there = threads.spawn(worker, { group: 'g' }, { placement: { pool: 'a' } })
    const here = threads.spawn(worker, { group: 'g' })
    await until(async () => (await ref.ask('members', 'g')).length === 2)
    threads.killThread(there.thread)
    await until(async () => (await ref.ask('members', 'g')).length === 1)
    expect(ids(await ref.ask('members', 'g'))).toEqual([here.id])
  })
})

describe('a router', () => {
  test('gives each routee its turn', async () => {
    await start()
    const refs = spawn(3)
    const ref = system.spawn(roundRobin, { refs })
    const done: number[] = []
    for (let i = 0; i < 6; i++) done.push(await ref.ask('work', 'x'))
    expect(done.slice(0, 3).sort()).toEqual(ids(refs).sort())
    expect(done.slice(3)).toEqual(done.slice(0, 3))
  })

  test('gives a message to the routee with the fewest it has not finished', async () => {
    await start()
    const refs = spawn(2)
    const ref = system.spawn(leastLoaded, { refs })
    const held = [ref.ask('hold', ''), ref.ask('hold', '')]
    await system.settle()
    const [one, two] = refs
    one!.tell('release', '')
    await system.settle()
    const done = await Promise.all([ref.ask('work', ''), ref.ask('work', ''), ref.ask('work', '')])
    // One is free, two still holds: the first goes to one, the rest where less is left.
    expect(done[0]).toBe(one!.id)
    expect(done.filter((id) => id === one!.id).length).toBeGreaterThanOrEqual(2)
    two!.tell('release', '')
    expect((await Promise.all(held)).sort()).toEqual(ids(refs).sort())
  })

  test('gives the same key to the same routee', async () => {
    await start()
    const refs = spawn(4)
    const ref = system.spawn(consistentHash, { refs })
    const keys = Array.from({ length: 40 }, (_, i) => `key ${i}`)
    const before = await Promise.all(keys.map((key) => ref.ask('work', key)))
    expect(new Set(before).size).toBe(4)
    expect(await Promise.all(keys.map((key) => ref.ask('work', key)))).toEqual(before)
    system.system.kill(refs[0]!)
    await system.settle()
    const after = await Promise.all(keys.map((key) => ref.ask('work', key)))
    // Only the keys of the one that ended have moved.
    for (const [i, id] of before.entries()) if (id !== refs[0]!.id) expect(after[i]).toBe(id)
    expect(after).not.toContain(refs[0]!.id)
  })

  test('follows a group, and has nobody without members', async () => {
    await start()
    const ref = system.spawn(roundRobin, { group: 'g' })
    await expect(ref.ask('work', '')).rejects.toMatchObject({ code: 'MA_NO_ACTOR' })
    ref.tell('note', 'lost')
    await system.settle()
    expect(system.deadLetters).toMatchObject([{ to: ref.id, type: 'note', body: ['lost'] }])
    const [one] = spawn(1, 'g')
    await system.settle()
    expect(await ref.ask('work', '')).toBe(one!.id)
    await expect(ref.ask('fail', '')).rejects.toMatchObject({ code: 'MA_DOWN' })
    await system.settle()
    await expect(ref.ask('work', '')).rejects.toMatchObject({ code: 'MA_NO_ACTOR' })
  })

  test('finds its group again after the groups actor was restarted', async () => {
    const ref = await start()
    const routing = system.spawn(roundRobin, { group: 'g' })
    await system.settle()
    system.system.kill(ref)
    await system.advance(100)
    const [one] = spawn(1, 'g')
    await system.advance(100)
    expect(await routing.ask('work', '')).toBe(one!.id)
  })

  test('finds who has a name now', async () => {
    await start()
    const ref = system.spawn(roundRobin, { names: ['w1', 'w2'] })
    const one = system.spawn(worker, undefined, { registerAs: 'w1' })
    expect(await ref.ask('work', '')).toBe(one.id)
    system.system.kill(one)
    const two = system.spawn(worker, undefined, { registerAs: 'w1' })
    expect(await ref.ask('work', '')).toBe(two.id)
  })

  test('passes streams on, and works across threads', async () => {
    threads = await ActorSystem.start({ pools: { a: { minThreads: 1, maxThreads: 1 } } })
    const refs = [0, 1].map(() => threads!.spawn(worker, undefined, { placement: { pool: 'a' } }))
    for (const definition of [roundRobin, leastLoaded, consistentHash]) {
      for (const placement of ['here', { pool: 'a' }] as const) {
        const ref = threads.spawn(definition, { refs }, { placement })
        expect(await ref.ask('thread', 'k')).toBe(refs[0]!.thread)
        const items: number[] = []
        for await (const item of ref.stream('items', 'k')) items.push(item)
        expect(items).toEqual([1, 2, 3])
      }
    }
    const ref = threads.spawn(roundRobin, { refs: [refs[0]!] })
    threads.killThread(refs[0]!.thread)
    await expect(ref.ask('work', '')).rejects.toMatchObject({ name: 'AskError' })
  })
})

test('a hash ring spreads keys evenly and moves few when a node goes', () => {
  const names = Array.from({ length: 10 }, (_, i) => `node ${i}`)
  const keys = Array.from({ length: 10_000 }, (_, i) => `user${i}@example.org`)
  const ring = new HashRing(names)
  const owners = keys.map((key) => ring.find(key))
  for (let node = 0; node < 10; node++) {
    const share = owners.filter((owner) => owner === node).length
    expect(share).toBeGreaterThan(500)
    expect(share).toBeLessThan(1_700)
  }
  const smaller = new HashRing(names.slice(0, 9))
  for (const [i, key] of keys.entries()) if (owners[i] !== 9) expect(smaller.find(key)).toBe(owners[i])
  expect(new HashRing([]).find('x')).toBe(-1)
})

describe('partitions', () => {
  const startKeyed = async (args?: { slowStopMs?: number }) => {
    await start()
    return system.spawn(keyed, args)
  }
  const running = async () =>
    (await system.inspect())
      .flatMap((info) => [info, ...info.children])
      .filter(({ name }) => name === 'worker')
      .map(({ childId }) => childId)

  test('start with the first message of their key, one for each', async () => {
    const ref = await startKeyed()
    const [a, b] = await Promise.all([ref.ask('work', 'a'), ref.ask('work', 'b')])
    expect(a).not.toBe(b)
    expect(await ref.ask('work', 'a')).toBe(a)
    expect(await running()).toEqual(['a', 'b'])
  })

  test('are retired when idle, not while they owe a reply', async () => {
    const ref = await startKeyed()
    const held = ref.ask('hold', 'a')
    const first = await ref.ask('work', 'b')
    await system.advance(1_300)
    expect(await running()).toEqual(['a'])
    ref.tell('release', 'a')
    await held
    expect(await ref.ask('work', 'b')).not.toBe(first)
    await system.advance(1_300)
    expect(await running()).toEqual([])
  })

  test('lose no message to their retirement, and keep its order', async () => {
    const ref = await startKeyed({ slowStopMs: 2 })
    await ref.ask('work', 'a')
    await system.advance(1_300)
    // It is stopping, in real time: what comes now waits for the next one.
    for (let i = 0; i < 10; i++) ref.tell('note', 'a')
    await expect(ref.ask('notes', 'a')).resolves.toEqual(Array(10).fill('a'))
  })

  test('beyond their number take the place of an idle one, or are refused', async () => {
    const ref = await startKeyed()
    const held = ['a', 'b', 'c'].map((key) => ref.ask('hold', key))
    await system.settle()
    await expect(ref.ask('work', 'd')).rejects.toMatchObject({ code: 'MA_OVERLOADED' })
    ref.tell('release', 'b')
    await held[1]
    expect(await ref.ask('work', 'd')).toBeTypeOf('number')
    expect(await running()).toEqual(['a', 'c', 'd'])
    for (const key of ['a', 'c']) ref.tell('release', key)
    await Promise.all(held)
  })

  test('that fail are started anew by the next message; others go on', async () => {
    const ref = await startKeyed()
    const [a, b] = await Promise.all([ref.ask('work', 'a'), ref.ask('work', 'b')])
    await expect(ref.ask('fail', 'a')).rejects.toMatchObject({ exitReason: { message: 'failed' } })
    expect(await ref.ask('work', 'a')).not.toBe(a)
    expect(await ref.ask('work', 'b')).toBe(b)
    await expect(ref.ask('work', '')).rejects.toMatchObject({
      code: 'MA_DOWN',
      exitReason: { kind: 'error', message: 'no key' },
    })
  })

  test('that fail get nothing of what waits behind the failure', async () => {
    const ref = await startKeyed()
    await ref.ask('work', 'a')
    const failing = ref.ask('fail', 'a')
    const waiting = Array.from({ length: 100 }, () => ref.ask('work', 'a'))
    await expect(failing).rejects.toMatchObject({ failure: 'down' })
    const failures = (await Promise.allSettled(waiting)).filter(({ status }) => status === 'rejected')
    // Those that were with it already when it failed.
    for (const one of failures) expect(one).toMatchObject({ reason: { failure: 'down' } })
  })

  test('end with their router', async () => {
    const ref = await startKeyed()
    await ref.ask('work', 'a')
    system.system.kill(ref)
    await system.settle()
    expect(await running()).toEqual([])
  })

  test('run on their pool', async () => {
    threads = await ActorSystem.start({ pools: { a: { minThreads: 1, maxThreads: 1 } } })
    const ref = threads.spawn(keyed, undefined)
    const thread = await ref.ask('thread', 'a')
    expect(thread).not.toBe(0)
    threads.killThread(thread)
    await until(async () => {
      try {
        return (await ref.ask('thread', 'a')) !== thread
      } catch {
        return false
      }
    })
  })
})

import { afterEach, beforeEach, expect, test } from 'vitest'
import { accountingActor } from '../../src/accounting/accounting.ts'
import type { AccountingContract, WatchedSession } from '../../src/accounting/contract.ts'
import { type ActorRef, actor, type Contract } from '../../src/actors/index.ts'
import { loadConfig } from '../../src/config/loader.ts'
import { TestSystem } from '../../src/testing/test-system.ts'

type Session = Contract<{ crash(): void }>
const session = actor<Session>({
  name: 'session',
  module: import.meta.url,
  init: () => ({
    crash() {
      throw new Error('crashed')
    },
  }),
})

const watched = actor<WatchedSession, { name: string; thrown: string[] }>({
  name: 'watched',
  module: import.meta.url,
  init: (_, { name, thrown }) => ({
    facts: () => ({ state: 'login', address: '::1', tls: null, idleMs: 0, input: 0, output: 0 }),
    throwOut(why) {
      thrown.push(`${name} ${why}`)
    },
  }),
})

let system: TestSystem
let accounting: ActorRef<AccountingContract>

beforeEach(async () => {
  const config = loadConfig({
    cwd: '/',
    file: false,
    set: ['limits.max_userip_connections=2', 'login.max_pending=3'],
  })
  system = await TestSystem.start({
    settings: { config },
    children: [{ id: 'accounting', actor: accountingActor, registerAs: 'accounting' }],
  })
  const found = system.whereis<AccountingContract>('accounting')
  if (found === undefined) throw new Error('no accounting')
  accounting = found
})
afterEach(() => system.stop())

const connect = (
  name: string,
  { owner = system.spawn(session, undefined), user = 'ann', address = '::1', service = 'pop3' } = {},
) => accounting.ask('connect', owner, name, service, user, address)

test('a user has so many sessions from one address, and not one more', async () => {
  expect(await connect('a')).toBe('ok')
  expect(await connect('b', { user: 'ANN' })).toBe('ok')
  expect(await connect('c')).toBe('userip')
  expect(await connect('d', { address: '::2' })).toBe('ok')
  expect(await connect('e', { user: 'bob' })).toBe('ok')
  expect(await connect('f', { service: 'imap' })).toBe('ok')
  expect((await accounting.ask('sessions')).map((one) => one.session)).toEqual(['a', 'b', 'd', 'e', 'f'])
})

test('a session that ends makes room, said once or twice', async () => {
  await connect('a')
  await connect('b')
  await accounting.ask('disconnect', 'a')
  await accounting.ask('disconnect', 'a')
  await accounting.ask('disconnect', 'never')
  expect(await connect('c')).toBe('ok')
  expect(await connect('d')).toBe('userip')
})

test('a session with another name for people is the same one', async () => {
  const thrown: string[] = []
  const owners = ['a', 'b'].map((name) => system.spawn(watched, { name, thrown }))
  for (const [index, session] of ['a', 'b'].entries()) {
    accounting.tell('accepted', owners[index]!, { session, service: 'pop3', address: '::1' }, true)
    accounting.tell('renamed', session, 'web')
    expect(await accounting.ask('connect', owners[index]!, session, 'pop3', 'ann', '::1')).toBe('ok')
  }
  expect((await accounting.ask('sessions')).map((one) => [one.session, one.user])).toEqual([
    ['web', 'ann'],
    ['web', 'ann'],
  ])
  expect(await connect('c')).toBe('userip')
  expect(await accounting.ask('kick', { session: 'web' })).toEqual(['web', 'web'])
  await system.settle()
  expect(thrown).toEqual(['a admin', 'b admin'])
})

test('a session that dies without a word makes room', async () => {
  const owner = system.spawn(session, undefined)
  await connect('a', { owner })
  await connect('b')
  owner.tell('crash')
  await system.settle()
  expect(await accounting.ask('sessions')).toMatchObject([
    { session: 'b', user: 'ann', service: 'pop3', address: '::1' },
  ])
  expect(await connect('c')).toBe('ok')
})

test('an owner that is dead already is not counted for long', async () => {
  const owner = system.spawn(session, undefined)
  owner.tell('crash')
  await system.settle()
  await connect('a', { owner })
  await system.settle()
  expect(await accounting.ask('sessions')).toEqual([])
})

test('a session that logs in again is counted once', async () => {
  const owner = system.spawn(session, undefined)
  await connect('a', { owner })
  await connect('a', { owner })
  expect(await accounting.ask('sessions')).toHaveLength(1)
  expect(await connect('b')).toBe('ok')
})

test('P035 the connection that waits for longest without a login makes room for a new one', async () => {
  const thrown: string[] = []
  const accept = (name: string) => {
    const owner = system.spawn(watched, { name, thrown })
    accounting.tell('accepted', owner, { session: name, service: 'pop3', address: '::1' }, true)
    return owner
  }
  const first = accept('a')
  accept('b')
  await system.settle()
  // One that has logged in waits no longer.
  await accounting.ask('connect', first, 'a', 'pop3', 'ann', '::1')
  for (const name of ['c', 'd', 'e']) accept(name)
  await system.settle()
  expect(await accounting.ask('kick', { session: 'd' })).toEqual(['d'])
  await system.settle()
  expect(thrown).toEqual(['b pending', 'd admin'])
})

test('what one session has claimed the next gets when it is given up, or when its owner dies', async () => {
  const owners = Array.from({ length: 3 }, () => system.spawn(session, undefined))
  const [a, b, c] = owners as [(typeof owners)[0], (typeof owners)[0], (typeof owners)[0]]
  for (const [index, owner] of owners.entries()) await connect(`${index}`, { owner, user: `user${index}` })
  expect(await accounting.ask('claim', a, 'box', 1_000)).toBe(true)
  expect(await accounting.ask('claim', b, 'other', 1_000)).toBe(true)
  const second = accounting.ask('claim', b, 'box', 1_000)
  const third = accounting.ask('claim', c, 'box', 1_000)
  accounting.tell('release', a, 'box')
  expect(await second).toBe(true)
  // Not its own.
  accounting.tell('release', a, 'box')
  b.tell('crash')
  expect(await third).toBe(true)
  const late = accounting.ask('claim', a, 'box', 1_000)
  await system.advance(1_000)
  expect(await late).toBe(false)
})

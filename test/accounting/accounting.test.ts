import { afterEach, beforeEach, expect, test } from 'vitest'
import { accountingActor } from '../../src/accounting/accounting.ts'
import type { AccountingContract } from '../../src/accounting/contract.ts'
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

let system: TestSystem
let accounting: ActorRef<AccountingContract>

beforeEach(async () => {
  const config = loadConfig({ cwd: '/', file: false, set: ['limits.max_userip_connections=2'] })
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
  expect(await connect('a')).toBe(true)
  expect(await connect('b', { user: 'ANN' })).toBe(true)
  expect(await connect('c')).toBe(false)
  expect(await connect('d', { address: '::2' })).toBe(true)
  expect(await connect('e', { user: 'bob' })).toBe(true)
  expect(await connect('f', { service: 'imap' })).toBe(true)
  expect((await accounting.ask('sessions')).map((one) => one.session)).toEqual(['a', 'b', 'd', 'e', 'f'])
})

test('a session that ends makes room, said once or twice', async () => {
  await connect('a')
  await connect('b')
  await accounting.ask('disconnect', 'a')
  await accounting.ask('disconnect', 'a')
  await accounting.ask('disconnect', 'never')
  expect(await connect('c')).toBe(true)
  expect(await connect('d')).toBe(false)
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
  expect(await connect('c')).toBe(true)
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
  expect(await connect('b')).toBe(true)
})

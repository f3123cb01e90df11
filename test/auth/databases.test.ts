/** Users from several databases: S52 `auth.passdb`, `auth.userdb`; S53 ids; what is remembered and what is logged. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type ActorRef, type Logger, silentLog } from '../../src/actors/index.ts'
import { authActor } from '../../src/auth/auth.ts'
import type { AuthContract } from '../../src/auth/contract.ts'
import { KnownPasswords } from '../../src/auth/known-passwords.ts'
import { databaseProblem } from '../../src/auth/static-fields.ts'
import { systemId } from '../../src/auth/system-ids.ts'
import { loadConfig } from '../../src/config/loader.ts'
import { TestSystem } from '../../src/testing/test-system.ts'

let dir: string
let system: TestSystem
let auth: ActorRef<AuthContract>
let lines: object[]

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ma-'))
  lines = []
})
afterEach(async () => {
  await system?.stop()
  rmSync(dir, { recursive: true, force: true })
})

async function start(settings: Readonly<Record<string, unknown>>): Promise<void> {
  const set = Object.entries(settings).map(
    ([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  )
  const quick = ['auth.failure_delay=0', 'auth.internal_failure_delay=0', 'auth.penalty.enabled=false']
  const config = loadConfig({ cwd: dir, set: [`data_dir=${dir}`, ...quick, ...set] })
  const keep = (facts: object) => {
    lines.push(facts)
  }
  const log: Logger = { ...silentLog, info: keep, warn: keep, error: keep, isLevelEnabled: () => true }
  system = await TestSystem.start({
    settings: { config },
    log,
    children: [{ id: 'auth', actor: authActor, args: undefined, registerAs: 'auth' }],
  })
  auth = system.whereis<AuthContract>('auth')!
}

function file(name: string, ...entries: readonly string[]): string {
  const path = join(dir, name)
  writeFileSync(path, entries.map((line) => `${line}\n`).join(''))
  return `passwd-file:${path}`
}

const patient = { timeoutMs: Number.POSITIVE_INFINITY }
const verify = (user: string, password: string) =>
  auth.askWith(patient, 'verify', user, password, { remote: '192.0.2.1', session: 's1' })
const refused = { ok: false, reason: 'credentials' }
const notNow = { ok: false, reason: 'internal' }

describe('A1 passdb', () => {
  test('the next one is asked where one does not know the user, or has another password', async () => {
    const passdb = [file('one', 'ann:{PLAIN}first'), file('two', 'ann:{PLAIN}second', 'bob:{PLAIN}other')]
    await start({ 'auth.passdb': passdb })
    expect(await verify('ann', 'first')).toMatchObject({ ok: true, account: { user: 'ann' } })
    expect(await verify('ann', 'second')).toMatchObject({ ok: true })
    expect(await verify('bob', 'other')).toMatchObject({ ok: true })
    expect(await verify('ann', 'third')).toEqual(refused)
    expect(await verify('eve', 'first')).toEqual(refused)
  })

  test.skipIf(process.getuid?.() === 0)(
    'one that cannot be read: who is in another gets in, others not now',
    async () => {
      const hidden = file('hidden', 'eve:{PLAIN}secret')
      chmodSync(join(dir, 'hidden'), 0)
      await start({ 'auth.passdb': [hidden, file('two', 'ann:{PLAIN}secret')] })
      expect(await verify('ann', 'secret')).toMatchObject({ ok: true })
      expect(await verify('eve', 'secret')).toEqual(notNow)
      expect(await verify('ann', 'wrong')).toEqual(notNow)
    },
  )

  test('a folder instead of a file: the same', async () => {
    await start({ 'auth.passdb': [`passwd-file:${dir}`, file('two', 'ann:{PLAIN}secret')] })
    expect(await verify('ann', 'secret')).toMatchObject({ ok: true })
    expect(await verify('ann', 'wrong')).toEqual(notNow)
  })

  test('A7 static: the same password for every name', async () => {
    await start({ 'auth.passdb': ['static:password=s3cret home=/srv/%u allow_nets=192.0.2.0/24'] })
    expect(await verify('anyone', 's3cret')).toMatchObject({
      ok: true,
      account: { user: 'anyone', home: '/srv/anyone' },
    })
    expect(await verify('anyone', 'secret')).toEqual(refused)
    expect(await verify('../etc', 's3cret')).toEqual(refused)
    expect(
      await auth.askWith(patient, 'verify', 'anyone', 's3cret', { remote: '198.51.100.1', session: 's1' }),
    ).toEqual(refused)
    expect(await auth.ask('account', 'anyone')).toMatchObject({ user: 'anyone' })
  })
})

describe('A1 userdb', () => {
  test('says where the mail is, whatever the password database says', async () => {
    await start({
      'auth.passdb': [file('one', 'ann:{PLAIN}secret:::::'), file('two', 'eve:{PLAIN}secret')],
      'auth.userdb': [file('places', 'ann::5000:5000::/srv/ann'), 'static:uid=6000 home=/elsewhere/%n'],
    })
    expect(await verify('ann', 'secret')).toMatchObject({ account: { uid: 5000, home: '/srv/ann' } })
    expect(await verify('eve', 'secret')).toMatchObject({ account: { uid: 6000, home: '/elsewhere/eve' } })
    // Only whom a password database knows is there.
    expect(await auth.ask('account', 'eve')).toMatchObject({ home: '/elsewhere/eve' })
    expect(await auth.ask('account', 'nobody')).toBeNull()
  })

  test('static with allow_all_users takes mail for everybody', async () => {
    await start({ 'auth.userdb': ['static:home=/srv/%u allow_all_users=yes'] })
    expect(await auth.ask('account', 'nobody@example.org')).toMatchObject({ home: '/srv/nobody@example.org' })
  })

  test('a user without a place cannot log in for now', async () => {
    await start({
      'auth.passdb': [file('one', 'ann:{PLAIN}secret')],
      'auth.userdb': [file('places', 'bob:')],
    })
    expect(await verify('ann', 'secret')).toEqual(notNow)
    expect(lines).toContainEqual(expect.objectContaining({ event: 'auth.error', user: 'ann' }))
  })
})

test.each([
  ['passwd-file:users', /absolute path/],
  ['sql:/etc/x', /no driver/],
  ['static:uid=x', /uid must be a number/],
  ['static:colour=red', /unknown field colour/],
  ['static:password={NONE}x', /password: /],
])('S52 %s is refused when the configuration is read', (source, problem) => {
  expect(databaseProblem(source)).toMatch(problem)
})

describe('S53 A10 ids', () => {
  test('outside the valid ones neither login nor mail', async () => {
    const users = ['root:{PLAIN}secret:0:0::/root', 'low:{PLAIN}secret:499:100', 'ann:{PLAIN}secret:500:1']
    await start({ 'auth.passdb': [file('one', ...users, 'eve:{PLAIN}secret')] })
    expect(await verify('root', 'secret')).toEqual(notNow)
    expect(await verify('low', 'secret')).toEqual(notNow)
    expect(await verify('low', 'wrong')).toEqual(refused)
    expect(await verify('ann', 'secret')).toMatchObject({ ok: true })
    expect(await verify('eve', 'secret')).toMatchObject({ ok: true })
    await expect(auth.ask('account', 'low')).rejects.toThrow()
  })

  test('a range of them', async () => {
    const users = ['ann:{PLAIN}secret:100:5', 'bob:{PLAIN}secret:201:5', 'eve:{PLAIN}secret:150:9']
    const ranges = { 'auth.valid_uids': '100-200', 'auth.valid_gids': '5-5' }
    await start({ 'auth.passdb': [file('one', ...users)], ...ranges })
    expect(await verify('ann', 'secret')).toMatchObject({ ok: true })
    expect(await verify('bob', 'secret')).toEqual(notNow)
    expect(await verify('eve', 'secret')).toEqual(notNow)
  })
})

test('A9 what is remembered of passwords: right and wrong, each for its time, for one field of the database', () => {
  const known = new KnownPasswords({ maxEntries: 2, ttlMs: 100, negativeTtlMs: 10 })
  const right = known.digest('ann', 'secret', '{X}1')
  const wrong = known.digest('ann', 'wrong', '{X}1')
  expect(known.find(right, 0)).toBeUndefined()
  known.add(right, true, 0)
  known.add(wrong, false, 0)
  expect([known.find(right, 9), known.find(wrong, 9)]).toEqual([true, false])
  expect(known.find(known.digest('ann', 'secret', '{X}2'), 9)).toBeUndefined()
  expect([known.find(right, 99), known.find(wrong, 10)]).toEqual([true, undefined])
  expect(known.find(right, 100)).toBeUndefined()
  known.add(right, true, 0)
  known.add(wrong, false, 0)
  known.find(right, 1)
  known.add(known.digest('bob', 'x', ''), true, 1)
  // The one unused for longest has gone.
  expect([known.find(right, 1), known.find(wrong, 1)]).toEqual([true, undefined])
})

describe('A2 A3 A10 fields of a passwd-file', () => {
  test('ids by name, and ids of extra fields', async () => {
    const users = ['ann:{PLAIN}secret:nobody:daemon', 'bob:{PLAIN}secret::::::userdb_uid=700 userdb_gid=7']
    await start({ 'auth.passdb': [file('one', ...users, 'eve:{PLAIN}secret:no-such-user')] })
    const daemon = systemId('daemon', 'group')
    expect(daemon).toBeGreaterThan(0)
    expect(await verify('ann', 'secret')).toMatchObject({
      account: { uid: systemId('nobody', 'passwd'), gid: daemon },
    })
    expect(await verify('bob', 'secret')).toMatchObject({ account: { uid: 700, gid: 7 } })
    expect(await verify('eve', 'secret')).toEqual(notNow)
  })

  test('user= gives another name, nopassword takes any password, an empty one alone takes none', async () => {
    const users = [
      'ann:{PLAIN}secret::::::user=boss',
      'open:::::::nopassword',
      'shut:',
      'bad:{PLAIN}x::::::user=a/b',
    ]
    await start({ 'auth.passdb': [file('one', ...users)] })
    expect(await verify('ann', 'secret')).toMatchObject({
      account: { user: 'boss', home: join(dir, 'mail/boss') },
    })
    expect(await verify('open', 'whatever')).toMatchObject({ ok: true })
    expect(await verify('shut', '')).toEqual(refused)
    expect(await verify('bad', 'x')).toMatchObject({ account: { user: 'bad' } })
  })

  test('nodelay answers a refusal at once', async () => {
    const users = ['ann:{PLAIN}secret::::::nodelay', 'bob:{PLAIN}secret']
    await start({ 'auth.passdb': [file('one', ...users)], 'auth.failure_delay': '2s' })
    expect(await verify('ann', 'wrong')).toEqual(refused)
    let answered = false
    const other = verify('bob', 'wrong').finally(() => {
      answered = true
    })
    await system.advance(1_000)
    expect(answered).toBe(false)
    await system.advance(1_600)
    expect(await other).toEqual(refused)
  })
})

describe('S51 L20 refused logins in the log', () => {
  const failed = () => lines.filter((line) => 'event' in line && line.event === 'auth.failed')
  test.each([
    ['no', undefined],
    ['plain', 'wrong'],
    ['plain:2', 'wr'],
    ['sha1:6', 'a4b48a'],
  ])('auth_verbose_passwords = %s', async (how, shown) => {
    file('users', 'ann:{PLAIN}secret')
    await start({ 'log.auth_verbose_passwords': how })
    await verify('ann', 'wrong')
    expect(failed()).toHaveLength(1)
    expect((failed()[0] as { password?: string }).password).toBe(shown)
    expect(failed()[0]).toMatchObject({ user: 'ann', remote: '192.0.2.1', reason: 'wrong password' })
  })

  test('auth_verbose = false', async () => {
    file('users', 'ann:{PLAIN}secret')
    await start({ 'log.auth_verbose': false })
    await verify('ann', 'wrong')
    expect(failed()).toEqual([])
  })
})

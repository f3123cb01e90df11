import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { ActorRef, Logger } from '../../src/actors/index.ts'
import { silentLog } from '../../src/actors/index.ts'
import { authActor } from '../../src/auth/auth.ts'
import type { AuthContract, VerifyResult } from '../../src/auth/contract.ts'
import { writePassword } from '../../src/auth/schemes.ts'
import { addressCandidates } from '../../src/auth/users.ts'
import { loadConfig } from '../../src/config/loader.ts'
import { TestSystem } from '../../src/testing/test-system.ts'

let dir: string
let system: TestSystem
let auth: ActorRef<AuthContract>
let lines: object[]
const refused = { ok: false, reason: 'credentials' }

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ma-'))
  lines = []
})
afterEach(async () => {
  await system?.stop()
  rmSync(dir, { recursive: true, force: true })
})

const users = (text: string) => writeFileSync(join(dir, 'users'), text)

async function start(set: readonly string[] = []): Promise<void> {
  const config = loadConfig({
    cwd: dir,
    set: [`data_dir=${dir}`, 'auth.penalty.enabled=false', 'auth.internal_failure_delay=0', ...set],
  })
  const keep = (facts: object) => {
    lines.push(facts)
  }
  const log: Logger = { ...silentLog, info: keep, warn: keep, error: keep, isLevelEnabled: () => true }
  system = await TestSystem.start({
    settings: { config },
    log,
    children: [{ id: 'auth', actor: authActor, registerAs: 'auth' }],
  })
  const found = system.whereis<AuthContract>('auth')
  if (found === undefined) throw new Error('no auth')
  auth = found
}

const refusals = () => lines.filter((line) => 'event' in line && line.event === 'auth.failed').length

/** An ask whose patience does not depend on the virtual clock: a slow hash takes real time. */
const verify = (user: string, password: string, address = '::1') =>
  auth.askWith({ timeoutMs: Number.POSITIVE_INFINITY }, 'verify', user, password, {
    remote: address,
    session: 's1',
  })

/** Asks, and moves the clock on until there is an answer; returns it with the virtual time it took. */
async function timed(answer: Promise<VerifyResult>): Promise<{ result: VerifyResult; afterMs: number }> {
  let result: VerifyResult | undefined
  void answer.then((value) => {
    result = value
  })
  const began = system.now()
  const before = refusals()
  for (let step = 0; step < 2_000; step++) {
    await system.settle()
    // A slow hash runs on another thread: real time has to pass too.
    await new Promise((resolve) => setTimeout(resolve, step < 100 ? 0 : 5))
    if (result !== undefined) return { result, afterMs: system.now() - began }
    if (refusals() > before) await system.advance(100)
  }
  throw new Error('no answer')
}

const account = (user: string) => ({
  user,
  home: join(dir, 'mail', user),
  maildir: join(dir, 'mail', user, 'Maildir'),
})

describe('a password', () => {
  test('that is right is answered at once', async () => {
    users('ann:{PLAIN}secret:1000:1001')
    await start()
    expect(await timed(verify('ANN', 'secret'))).toEqual({
      result: { ok: true, account: { ...account('ann'), uid: 1000, gid: 1001 } },
      afterMs: 0,
    })
  })

  test.each([
    { name: 'wrong', user: 'ann', password: 'Secret', reason: 'wrong password' },
    { name: 'of nobody', user: 'eve', password: 'secret', reason: 'unknown user' },
    { name: 'of a name with a path', user: '../ann', password: 'secret', reason: 'unknown user' },
    { name: 'of an endless name', user: 'x'.repeat(100_000), password: 'secret', reason: 'unknown user' },
    { name: 'of a user without one', user: 'none', password: '', reason: 'wrong password' },
    { name: 'of an unknown scheme', user: 'md4', password: 'x', reason: 'no usable password' },
  ])('$name is refused after failure_delay', async ({ user, password, reason }) => {
    users('ann:{PLAIN}secret\nnone:\nmd4:{MD4}x')
    await start(['auth.failure_delay=2s'])
    expect(await timed(verify(user, password))).toEqual({
      result: refused,
      afterMs: 2_000,
    })
    expect(lines).toContainEqual(expect.objectContaining({ event: 'auth.failed', reason }))
    expect(JSON.stringify(lines)).not.toContain('Secret')
  })

  test('that is refused keeps nobody else waiting', async () => {
    users('ann:{PLAIN}secret')
    await start()
    const late = verify('ann', 'wrong')
    await system.settle()
    expect(await verify('ann', 'secret')).toMatchObject({ ok: true })
    await system.advance(2_000)
    expect(await late).toEqual(refused)
  })

  test('that is slow to check is remembered, until the user changes', async () => {
    users(`ann:${await writePassword('ARGON2ID', 'secret')}`)
    await start()
    expect((await timed(verify('ann', 'secret'))).result).toMatchObject({ ok: true })
    // Now the answer needs no other thread: it is there without any real time passing.
    let isAnswered = false
    void verify('ann', 'secret').then(() => {
      isAnswered = true
    })
    await system.settle()
    expect(isAnswered).toBe(true)
    expect((await timed(verify('ann', 'Secret'))).result).toEqual(refused)

    users(`ann:${await writePassword('ARGON2ID', 'another')}`)
    await system.advance(1_000)
    expect((await timed(verify('ann', 'secret'))).result).toEqual(refused)
    expect((await timed(verify('ann', 'another'))).result).toMatchObject({ ok: true })
  })

  test('many at once are all answered', async () => {
    users(`ann:${await writePassword('ARGON2ID', 'secret')}`)
    await start(['auth.failure_delay=0'])
    const asked = Array.from({ length: 20 }, (_, index) =>
      timed(verify('ann', index % 2 === 0 ? 'secret' : `wrong ${index % 4}`)),
    )
    const answers = await Promise.all(asked)
    expect(answers.map(({ result }) => result.ok)).toEqual(
      Array.from({ length: 20 }, (_, index) => index % 2 === 0),
    )
  })
})

describe('the passwd-file', () => {
  test('that gets a user lets the user in at once', async () => {
    users('ann:{PLAIN}secret')
    await start()
    expect(await auth.ask('account', 'bob')).toBeNull()
    users('ann:{PLAIN}secret\nbob:{PLAIN}b\n')
    expect(await auth.ask('account', 'bob')).toEqual(account('bob'))
    expect(await verify('bob', 'b')).toMatchObject({ ok: true })
  })

  test('that loses a user forgets it within a second', async () => {
    users('ann:{PLAIN}secret\nbob:{PLAIN}b')
    await start()
    expect(await auth.ask('account', 'bob')).not.toBeNull()
    users('ann:{PLAIN}secret')
    await system.advance(1_000)
    expect(await auth.ask('account', 'bob')).toBeNull()
  })

  test('with bad lines is named in the log, and serves the others', async () => {
    users('broken\nann:{PLAIN}secret\na/b:{PLAIN}x')
    await start()
    expect(await auth.ask('account', 'ann')).toEqual(account('ann'))
    const problems = lines.flatMap((line) => ('problem' in line ? [line.problem] : []))
    expect(problems).toEqual([
      expect.stringMatching(/users:1: no password field/),
      expect.stringMatching(/users:3: the user name contains/),
    ])
  })

  test('that goes away leaves its users, and says so once', async () => {
    users('ann:{PLAIN}secret')
    await start()
    rmSync(join(dir, 'users'))
    for (let second = 0; second < 3; second++) {
      await system.advance(1_000)
      expect(await auth.ask('account', 'ann')).not.toBeNull()
    }
    expect(lines.filter((line) => 'problem' in line)).toHaveLength(1)
  })

  test('that was never there means that there are no users', async () => {
    await start(['auth.failure_delay=0'])
    expect(await auth.ask('account', 'ann')).toBeNull()
    expect(await verify('ann', 'x')).toEqual(refused)
  })

  test('that cannot be read refuses nobody for good', async () => {
    rmSync(join(dir, 'users'), { force: true })
    const config = join(dir, 'users')
    writeFileSync(join(dir, 'file'), '')
    // A path through a file: unreadable for root too.
    await start([`auth.passwd_file=${join(dir, 'file', 'users')}`])
    expect(config).toBeTruthy()
    expect(await verify('ann', 'x')).toEqual({ ok: false, reason: 'internal' })
    await expect(auth.ask('account', 'ann')).rejects.toMatchObject({ code: 'MA_DOWN' })
    // The actor itself goes on.
    expect(await verify('ann', 'x')).toEqual({ ok: false, reason: 'internal' })
  })

  test.skipIf(process.getuid?.() === 0)('with a mode that forbids reading is tried again', async () => {
    users('ann:{PLAIN}secret')
    chmodSync(join(dir, 'users'), 0)
    await start()
    expect(await verify('ann', 'secret')).toEqual({ ok: false, reason: 'internal' })
    chmodSync(join(dir, 'users'), 0o600)
    await system.advance(1_000)
    expect(await verify('ann', 'secret')).toMatchObject({ ok: true })
  })
})

describe('the account for an address', () => {
  test.each([
    { address: 'ann', user: 'ann' },
    { address: 'ANN@anything.test', user: 'ann' },
    { address: 'ann+lists@anything.test', user: 'ann' },
    { address: 'ann+lists+more', user: 'ann' },
    { address: 'bob@example.org', user: 'bob@example.org' },
    { address: 'Bob+x@Example.org', user: 'bob@example.org' },
    { address: 'bob@other.test', user: undefined },
    { address: 'ops+night@anything.test', user: 'ops+night' },
    { address: '"ann"@anything.test', user: 'ann' },
    { address: '+ann', user: undefined },
    { address: '', user: undefined },
    { address: '@', user: undefined },
    { address: '../ann', user: undefined },
    { address: `${'x'.repeat(100_000)}@y`, user: undefined },
  ])('$address', async ({ address, user }) => {
    users('ann:{PLAIN}x\nbob@example.org:{PLAIN}x\nops+night:{PLAIN}x')
    await start()
    expect((await auth.ask('account', address))?.user).toBe(user)
  })

  test('names are tried whole address first, then without extension', () => {
    expect(addressCandidates('ann+x@b.test', '+')).toEqual(['ann+x@b.test', 'ann@b.test', 'ann+x', 'ann'])
    expect(addressCandidates('ann-x+y@b.test', '+-')).toEqual([
      'ann-x+y@b.test',
      'ann@b.test',
      'ann-x+y',
      'ann',
    ])
    expect(addressCandidates('ann+x@b.test', '')).toEqual(['ann+x@b.test', 'ann+x'])
  })

  test('home, mail path and extra fields of the passwd-file count', async () => {
    users('ann:{PLAIN}x:::Ann:/home/%n::\nbob:{PLAIN}x::::::userdb_mail=maildir:/vmail/%u userdb_home=/h/%u')
    await start(['mail.path=%h/mail'])
    expect(await auth.ask('account', 'ann')).toMatchObject({ home: '/home/ann', maildir: '/home/ann/mail' })
    expect(await auth.ask('account', 'bob')).toMatchObject({ home: '/h/bob', maildir: '/vmail/bob' })
  })
})

describe('mail for the postmaster', () => {
  const postmasters = ['postmaster', 'PostMaster@mx.test', 'postmaster@localhost']

  test.each(postmasters)('%s goes to the first user', async (address) => {
    users('ann:{PLAIN}a\nbob:{PLAIN}b\n')
    await start()
    expect((await auth.ask('account', address))?.user).toBe('ann')
    expect(await auth.ask('account', 'postmasters@mx.test')).toBeNull()
  })

  test('goes to the user that the configuration names, or to one of that name', async () => {
    users('ann:{PLAIN}a\nbob:{PLAIN}b\n')
    await start(['auth.postmaster=bob'])
    expect((await auth.ask('account', 'postmaster@mx.test'))?.user).toBe('bob')
    users('ann:{PLAIN}a\npostmaster:{PLAIN}p\n')
    await auth.ask('reload')
    expect((await auth.ask('account', 'postmaster@mx.test'))?.user).toBe('postmaster')
  })

  test('is nobody where there are no users', async () => {
    users('')
    await start()
    expect(await auth.ask('account', 'postmaster')).toBeNull()
  })
})

/** The auth actor: exchanges, who may log in and from where, and how long an address waits after failures. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { ActorRef } from '../../src/actors/index.ts'
import { authActor } from '../../src/auth/auth.ts'
import type { AuthContract, SaslReply, VerifyResult } from '../../src/auth/contract.ts'
import { loadConfig } from '../../src/config/loader.ts'
import { TestSystem } from '../../src/testing/test-system.ts'
import { ScramClient } from './sasl/scram-client.ts'

let dir: string
let system: TestSystem
let auth: ActorRef<AuthContract>

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ma-'))
})
afterEach(async () => {
  await system?.stop()
  rmSync(dir, { recursive: true, force: true })
})

async function start(users: string, set: readonly string[] = []): Promise<void> {
  writeFileSync(join(dir, 'users'), users)
  const config = loadConfig({ cwd: dir, set: [`data_dir=${dir}`, 'auth.failure_delay=0', ...set] })
  system = await TestSystem.start({
    settings: { config },
    children: [{ id: 'auth', actor: authActor, args: undefined, registerAs: 'auth' }],
  })
  auth = system.whereis<AuthContract>('auth')!
}

const patient = { timeoutMs: Number.POSITIVE_INFINITY }
const verify = (user: string, password: string, remote = '192.0.2.1') =>
  auth.askWith(patient, 'verify', user, password, { remote, session: 's1' })
const begin = (mechanism: string, text: string | null, remote = '192.0.2.1') =>
  auth.askWith(patient, 'saslStart', mechanism, text === null ? null : Buffer.from(text), {
    remote,
    session: 's1',
    bindings: {},
    certificateName: '',
  })
const next = (reply: SaslReply, text: string) =>
  auth.askWith(patient, 'saslNext', reply.kind === 'challenge' ? reply.exchange : -1, Buffer.from(text))
const textOf = (reply: SaslReply) =>
  reply.kind === 'challenge' ? Buffer.from(reply.data).toString() : JSON.stringify(reply)

const refused = { ok: false, reason: 'credentials' }

describe('an exchange', () => {
  test('ends with the account', async () => {
    await start('ann:{PLAIN}secret')
    const asked = await begin('LOGIN', null)
    expect(textOf(asked)).toBe('Username:')
    const again = await next(asked, 'ann')
    expect(textOf(again)).toBe('Password:')
    expect(await next(again, 'secret')).toMatchObject({ kind: 'success', account: { user: 'ann' } })
    // It is over.
    expect(await next(again, 'secret')).toMatchObject({ kind: 'failure', reason: 'internal' })
  })

  test('that was given up, or lasted too long, is forgotten', async () => {
    await start('ann:{PLAIN}secret')
    const cancelled = await begin('LOGIN', null)
    const slow = await begin('LOGIN', null)
    await auth.ask('saslCancel', cancelled.kind === 'challenge' ? cancelled.exchange : -1)
    expect(await next(cancelled, 'ann')).toMatchObject({ reason: 'internal' })
    await system.advance(240_000)
    expect(await next(slow, 'ann')).toMatchObject({ reason: 'internal' })
  })

  test('of a mechanism that is none is malformed', async () => {
    await start('')
    expect(await begin('NTLM', null)).toEqual({ kind: 'failure', reason: 'malformed', user: '' })
  })

  test('does not tell who exists: the salt of nobody is the same in each and after a restart', async () => {
    const salts: (string | undefined)[] = []
    for (let run = 0; run < 2; run++) {
      await start('ann:{PLAIN}secret')
      for (const user of ['nobody', 'NOBODY', 'ann']) {
        const first = await begin(
          'SCRAM-SHA-256',
          new ScramClient({ hash: 'sha256', user, password: '' }).first(),
        )
        salts.push(/s=([^,]+)/.exec(textOf(first))?.[1])
      }
      await system.stop()
    }
    expect(salts.slice(3)).toEqual(salts.slice(0, 3))
    expect(salts[0]).toBe(salts[1])
    expect(salts[0]).not.toBe(salts[2])
    expect(existsSync(join(dir, 'auth-secret'))).toBe(true)
    expect(readFileSync(join(dir, 'auth-secret'))).toHaveLength(32)
  })
})

describe('who may log in', () => {
  const users = [
    'ann:{PLAIN}secret',
    'off:{PLAIN}secret::::::nologin',
    'on:{PLAIN}secret::::::nologin=no',
    'near:{PLAIN}secret::::::allow_nets=192.0.2.0/24,2001:db8::/32,local',
    'boss:{PLAIN}top::::::master',
    'weak:{PLAIN-MD5}5ebe2294ecd0e0f08eab7690d2a6ee69',
    'bob@here.test:{PLAIN}secret',
  ].join('\n')

  test.each<{ name: string; answer: () => Promise<VerifyResult>; ok: boolean }>([
    { name: 'nologin', answer: () => verify('off', 'secret'), ok: false },
    { name: 'nologin=no', answer: () => verify('on', 'secret'), ok: true },
    { name: 'from an allowed network', answer: () => verify('near', 'secret', '192.0.2.77'), ok: true },
    {
      name: 'from an allowed network, mapped',
      answer: () => verify('near', 'secret', '::ffff:192.0.2.7'),
      ok: true,
    },
    { name: 'from an allowed IPv6 network', answer: () => verify('near', 'secret', '2001:db8::7'), ok: true },
    {
      name: 'from loopback, which local is not',
      answer: () => verify('near', 'secret', '127.0.0.1'),
      ok: false,
    },
    { name: 'from a unix socket', answer: () => verify('near', 'secret', 'unix'), ok: true },
    { name: 'from elsewhere', answer: () => verify('near', 'secret', '198.51.100.1'), ok: false },
    { name: 'a weak scheme', answer: () => verify('weak', 'secret'), ok: false },
    { name: 'the whole address', answer: () => verify('bob@here.test', 'secret'), ok: true },
    { name: 'a name with a space behind it', answer: () => verify('ann ', 'secret'), ok: false },
    { name: 'an empty name', answer: () => verify('', 'secret'), ok: false },
  ])('$name: $ok', async ({ answer, ok }) => {
    await start(users)
    expect(await answer()).toMatchObject({ ok })
  })

  test('a domain is appended to names without one', async () => {
    await start(users, ['auth.default_domain=here.test'])
    expect(await verify('bob', 'secret')).toMatchObject({ ok: true, account: { user: 'bob@here.test' } })
    expect(await verify('ann', 'secret')).toEqual(refused)
  })

  test('weak schemes count when that is allowed', async () => {
    await start(users, ['auth.allow_weak_schemes=true'])
    expect(await verify('weak', 'secret')).toMatchObject({ ok: true })
  })

  test('a master user logs in as others, who do not as each other', async () => {
    await start(users, ['auth.penalty.enabled=false'])
    expect(await begin('PLAIN', 'ann\0boss\0top', '127.0.0.1')).toMatchObject({
      kind: 'success',
      account: { user: 'ann' },
    })
    expect(await begin('PLAIN', 'ANN\0ann\0secret', '127.0.0.1')).toMatchObject({
      kind: 'success',
      account: { user: 'ann' },
    })
    for (const message of ['boss\0ann\0secret', 'off\0boss\0top', 'nobody\0boss\0top', 'ann\0boss\0no']) {
      expect(await begin('PLAIN', message, '127.0.0.1')).toMatchObject({
        kind: 'failure',
        reason: 'credentials',
      })
    }
  })
})

test('a master user may also write for whom it comes', async () => {
  const set = ['auth.penalty.enabled=false', 'auth.master_separator=*']
  await start('ann:{PLAIN}secret\nboss:{PLAIN}top::::::master=yes', set)
  expect(await verify('ann*boss', 'top')).toMatchObject({ ok: true, account: { user: 'ann' } })
  expect(await begin('PLAIN', '\0ann*boss\0top')).toMatchObject({ kind: 'success', account: { user: 'ann' } })
  expect(await verify('ann*boss', 'secret')).toEqual(refused)
  expect(await verify('boss*ann', 'secret')).toEqual(refused)
})

test('P017 names get a domain and a form before they are looked for', async () => {
  const users = 'alice@example.org:{PLAIN}secret\nbob:{PLAIN}secret'
  await start(users, ['auth.default_domain=example.org'])
  expect(await verify('ALICE', 'secret')).toMatchObject({ ok: true, account: { user: 'alice@example.org' } })
  await system.stop()
  await start(users, ['auth.username_format=%Ln'])
  expect(await verify('BOB@anywhere', 'secret')).toMatchObject({ ok: true, account: { user: 'bob' } })
})

test('EXTERNAL: a client certificate that was verified is a login, and may be the name of others', async () => {
  await start('ann:{PLAIN}secret\nboss:{PLAIN}top::::::master=yes', ['auth.penalty.enabled=false'])
  const external = (certificateName: string, text: string, mechanism = 'EXTERNAL') =>
    auth.askWith(patient, 'saslStart', mechanism, Buffer.from(text), {
      remote: '::1',
      session: 's1',
      bindings: {},
      certificateName,
    })
  expect(await external('ann', '')).toMatchObject({ kind: 'success', account: { user: 'ann' } })
  expect(await external('boss', 'ann')).toMatchObject({ kind: 'success', account: { user: 'ann' } })
  expect(await external('ann', 'boss')).toMatchObject({ kind: 'failure' })
  expect(await external('', 'ann')).toMatchObject({ kind: 'failure' })
  expect(await external('nobody', '')).toMatchObject({ kind: 'failure' })
})

describe('after failures', () => {
  /** Virtual milliseconds until the answer. */
  async function delayOf(answer: Promise<unknown>): Promise<number> {
    let isDone = false
    void answer.then(() => {
      isDone = true
    })
    const began = system.now()
    await system.settle()
    for (let step = 0; step < 100 && !isDone; step++) await system.advance(500)
    expect(isDone).toBe(true)
    return system.now() - began
  }

  test('P031 the next attempts from that address wait 4, 8, 15 s, until one is right', async () => {
    await start('ann:{PLAIN}secret')
    const delays = []
    for (const password of ['a', 'b', 'c', 'd', 'secret', 'secret'])
      delays.push(await delayOf(verify('ann', password)))
    expect(delays).toEqual([0, 4_000, 8_000, 15_000, 15_000, 0])
  })

  test('P032 the same wrong password adds nothing', async () => {
    await start('ann:{PLAIN}secret')
    const delays = []
    for (let times = 0; times < 5; times++) delays.push(await delayOf(verify('ann', 'old')))
    expect(Math.max(...delays)).toBeLessThanOrEqual(4_000)
  })

  test('others do not wait, and time forgives', async () => {
    await start('ann:{PLAIN}secret')
    await verify('ann', 'a', '2001:db8:1:2::3')
    expect(await delayOf(verify('ann', 'secret', '192.0.2.2'))).toBe(0)
    expect(await delayOf(verify('ann', 'b', '2001:db8:1:ffff::9'))).toBe(4_000)
    await system.advance(15_000)
    expect(await delayOf(verify('ann', 'c', '2001:db8:1::1'))).toBe(0)
  })

  test('trusted networks never wait, and nobody does without a penalty', async () => {
    await start('ann:{PLAIN}secret', ['login.trusted_networks=127.0.0.0/8'])
    await verify('ann', 'a', '127.0.0.1')
    expect(await delayOf(verify('ann', 'b', '127.0.0.1'))).toBe(0)
    await system.stop()
    await start('ann:{PLAIN}secret', ['auth.penalty.enabled=false'])
    await verify('ann', 'a')
    expect(await delayOf(verify('ann', 'b'))).toBe(0)
  })

  test('SASL and APOP wait as well', async () => {
    await start('ann:{PLAIN}secret')
    expect(await begin('PLAIN', '\0ann\0wrong')).toMatchObject({ kind: 'failure' })
    expect(await delayOf(begin('CRAM-MD5', null))).toBe(4_000)
    const asker = { remote: '192.0.2.1', session: 's1' }
    expect(await delayOf(auth.askWith(patient, 'verifyApop', 'ann', '<x@y>', 'a'.repeat(32), asker))).toBe(
      4_000,
    )
  })

  test('a wrong answer to a challenge is another one each time', async () => {
    await start('ann:{PLAIN}secret')
    const wrong = async () => next(await begin('CRAM-MD5', null), `ann ${'a'.repeat(32)}`)
    expect(await wrong()).toMatchObject({ kind: 'failure' })
    expect(await delayOf(wrong())).toBe(4_000)
    expect(await delayOf(wrong())).toBe(8_000)
  })

  test('L13 many wrong passwords ban an address for a while, whatever it says', async () => {
    const set = ['auth.penalty.enabled=false', 'auth.ban_after=3', 'auth.ban_time=60s']
    await start('ann:{PLAIN}secret', [...set, 'login.trusted_networks=198.51.100.0/24'])
    const good = { ok: true }
    await verify('ann', 'a')
    // No guess.
    await verify('ann', 'a')
    await verify('bob', 'b')
    expect(await verify('ann', 'secret')).toMatchObject(good)
    await next(await begin('CRAM-MD5', null), `ann ${'a'.repeat(32)}`)
    expect(await verify('ann', 'secret')).toEqual(refused)
    expect(await begin('PLAIN', '\0ann\0secret')).toMatchObject({ kind: 'failure', reason: 'credentials' })
    expect(await verify('ann', 'secret', '192.0.2.2')).toMatchObject(good)
    await system.advance(60_000)
    expect(await verify('ann', 'secret')).toMatchObject(good)
    for (const password of ['a', 'b', 'c', 'd']) await verify('ann', password, '198.51.100.1')
    expect(await verify('ann', 'secret', '198.51.100.1')).toMatchObject(good)
  })
})

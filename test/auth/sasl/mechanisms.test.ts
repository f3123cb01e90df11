import { describe, expect, test } from 'vitest'
import { isApopDigest } from '../../../src/auth/sasl/apop.ts'
import type { SaslExchange, SaslHost, SaslStep, TokenVerdict } from '../../../src/auth/sasl/mechanism.ts'
import { startExchange } from '../../../src/auth/sasl/mechanisms.ts'
import { saslPrep } from '../../../src/auth/sasl/sasl-prep.ts'
import { readPassword, type Secret } from '../../../src/auth/schemes.ts'
import { deriveScramKeys } from '../../../src/auth/scram-keys.ts'
import { ScramClient } from './scram-client.ts'

const secret = (field: string): Secret | undefined => {
  const stored = readPassword(field)
  if ('problem' in stored) throw new Error(stored.problem)
  return stored.secret
}

const users: Readonly<Record<string, string>> = {
  alice: '{PLAIN}secret',
  tim: '{PLAIN}tanstaaftanstaaf',
  user: '{PLAIN}pencil',
  'a,b=c': '{PLAIN}x',
  carol: '{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=',
  // doveadm pw -s CRAM-MD5 -p secret
  cram: '{CRAM-MD5}cd3ba7deaad6e5ca23448ba42e379747a9e0f7f1fbc00c8a81bbaac395731b56',
  // doveadm pw -s SCRAM-SHA-256 -p secret
  scram:
    '{SCRAM-SHA-256}4096,7KmOIe62ebXZyLmwPqINGw==,hgI3DlSqb9MuRURLUwRbpDsi/D3aMcOhS0Dpo2GSpCQ=,AlWrYHVeNzs/s7UG8fy7UZ9ilPU+tzkXJxoXr3L6yTQ=',
}

const verdicts: Readonly<Record<string, TokenVerdict>> = {
  good: { ok: true, user: 'Ozzy' },
  narrow: { ok: false, status: 'insufficient_scope', detail: 'narrow' },
  broken: { ok: false, status: 'internal', detail: 'no answer' },
}

const host = (changes: Partial<SaslHost> = {}): SaslHost => ({
  hostname: 'mx.test',
  secretOf: (user) => (users[user] === undefined ? undefined : secret(users[user])),
  isName: (user) => !user.includes(' '),
  saltFor: (user) => Buffer.from(`salt of ${user}`),
  bindings: new Map(),
  certificateName: '',
  offersBinding: false,
  checkToken: async (token) => verdicts[token] ?? { ok: false, status: 'invalid_token', detail: 'bad' },
  tokenHints: { scope: 'mail', openidConfiguration: '' },
  nonce: () => 'servernonce',
  ...changes,
})

const start = (name: string, changes?: Partial<SaslHost>): SaslExchange => startExchange(name, host(changes))!
const step = async (exchange: SaslExchange, text?: string): Promise<SaslStep> =>
  exchange.next(text === undefined ? undefined : Buffer.from(text))

async function challenged(exchange: SaslExchange, text?: string): Promise<string> {
  const result = await step(exchange, text)
  if (result.kind !== 'challenge') throw new Error(JSON.stringify(result))
  return result.data.toString()
}

const malformed = expect.objectContaining({ kind: 'failure', reason: 'malformed' })
const refused = expect.objectContaining({ kind: 'failure', reason: 'credentials' })

describe('PLAIN', () => {
  test('asks with nothing when there is no initial response', async () => {
    expect(await challenged(start('PLAIN'))).toBe('')
  })

  test.each([
    ['\0alice\0secret', 'alice', '', 'secret'],
    ['alice\0alice\0 p w ', 'alice', 'alice', ' p w '],
    ['bob\0alice\0secret', 'alice', 'bob', 'secret'],
    ['\0alice\0', 'alice', '', ''],
    [`\0${'u'.repeat(255)}\0${'p'.repeat(255)}`, 'u'.repeat(255), '', 'p'.repeat(255)],
  ])('%j', async (message, user, authorization, password) => {
    expect(await step(start('PLAIN'), message)).toEqual({
      kind: 'password',
      identity: { user, authorization },
      password,
    })
  })

  test.each(['', 'alice', 'alice\0secret', '\0alice\0sec\0ret', '\0\0secret', '\0al\rice\0x', '\0a\nb\0x'])(
    '%j is malformed',
    async (message) => {
      expect(await step(start('PLAIN'), message)).toEqual(malformed)
    },
  )

  test('octets that are no UTF-8 are malformed', () => {
    expect(start('PLAIN').next(Buffer.from([0, 0x61, 0, 0xff]))).toEqual(malformed)
  })
})

describe('LOGIN', () => {
  test('asks for the name, then for the password', async () => {
    const exchange = start('LOGIN')
    expect(await challenged(exchange)).toBe('Username:')
    expect(await challenged(exchange, 'alice')).toBe('Password:')
    expect(await step(exchange, 'p w')).toMatchObject({ kind: 'password', password: 'p w' })
  })

  test('takes an initial response for the name', async () => {
    expect(await challenged(start('LOGIN'), 'alice')).toBe('Password:')
  })

  test.each(['al\0ice', 'al\nice'])('the name %j is malformed', async (name) => {
    expect(await step(start('LOGIN'), name)).toEqual(malformed)
  })

  test('a name that nobody can have is refused without a question for the password', async () => {
    expect(await step(start('LOGIN'), 'a b')).toMatchObject({ kind: 'failure', reason: 'credentials' })
  })

  test('an empty initial response is none, an empty name is malformed', async () => {
    const exchange = start('LOGIN')
    expect(await challenged(exchange, '')).toBe('Username:')
    expect(await step(exchange, '')).toEqual(malformed)
  })
})

describe('CRAM-MD5', () => {
  test('the example of RFC 2195', async () => {
    const exchange = start('CRAM-MD5', {
      hostname: 'postoffice.reston.mci.net',
      nonce: () => '1896.697170952',
    })
    expect(await challenged(exchange)).toBe('<1896.697170952@postoffice.reston.mci.net>')
    const result = await step(exchange, 'tim b913a602c7eda7a495b4e6e7334d3890')
    expect(result).toEqual({ kind: 'success', identity: { user: 'tim', authorization: '' } })
  })

  test('a saved state of HMAC-MD5 does as well as the password', async () => {
    const exchange = start('CRAM-MD5')
    await challenged(exchange)
    // HMAC-MD5 of <servernonce@mx.test> with `secret`.
    const { createHmac } = await import('node:crypto')
    const digest = createHmac('md5', 'secret').update('<servernonce@mx.test>').digest('hex')
    expect(await step(exchange, `cram ${digest.toUpperCase()}`)).toMatchObject({ kind: 'success' })
  })

  test.each([
    ['tim b913a602c7eda7a495b4e6e7334d3891', refused],
    ['nobody b913a602c7eda7a495b4e6e7334d3890', refused],
    ['carol b913a602c7eda7a495b4e6e7334d3890', refused],
    ['tim', malformed],
    ['b913a602c7eda7a495b4e6e7334d3890', malformed],
    ['tim b913a602c7eda7a495b4e6e7334d38', malformed],
    ['', malformed],
  ])('%j', async (response, expected) => {
    const exchange = start('CRAM-MD5')
    await challenged(exchange)
    expect(await step(exchange, response)).toEqual(expected)
  })

  test('no initial response: the server speaks first', async () => {
    expect(await step(start('CRAM-MD5'), 'tim x')).toEqual(malformed)
  })
})

test('APOP: the example of RFC 1939, and what is not it', () => {
  const stamp = '<1896.697170952@dbc.mtview.ca.us>'
  const digest = 'c4c9334bac560ecc979e58001b3e22fb'
  const plain = secret('{PLAIN}tanstaaf')
  expect(isApopDigest(plain, stamp, digest)).toBe(true)
  expect(isApopDigest(plain, stamp, digest.toUpperCase())).toBe(true)
  expect(isApopDigest(plain, '<other@stamp>', digest)).toBe(false)
  expect(isApopDigest(plain, stamp, digest.slice(1))).toBe(false)
  expect(isApopDigest(plain, stamp, `z${digest.slice(1)}`)).toBe(false)
  expect(isApopDigest(undefined, stamp, digest)).toBe(false)
})

describe('SCRAM', () => {
  const vectors = [
    {
      name: 'SCRAM-SHA-1',
      rfc: 'RFC 5802 section 5',
      salt: 'QSXCR+Q6sek8bf92',
      nonce: '3rfcNHYJY1ZVvWVs7j',
      first: 'n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL',
      serverFirst: 'r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096',
      final: 'c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=',
      serverFinal: 'v=rmF9pqV8S7suAoZWja4dJRkFsKQ=',
    },
    {
      name: 'SCRAM-SHA-256',
      rfc: 'RFC 7677 section 3',
      salt: 'W22ZaJ0SNY7soEsUEjb6gQ==',
      nonce: '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0',
      first: 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO',
      serverFirst: 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
      final:
        'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
      serverFinal: 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
    },
  ]
  test.each(vectors)('the example of $rfc', async (vector) => {
    const salt = Buffer.from(vector.salt, 'base64')
    const exchange = start(vector.name, { nonce: () => vector.nonce, saltFor: () => salt })
    expect(await challenged(exchange)).toBe('')
    expect(await challenged(exchange, vector.first)).toBe(vector.serverFirst)
    expect(await challenged(exchange, vector.final)).toBe(vector.serverFinal)
    expect(await step(exchange, '')).toEqual({
      kind: 'success',
      identity: { user: 'user', authorization: '' },
    })
  })

  const mechanism = (hash: 'sha1' | 'sha256') => (hash === 'sha1' ? 'SCRAM-SHA-1' : 'SCRAM-SHA-256')

  test.each([
    { hash: 'sha1', user: 'alice', password: 'secret' },
    { hash: 'sha256', user: 'scram', password: 'secret' },
    { hash: 'sha256', user: 'a,b=c', password: 'x' },
  ] as const)('$hash of $user', async ({ hash, user, password }) => {
    const client = new ScramClient({ hash, user, password, header: 'y,a=other,' })
    const exchange = start(mechanism(hash))
    expect(await challenged(exchange, client.final(await challenged(exchange, client.first())))).toBe(
      client.serverFinal,
    )
    expect(await step(exchange, '')).toEqual({ kind: 'success', identity: { user, authorization: 'other' } })
  })

  test.each([
    { why: 'wrong password', user: 'alice', password: 'Secret' },
    { why: 'unknown user', user: 'nobody', password: 'secret' },
    { why: 'no such keys of this user', user: 'carol', password: 'secret' },
  ])('$why: refused after the same two messages', async ({ user, password }) => {
    const client = new ScramClient({ hash: 'sha256', user, password })
    const exchange = start('SCRAM-SHA-256')
    const serverFirst = await challenged(exchange, client.first())
    expect(serverFirst).toBe(
      `r=clientnonceservernonce,s=${Buffer.from(`salt of ${user}`).toString('base64')},i=4096`,
    )
    expect(await step(exchange, client.final(serverFirst))).toEqual(refused)
  })

  test('keys for one hash are none for the other', async () => {
    const client = new ScramClient({ hash: 'sha1', user: 'scram', password: 'secret' })
    const exchange = start('SCRAM-SHA-1')
    expect(await step(exchange, client.final(await challenged(exchange, client.first())))).toEqual(refused)
  })

  describe('with channel binding', () => {
    const binding = Buffer.from('the octets of this channel')
    const bound = { bindings: new Map([['tls-exporter', binding]]), offersBinding: true }
    const client = (header: string, octets = binding) =>
      new ScramClient({ hash: 'sha256', user: 'alice', password: 'secret', header, binding: octets })

    test('the client proves that it means this channel', async () => {
      const one = client('p=tls-exporter,,')
      const exchange = start('SCRAM-SHA-256-PLUS', bound)
      expect(await challenged(exchange, one.final(await challenged(exchange, one.first())))).toBe(
        one.serverFinal,
      )
      expect(await step(exchange, '')).toMatchObject({ kind: 'success' })
    })

    test('another channel is refused', async () => {
      const other = client('p=tls-exporter,,', Buffer.from('somebody in the middle'))
      const exchange = start('SCRAM-SHA-256-PLUS', bound)
      expect(await step(exchange, other.final(await challenged(exchange, other.first())))).toEqual(refused)
    })

    test('flags that do not fit the mechanism', async () => {
      const first = (name: string, header: string) => step(start(name, bound), `${header}n=alice,r=abc`)
      expect(await first('SCRAM-SHA-256-PLUS', 'n,,')).toEqual(malformed)
      expect(await first('SCRAM-SHA-256-PLUS', 'y,,')).toEqual(malformed)
      expect(await first('SCRAM-SHA-256-PLUS', 'p=tls-nonsense,,')).toEqual(refused)
      expect(await first('SCRAM-SHA-256', 'p=tls-exporter,,')).toEqual(malformed)
      // A list without -PLUS was put in place of ours.
      expect(await first('SCRAM-SHA-256', 'y,,')).toEqual(refused)
      expect(await first('SCRAM-SHA-256', 'n,,')).toMatchObject({ kind: 'challenge' })
    })
  })

  test.each([
    ...['', 'n,,', 'n,,n=alice', 'n,,r=abc,n=alice', 'x,,n=alice,r=abc', 'n,n=alice,r=abc', 'n,,n=,r=abc'],
    ...[
      'n,,m=ext,n=alice,r=abc',
      'n,,n=al=ice,r=abc',
      'n,,n=alice,r=',
      'n,,n=al\nice,r=abc',
      'n,a=,b,n=alice,r=abc',
    ],
  ])('the first message %j is malformed', async (message) => {
    expect(await step(start('SCRAM-SHA-1'), message)).toEqual(malformed)
  })

  test.each([
    ['', malformed],
    ['c=biws,r=abcservernonce', malformed],
    ['c=biws,r=abcservernonce,p=', malformed],
    ['c=biws,r=abcservernoncE,p=AAAA', refused],
    ['c=eSws,r=abcservernonce,p=AAAA', refused],
    ['c=biws,r=abcservernonce,p=AAAA', refused],
  ])('the final message %j', async (message, expected) => {
    const exchange = start('SCRAM-SHA-1')
    await challenged(exchange, 'n,,n=alice,r=abc')
    expect(await step(exchange, message)).toEqual(expected)
  })

  test('the answer to the last message is empty', async () => {
    const client = new ScramClient({ hash: 'sha1', user: 'alice', password: 'secret' })
    const exchange = start('SCRAM-SHA-1')
    await challenged(exchange, client.final(await challenged(exchange, client.first())))
    expect(await step(exchange, 'x')).toEqual(malformed)
  })

  test('keys derived are those that Dovecot stores', async () => {
    const stored = secret(users.scram!)
    if (stored?.kind !== 'scram') throw new Error('no keys')
    expect(await deriveScramKeys('secret', stored.keys)).toEqual(stored.keys)
  })
})

describe('bearer tokens', () => {
  const bearer = (user: string, token: string) =>
    `n,a=${user},\x01host=mx.test\x01port=110\x01auth=Bearer ${token}\x01\x01`
  const xoauth2 = (user: string, token: string) => `user=${user}\x01auth=Bearer ${token}\x01\x01`

  test.each([
    ['OAUTHBEARER', bearer],
    ['XOAUTH2', xoauth2],
  ])('%s: a good token of the user', async (name, message) => {
    const result = await step(start(name), message('ozzy', 'good'))
    expect(result).toEqual({ kind: 'success', identity: { user: 'ozzy', authorization: '' } })
    expect(await challenged(start(name))).toBe('')
  })

  test.each([
    ['OAUTHBEARER', bearer('ozzy', 'bad'), { status: 'invalid_token', scope: 'mail' }],
    ['OAUTHBEARER', bearer('alice', 'good'), { status: 'invalid_token', scope: 'mail' }],
    ['OAUTHBEARER', bearer('ozzy', 'narrow'), { status: 'insufficient_scope', scope: 'mail' }],
    ['OAUTHBEARER', 'n,,\x01auth=Bearer good\x01\x01', { status: 'invalid_request', scope: 'mail' }],
    ['OAUTHBEARER', 'n,a=ozzy,\x01host=x\x01\x01', { status: 'invalid_request', scope: 'mail' }],
    ['OAUTHBEARER', 'n,a=ozzy,\x01auth=Bearer good\x01', { status: 'invalid_request', scope: 'mail' }],
    ['OAUTHBEARER', 'n,a=ozzy,\x01auth=Basic good\x01\x01', { status: 'invalid_request', scope: 'mail' }],
    ['OAUTHBEARER', '', { status: 'invalid_request', scope: 'mail' }],
    ['XOAUTH2', xoauth2('ozzy', 'bad'), { status: '401', schemes: 'bearer', scope: 'mail' }],
    ['XOAUTH2', xoauth2('ozzy', 'narrow'), { status: '403', schemes: 'bearer', scope: 'mail' }],
    ['XOAUTH2', 'user=ozzy', { status: '400', schemes: 'bearer', scope: 'mail' }],
  ])('%s %j is refused in JSON, then for good', async (name, message, told) => {
    const exchange = start(name)
    expect(JSON.parse(await challenged(exchange, message))).toEqual(told)
    expect(await step(exchange, '\x01')).toEqual(refused)
  })

  test('where to get a token is told', async () => {
    const tokenHints = { scope: '', openidConfiguration: 'https://id.test/.well-known/openid-configuration' }
    const told = JSON.parse(await challenged(start('OAUTHBEARER', { tokenHints }), bearer('ozzy', 'bad')))
    expect(told['openid-configuration']).toBe(tokenHints.openidConfiguration)
  })

  test('a failure of ours is none of the token', async () => {
    const result = await step(start('OAUTHBEARER'), bearer('ozzy', 'broken'))
    expect(result).toMatchObject({ kind: 'failure', reason: 'internal' })
  })
})

describe('SASLprep, RFC 4013 section 3', () => {
  test.each([
    ['I\u00adX', 'IX'],
    ['user', 'user'],
    ['USER', 'USER'],
    ['\u00aa', 'a'],
    ['\u2168', 'IX'],
    ['a\u00a0b', 'a b'],
    ['\u0007', undefined],
    ['\u0627\u0031', undefined],
    ['\u0627a\u0628', undefined],
  ])('%j', (text, prepared) => {
    expect(saslPrep(text)).toBe(prepared)
  })
})

test('there is no mechanism of other names', () => {
  expect(startExchange('DIGEST-MD5', host())).toBeUndefined()
  expect(startExchange('toString', host())).toBeUndefined()
})

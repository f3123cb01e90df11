/** Bearer tokens, checked by signature and by introspection. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { authSettings } from '../../src/auth/config.ts'
import { type TokenSettings, Tokens } from '../../src/auth/tokens.ts'
import { defaults } from '../../src/config/schema.ts'

const tokens = (changes: Partial<TokenSettings>) => new Tokens({ ...defaults(authSettings), ...changes })

describe('by signature', () => {
  let dir: string
  let file: string
  let sign: (claims: Record<string, unknown>, expires?: number | string) => Promise<string>

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'ma-'))
    file = join(dir, 'jwks.json')
    const { publicKey, privateKey } = await generateKeyPair('ES256')
    writeFileSync(
      file,
      JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), alg: 'ES256', kid: 'one' }] }),
    )
    sign = (claims, expires = '5m') =>
      new SignJWT({ email: 'ozzy', scope: 'mail openid', ...claims })
        .setProtectedHeader({ alg: 'ES256', kid: 'one' })
        .setIssuer('https://id.test')
        .setAudience('mail')
        .setExpirationTime(expires)
        .sign(privateKey)
  })
  afterEach(() => rmSync(dir, { recursive: true, force: true }))

  test('a good one names its user', async () => {
    const checked = tokens({
      oauth2_jwks: file,
      oauth2_issuers: ['https://id.test'],
      oauth2_audience: 'mail',
      oauth2_scope: 'mail',
    })
    expect(await checked.check(await sign({}))).toEqual({ ok: true, user: 'ozzy' })
  })

  test.each<{
    name: string
    changes?: Partial<TokenSettings>
    claims?: object
    expires?: number
    status: string
  }>([
    { name: 'another issuer', changes: { oauth2_issuers: ['https://other.test'] }, status: 'invalid_token' },
    { name: 'another audience', changes: { oauth2_audience: 'web' }, status: 'invalid_token' },
    { name: 'a missing scope', changes: { oauth2_scope: 'mail admin' }, status: 'insufficient_scope' },
    { name: 'no user', claims: { email: undefined }, status: 'invalid_token' },
    { name: 'a user that is no text', claims: { email: 7 }, status: 'invalid_token' },
    { name: 'an end in the past', expires: 1_000_000, status: 'invalid_token' },
  ])('$name', async ({ changes, claims, expires, status }) => {
    const checked = tokens({ oauth2_jwks: file, ...changes })
    expect(await checked.check(await sign({ ...claims }, expires))).toMatchObject({ ok: false, status })
  })

  test('not signed by a key of the file, not signed at all, and no token', async () => {
    const checked = tokens({ oauth2_jwks: file })
    const good = await sign({})
    const [head, body] = good.split('.')
    const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${body}.`
    for (const token of [`${head}.${body}.AAAA`, none, 'abc', 'a.b.c', '']) {
      expect(await checked.check(token)).toMatchObject({ ok: false, status: 'invalid_token' })
    }
  })

  test('keys that change are read again; keys that are not there are our failure', async () => {
    const checked = tokens({ oauth2_jwks: file })
    const good = await sign({})
    expect(await checked.check(good)).toMatchObject({ ok: true })
    writeFileSync(file, '{"keys":[]}')
    expect(await checked.check(good)).toMatchObject({ ok: false, status: 'invalid_token' })
    rmSync(file)
    expect(await checked.check(good)).toMatchObject({ ok: false, status: 'internal' })
  })
})

describe('by introspection', () => {
  let server: Server
  let url: string
  const asked: { method: string; url: string; authorization: string | undefined; body: string }[] = []
  let answer: (request: IncomingMessage, response: ServerResponse) => void

  beforeEach(async () => {
    asked.length = 0
    server = createServer((request, response) => {
      let body = ''
      request.on('data', (chunk) => {
        body += chunk
      })
      request.on('end', () => {
        const { method = '', url: path = '', headers } = request
        asked.push({ method, url: path, authorization: headers.authorization, body })
        answer(request, response)
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/introspect`
  })
  afterEach(() => {
    server.closeAllConnections()
    server.close()
  })

  const json = (value: unknown, status = 200) => {
    answer = (_request, response) => response.writeHead(status).end(JSON.stringify(value))
  }

  test('a token that is active', async () => {
    json({ active: true, email: 'ozzy', scope: 'mail' })
    const checked = tokens({
      oauth2_introspection_url: url,
      oauth2_client_id: 'mx',
      oauth2_client_secret: 's:t',
      oauth2_scope: 'mail',
    })
    expect(await checked.check('a+b')).toEqual({ ok: true, user: 'ozzy' })
    expect(asked).toMatchObject([{ method: 'POST', url: '/introspect' }])
    expect(new URLSearchParams(asked[0]!.body).get('token')).toBe('a+b')
    expect(asked[0]!.authorization).toBe(`Basic ${Buffer.from('mx:s%3At').toString('base64')}`)
  })

  test.each([
    { mode: 'auth', path: '/introspect', authorization: 'Bearer a+b' },
    { mode: 'get', path: '/introspecta%2Bb', authorization: undefined },
  ] as const)('the mode $mode', async ({ mode, path, authorization }) => {
    json({ email: 'ozzy' })
    const checked = tokens({
      oauth2_introspection_url: url,
      oauth2_introspection_mode: mode,
      oauth2_active_attribute: '',
    })
    expect(await checked.check('a+b')).toEqual({ ok: true, user: 'ozzy' })
    expect(asked).toMatchObject([{ method: 'GET', url: path, authorization }])
    json({}, 401)
    expect(await checked.check('a')).toMatchObject({ status: 'invalid_token' })
  })

  test.each<{ name: string; value: unknown; status?: number; expected: string }>([
    { name: 'not active', value: { active: false }, expected: 'invalid_token' },
    { name: 'without a word on it', value: { email: 'ozzy' }, expected: 'invalid_token' },
    { name: 'no object', value: null, expected: 'internal' },
    { name: 'an error of the server', value: {}, status: 500, expected: 'internal' },
    { name: 'we are not known there', value: {}, status: 401, expected: 'internal' },
    { name: 'an endless answer', value: 'x'.repeat(100_000), expected: 'internal' },
  ])('$name: $expected', async ({ value, status, expected }) => {
    json(value, status)
    expect(await tokens({ oauth2_introspection_url: url }).check('t')).toMatchObject({
      ok: false,
      status: expected,
    })
  })

  test('a token does not follow a redirect, and nobody waits for ever', async () => {
    answer = (_request, response) => response.writeHead(302, { location: '/elsewhere' }).end()
    expect(await tokens({ oauth2_introspection_url: url }).check('t')).toMatchObject({ status: 'internal' })
    expect(asked).toHaveLength(1)
    answer = () => {}
    const checked = tokens({ oauth2_introspection_url: url, oauth2_timeout: 100 })
    expect(await checked.check('t')).toMatchObject({ status: 'internal' })
  })

  test('without a way to check them there are no good tokens', async () => {
    expect(await tokens({}).check('t')).toMatchObject({ ok: false, status: 'internal' })
  })
})

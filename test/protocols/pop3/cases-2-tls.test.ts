/** Cases of section 2, AUTH, APOP and STLS, that the older files do not show; and client certificates. */
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import tls from 'node:tls'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { ScramClient } from '../../auth/sasl/scram-client.ts'
import { Authority, type Certificate } from '../../support/certificates.ts'
import { type Client, Pop3Server } from './harness.ts'

let dir: string
let authority: Authority
let ann: Certificate
let stranger: Certificate
let server: Pop3Server

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'pop3-cases-'))
  authority = await Authority.make()
  for (const name of ['mx.test', 'a.test', 'b.test']) {
    const { cert, key } = await authority.issue({ names: [name] })
    writeFileSync(join(dir, `${name}.pem`), cert + key)
  }
  writeFileSync(join(dir, 'ca.pem'), authority.cert)
  ann = await authority.issue({ commonName: 'alice' })
  stranger = await (await Authority.make('Another CA')).issue({ commonName: 'alice' })
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))
afterEach(() => server.stop())

const certificate = () => `tls.cert=${join(dir, 'mx.test.pem')}`
const implicit = 'listener=[{service="pop3",address="127.0.0.1:1110",tls="implicit"}]'
const base64 = (text: string) => Buffer.from(text).toString('base64')
const fromElsewhere = '127.0.0.9'

async function start(...set: string[]): Promise<void> {
  const users = ['carol:{SSHA}0ldkJdpmlTz+2+PIqGtrcpj855MsKZeO']
  server = await Pop3Server.start({ set: [certificate(), ...set], users })
  server.mb1()
}

/** From another address, the greeting taken. */
async function greeted(): Promise<Client> {
  const client = await server.connect(fromElsewhere)
  await client.line()
  return client
}

async function overStls(options: tls.ConnectionOptions = {}): Promise<Client> {
  const client = await greeted()
  expect(await client.ask('STLS')).toMatch(/^\+OK/)
  return client.secured(options)
}

/** The end of a handshake: the socket, or why there is none. */
async function handshake(options: tls.ConnectionOptions): Promise<TLSSocket | string> {
  const client = await server.connect()
  try {
    return (await client.secured(options)).socket as TLSSocket
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error)
  }
}

test('P005 with tls.mode = "required" nothing is offered in clear, not even to this machine', async () => {
  await start('tls.mode=required', 'auth.mechanisms=PLAIN SCRAM-SHA-256 APOP')
  const client = await server.connect()
  await client.line()
  expect((await client.list('CAPA')).lines.join()).not.toMatch(/USER|SASL/)
  expect((await client.list('AUTH')).lines).toEqual([])
  expect(await client.ask('AUTH SCRAM-SHA-256')).toMatch(/^-ERR \[AUTH\]/)
  expect(await client.ask('USER alice')).toMatch(/^-ERR \[AUTH\]/)
  expect(await client.ask(`APOP alice ${'0'.repeat(32)}`)).toMatch(/^-ERR \[AUTH\]/)
  expect(await client.ask('STLS')).toMatch(/^\+OK/)
  const secured = await client.secured()
  expect((await secured.list('CAPA')).lines.join()).toContain('USER,SASL PLAIN SCRAM-SHA-256')
})

test('P077 a client that could have bound its login to TLS and says otherwise is refused', async () => {
  await start('auth.mechanisms=SCRAM-SHA-256 SCRAM-SHA-256-PLUS')
  const client = await overStls()
  const scram = new ScramClient({ hash: 'sha256', user: 'alice', password: 'secret', header: 'y,,' })
  const first = await client.ask(`AUTH SCRAM-SHA-256 ${base64(scram.first())}`)
  const last = first.startsWith('+ ')
    ? await client.ask(base64(scram.final(Buffer.from(first.slice(2), 'base64').toString())))
    : first
  expect(last).toMatch(/^-ERR \[AUTH\]/)
})

test('P085 P087 APOP: the stamp of another connection, and a password that is kept as a hash', async () => {
  await start('auth.mechanisms=PLAIN APOP', 'auth.allow_cleartext=true')
  const [one, other] = [await server.connect(), await server.connect()]
  const stamp = / (<\S+>)$/.exec(await one.line())![1]!
  await other.line()
  const digest = (password: string) =>
    createHash('md5')
      .update(stamp + password)
      .digest('hex')
  expect(await other.ask(`APOP alice ${digest('secret')}`)).toMatch(/^-ERR \[AUTH\]/)
  expect(await one.ask(`APOP carol ${digest('secret')}`)).toMatch(/^-ERR \[AUTH\]/)
  expect(await one.ask(`APOP alice ${digest('secret').toUpperCase()}`)).toMatch(/^\+OK/)
})

test('P089 P092 STLS: passwords are taken afterwards, and there is no second one', async () => {
  await start()
  const client = await overStls()
  const capa = (await client.list('CAPA')).lines
  expect(capa).toContain('USER')
  expect(capa).not.toContain('STLS')
  expect(await client.ask('STLS')).toMatch(/^-ERR/)
  expect(await client.ask('NOOP')).toMatch(/^-ERR/)
  expect(await client.ask('USER alice')).toBe('+OK')
})

test('P090 what was sent in clear behind STLS is never answered', async () => {
  await start()
  const client = await greeted()
  client.send('STLS\r\nUSER mallory\r\nPASS x\r\n')
  expect(await client.rest()).toMatch(/^\+OK [^\r]*\r\n$/)
})

test('P094 TLS 1.1 is refused, and with min_version 1.2 as well', async () => {
  await start(implicit, 'tls.min_version=TLSv1.3')
  const old = { maxVersion: 'TLSv1.1', minVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const
  expect(await handshake(old)).toEqual(expect.any(String))
  expect(await handshake({ maxVersion: 'TLSv1.2' })).toEqual(expect.any(String))
  expect(await handshake({})).toBeInstanceOf(tls.TLSSocket)
})

test('P095 plain text on the port of implicit TLS gets no answer', async () => {
  await start(implicit)
  const client = await server.connect()
  client.send('QUIT\r\n')
  expect(await client.rest()).not.toContain('+OK')
})

test('P096 a client that names protocols has to name pop3', async () => {
  await start(implicit)
  expect(await handshake({ ALPNProtocols: ['imap'] })).toEqual(expect.any(String))
  const socket = await handshake({ ALPNProtocols: ['imap', 'pop3'] })
  expect(socket).toMatchObject({ alpnProtocol: 'pop3' })
})

test('P097 the certificate is that of the name the client asks for', async () => {
  const files = `{"a.test"="${join(dir, 'a.test.pem')}","*.test"={cert="${join(dir, 'b.test.pem')}"}}`
  await start(implicit, `tls.sni=${files}`)
  const nameFor = async (servername: string) =>
    ((await handshake({ servername })) as TLSSocket).getPeerCertificate().subject.CN
  expect([await nameFor('a.test'), await nameFor('A.test'), await nameFor('c.test')]).toEqual([
    'a.test',
    'a.test',
    'b.test',
  ])
  expect(await nameFor('else.where')).toBe('mx.test')
})

test('a client certificate logs in with EXTERNAL, if it is of an authority we know', async () => {
  const ca = `tls.client_cert.ca=${join(dir, 'ca.pem')}`
  await start(ca, 'auth.mechanisms=PLAIN EXTERNAL')
  const client = await overStls({ cert: ann.cert, key: ann.key })
  expect((await client.list('AUTH')).lines).toEqual(['PLAIN', 'EXTERNAL'])
  expect(await client.ask('AUTH EXTERNAL =')).toMatch(/^\+OK/)
  expect(await client.ask('STAT')).toBe('+OK 3 99')
  for (const options of [{}, { cert: stranger.cert, key: stranger.key }]) {
    const other = await overStls(options)
    expect((await other.list('AUTH')).lines).toEqual(['PLAIN'])
    expect(await other.ask('AUTH EXTERNAL =')).toMatch(/^-ERR \[AUTH\]/)
  }
})

test('client certificates can be required, and can be the name', async () => {
  const ca = `tls.client_cert.ca=${join(dir, 'ca.pem')}`
  await start(ca, 'tls.client_cert.require=true', 'tls.client_cert.username=true')
  const without = await overStls()
  await without.ask('USER alice')
  expect(await without.ask('PASS secret')).toMatch(/^-ERR \[AUTH\]/)
  expect(await without.ask(`AUTH PLAIN ${base64('\0alice\0secret')}`)).toMatch(/^-ERR \[AUTH\]/)
  const withOne = await overStls({ cert: ann.cert, key: ann.key })
  await withOne.ask('USER whoever')
  expect(await withOne.ask('PASS secret')).toMatch(/^\+OK/)
  expect(server.events('pop3.login')).toMatchObject([{ user: 'alice' }])
  const sasl = await overStls({ cert: ann.cert, key: ann.key })
  expect(await sasl.ask(`AUTH PLAIN ${base64('\0dave\0secret')}`)).toMatch(/^\+OK/)
})

test.each([
  ['TLS from the start', implicit, ''],
  ['STLS', 'login.timeout=180s', 'STLS\r\n'],
])('L3 a handshake that is never finished ends with the time to log in: %s', async (_, setting, before) => {
  server = await Pop3Server.start({ set: [certificate(), setting], virtualTime: true })
  const client = await server.connect()
  client.send(before)
  if (before !== '') await client.lines(2)
  // The beginning of a record.
  client.send('\x16\x03\x01\x02\x00\x01')
  await client.flushed()
  await server.advance(180_000)
  // Not only after the time in which others take the last line.
  await client.rest()
})

/** Logins of all kinds, as clients see them. */
import { execFileSync } from 'node:child_process'
import { createHash, createHmac } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tls from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { ScramClient } from '../../auth/sasl/scram-client.ts'
import { within } from '../../support/until.ts'
import { type Client, Pop3Server } from './harness.ts'

const base64 = (text: string) => Buffer.from(text).toString('base64')
const decoded = (line: string) => {
  expect(line).toMatch(/^\+ [A-Za-z0-9+/=]*$/)
  return Buffer.from(line.slice(2), 'base64').toString()
}
const plain = base64('\0alice\0secret')

let server: Pop3Server
afterEach(() => server.stop())

const all =
  'auth.mechanisms=PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-1-PLUS SCRAM-SHA-256 SCRAM-SHA-256-PLUS OAUTHBEARER XOAUTH2 APOP'
const users = ['carol:{SSHA}0ldkJdpmlTz+2+PIqGtrcpj855MsKZeO', 'off:{PLAIN}secret::::::nologin']

async function begin(set: readonly string[] = [all]): Promise<Client> {
  server = await Pop3Server.start({ set, users })
  server.mb1()
  return await server.connect()
}

/** Begins, and takes the greeting. */
async function greeted(set?: readonly string[]): Promise<Client> {
  const client = await begin(set)
  await client.line()
  return client
}

const isIn = async (client: Client) => expect(await client.ask('STAT')).toBe('+OK 3 99')

describe('AUTH', () => {
  test('P060 with an initial response', async () => {
    const client = await greeted()
    expect(await client.ask(`auth plain ${plain}`)).toMatch(/^\+OK/)
    await isIn(client)
  })

  test('P061 without one: plus, space, nothing', async () => {
    const client = await greeted()
    expect(await client.ask('AUTH PLAIN')).toBe('+ ')
    expect(await client.ask(plain)).toMatch(/^\+OK/)
  })

  test('P062 is given up with an asterisk, and USER works', async () => {
    const client = await greeted()
    for (const mechanism of ['PLAIN', 'LOGIN', 'CRAM-MD5', 'SCRAM-SHA-256']) {
      expect(await client.ask(`AUTH ${mechanism}`)).toMatch(/^\+ /)
      expect(await client.ask('*')).toMatch(/^-ERR (?!\[)/)
    }
    client.send('USER alice\r\nPASS secret\r\n')
    expect((await client.lines(2))[1]).toMatch(/^\+OK/)
  })

  test.each([
    ['P064 base64 that begins with =', 'AUTH PLAIN =AAA'],
    ['P064 base64 with = within', 'AUTH PLAIN AAA=BBB='],
    ['P065 an empty message', 'AUTH PLAIN ='],
    ['P066 one NUL', `AUTH PLAIN ${base64('alice\0secret')}`],
    ['P071 an unknown mechanism', 'AUTH FOO'],
    ['APOP is no mechanism', 'AUTH APOP'],
    ['-PLUS without TLS', 'AUTH SCRAM-SHA-256-PLUS'],
    ['F51 an initial response where the server speaks first', `AUTH CRAM-MD5 ${base64('x')}`],
    ['another user, by one who may not', `AUTH PLAIN ${base64('bob\0alice\0secret')}`],
    ['a disabled user', `AUTH PLAIN ${base64('\0off\0secret')}`],
    ['C27 a line end in the name', `AUTH PLAIN ${base64('\0al\r\nice\0secret')}`],
    ['P080 too much, but not too long', `AUTH PLAIN ${'A'.repeat(4000)}`],
  ])('%s is refused', async (_name, command) => {
    const client = await greeted()
    expect(await client.ask(command)).toMatch(/^-ERR \[AUTH\] /)
    expect(await client.ask(`AUTH PLAIN ${plain}`)).toMatch(/^\+OK/)
  })

  test('P081 a line without end is no login', async () => {
    const client = await greeted()
    client.send(`AUTH PLAIN ${'A'.repeat(9000)}`)
    expect(await client.rest()).toBe('')
  })

  test('P070 alone lists the mechanisms, as CAPA does, in the order of the configuration', async () => {
    const client = await greeted()
    const { lines } = await client.list('AUTH')
    expect(lines).toEqual([
      ...['PLAIN', 'LOGIN', 'CRAM-MD5', 'SCRAM-SHA-1', 'SCRAM-SHA-256', 'OAUTHBEARER', 'XOAUTH2'],
    ])
    expect((await client.list('CAPA')).lines).toContain(`SASL ${lines.join(' ')}`)
    await client.ask(`AUTH PLAIN ${plain}`)
    expect((await client.list('CAPA')).lines).toContain(`SASL ${lines.join(' ')}`)
  })

  test('P072 LOGIN', async () => {
    const client = await greeted()
    expect(await client.ask('AUTH LOGIN')).toBe('+ VXNlcm5hbWU6')
    expect(await client.ask(base64('alice'))).toBe('+ UGFzc3dvcmQ6')
    expect(await client.ask(base64('secret'))).toMatch(/^\+OK/)
    expect(server.events('pop3.login')).toMatchObject([{ user: 'alice', method: 'LOGIN' }])
  })

  test('CRAM-MD5', async () => {
    const client = await greeted()
    const response = async (user: string, password: string) => {
      const challenge = decoded(await client.ask('AUTH CRAM-MD5'))
      expect(challenge).toMatch(/^<[^@>]+@mx\.test>$/)
      return client.ask(base64(`${user} ${createHmac('md5', password).update(challenge).digest('hex')}`))
    }
    expect(await response('alice', 'Secret')).toMatch(/^-ERR \[AUTH\]/)
    expect(await response('carol', 'secret')).toMatch(/^-ERR \[AUTH\]/)
    expect(await response('alice', 'secret')).toMatch(/^\+OK/)
  })

  test.each(['sha1', 'sha256'] as const)('P074 P075 P076 SCRAM with %s', async (hash) => {
    const client = await greeted()
    const attempt = async (user: string, password: string) => {
      const scram = new ScramClient({ hash, user, password })
      const mechanism = hash === 'sha1' ? 'SCRAM-SHA-1' : 'SCRAM-SHA-256'
      const first = decoded(await client.ask(`AUTH ${mechanism} ${base64(scram.first())}`))
      const answer = await client.ask(base64(scram.final(first)))
      return { salt: /s=([^,]+)/.exec(first)?.[1], answer, expected: `+ ${base64(scram.serverFinal)}` }
    }
    expect((await attempt('alice', 'Secret')).answer).toMatch(/^-ERR \[AUTH\]/)
    const unknown = [await attempt('nobody', 'x'), await attempt('nobody', 'y')]
    expect(unknown[0]!.salt).toBe(unknown[1]!.salt)
    expect(unknown[0]!.salt).toHaveLength(24)
    expect(unknown[1]!.answer).toMatch(/^-ERR \[AUTH\]/)
    const right = await attempt('alice', 'secret')
    expect(right.answer).toBe(right.expected)
    // The last line of the client is empty.
    expect(await client.ask('')).toMatch(/^\+OK/)
    await isIn(client)
  })

  test('P079 a bad token is explained, then refused', async () => {
    const client = await greeted([all, 'auth.oauth2_jwks=keys.json'])
    // Without keys it cannot be known: not the token's fault.
    const token = base64('n,a=alice,\x01auth=Bearer abc\x01\x01')
    expect(await client.ask(`AUTH OAUTHBEARER ${token}`)).toMatch(/^-ERR \[SYS\/TEMP\]/)
    const { writeFileSync } = await import('node:fs')
    writeFileSync(join(server.root, 'keys.json'), '{"keys":[]}')
    const told = JSON.parse(decoded(await client.ask(`AUTH OAUTHBEARER ${token}`)))
    expect(told).toMatchObject({ status: 'invalid_token' })
    expect(await client.ask('AQ==')).toMatch(/^-ERR \[AUTH\]/)
  })

  test('P082 after login there is none', async () => {
    const client = await greeted()
    await client.ask(`AUTH PLAIN ${plain}`)
    expect(await client.ask(`AUTH PLAIN ${plain}`)).toMatch(/^-ERR/)
    expect(await client.ask('APOP alice 0')).toMatch(/^-ERR/)
    await isIn(client)
  })

  test('lines behind a login wait for it, and are carried out after a refusal too', async () => {
    const client = await greeted()
    client.send(`AUTH PLAIN ${base64('\0alice\0no')}\r\nAUTH PLAIN\r\n${plain}\r\nSTAT\r\nQUIT\r\n`)
    expect(await client.lines(5)).toEqual([
      expect.stringMatching(/^-ERR \[AUTH\]/),
      '+ ',
      expect.stringMatching(/^\+OK/),
      '+OK 3 99',
      expect.stringMatching(/^\+OK/),
    ])
  })

  test('a client that leaves in the middle leaves nothing behind', async () => {
    const client = await greeted()
    await client.ask('AUTH LOGIN')
    client.destroy()
    const other = await server.connect()
    await other.line()
    expect(await other.ask(`AUTH PLAIN ${plain}`)).toMatch(/^\+OK/)
  })
})

describe('APOP', () => {
  const stampOf = (greeting: string) => /<[^<>@ ]+@mx\.test>$/.exec(greeting)?.[0] ?? ''
  const digest = (stamp: string, password: string) =>
    createHash('md5')
      .update(stamp + password)
      .digest('hex')

  test('P002 P084 with the stamp of the greeting, in any case', async () => {
    const one = await begin()
    const other = await server.connect()
    const [stamp, otherStamp] = [stampOf(await one.line()), stampOf(await other.line())]
    expect(stamp).not.toBe('')
    expect(stamp).not.toBe(otherStamp)
    expect(await one.ask(`APOP alice ${digest(otherStamp, 'secret')}`)).toMatch(/^-ERR \[AUTH\]/)
    expect(await one.ask(`APOP carol ${digest(stamp, 'secret')}`)).toMatch(/^-ERR \[AUTH\]/)
    expect(await one.ask(`APOP alice ${digest(stamp, 'secret').toUpperCase()}`)).toMatch(/^\+OK/)
  })

  test('P086 is refused without a digest', async () => {
    const client = await greeted()
    for (const argument of ['', ' alice', ` alice ${'z'.repeat(32)}`, ` alice ${'a'.repeat(31)}`]) {
      expect(await client.ask(`APOP${argument}`)).toMatch(/^-ERR (?!\[)/)
    }
  })

  test('is not there unless it is configured', async () => {
    const client = await begin([])
    expect(await client.line()).not.toContain('<')
    expect(await client.ask(`APOP alice ${'a'.repeat(32)}`)).toMatch(/^-ERR (?!\[)/)
    expect((await client.list('CAPA')).lines).toContain('SASL PLAIN LOGIN')
  })
})

const hasOpenssl = (() => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
})()

describe.skipIf(!hasOpenssl)('channel binding (skipped without openssl to make a certificate)', () => {
  let dir = ''
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'pop3-sasl-'))
    const made = ['-keyout', join(dir, 'key.pem'), '-out', join(dir, 'cert.pem')]
    const args = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=mx.test']
    execFileSync('openssl', [...args, ...made], { stdio: 'ignore' })
  })
  afterAll(() => rmSync(dir, { recursive: true, force: true }))

  test.each([
    { version: 'TLSv1.3', name: 'tls-exporter' },
    { version: 'TLSv1.2', name: 'tls-unique' },
  ] as const)('$version: SCRAM is bound to it by $name', async ({ version, name }) => {
    server = await Pop3Server.start({
      set: [
        all,
        'listener=[{service="pop3",address="127.0.0.1:1110",tls="implicit"}]',
        `tls.cert=${join(dir, 'cert.pem')}`,
        `tls.key=${join(dir, 'key.pem')}`,
      ],
    })
    const socket = tls.connect({
      socket: connect(server.port, '127.0.0.1'),
      rejectUnauthorized: false,
      minVersion: version,
      maxVersion: version,
    })
    let text = ''
    let wake = () => {}
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString()
      wake()
    })
    const line = async (): Promise<string> => {
      while (!text.includes('\r\n')) {
        await within('a line', new Promise<void>((resolve) => (wake = resolve)))
      }
      const end = text.indexOf('\r\n')
      const taken = text.slice(0, end)
      text = text.slice(end + 2)
      return taken
    }
    const ask = (command: string) => {
      socket.write(`${command}\r\n`)
      return line()
    }
    expect(await line()).toMatch(/^\+OK/)
    const binding =
      name === 'tls-unique'
        ? socket.getFinished()!
        : socket.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0))
    const attempt = async (header: string, octets: Buffer, mechanism = 'SCRAM-SHA-256-PLUS') => {
      const scram = new ScramClient({
        hash: 'sha256',
        user: 'alice',
        password: 'secret',
        header,
        binding: octets,
      })
      const first = await ask(`AUTH ${mechanism} ${base64(scram.first())}`)
      if (!first.startsWith('+ ')) return first
      const final = await ask(base64(scram.final(decoded(first))))
      return final.startsWith('+ ') ? ask('') : final
    }
    expect(await attempt(`p=${name},,`, Buffer.from('somebody in the middle'))).toMatch(/^-ERR \[AUTH\]/)
    // P077: who says that we cannot bind was lied to.
    expect(await attempt('y,,', Buffer.alloc(0), 'SCRAM-SHA-256')).toMatch(/^-ERR \[AUTH\]/)
    expect(await attempt(`p=${name},,`, binding)).toMatch(/^\+OK/)
    socket.destroy()
  })
})

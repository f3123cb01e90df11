/**
 * Group J of the acceptance cases: TLS of the delivery client, from the offer to the session. Certificates, policies and trust
 * are in cases-j-certificates.test.ts, DANE and what a mail asks for in cases-j-dane.test.ts, J35 in tls/sts.test.ts.
 */
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { createSecureContext, type SecureContext, TLSSocket } from 'node:tls'
import { describe, expect, it } from 'vitest'
import type { ClientSettings } from '../../../../src/protocols/smtp/client/config.ts'
import { type Destination, parseDestinations } from '../../../../src/protocols/smtp/client/destination.ts'
import { SessionTable, type TlsSessions } from '../../../../src/protocols/smtp/client/tls/sessions.ts'
import { deliver, type LogLine, outcome, settingsOf, tlsClient } from './harness.ts'
import { type Script, ScriptedServer, type TlsScript } from './scripted-server.ts'
import { authority, mail, named, old, run, secured, trusting } from './tls-cases.ts'

describe('whether there is TLS', () => {
  it('J01 may: offered, used, greeted again', async () => {
    const seen = await run({ tls_security_level: 'may' }, { tls: await named('m1.d.test') })
    expect(seen).toMatchObject({ outcome: 'sent', commands: secured, tls: 'may' })
  })

  it('J03 may: refused, goes on in plaintext on the same connection', async () => {
    const script = { tls: await named('x'), answers: { STARTTLS: '454 4.7.0 not now' } }
    const seen = await run({ tls_security_level: 'may' }, script)
    expect(seen).toMatchObject({ outcome: 'sent', commands: `EHLO STARTTLS ${mail}`, tls: 'may:none' })
  })

  it('may: not offered, plaintext', async () => {
    const seen = await run({ tls_security_level: 'may' }, {})
    expect(seen).toMatchObject({ outcome: 'sent', commands: `EHLO ${mail}`, tls: 'may:none' })
  })

  it('J04 encrypt: refused', async () => {
    const script = { tls: await named('x'), answers: { STARTTLS: '454 4.7.0 not now' } }
    const seen = await run({ tls_security_level: 'encrypt' }, script)
    expect(seen).toMatchObject({ outcome: 'deferred 4.7.0', hop: true, commands: 'EHLO STARTTLS QUIT' })
  })

  it('J05 encrypt: the first server does not offer it, the second does', async () => {
    const zone = {
      'd.test': {
        mx: [
          [10, 'm1.d.test'],
          [20, 'm2.d.test'],
        ] as const,
      },
      'm1.d.test': { a: ['127.0.0.1'] },
      'm2.d.test': { a: ['127.0.0.1'] },
    }
    const seen = await run({ tls_security_level: 'encrypt' }, [{}, { tls: await named('x') }], { zone })
    expect(seen).toMatchObject({ outcome: 'sent', commands: `EHLO QUIT / ${secured}` })
  })

  it('J06 encrypt: not offered by the only server', async () => {
    const seen = await run({ tls_security_level: 'encrypt' }, {})
    expect(seen).toMatchObject({
      outcome: 'deferred 4.7.4',
      hop: true,
      commands: 'EHLO QUIT',
      tls: '!encrypt',
    })
  })

  it('J08 TLS-7 what was offered before TLS is forgotten', async () => {
    const script = { keywords: ['SIZE 10'], tls: { ...(await named('x')), keywords: [] } }
    expect(await run({ tls_security_level: 'may' }, script)).toMatchObject({ outcome: 'sent' })
    const reverse = { keywords: [], tls: { ...(await named('x')), keywords: ['SIZE 10'] } }
    expect(await run({ tls_security_level: 'may' }, reverse)).toMatchObject({ outcome: 'bounced 5.3.4' })
  })

  it('J08 a login that was offered before TLS alone does not take place', async () => {
    const account = { sasl_auth_enable: true, sasl_password_maps: ['static:u:p'], sasl_security_options: [] }
    const script = { keywords: ['AUTH PLAIN'], tls: { ...(await named('x')), keywords: [] } }
    const seen = await run({ tls_security_level: 'may', ...account }, script)
    expect(seen).toMatchObject({ outcome: 'sent', commands: secured })
  })

  it('TLS-7 replies put in behind the reply to STARTTLS, in pieces: never an answer to anything', async () => {
    const { context } = await named('x')
    const clear =
      '220 go on\r\n250-evil\r\n250 AUTH PLAIN\r\n250 2.0.0 yours\r\n354 go on\r\n250 2.0.0 taken\r\n'
    for (const cut of [3, 10, 11, 12, 25, clear.length]) {
      const commands: string[] = []
      await using server = new ReplyInjector(context, [clear.slice(0, cut), clear.slice(cut)], commands)
      const report = await deliver({
        request: { nexthop: `[127.0.0.1]:${await server.listen()}` },
        settings: { tls_security_level: 'encrypt', starttls_timeout: 2_000, helo_timeout: 2_000 },
      })
      // What came in one piece with the reply is dropped; what comes later is no handshake.
      expect(['sent', 'deferred 4.7.5']).toContain(outcome(report)[0])
      const within = commands.slice(commands.indexOf('STARTTLS') + 1).join(' ')
      // Nobody waits for QUIT.
      expect(within.replace(/ QUIT$/, '')).toBe(
        outcome(report)[0] === 'sent' ? 'EHLO MAIL RCPT DATA CONTENT' : '',
      )
    }
  })

  it('TLS-7 a server that offers STARTTLS within TLS is not asked for it', async () => {
    const tls = { ...(await named('x')), keywords: ['STARTTLS', 'PIPELINING'] }
    expect(await run({ tls_security_level: 'encrypt' }, { tls })).toMatchObject({
      outcome: 'sent',
      commands: secured,
    })
  })
})

/** Says what it has to say to STARTTLS in pieces, and then does TLS as if nothing had been. */
class ReplyInjector {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  constructor(context: SecureContext, pieces: readonly string[], commands: string[]) {
    this.#server = createServer((plain) => {
      this.#sockets.add(plain)
      plain.setNoDelay(true)
      plain.on('error', () => {})
      plain.write('220 mx.test ESMTP\r\n')
      const answer = (socket: Socket) => (chunk: Buffer) => {
        for (const line of chunk.toString('latin1').split('\r\n')) {
          const verb = line.split(/[ :]/)[0]!
          if (/^(?:EHLO|MAIL|RCPT|DATA|QUIT|STARTTLS)$/.test(verb)) commands.push(verb)
          if (line === '.') commands.push('CONTENT')
          if (verb === 'STARTTLS') void begin(socket)
          else if (verb === 'EHLO') socket.write('250-mx.test\r\n250 STARTTLS\r\n')
          else if (verb === 'DATA') socket.write('354 go on\r\n')
          else if (verb === 'QUIT') socket.end('221 bye\r\n')
          else if (/^(?:MAIL|RCPT|\.$)/.test(line)) socket.write('250 2.0.0 ok\r\n')
        }
      }
      const inClear = answer(plain)
      plain.on('data', inClear)
      const begin = async (socket: Socket) => {
        socket.off('data', inClear)
        for (const piece of pieces) {
          socket.write(piece)
          await new Promise((resolve) => setImmediate(resolve))
        }
        const secure = new TLSSocket(socket, { isServer: true, secureContext: context })
        secure.on('error', () => {})
        secure.on('_tlsError', () => socket.destroy())
        secure.on('data', answer(secure))
      }
    })
  }

  async listen(): Promise<number> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    return (this.#server.address() as AddressInfo).port
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

describe('handshakes that fail', () => {
  const nonsense = async (): Promise<Script> => ({
    tls: { ...(await named('x')), broken: 'this is no TLS at all, sorry for that\r\n' },
  })

  it('J09 may: a fresh mail waits, nobody is blamed', async () => {
    const seen = await run({ tls_security_level: 'may' }, await nonsense())
    expect(seen).toMatchObject({ outcome: 'deferred 4.7.5', hop: false, commands: 'EHLO STARTTLS' })
  })

  it('J10 may: an old mail goes in plaintext to the same address', async () => {
    const seen = await run({ tls_security_level: 'may' }, await nonsense(), old)
    expect(seen).toMatchObject({
      outcome: 'sent',
      commands: `EHLO STARTTLS / EHLO ${mail}`,
      tls: 'may:none',
    })
    expect(seen.log.map(({ event }) => event)).toContain('delivery.skipped')
  })

  it('J13 the plaintext retry is no second address', async () => {
    const seen = await run({ tls_security_level: 'may', mx_address_limit: 1 }, await nonsense(), old)
    expect(seen.outcome).toBe('sent')
  })

  it('J11 may: with a password for the server nothing goes in plaintext', async () => {
    const account = { sasl_auth_enable: true, sasl_password_maps: [{ 'm1.d.test': 'user:password' }] }
    const seen = await run({ tls_security_level: 'may', ...account }, await nonsense(), old)
    expect(seen).toMatchObject({ outcome: 'deferred 4.7.5', commands: 'EHLO STARTTLS' })
  })

  it('J14 may: the connection breaks within TLS, an old mail goes in plaintext', async () => {
    const script = { tls: await named('x'), answers: { RCPT: { close: '' } } }
    const seen = await run({ tls_security_level: 'may' }, [script, {}], old)
    expect(seen).toMatchObject({
      outcome: 'sent',
      commands: `EHLO STARTTLS handshake EHLO MAIL RCPT / EHLO ${mail}`,
    })
  })

  it('J14 may: it breaks at EHLO within TLS already', async () => {
    const tls = await named('d.test')
    const answers = { EHLO: ['250-mx.test\n250 STARTTLS', { close: '' }] }
    const seen = await run({ tls_security_level: 'may' }, [{ tls, answers }, {}], old)
    expect(seen).toMatchObject({
      outcome: 'sent',
      commands: `EHLO STARTTLS handshake EHLO / EHLO ${mail}`,
      tls: 'may:none',
    })
    const fresh = await run({ tls_security_level: 'may' }, [{ tls, answers }, {}])
    expect(fresh).toMatchObject({ outcome: 'deferred 4.4.2', hop: true })
    const demanding = await run({ tls_security_level: 'encrypt' }, [{ tls, answers }, {}], old)
    expect(demanding).toMatchObject({ outcome: 'deferred 4.4.2' })
  })

  it('J15 may: the connection breaks within TLS, a fresh mail waits', async () => {
    const script = { tls: await named('x'), answers: { RCPT: { close: '' } } }
    const seen = await run({ tls_security_level: 'may' }, [script, {}])
    expect(seen).toMatchObject({
      outcome: 'deferred 4.4.2',
      hop: true,
      commands: 'EHLO STARTTLS handshake EHLO MAIL RCPT',
    })
  })

  it('J14 TLS-13 recipients that were decided before the break stay as they are', async () => {
    const script: Script = {
      tls: await named('x'),
      answers: {
        'RCPT TO:<a@': '450 4.2.0 later',
        'RCPT TO:<b@': '550 5.1.1 no',
        'RCPT TO:<c@': { close: '' },
      },
    }
    await using server = await ScriptedServer.start(script, {})
    const report = await deliver({
      request: {
        arrivedAt: Date.now() - 400_000,
        nexthop: `[127.0.0.1]:${server.port}`,
        recipients: ['a', 'b', 'c'].map((name, id) => ({ id, address: `${name}@d.test` })),
      },
      settings: { tls_security_level: 'may' },
    })
    expect(outcome(report)).toEqual(['deferred 4.2.0', 'bounced 5.1.1', 'sent'])
    expect(server.sessions[1]!.commands.filter((line) => line.startsWith('RCPT'))).toEqual([
      'RCPT TO:<c@d.test>',
    ])
  })

  for (const level of ['encrypt', 'verify', 'secure'] as const) {
    it(`TLS-6 ${level}: whatever goes wrong, no mail goes in plaintext`, async () => {
      const settings = { tls_security_level: level, ...trusting }
      const good = await named('m1.d.test', 'd.test')
      const scripts: Record<string, Script> = {
        'not offered': {},
        refused: { tls: good, answers: { STARTTLS: '502 5.5.1 what' } },
        nonsense: await nonsense(),
        'hangs up': { tls: { ...good, broken: 'close' } },
        'fatal alert': { tls: { ...good, broken: '\x15\x03\x03\x00\x02\x02\x28' } },
        'breaks later': { tls: good, answers: { RCPT: { close: '' } } },
      }
      for (const [name, script] of Object.entries(scripts)) {
        const seen = await run(settings, script, old)
        expect(seen.outcome, name).toMatch(/^deferred 4\.(7\.[45]|5\.1|4\.2|7\.0)|^bounced 5\.5\.1/)
        const [first = '', ...others] = seen.commands.split(' / ')
        expect(others, name).toEqual([])
        expect(first.replace(/handshake.*/, ''), name).not.toContain('MAIL')
      }
    })
  }
})

describe('sessions that go on', () => {
  /** Two deliveries to one server, with a table of sessions. */
  const twice = async (first: Partial<ClientSettings>, second: Partial<ClientSettings>, tls: TlsScript) => {
    const table = new SessionTable()
    const sessions: TlsSessions = {
      find: async (key) => table.find(key, 0),
      save: (key, session) => table.save(key, session, 1),
      drop: (key) => table.drop(key),
    }
    await using server = await ScriptedServer.start({ tls })
    const nexthop = `[127.0.0.1]:${server.port}`
    const reports = []
    const log: LogLine[] = []
    for (const over of [first, second]) {
      const settings = settingsOf('smtp', { tls_loglevel: 1, ...over })
      const environment = { tls: tlsClient(settings, 'smtp', { sessions }) }
      reports.push(await deliver({ settings, environment, request: { nexthop }, log }))
      await server.until(() => server.sessions.every(({ closed }) => closed))
    }
    return {
      outcomes: reports.flatMap(outcome),
      resumed: server.sessions.map(({ resumed }) => resumed),
      log: log.filter(({ event }) => event === 'delivery.tls').map(({ facts }) => facts),
      kept: table.size,
    }
  }

  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    it(`J31 ${version}: the second delivery resumes the session of the first`, async () => {
      const { cert, key } = await authority.issue({ names: ['mail.test'] })
      const context = createSecureContext({ cert, key, minVersion: version, maxVersion: version })
      const settings = {
        tls_security_level: 'secure',
        tls_secure_cert_match: ['mail.test'],
        ...trusting,
      } as const
      const seen = await twice(settings, settings, { context })
      expect(seen.outcomes).toEqual(['sent', 'sent'])
      expect(seen.resumed).toEqual([false, true])
      expect(seen.log).toMatchObject([
        { reused: false, class: 'verified', protocol: version },
        { reused: true, class: 'verified', protocol: version },
      ])
      expect(seen.kept).toBe(1)
    })
  }

  it('TLS-15 a certificate that has expired since does not do', async () => {
    const { cert, key } = await authority.issue({ names: ['mail.test'] })
    const context = createSecureContext({ cert, key })
    const settings = {
      tls_security_level: 'secure',
      tls_secure_cert_match: ['mail.test'],
      ...trusting,
    } as const
    const table = new SessionTable()
    const sessions: TlsSessions = {
      find: async (id) => table.find(id, 0),
      save: (id, session) => table.save(id, session, 1),
      drop: (id) => table.drop(id),
    }
    await using server = await ScriptedServer.start({ tls: { context } })
    const outcomes: string[] = []
    for (const later of [0, 40 * 86_400_000]) {
      const all = settingsOf('smtp', settings)
      const tls = tlsClient(all, 'smtp', { sessions, now: () => Date.now() + later })
      const request = { nexthop: `[127.0.0.1]:${server.port}` }
      const report = await deliver({ settings: all, environment: { tls }, request })
      outcomes.push(`${outcome(report)} ${report.results[0]!.reply}`)
      await server.until(() => server.sessions.every(({ closed }) => closed))
    }
    expect(server.sessions.map(({ resumed }) => resumed)).toEqual([false, true])
    expect(outcomes[0]).toContain('sent')
    expect(outcomes[1]).toContain('has expired')
    expect(table.size).toBe(0)
  })

  it('TLS-15 a session is not resumed where more is demanded', async () => {
    const weak = { tls_security_level: 'encrypt', ...trusting } as const
    const strong = { ...weak, tls_security_level: 'secure', tls_secure_cert_match: ['other.test'] } as const
    const seen = await twice(weak, strong, await named('mail.test'))
    expect(seen.outcomes).toEqual(['sent', 'deferred 4.7.5'])
    expect(seen.resumed).toEqual([false, false])
  })
})

describe('TLS without STARTTLS', () => {
  it('J33 the handshake comes before the greeting', async () => {
    const tls = { ...(await named('x')), implicit: true, keywords: ['STARTTLS'] }
    const seen = await run({ tls_security_level: 'encrypt', tls_wrappermode: true }, { tls })
    expect(seen).toMatchObject({ outcome: 'sent', commands: `handshake EHLO ${mail}`, tls: 'encrypt' })
  })

  it('DST-8 port 465 without it: a hint, once', async () => {
    const warnings: string[] = []
    const settings = settingsOf('smtp', { tls_security_level: 'may' })
    const tls = tlsClient(settings, 'smtp', { warn: (event) => warnings.push(event) })
    const [destination] = parseDestinations('[127.0.0.1]:465', {
      protocol: 'smtp',
      defaultService: 'smtp',
      knownPorts: {},
    })
    const policy = await tls.policy(destination as Destination)
    const server = { host: 'm1.d.test', address: '127.0.0.1', port: 465, preference: 0, best: true }
    for (const _ of [1, 2]) if (policy.ok) await tls.plan(policy.policy, server, destination as Destination)
    expect(warnings).toEqual(['delivery.port-465'])
  })

  it('J34 a level of may does not go with it', async () => {
    const seen = await run({ tls_security_level: 'may', tls_wrappermode: true }, { tls: await named('x') })
    expect(seen).toMatchObject({ outcome: 'deferred 4.7.5', sessions: [] })
    expect(seen.log.map(({ event }) => event)).toContain('delivery.tls-policy')
  })
})

describe('old servers, and LMTP', () => {
  it('may: weak TLS is better than none', async () => {
    const { cert, key } = await authority.issue({ names: ['x'] })
    const old = {
      cert,
      key,
      ciphers: 'DEFAULT:@SECLEVEL=0',
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1',
    } as const
    const tls = { context: createSecureContext(old) }
    const seen = await run({ tls_security_level: 'may', tls_loglevel: 1 }, { tls })
    expect(seen).toMatchObject({ outcome: 'sent', commands: secured })
    expect(seen.log.find(({ event }) => event === 'delivery.tls')?.facts).toMatchObject({ protocol: 'TLSv1' })
    const modern = { tls_security_level: 'may', tls_protocols: ['>=TLSv1.2'] } as const
    expect(await run(modern, { tls })).toMatchObject({ outcome: 'deferred 4.7.5', hop: false })
  })

  it('LMTP with STARTTLS, and LHLO after it', async () => {
    await using server = await ScriptedServer.start({ tls: await named('lmtp.test') })
    const nexthop = `inet:[127.0.0.1]:${server.port}`
    const settings = {
      tls_security_level: 'secure',
      tls_secure_cert_match: ['lmtp.test'],
      ...trusting,
    } as const
    const report = await deliver({ request: { transport: 'lmtp', nexthop }, settings })
    expect(outcome(report)).toEqual(['sent'])
    expect(server.commands.slice(0, 4)).toEqual([
      'LHLO client.test',
      'STARTTLS',
      'handshake',
      'LHLO client.test',
    ])
  })
})

describe('what is said in the handshake', () => {
  it('J39 SNI', async () => {
    const script = { tls: await named('x') }
    for (const [servername, sent] of [
      ['hostname', 'm1.d.test'],
      ['nexthop', 'd.test'],
      ['mail.else.test', 'mail.else.test'],
      ['', undefined],
    ] as const) {
      const seen = await run({ tls_security_level: 'encrypt', tls_servername: servername }, script)
      expect(seen.sessions[0]?.servername, servername).toBe(sent)
    }
  })

  it('TLS-17 replies that came early are noticed', async () => {
    const script = { tls: { ...(await named('x')), early: '250 2.1.0 put in' } }
    const block = { tls_security_level: 'encrypt', tls_block_early_mail_reply: true } as const
    expect(await run(block, script)).toMatchObject({
      outcome: 'deferred 4.7.0',
      commands: 'EHLO STARTTLS handshake EHLO QUIT',
    })
  })

  it('TLS-7 replies put in before the handshake do not count', async () => {
    const injected = '250-evil\n250 PIPELINING\n250 2.0.0 yours\n250 2.0.0 too'
    const seen = await run({ tls_security_level: 'encrypt' }, { tls: { ...(await named('x')), injected } })
    expect(seen).toMatchObject({ outcome: 'sent', commands: secured })
  })
})

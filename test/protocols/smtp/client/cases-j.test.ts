/**
 * Group J of the acceptance cases: TLS of the delivery client, with real servers on loopback whose names stand in a
 * zone. J35 is in tls/sts.test.ts.
 */
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createSecureContext } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { defaults } from '../../../../src/config/schema.ts'
import type { RecordData } from '../../../../src/dns/resolver.ts'
import type { ClientSettings } from '../../../../src/protocols/smtp/client/config.ts'
import { type Destination, parseDestinations } from '../../../../src/protocols/smtp/client/destination.ts'
import { tlsEngineSettings } from '../../../../src/protocols/smtp/client/tls/config.ts'
import { Contexts, type EngineSettings } from '../../../../src/protocols/smtp/client/tls/contexts.ts'
import type { TlsFact } from '../../../../src/protocols/smtp/client/tls/counts.ts'
import type { TlsLevel } from '../../../../src/protocols/smtp/client/tls/levels.ts'
import { SessionTable, type TlsSessions } from '../../../../src/protocols/smtp/client/tls/sessions.ts'
import { Authority, type Certificate, publicKeyOf, selfSigned } from '../../../support/certificates.ts'
import {
  deliver,
  environmentOf,
  type LogLine,
  outcome,
  type Setup,
  settingsOf,
  tlsClient,
  type Zone,
  ZoneResolver,
} from './harness.ts'
import { type Script, ScriptedServer, type TlsScript } from './scripted-server.ts'

let authority: Authority
let dir = ''
let trusting: Partial<ClientSettings>

beforeAll(async () => {
  authority = await Authority.make()
  dir = mkdtempSync(join(tmpdir(), 'mailactors-j-'))
  writeFileSync(join(dir, 'ca.pem'), authority.cert)
  trusting = { tls_ca_file: join(dir, 'ca.pem') }
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))

const serverTls = ({ cert, key }: Certificate, over: Partial<TlsScript> = {}): TlsScript => ({
  context: createSecureContext({ cert, key }),
  ...over,
})

const named = async (...names: string[]): Promise<TlsScript> => serverTls(await authority.issue({ names }))

interface Seen {
  readonly outcome: string
  readonly reply: string
  readonly hop: boolean
  readonly tls: string | undefined
  /** Commands of all connections, the verbs alone, `handshake` where TLS began. `/` is between connections. */
  readonly commands: string
  readonly sessions: ScriptedServer['sessions']
  readonly log: readonly LogLine[]
}

/** One server m1.d.test for d.test; the n-th connection follows the n-th script. */
async function run(
  settings: Partial<ClientSettings>,
  scripts: Script | readonly Script[],
  setup: Setup = {},
): Promise<Seen> {
  await using server = await ScriptedServer.start(...[scripts].flat())
  const log: LogLine[] = []
  const report = await deliver({
    zone: { 'd.test': { mx: [[10, 'm1.d.test']] }, 'm1.d.test': { a: ['127.0.0.1'] } },
    log,
    ...setup,
    settings: { tcp_port: String(server.port), ...settings, ...setup.settings },
  })
  await server.until(() => server.sessions.every(({ closed }) => closed))
  return {
    outcome: outcome(report)[0]!,
    reply: report.results[0]!.reply,
    hop: report.hopStatus !== undefined,
    tls: report.tls,
    commands: server.sessions
      .map(({ commands }) => commands.map((command) => command.split(/[ :]/)[0]).join(' '))
      .join(' / '),
    sessions: server.sessions,
    log,
  }
}

const old: Setup = { request: { arrivedAt: Date.now() - 400_000 } }
const mail = 'MAIL RCPT DATA CONTENT QUIT'
const secured = `EHLO STARTTLS handshake EHLO ${mail}`

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
})

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

describe('certificates', () => {
  it('J16 secure: names that will do', async () => {
    const settings = { tls_security_level: 'secure', ...trusting } as const
    for (const [name, wanted] of [
      ['d.test', 'sent'],
      ['mail.d.test', 'sent'],
      ['m1.other', 'deferred 4.7.5'],
    ] as const) {
      const seen = await run(settings, { tls: await named(name) })
      expect(seen.outcome, name).toBe(wanted)
      expect(seen.commands, name).toBe(wanted === 'sent' ? secured : 'EHLO STARTTLS handshake QUIT')
      expect(seen.tls, name).toBe(wanted === 'sent' ? 'secure' : '!secure')
    }
  })

  it('J18 secure: a wildcard does not stand for the domain itself', async () => {
    const settings = {
      tls_security_level: 'secure',
      tls_secure_cert_match: ['nexthop'],
      ...trusting,
    } as const
    expect(await run(settings, { tls: await named('*.d.test') })).toMatchObject({ outcome: 'deferred 4.7.5' })
  })

  it('TLS-9 verify: the name of the server counts, not the domain', async () => {
    const settings = { tls_security_level: 'verify', ...trusting } as const
    expect((await run(settings, { tls: await named('m1.d.test') })).outcome).toBe('sent')
    expect((await run(settings, { tls: await named('*.d.test') })).outcome).toBe('sent')
    expect((await run(settings, { tls: await named('d.test') })).outcome).toBe('deferred 4.7.5')
  })

  it('TLS-9 the common name counts only without names', async () => {
    const settings = { tls_security_level: 'verify', ...trusting } as const
    const byName = serverTls(await authority.issue({ commonName: 'm1.d.test' }))
    expect((await run(settings, { tls: byName })).outcome).toBe('sent')
    const both = serverTls(await authority.issue({ commonName: 'm1.d.test', names: ['other.test'] }))
    expect((await run(settings, { tls: both })).outcome).toBe('deferred 4.7.5')
  })

  it('verify: expired, not yet valid, self-signed, from a stranger', async () => {
    const settings = { tls_security_level: 'verify', ...trusting } as const
    const names = ['m1.d.test']
    const stranger = await Authority.make('Stranger')
    for (const [what, certificate] of Object.entries({
      expired: await authority.issue({ names, from: -10, to: -1 }),
      'not valid yet': await authority.issue({ names, from: 1 }),
      'self-signed': await selfSigned({ names }),
      authority: await stranger.issue({ names }),
    })) {
      const seen = await run(settings, { tls: serverTls(certificate) }, old)
      expect(seen.outcome, what).toBe('deferred 4.7.5')
      expect(seen.reply, what).toContain(what)
    }
  })

  it('J19 fingerprint: of the certificate or of its key, whatever else is wrong with it', async () => {
    const certificate = await selfSigned({ names: ['else.test'], from: -10, to: -5 })
    const digest = async (bytes: Buffer) =>
      Buffer.from(await crypto.subtle.digest('SHA-256', bytes)).toString('hex')
    const script = { tls: serverTls(certificate) }
    const level = { tls_security_level: 'fingerprint' } as const
    const ofKey = await digest(publicKeyOf(certificate))
    const ofCertificate = (await digest(certificate.der)).toUpperCase().replace(/..(?!$)/g, '$&:')
    for (const fingerprint of [ofKey, ofCertificate]) {
      const seen = await run({ ...level, tls_fingerprint_cert_match: ['00', fingerprint] }, script)
      expect(seen).toMatchObject({ outcome: 'sent', tls: 'fingerprint' })
    }
    const wrong = await run({ ...level, tls_fingerprint_cert_match: ['00'.repeat(32)] }, script)
    expect(wrong).toMatchObject({ outcome: 'deferred 4.7.5', tls: '!fingerprint' })
    const none = await run(level, script)
    expect(none).toMatchObject({ outcome: 'deferred 4.7.5', sessions: [] })
  })
})

describe('policies', () => {
  it('J20 keys of the table', async () => {
    const table = { 'd.test': 'encrypt', '.test': 'secure', '[d.test]:25': 'verify' }
    const client = environmentOf({ settings: { tls_policy_maps: [table] } }, 'smtp').tls
    const level = async (nexthop: string) => {
      const [destination] = parseDestinations(nexthop, {
        protocol: 'smtp',
        defaultService: 'smtp',
        knownPorts: {},
      })
      const result = await client.policy(destination as Destination)
      return result.ok ? result.policy.level : result.reason
    }
    expect(await level('d.test')).toBe('encrypt')
    expect(await level('e.d.test')).toBe('secure')
    expect(await level('[d.test]:25')).toBe('verify')
    expect(await level('[d.test]')).toBe('none')
    expect(await level('d.test:26')).toBe('none')
    expect(await level('bücher.test')).toBe('secure')
  })

  it('J20 the policy is the one of the next hop', async () => {
    const settings = { tls_security_level: 'may', tls_policy_maps: [{ 'd.test': 'encrypt' }] } as const
    expect(await run(settings, {})).toMatchObject({ outcome: 'deferred 4.7.4', commands: 'EHLO QUIT' })
    const exempt = { tls_security_level: 'encrypt', tls_policy_maps: [{ 'd.test': 'none' }] } as const
    expect(await run(exempt, { tls: await named('x') })).toMatchObject({ outcome: 'sent', tls: 'none' })
  })

  it('J21 an attribute that is not known: the server is not used', async () => {
    const settings = { tls_policy_maps: [{ 'd.test': 'secure bogus=1' }] }
    const seen = await run(settings, { tls: await named('d.test') })
    expect(seen).toMatchObject({ outcome: 'deferred 4.7.5', sessions: [] })
    expect(seen.reply).toContain('`bogus`')
  })

  it('TLS-8 a table that fails', async () => {
    const seen = await run({ tls_policy_maps: ['fail:broken'] }, { tls: await named('d.test') })
    expect(seen).toMatchObject({ outcome: 'deferred 4.3.0', sessions: [] })
  })

  it('TLS-2 match, servername and tafile of an entry', async () => {
    const file = join(dir, 'anchor.pem')
    const stranger = await Authority.make('Stranger')
    writeFileSync(file, stranger.cert)
    const entry = `secure match=mail.test:.other.test servername=sni.test tafile=${file}`
    const settings = { tls_policy_maps: [{ 'd.test': entry }], ...trusting }
    const by = async (issuer: Authority, name: string) =>
      run(settings, { tls: serverTls(await issuer.issue({ names: [name] })) })
    const sent = await by(stranger, 'a.other.test')
    expect(sent.outcome).toBe('sent')
    expect(sent.sessions[0]!.servername).toBe('sni.test')
    expect((await by(stranger, 'mail.test')).outcome).toBe('sent')
    expect((await by(stranger, 'd.test')).outcome).toBe('deferred 4.7.5')
    expect((await by(authority, 'mail.test')).outcome).toBe('deferred 4.7.5')
  })
})

describe('what is seen of it', () => {
  /** What was counted for metrics. */
  const counted = async (settings: Partial<ClientSettings>, script: Script, setup: Setup = {}) => {
    const facts: TlsFact[] = []
    const all = settingsOf('smtp', settings)
    const tls = tlsClient(all, 'smtp', { tally: (fact) => facts.push(fact) })
    await run(settings, script, { ...setup, environment: { tls } })
    return facts
  }

  it('each session is counted: secured, or why not', async () => {
    const tls = await named('m1.d.test')
    const strict = { tls_security_level: 'verify', ...trusting } as const
    expect(await counted(strict, { tls })).toEqual([
      {
        kind: 'secured',
        level: 'verify',
        protocol: 'TLSv1.3',
        cipher: 'TLS_AES_256_GCM_SHA384',
        class: 'verified',
        resumed: false,
      },
    ])
    const missed = async (level: TlsLevel, script: Script, over: Partial<ClientSettings> = {}) =>
      (await counted({ tls_security_level: level, ...trusting, ...over }, script)).map((fact) => [
        fact.level,
        fact.kind === 'missed' ? fact.reason : fact.kind,
      ])
    expect(await missed('may', {})).toEqual([['may', 'starttls-not-supported']])
    expect(await missed('encrypt', {})).toEqual([['encrypt', 'starttls-not-supported']])
    expect(await missed('encrypt', { tls: { ...tls, broken: 'close' } })).toEqual([['encrypt', 'handshake']])
    expect(await missed('verify', { tls: await named('other.test') })).toEqual([
      ['verify', 'certificate-host-mismatch'],
    ])
    expect(await missed('none', { tls })).toEqual([])
    const table = [{ 'd.test': 'secure nonsense=1' }]
    expect(await missed('may', {}, { tls_policy_maps: table })).toEqual([['', 'policy']])
  })

  it('tls_loglevel_maps: how much is logged, by next hop', async () => {
    const tls = await named('m1.d.test')
    const lines = async (maps: Record<string, string>) =>
      (await run({ tls_security_level: 'encrypt', tls_loglevel_maps: [maps] }, { tls })).log.filter(
        ({ event }) => event === 'delivery.tls',
      )
    expect(await lines({ 'other.test': '2' })).toEqual([])
    expect(await lines({ 'd.test': '1' })).toHaveLength(1)
    expect((await lines({ 'd.test': '2' }))[0]!.facts).toHaveProperty('servername')
    expect(await lines({ '.test': '1' })).toHaveLength(1)
    // What cannot be understood changes nothing.
    expect(await lines({ 'd.test': 'much' })).toEqual([])
  })

  it('a policy of may on a unix socket is none, and the one who wrote it hears of it', async () => {
    const settings = settingsOf('lmtp', { tls_policy_maps: [{ '/run/lmtp': 'may' }] })
    const warned: string[] = []
    const tls = tlsClient(settings, 'lmtp', { warn: (event) => warned.push(event) })
    const destination = parseDestinations('unix:/run/lmtp', {
      protocol: 'lmtp',
      defaultService: '24',
      knownPorts: {},
    })[0] as Destination
    expect(await tls.policy(destination)).toMatchObject({ ok: true, policy: { level: 'none' } })
    expect(warned).toEqual(['delivery.tls-on-unix'])
  })
})

describe('trust', () => {
  const secure = { tls_security_level: 'secure' } as const

  it('TLS-18 an intermediate authority as the anchor, and a public key as one', async () => {
    const below = await authority.subordinate('Intermediate')
    const leaf = await below.issue({ names: ['d.test'] })
    const tls = { context: createSecureContext({ cert: leaf.cert + below.cert, key: leaf.key }) }
    const anchored = async (name: string, pem: string) => {
      writeFileSync(join(dir, name), pem)
      return (await run({ ...secure, tls_trust_anchor_file: [join(dir, name)] }, { tls })).outcome
    }
    expect(await anchored('intermediate.pem', below.cert)).toBe('sent')
    const pem = (one: Certificate) => one.x509.publicKey.export({ type: 'spki', format: 'pem' }).toString()
    expect(await anchored('key.pem', pem(below))).toBe('sent')
    expect(await anchored('root-key.pem', pem(authority))).toBe('sent')
    const stranger = await Authority.make('Stranger')
    expect(await anchored('wrong.pem', pem(stranger))).toBe('deferred 4.7.5')
    expect(await anchored('other.pem', stranger.cert)).toBe('deferred 4.7.5')
  })

  it('TLS-18 the chain is no longer than tls_scert_verifydepth', async () => {
    const below = await authority.subordinate('Intermediate')
    const leaf = await below.issue({ names: ['d.test'] })
    const tls = { context: createSecureContext({ cert: leaf.cert + below.cert, key: leaf.key }) }
    const depth = async (tls_scert_verifydepth: number) =>
      (await run({ ...secure, ...trusting, tls_scert_verifydepth }, { tls })).outcome
    expect(await depth(2)).toBe('sent')
    expect(await depth(1)).toBe('deferred 4.7.5')
  })

  it('TLS-18 a folder of authorities', async () => {
    const folder = mkdtempSync(join(dir, 'ca-'))
    writeFileSync(join(folder, 'readme'), 'nothing here')
    writeFileSync(join(folder, 'abc.0'), authority.cert)
    const seen = await run({ ...secure, tls_ca_path: folder }, { tls: await named('d.test') })
    expect(seen.outcome).toBe('sent')
  })

  it('TLS-6 authorities that cannot be read: may goes on in plaintext, others wait', async () => {
    const settings = { tls_ca_file: join(dir, 'nowhere.pem') }
    const script = { tls: await named('d.test') }
    const favour = await run({ tls_security_level: 'may', ...settings }, script)
    expect(favour).toMatchObject({ outcome: 'sent', commands: `EHLO ${mail}`, tls: 'may:none' })
    const must = await run({ ...secure, ...settings }, script)
    expect(must).toMatchObject({ outcome: 'deferred 4.7.5', commands: 'EHLO QUIT' })
    expect(must.reply).toContain('nowhere.pem')
  })

  it('TLS-18 what cannot be used is told before it is needed, with the file', () => {
    const junk = join(dir, 'junk.pem')
    writeFileSync(junk, 'no certificate')
    const check = (over: Partial<ClientSettings>, engine: Partial<EngineSettings> = {}) =>
      new Contexts(settingsOf('smtp', over), { ...defaults(tlsEngineSettings), ...engine }).check()
    expect(check({})).toBeUndefined()
    expect(check(trusting)).toBeUndefined()
    for (const over of [
      { tls_ca_file: junk },
      { tls_ca_path: join(dir, 'junk.pem') },
      { tls_trust_anchor_file: [junk] },
      { tls_chain_files: [junk] },
      { tls_cert_file: join(dir, 'ca.pem'), tls_key_file: junk },
    ]) {
      expect(check(over), JSON.stringify(over)).toContain(dir)
    }
    expect(check({ tls_exclude_ciphers: ['ALL'] })).toContain('no cipher is left')
    expect(check({}, { medium_cipherlist: 'NOTHING' })).toContain('no cipher is left')
  })

  it('TLS-18 our own certificate, where the server asks for one', async () => {
    const own = await authority.issue({ names: ['client.test'] })
    writeFileSync(join(dir, 'chain.pem'), own.key + own.cert)
    const certificate = await authority.issue({ names: ['d.test'] })
    const { cert, key } = certificate
    const tls = { context: createSecureContext({ cert, key, ca: authority.cert }), requestCert: true }
    const chain = { tls_security_level: 'encrypt', tls_chain_files: [join(dir, 'chain.pem')] } as const
    expect((await run(chain, { tls })).sessions[0]!.client).toBe('client.test')
    expect((await run({ tls_security_level: 'encrypt' }, { tls })).sessions[0]!.client).toBe('')
  })
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

describe('DANE', () => {
  const dane = { tls_security_level: 'dane', dns_support_level: 'dnssec', tls_loglevel: 1 } as const
  type Tlsa = RecordData['TLSA']

  /** `3 1 1` of a certificate, or the digest given. */
  const tlsa = (text: string, of: Certificate | Buffer): Tlsa => {
    const [usage = 0, selector = 0, matchingType = 0] = text.split(' ').map(Number)
    const whole = Buffer.isBuffer(of) ? of : selector === 0 ? of.der : publicKeyOf(of)
    const digest = ['', 'sha256', 'sha512'][matchingType] ?? ''
    return {
      usage,
      selector,
      matchingType,
      data: digest === '' ? whole : createHash(digest).update(whole).digest(),
    }
  }

  const zoneOf = (
    records: readonly Tlsa[] | 'soft' | 'malformed' | undefined,
    {
      port,
      mx = true,
      address = true,
      signed = true,
    }: { port: number; mx?: boolean; address?: boolean; signed?: boolean },
  ): Zone => ({
    'd.test': { mx: [[10, 'm1.d.test']], secure: mx },
    'm1.d.test': { a: ['127.0.0.1'], secure: address },
    ...(records === undefined ? {} : { [`_${port}._tcp.m1.d.test`]: { tlsa: records, secure: signed } }),
  })

  const runDane = async (
    records: readonly Tlsa[] | 'soft' | 'malformed' | undefined,
    tls: TlsScript | undefined,
    over: Partial<ClientSettings> = {},
    zone: { mx?: boolean; address?: boolean; signed?: boolean } = {},
    setup: Setup = {},
  ) => {
    const script = tls === undefined ? {} : { tls }
    await using server = await ScriptedServer.start(script)
    const { port } = server
    const log: LogLine[] = []
    const report = await deliver({
      zone: zoneOf(records, { port, ...zone }),
      log,
      ...setup,
      settings: { tcp_port: String(port), ...dane, ...over },
    })
    await server.until(() => server.sessions.every(({ closed }) => closed))
    return {
      outcome: outcome(report)[0]!,
      reply: report.results[0]!.reply,
      tls: report.tls,
      connections: server.sessions.length,
      servername: server.sessions[0]?.servername,
      class: log.find(({ event }) => event === 'delivery.tls')?.facts.class,
      log,
      mails: server.commands.filter((command) => command === 'CONTENT').length,
    }
  }

  it('J24 dane: a record fits, whatever the name and the dates', async () => {
    const certificate = await selfSigned({ names: ['else.test'], from: -10, to: -5 })
    for (const text of ['3 1 1', '3 0 1', '3 1 2', '3 0 0', '3 1 0']) {
      const seen = await runDane([tlsa(text, certificate)], serverTls(certificate))
      expect(seen, text).toMatchObject({ outcome: 'sent', class: 'verified', tls: 'dane' })
      // J39: the TLSA base domain.
      expect(seen.servername).toBe('m1.d.test')
    }
  })

  it('J25 dane: no record fits', async () => {
    const certificate = await selfSigned({ names: ['m1.d.test'] })
    const other = await selfSigned({ names: ['m1.d.test'] })
    const aged = { request: { arrivedAt: Date.now() - 400_000 } }
    const seen = await runDane([tlsa('3 1 1', other)], serverTls(certificate), {}, {}, aged)
    expect(seen).toMatchObject({ outcome: 'deferred 4.7.5', tls: '!dane', connections: 1, mails: 0 })
  })

  it('J25 dane: the server does not offer TLS', async () => {
    const certificate = await selfSigned({ names: ['m1.d.test'] })
    const seen = await runDane([tlsa('3 1 1', certificate)], undefined)
    expect(seen).toMatchObject({ outcome: 'deferred 4.7.4', mails: 0 })
  })

  it('J26 dane: the lookup fails for one server, another has no records', async () => {
    await using server = await ScriptedServer.start({ tls: await named('x') })
    const zone: Zone = {
      'd.test': {
        mx: [
          [10, 'm1.d.test'],
          [20, 'm2.d.test'],
        ],
        secure: true,
      },
      'm1.d.test': { a: ['127.0.0.1'], secure: true },
      'm2.d.test': { a: ['127.0.0.1'], secure: true },
      [`_${server.port}._tcp.m1.d.test`]: { tlsa: 'soft' },
    }
    const log: LogLine[] = []
    const report = await deliver({ zone, log, settings: { tcp_port: String(server.port), ...dane } })
    expect(outcome(report)).toEqual(['sent'])
    expect(report.tls).toBe('dane:may')
    expect(server.sessions).toHaveLength(1)
    expect(log.find(({ event }) => event === 'delivery.tls')?.facts.relay).toContain('m2.d.test')
  })

  it('J26 dane: the lookup fails for the only server', async () => {
    const seen = await runDane('soft', await named('m1.d.test'))
    expect(seen).toMatchObject({ outcome: 'deferred 4.7.5', connections: 0 })
  })

  it('J28 dane-only: none found', async () => {
    const only = { tls_security_level: 'dane-only' } as const
    const tls = await named('m1.d.test')
    expect(await runDane(undefined, tls, only)).toMatchObject({ outcome: 'deferred 4.7.5', connections: 0 })
    const records = [tlsa('3 1 1', authority)]
    const unsigned = await runDane(records, tls, only, { signed: false })
    expect(unsigned).toMatchObject({ outcome: 'deferred 4.7.5', connections: 0 })
    const insecureMx = await runDane(records, tls, only, { mx: false })
    expect(insecureMx).toMatchObject({ outcome: 'deferred 4.7.5', connections: 0 })
    const unusable = await runDane([tlsa('0 0 1', authority)], tls, only)
    expect(unusable).toMatchObject({ outcome: 'deferred 4.7.5', connections: 0 })
  })

  it('J29 dane: only records that are of no use: TLS, whatever the certificate', async () => {
    const digest = tlsa('3 1 1', authority)
    const useless: Record<string, readonly Tlsa[] | 'malformed'> = {
      'usage 0': [tlsa('0 0 1', authority)],
      'usage 1': [tlsa('1 1 1', authority)],
      'unknown usage': [{ ...digest, usage: 7 }],
      'unknown selector': [{ ...digest, selector: 2 }],
      'unknown matching type': [{ ...digest, matchingType: 9 }],
      'digest too short': [{ ...digest, data: digest.data.subarray(1) }],
      'no data': [{ ...digest, data: Buffer.alloc(0) }],
      'no certificate': [tlsa('2 0 0', Buffer.from('garbage'))],
      unreadable: 'malformed',
    }
    for (const [what, records] of Object.entries(useless)) {
      const seen = await runDane(records, await named('else.test'))
      expect(seen, what).toMatchObject({ outcome: 'sent', tls: 'dane:encrypt' })
      const plain = await runDane(records, undefined)
      expect(plain, what).toMatchObject({ outcome: 'deferred 4.7.4', mails: 0 })
    }
  })

  it('J30 dane: settings that spoil it', async () => {
    for (const over of [
      { ignore_mx_lookup_error: true },
      { dns_support_level: '' },
      { host_lookup: ['native', 'dns'], dns_resolver_options: ['res_defnames'] },
    ] as Partial<ClientSettings>[]) {
      const seen = await runDane([tlsa('3 1 1', authority)], await named('else.test'), over)
      expect(seen).toMatchObject({ outcome: 'sent', tls: 'dane:may' })
      expect(seen.log).toContainEqual(expect.objectContaining({ level: 'warn', event: 'delivery.dane-off' }))
      const only = await runDane(undefined, await named('x'), { ...over, tls_security_level: 'dane-only' })
      expect(only).toMatchObject({ outcome: 'deferred 4.7.5', connections: 0 })
    }
  })

  it('TLS-20 nothing signed: as may', async () => {
    const records = [tlsa('3 1 1', authority)]
    const tls = await named('else.test')
    expect(await runDane(records, tls, {}, { signed: false })).toMatchObject({
      outcome: 'sent',
      tls: 'dane:may',
    })
    expect(await runDane(records, tls, {}, { address: false })).toMatchObject({
      outcome: 'sent',
      tls: 'dane:may',
    })
    const forced = { tls_force_insecure_host_tlsa_lookup: true }
    const seen = await runDane(records, tls, forced, { address: false })
    expect(seen).toMatchObject({ outcome: 'deferred 4.7.5', mails: 0 })
  })

  it('TLS-20 MX records that are not signed', async () => {
    const certificate = await selfSigned({ names: ['x'] })
    const fits = [tlsa('3 1 1', certificate)]
    const other = [tlsa('3 1 1', authority)]
    const tls = serverTls(certificate)
    const by = (records: readonly Tlsa[], policy: 'dane' | 'encrypt' | 'may') =>
      runDane(records, tls, { tls_dane_insecure_mx_policy: policy }, { mx: false })
    expect(await by(fits, 'dane')).toMatchObject({ outcome: 'sent', class: 'trusted', tls: 'dane' })
    expect(await by(other, 'dane')).toMatchObject({ outcome: 'deferred 4.7.5' })
    expect(await by(other, 'encrypt')).toMatchObject({ outcome: 'sent', tls: 'dane:encrypt' })
    expect(await by(other, 'may')).toMatchObject({ outcome: 'sent', tls: 'dane:may' })
  })

  it('TLS-20 usage 2: an authority vouches, and names and dates count', async () => {
    const below = await authority.subordinate('Below')
    const chainOf = (leaf: Certificate, ...issuers: Certificate[]) => ({
      context: createSecureContext({
        cert: [leaf, ...issuers].map(({ cert }) => cert).join(''),
        key: leaf.key,
      }),
    })
    const leaf = await below.issue({ names: ['m1.d.test'] })
    for (const text of ['2 0 1', '2 1 1', '2 0 0', '2 1 0', '2 1 2']) {
      const chain = chainOf(leaf, below, authority)
      expect(await runDane([tlsa(text, authority)], chain), text).toMatchObject({
        outcome: 'sent',
        class: 'verified',
      })
      expect(await runDane([tlsa(text, below)], chain), text).toMatchObject({ outcome: 'sent' })
    }
    // In full in the DNS: the server need not send it.
    expect(await runDane([tlsa('2 0 0', authority)], chainOf(leaf, below))).toMatchObject({ outcome: 'sent' })
    expect(await runDane([tlsa('2 1 0', authority)], chainOf(leaf, below))).toMatchObject({ outcome: 'sent' })
    // A digest of one that is not there.
    expect(await runDane([tlsa('2 0 1', authority)], chainOf(leaf))).toMatchObject({
      outcome: 'deferred 4.7.5',
    })
    const forDomain = await below.issue({ names: ['d.test'] })
    expect(await runDane([tlsa('2 1 1', below)], chainOf(forDomain, below))).toMatchObject({
      outcome: 'sent',
    })
    const refused: Record<string, TlsScript> = {
      name: chainOf(await below.issue({ names: ['else.test'] }), below),
      expired: chainOf(await below.issue({ names: ['m1.d.test'], from: -9, to: -1 }), below),
      stranger: chainOf(await (await Authority.make()).issue({ names: ['m1.d.test'] }), below, authority),
    }
    for (const [what, chain] of Object.entries(refused)) {
      expect(await runDane([tlsa('2 1 1', below)], chain), what).toMatchObject({
        outcome: 'deferred 4.7.5',
        mails: 0,
      })
    }
  })

  it('TLS-20 usage 2: who may not issue certificates vouches for nobody', async () => {
    const leaf = await authority.issue({ names: ['m1.d.test'] })
    const imposter = await Authority.make('m1.d.test', { ca: false, names: ['m1.d.test'] })
    const forged = await imposter.issue({ names: ['m1.d.test'] })
    const chain = { context: createSecureContext({ cert: forged.cert + imposter.cert, key: forged.key }) }
    expect(await runDane([tlsa('2 0 1', imposter)], chain)).toMatchObject({ outcome: 'deferred 4.7.5' })
    const narrow = await authority.subordinate('Narrow', { pathLength: 0 })
    const deeper = await narrow.subordinate('Deeper')
    const deep = await deeper.issue({ names: ['m1.d.test'] })
    const long = {
      context: createSecureContext({
        cert: [deep, deeper, narrow].map(({ cert }) => cert).join(''),
        key: deep.key,
      }),
    }
    expect(await runDane([tlsa('2 0 1', narrow)], long)).toMatchObject({ outcome: 'deferred 4.7.5' })
    expect(leaf.x509.ca).toBe(false)
  })

  it('TLS-20 digests: of several the strongest counts', async () => {
    const certificate = await selfSigned({ names: ['x'] })
    const wrong = await selfSigned({ names: ['x'] })
    const tls = serverTls(certificate)
    const weakFits = [tlsa('3 1 1', certificate), tlsa('3 1 2', wrong)]
    expect(await runDane(weakFits, tls)).toMatchObject({ outcome: 'deferred 4.7.5' })
    const strongFits = [tlsa('3 1 1', wrong), tlsa('3 1 2', certificate)]
    expect(await runDane(strongFits, tls)).toMatchObject({ outcome: 'sent' })
    const rollover = [tlsa('3 1 1', wrong), tlsa('3 1 1', certificate)]
    expect(await runDane(rollover, tls)).toMatchObject({ outcome: 'sent' })
    const otherSelector = [tlsa('3 0 1', certificate), tlsa('3 1 2', wrong)]
    expect(await runDane(otherSelector, tls)).toMatchObject({ outcome: 'sent' })
  })

  it('TLS-20 other records want to see the certificate anew', async () => {
    const certificate = await selfSigned({ names: ['x'] })
    await using server = await ScriptedServer.start({ tls: serverTls(certificate) })
    const table = new SessionTable()
    const sessions: TlsSessions = {
      find: async (id) => table.find(id, 0),
      save: (id, session) => table.save(id, session, 1),
      drop: (id) => table.drop(id),
    }
    const settings = settingsOf('smtp', { tcp_port: String(server.port), ...dane })
    const fits = tlsa('3 1 1', certificate)
    for (const records of [[fits], [fits], [fits, tlsa('3 1 1', authority)], [tlsa('3 1 1', authority)]]) {
      const resolver = new ZoneResolver(zoneOf(records, { port: server.port }))
      const tls = tlsClient(settings, 'smtp', { resolver, sessions })
      const report = await deliver({ settings, environment: { resolver, tls } })
      const wanted = records.includes(fits) ? 'sent' : 'deferred 4.7.5'
      expect(outcome(report)).toEqual([wanted])
      await server.until(() => server.sessions.every(({ closed }) => closed))
    }
    expect(server.sessions.map(({ resumed }) => resumed)).toEqual([false, true, false, false])
  })

  it('TLS-20 aliases: the name they lead to comes first, then the one that was asked for', async () => {
    const certificate = await selfSigned({ names: ['x'] })
    await using server = await ScriptedServer.start({ tls: serverTls(certificate) })
    const settings = { tcp_port: String(server.port), ...dane }
    const at = (name: string) => `_${server.port}._tcp.${name}`
    const zone = (tlsaAt: string, over: Zone = {}): Zone => ({
      'd.test': { mx: [[10, 'm1.d.test']], secure: true },
      'm1.d.test': { a: ['127.0.0.1'], alias: 'real.test', secure: true },
      [at(tlsaAt)]: { tlsa: [tlsa('3 1 1', certificate)], secure: true },
      ...over,
    })
    const names: (string | undefined)[] = []
    for (const name of ['real.test', 'm1.d.test']) {
      const report = await deliver({ zone: zone(name), settings })
      expect(outcome(report), name).toEqual(['sent'])
      expect(report.tls, name).toBe('dane')
      names.push(server.sessions.at(-1)!.servername)
    }
    expect(names).toEqual(['real.test', 'm1.d.test'])
    const both = zone('m1.d.test', { [at('real.test')]: { tlsa: [tlsa('3 1 1', authority)], secure: true } })
    expect(outcome(await deliver({ zone: both, settings }))).toEqual(['deferred 4.7.5'])
  })
})

describe('what the mail itself asks for, RFC 8689', () => {
  const optional = { content: { bytes: Buffer.from('Subject: x\r\nTLS-Required: No\r\n\r\nhello\r\n') } }
  const demanding = { requiretls: true }
  const secure = { tls_security_level: 'secure' } as const

  it('J23 TLS-Required: no, the level is secure and the certificate is not right', async () => {
    const script = { tls: serverTls(await selfSigned({ names: ['else.test'] })) }
    expect(await run({ ...secure, ...trusting }, script)).toMatchObject({ outcome: 'deferred 4.7.5' })
    const seen = await run({ ...secure, ...trusting }, script, { request: optional })
    expect(seen).toMatchObject({ outcome: 'sent', commands: secured, tls: 'may' })
    const plain = await run(secure, {}, { request: optional })
    expect(plain).toMatchObject({ outcome: 'sent', commands: `EHLO ${mail}` })
    const broken = { tls_policy_maps: [{ 'd.test': 'secure bogus=1' }] }
    expect(await run(broken, {}, { request: optional })).toMatchObject({ outcome: 'sent' })
  })

  it('TLS-3 TLS-Required: no has no say where REQUIRETLS was asked for, or where it is switched off', async () => {
    const both = await run(secure, {}, { request: { ...optional, ...demanding } })
    expect(both.outcome).toBe('bounced 5.7.30')
    const off = { tlsFeatures: { requiretls_enable: true, required_enable: false } }
    const seen = await run(secure, {}, { request: optional, environment: off })
    expect(seen.outcome).toBe('deferred 4.7.4')
    const body = { content: { bytes: Buffer.from('Subject: x\r\n\r\nTLS-Required: No\r\n') } }
    expect((await run(secure, {}, { request: body })).outcome).toBe('deferred 4.7.4')
  })

  it('J36 REQUIRETLS: the server does not offer it', async () => {
    const script = { tls: await named('d.test') }
    const seen = await run({ ...secure, ...trusting }, script, { request: demanding })
    expect(seen).toMatchObject({ outcome: 'bounced 5.7.30', commands: 'EHLO STARTTLS handshake EHLO QUIT' })
    // What is said before TLS does not count.
    const early = { keywords: ['REQUIRETLS'], tls: { ...(await named('d.test')), keywords: [] } }
    expect(await run({ ...secure, ...trusting }, early, { request: demanding })).toMatchObject({
      outcome: 'bounced 5.7.30',
    })
  })

  it('J36 TLS-23 soft as long as there is another server', async () => {
    const tls = await named('d.test')
    const zone: Zone = {
      'd.test': {
        mx: [
          [10, 'm1.d.test'],
          [20, 'm2.d.test'],
        ],
      },
      'm1.d.test': { a: ['127.0.0.1'] },
      'm2.d.test': { a: ['127.0.0.1'] },
    }
    const scripts = [{ tls }, { tls: { ...tls, keywords: ['REQUIRETLS'] } }]
    const seen = await run({ ...secure, ...trusting }, scripts, { zone, request: demanding })
    expect(seen).toMatchObject({ outcome: 'sent', tls: 'secure/requiretls' })
  })

  it('J38 REQUIRETLS: all is there', async () => {
    const script = { tls: { ...(await named('d.test')), keywords: ['REQUIRETLS', 'DSN'] } }
    const seen = await run({ ...secure, ...trusting }, script, { request: { ...demanding, ret: 'FULL' } })
    expect(seen.outcome).toBe('sent')
    expect(seen.sessions[0]!.commands).toContain('MAIL FROM:<s@client.test> RET=FULL REQUIRETLS')
    const other = await run({ ...secure, ...trusting }, script)
    expect(other.sessions[0]!.commands).toContain('MAIL FROM:<s@client.test>')
  })

  it('TLS-23 enforce: what does not do', async () => {
    const request = demanding
    const script = { tls: { ...(await named('d.test')), keywords: ['REQUIRETLS'] } }
    // No level that checks certificates, or none that comes to it.
    for (const level of ['none', 'encrypt', 'dane'] as const) {
      const weak = await run({ tls_security_level: level, dns_support_level: 'dnssec' }, script, { request })
      expect(weak, level).toMatchObject({ outcome: 'bounced 5.7.10', sessions: [] })
    }
    expect(await run(secure, {}, { request })).toMatchObject({ outcome: 'bounced 5.7.30' })
    const refused = { ...script, answers: { STARTTLS: '454 4.7.0 not now' } }
    expect(await run(secure, refused, { request })).toMatchObject({ outcome: 'bounced 5.7.10' })
    const wrong = { tls: { ...(await named('else.test')), keywords: ['REQUIRETLS'] } }
    expect(await run({ ...secure, ...trusting }, wrong, { request })).toMatchObject({
      outcome: 'bounced 5.7.10',
    })
  })

  it('TLS-23 the actions that demand less, by next hop', async () => {
    const request = { ...demanding, ret: 'FULL' as const }
    const policy = (...requiretls_policy: string[]) =>
      ({ tls_security_level: 'may', requiretls_policy }) as const
    const plain = { keywords: ['DSN'] }
    const opportunistic = await run(policy('opportunistic'), plain, { request })
    expect(opportunistic.outcome).toBe('sent')
    // Nobody gets the content back in plaintext.
    expect(opportunistic.sessions[0]!.commands).toContain('MAIL FROM:<s@client.test> RET=HDRS')
    expect((await run(policy('opportunistic+starttls'), plain, { request })).outcome).toBe('bounced 5.7.30')
    const nonsense = { tls: { ...(await named('x')), broken: 'what?\r\n' } }
    const aged = { request: { ...request, arrivedAt: Date.now() - 400_000 } }
    expect(await run(policy('opportunistic+starttls'), nonsense, aged)).toMatchObject({
      outcome: 'deferred 4.7.5',
    })
    const tls = { tls: { ...(await named('x')), keywords: ['REQUIRETLS'] } }
    expect(await run(policy('opportunistic+starttls'), tls, { request })).toMatchObject({
      outcome: 'sent',
      tls: 'encrypt/(requiretls)',
    })
    const disabled = await run(policy('inline:{d.test=disable}', 'enforce'), tls, { request })
    expect(disabled.sessions[0]!.commands).toContain('MAIL FROM:<s@client.test>')
    const other = await run(policy('inline:{other.test=disable}', 'enforce'), tls, { request })
    expect(other.outcome).toBe('bounced 5.7.10')
    const bad = await run(policy('inline:{d.test=perhaps}'), tls, { request })
    expect(bad).toMatchObject({ outcome: 'deferred 4.7.10', sessions: [] })
  })
})

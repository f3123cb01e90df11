/** Group J of the acceptance cases: DANE, and what a mail asks for by itself. */
import { createHash } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import { describe, expect, it } from 'vitest'
import type { RecordData } from '../../../../src/dns/resolver.ts'
import type { ClientSettings } from '../../../../src/protocols/smtp/client/config.ts'
import { SessionTable, type TlsSessions } from '../../../../src/protocols/smtp/client/tls/sessions.ts'
import { Authority, type Certificate, publicKeyOf, selfSigned } from '../../../support/certificates.ts'
import {
  deliver,
  type LogLine,
  outcome,
  type Setup,
  settingsOf,
  tlsClient,
  type Zone,
  ZoneResolver,
} from './harness.ts'
import { ScriptedServer, type TlsScript } from './scripted-server.ts'
import { authority, mail, named, run, secured, serverTls, trusting } from './tls-cases.ts'

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

/** Group J of the acceptance cases: whom we trust, which policy applies, and what is seen of it. */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createSecureContext } from 'node:tls'
import { describe, expect, it } from 'vitest'
import { defaults } from '../../../../src/config/schema.ts'
import type { ClientSettings } from '../../../../src/protocols/smtp/client/config.ts'
import { type Destination, parseDestinations } from '../../../../src/protocols/smtp/client/destination.ts'
import { tlsEngineSettings } from '../../../../src/protocols/smtp/client/tls/config.ts'
import { Contexts, type EngineSettings } from '../../../../src/protocols/smtp/client/tls/contexts.ts'
import type { TlsFact } from '../../../../src/protocols/smtp/client/tls/counts.ts'
import type { TlsLevel } from '../../../../src/protocols/smtp/client/tls/levels.ts'
import { Authority, type Certificate, publicKeyOf, selfSigned } from '../../../support/certificates.ts'
import { deliver, environmentOf, outcome, type Setup, settingsOf, tlsClient } from './harness.ts'
import { type Script, ScriptedServer, type TlsScript } from './scripted-server.ts'
import { authority, dir, mail, named, old, run, secured, serverTls, trusting } from './tls-cases.ts'

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

  it('TLS-9 `*` is one label; a key or digest of 80 bits of strength will do', async () => {
    const settings = {
      ...trusting,
      tls_security_level: 'verify',
      tls_verify_cert_match: ['b.a.mail.test'],
    } as const
    expect((await run(settings, { tls: await named('*.a.mail.test') })).outcome).toBe('sent')
    expect((await run(settings, { tls: await named('*.mail.test') })).outcome).toBe('deferred 4.7.5')
    const below = { ...settings, tls_verify_cert_match: ['.mail.test'] }
    expect((await run(below, { tls: await named('*.a.mail.test') })).outcome).toBe('sent')
    const rsa = await Authority.make('RSA', { rsaBits: 2048 })
    writeFileSync(join(dir, 'rsa.pem'), rsa.cert)
    const { cert, key } = await rsa.issue({ names: ['d.test'], rsaBits: 1024 })
    const weak = { context: createSecureContext({ cert, key, ciphers: 'ALL:@SECLEVEL=0' }) }
    const trustingIt = { tls_ca_file: join(dir, 'rsa.pem'), tls_security_level: 'secure' } as const
    expect((await run(trustingIt, { tls: weak })).outcome).toBe('sent')
  })

  it('TLS-9 the address of a next hop is looked for among the addresses of the certificate', async () => {
    const to = async (
      match: readonly string[],
      addresses: readonly string[],
      names: readonly string[] = [],
    ) => {
      await using server = await ScriptedServer.start({
        tls: serverTls(await authority.issue({ addresses, names, commonName: '127.0.0.1' })),
      })
      const report = await deliver({
        request: { nexthop: `[127.0.0.1]:${server.port}` },
        settings: { ...trusting, tls_security_level: 'secure', tls_secure_cert_match: match },
      })
      return outcome(report)[0]
    }
    expect(await to(['nexthop'], ['127.0.0.1'])).toBe('sent')
    expect(await to(['nexthop'], ['127.0.0.2'])).toBe('deferred 4.7.5')
    expect(await to(['nexthop'], [], ['127.0.0.1'])).toBe('deferred 4.7.5')
    expect(await to(['nexthop', 'a.test'], ['127.0.0.1'], ['a.test'])).toBe('sent')
    expect(await to(['nexthop', 'dot-nexthop'], ['127.0.0.1'])).toBe('deferred 4.7.5')
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

  it('TLS-2 attributes as Postfix reads them', async () => {
    const tls = await named('d.test')
    const outcomes: string[] = []
    for (const policy of [
      'none match=x bogus=1',
      'may protocols= exclude=',
      'may connection_reuse=maybe connection_reuse=no',
      'may connection_reuse=yes connection_reuse=no',
      'encrypt protocols=>=0304',
      'encrypt ciphers=',
      'encrypt servername=bad_name.test.',
      'secure match=:d.test:',
      'secure match=',
      'fingerprint match=zz:zz',
      'dane servername=sni.test',
    ]) {
      const seen = await run({ ...trusting, tls_policy_maps: [{ 'd.test': policy }] }, { tls })
      outcomes.push(`${policy}: ${seen.outcome}, ${seen.tls}`)
    }
    expect(outcomes).toEqual([
      'none match=x bogus=1: sent, none',
      'may protocols= exclude=: sent, may',
      'may connection_reuse=maybe connection_reuse=no: deferred 4.7.5, undefined',
      'may connection_reuse=yes connection_reuse=no: sent, may',
      'encrypt protocols=>=0304: sent, encrypt',
      'encrypt ciphers=: deferred 4.7.5, undefined',
      'encrypt servername=bad_name.test.: deferred 4.7.5, undefined',
      'secure match=:d.test:: sent, secure',
      'secure match=: deferred 4.7.5, undefined',
      'fingerprint match=zz:zz: deferred 4.7.5, undefined',
      'dane servername=sni.test: sent, dane:may',
    ])
  })

  it('TLS-14 exclude of an entry takes the place of both settings', async () => {
    const settings = {
      tls_mandatory_protocols: ['<=TLSv1.2'],
      tls_exclude_ciphers: ['ECDHE-ECDSA-AES256-GCM-SHA384'],
      tls_loglevel: 1,
    }
    const tls = await named('d.test')
    const cipher = async (policy: string) => {
      const seen = await run({ ...settings, tls_policy_maps: [{ 'd.test': policy }] }, { tls })
      return seen.log.find(({ event }) => event === 'delivery.tls')?.facts.cipher
    }
    expect(await cipher('encrypt')).not.toBe('ECDHE-ECDSA-AES256-GCM-SHA384')
    expect(await cipher('encrypt exclude=RC4')).toBe('ECDHE-ECDSA-AES256-GCM-SHA384')
  })

  it('TLS-14 the grade null leaves TLS 1.3, and no cipher without encryption where a certificate has to match', async () => {
    const { cert, key } = await authority.issue({ names: ['d.test'] })
    const options = { ciphers: 'ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0', maxVersion: 'TLSv1.2' } as const
    const nothing = { context: createSecureContext({ cert, key, ...options }) }
    const by = async (policy: string, tls: TlsScript) =>
      (await run({ ...trusting, tls_policy_maps: [{ 'd.test': policy }] }, { tls })).outcome
    expect(await by('verify match=d.test ciphers=null', serverTls({ cert, key } as Certificate))).toBe('sent')
    expect(await by('verify match=d.test ciphers=null', nothing)).toBe('deferred 4.7.5')
    expect(await by('encrypt ciphers=null', nothing)).toBe('deferred 4.7.5')
    expect(await by('may ciphers=null', nothing)).toBe('sent')
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

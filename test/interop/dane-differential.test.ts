/**
 * DANE of Postfix's delivery client and of ours, with the same signed zones and the same servers: results, commands
 * and trust agree. Left out: a key of an authority (2 1 0) whose certificate may not issue others; Node keeps that
 * certificate from us, and the key alone is enough.
 */
import { createHash } from 'node:crypto'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createSecureContext } from 'node:tls'
import { describe, expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { defaults } from '../../src/config/schema.ts'
import { dnsSettings } from '../../src/dns/config.ts'
import { createResolver } from '../../src/dns/resolver.ts'
import type { ClientSettings } from '../../src/protocols/smtp/client/config.ts'
import { deliver, type LogLine, settingsOf, tlsClient } from '../protocols/smtp/client/harness.ts'
import { type Script, ScriptedServer } from '../protocols/smtp/client/scripted-server.ts'
import {
  Authority,
  type Certificate,
  type CertificateOptions,
  publicKeyOf,
  selfSigned,
} from '../support/certificates.ts'
import { SmtpClient } from '../support/clients.ts'
import { tempDir } from '../support/fixtures.ts'
import { startPostfixModel, whyNoNameServerOfItsOwn } from '../support/peers.ts'
import { because } from '../support/privileges.ts'
import { until } from '../support/until.ts'
import { startValidatingResolver } from '../support/validating-resolver.ts'

const missing =
  whyMissing(['postfix'], { root: true }) ??
  whyMissing(['unbound', 'dnssec-signzone', 'dnssec-keygen', 'unshare']) ??
  whyNoNameServerOfItsOwn()

/** Levels of TLS, with the settings of both. */
const profiles: Readonly<Record<string, Partial<ClientSettings>>> = {
  dane: { tls_security_level: 'dane' },
  only: { tls_security_level: 'dane-only' },
  insecurenone: { tls_security_level: 'dane', tls_dane_insecure_mx_policy: 'may' },
  insecureencrypt: { tls_security_level: 'dane', tls_dane_insecure_mx_policy: 'encrypt' },
  bytable: { tls_security_level: 'may', tls_policy_maps: ['static:dane'] },
  forced: { tls_security_level: 'dane', tls_force_insecure_host_tlsa_lookup: true },
}

interface DaneCase {
  readonly name: string
  readonly profile?: keyof typeof profiles
  /** Certificates that the server shows, its own first. */
  readonly chain: readonly Certificate[]
  readonly script?: Omit<Script, 'tls'> | 'no TLS'
  /** Zone lines; `at` is `_port._tcp` of this server. Names are below the zone of the case. */
  zone(at: string): readonly string[]
  /** In the zone that is not signed. */
  plain?(at: string): readonly string[]
  /** The next hop has no MX record to look for. */
  readonly bracketed?: string
  /** Domain of the mail, when not that of the case in the signed zone. */
  readonly domain?: string
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
const sha512 = (bytes: Buffer): string => createHash('sha512').update(bytes).digest('hex')

/** In the form of RFC 3597, which takes whatever it is. */
const tlsa = (usage: number, selector: number, type: number, hex: string): string => {
  const bytes = [usage, selector, type].map((n) => n.toString(16).padStart(2, '0')).join('') + hex
  return `IN TYPE52 \\# ${bytes.length / 2} ${bytes}`
}
const ee = (one: Certificate): string => tlsa(3, 1, 1, sha256(publicKeyOf(one)))
const wrong = sha256(Buffer.from('somebody else'))

async function daneCases(): Promise<DaneCase[]> {
  const cases: DaneCase[] = []
  const root = await Authority.make('Root')
  const below = await root.subordinate('Below')
  const oldRoot = await Authority.make('Old root', { from: -9, to: -1 })
  const oldBelow = await root.subordinate('Old', { from: -9, to: -1 })
  const noAuthority = await root.subordinate('None', { ca: false })
  const noSigner = await root.subordinate('No signer', { withoutCertSign: true })
  const forClients = await root.subordinate('For clients', { purposes: ['1.3.6.1.5.5.7.3.2'] })
  const barren = await root.subordinate('Barren', { pathLength: 0 })
  const belowBarren = await barren.subordinate('Below barren')
  const rsaRoot = await Authority.make('RSA root', { rsaBits: 2048 })
  const sha1Root = await Authority.make('SHA-1 root', { rsaBits: 2048, hash: 'SHA-1' })
  const sha1Below = await sha1Root.subordinate('SHA-1 below')
  const own = await selfSigned({ names: ['else.test'], from: -9, to: -1 })
  const id = () => `c${cases.length}`
  /** A case with an exchanger of its own that has these records. */
  const add = (
    name: string,
    chain: readonly Certificate[],
    records: readonly string[],
    over: Partial<DaneCase> = {},
  ) => {
    const label = id()
    cases.push({
      name,
      chain,
      zone: (at) => [
        `${label} IN MX 10 mx.${label}`,
        `mx.${label} IN A 127.0.0.1`,
        ...records.map((record) => `${at}.mx.${label} ${record}`),
      ],
      ...over,
    })
  }
  const host = () => `mx.${id()}.dane.test`
  const leafOf = (issuer: Authority, options: CertificateOptions = {}) =>
    issuer.issue({ names: [host()], ...options })

  // Usage 3.
  const key = publicKeyOf(own)
  add('3 1 1 fits', [own], [ee(own)])
  add('3 0 1 fits', [own], [tlsa(3, 0, 1, sha256(own.der))])
  add('3 1 2 fits', [own], [tlsa(3, 1, 2, sha512(key))])
  add('3 0 2 fits', [own], [tlsa(3, 0, 2, sha512(own.der))])
  add('3 1 0 fits', [own], [tlsa(3, 1, 0, key.toString('hex'))])
  add('3 0 0 fits', [own], [tlsa(3, 0, 0, own.der.toString('hex'))])
  add('3 1 1 of something else', [own], [tlsa(3, 1, 1, wrong)])
  add('3 0 1 of the key', [own], [tlsa(3, 0, 1, sha256(key))])
  add('3 1 1 of the issuer', [await leafOf(root), root], [ee(root)])
  add('3 1 1, the second of two', [own], [tlsa(3, 1, 1, wrong), ee(own)])
  add('3 1 1, dane-only', [own], [ee(own)], { profile: 'only' })
  add('3 1 1 of something else, dane-only', [own], [tlsa(3, 1, 1, wrong)], { profile: 'only' })
  // What cannot be used.
  const useless: Record<string, string> = {
    'usage 0': tlsa(0, 1, 1, sha256(key)),
    'usage 1': tlsa(1, 1, 1, sha256(key)),
    'usage 4': tlsa(4, 1, 1, sha256(key)),
    'usage 255': tlsa(255, 255, 255, sha256(key)),
    'selector 2': tlsa(3, 2, 1, sha256(key)),
    'matching type 3': tlsa(3, 1, 3, sha256(key)),
    'a short digest': tlsa(3, 1, 1, sha256(key).slice(2)),
    'a long digest': tlsa(3, 1, 1, `${sha256(key)}00`),
    'one octet of a digest': tlsa(3, 1, 1, '00'),
    'no key': tlsa(3, 1, 0, '3000'),
    'no certificate': tlsa(3, 0, 0, 'ffff'),
    'a key with more behind it': tlsa(3, 1, 0, `${key.toString('hex')}00`),
    'a certificate with more behind it': tlsa(3, 0, 0, `${own.der.toString('hex')}00`),
    'no key of an authority': tlsa(2, 1, 0, '3000'),
    'no certificate of an authority': tlsa(2, 0, 0, '3000'),
  }
  for (const [name, record] of Object.entries(useless)) {
    add(`${name} alone`, [own], [record])
    add(`${name} beside one that fits`, [own], [record, ee(own)])
    add(`${name} beside one that does not`, [own], [record, tlsa(3, 1, 1, wrong)])
  }
  add('usage 1 alone, dane-only', [own], [useless['usage 1']!], { profile: 'only' })
  // Usage 2.
  const byRoot = await leafOf(root)
  add('2 0 1, authority sent', [byRoot, root], [tlsa(2, 0, 1, sha256(root.der))])
  add('2 1 1, authority sent', [await leafOf(root), root], [tlsa(2, 1, 1, sha256(publicKeyOf(root)))])
  add('2 0 1, authority not sent', [await leafOf(root)], [tlsa(2, 0, 1, sha256(root.der))])
  add('2 0 0, authority not sent', [await leafOf(root)], [tlsa(2, 0, 0, root.der.toString('hex'))])
  add('2 1 0, authority not sent', [await leafOf(root)], [tlsa(2, 1, 0, publicKeyOf(root).toString('hex'))])
  add('2 1 0, authority sent', [await leafOf(root), root], [tlsa(2, 1, 0, publicKeyOf(root).toString('hex'))])
  add('2 1 1 of the intermediate', [await leafOf(below), below], [tlsa(2, 1, 1, sha256(publicKeyOf(below)))])
  add(
    '2 0 1 of the root, intermediate sent',
    [await leafOf(below), below, root],
    [tlsa(2, 0, 1, sha256(root.der))],
  )
  add(
    '2 0 1 of the root, intermediate not sent',
    [await leafOf(below), root],
    [tlsa(2, 0, 1, sha256(root.der))],
  )
  add(
    '2 0 0 of the root, intermediate sent',
    [await leafOf(below), below],
    [tlsa(2, 0, 0, root.der.toString('hex'))],
  )
  add(
    '2 1 0 of the root, intermediate sent',
    [await leafOf(below), below],
    [tlsa(2, 1, 0, publicKeyOf(root).toString('hex'))],
  )
  const itself = await leafOf(root)
  add('2 1 1 of the server itself', [itself, root], [tlsa(2, 1, 1, sha256(publicKeyOf(itself)))])
  const selfNamed = await selfSigned({ names: [host()] })
  add('2 0 1 of a self-signed server', [selfNamed], [tlsa(2, 0, 1, sha256(selfNamed.der))])
  const selfNamed2 = await selfSigned({ names: [host()] })
  add('2 0 0 of a self-signed server', [selfNamed2], [tlsa(2, 0, 0, selfNamed2.der.toString('hex'))])
  const selfCa = await selfSigned({ names: [host()], ca: true })
  add('2 0 1 of a self-signed authority as server', [selfCa], [tlsa(2, 0, 1, sha256(selfCa.der))])
  const ta = [tlsa(2, 0, 1, sha256(root.der))]
  add('2 0 1, for the domain', [await leafOf(root, { names: [`${id()}.dane.test`] }), root], ta)
  add('2 0 1, for another', [await leafOf(root, { names: ['else.test'] }), root], ta)
  add(
    '2 0 1, for a name below the domain',
    [await leafOf(root, { names: [`x.${id()}.dane.test`] }), root],
    ta,
  )
  add('2 0 1, with a wildcard', [await leafOf(root, { names: [`*.${id()}.dane.test`] }), root], ta)
  add('2 0 1, with a wildcard two labels up', [await leafOf(root, { names: ['*.dane.test'] }), root], ta)
  add('2 0 1, common name alone', [await leafOf(root, { names: [], commonName: host() }), root], ta)
  add('2 0 1, expired', [await leafOf(root, { from: -9, to: -1 }), root], ta)
  add('2 0 1, not valid yet', [await leafOf(root, { from: 2 }), root], ta)
  add('2 0 1, for clients', [await leafOf(root, { purposes: ['1.3.6.1.5.5.7.3.2'] }), root], ta)
  add('2 0 1, for anything', [await leafOf(root, { purposes: ['2.5.29.37.0'] }), root], ta)
  add('2 0 1, for servers', [await leafOf(root, { purposes: ['1.3.6.1.5.5.7.3.1'] }), root], ta)
  add('2 0 1, an authority as server', [await leafOf(root, { ca: true }), root], ta)
  const through = async (name: string, issuer: Authority, more: readonly Certificate[] = []) =>
    add(`2 0 1 of the root, ${name}`, [await leafOf(issuer), issuer, ...more, root], ta)
  await through('intermediate expired', oldBelow)
  await through('intermediate is no authority', noAuthority)
  await through('intermediate may not sign', noSigner)
  await through('intermediate for clients', forClients)
  await through('path too long', belowBarren, [barren])
  await through('path just right', barren)
  const direct = async (name: string, issuer: Authority, more: readonly Certificate[] = []) =>
    add(
      `2 0 1 of the issuer, ${name}`,
      [await leafOf(issuer), issuer, ...more],
      [tlsa(2, 0, 1, sha256(issuer.der))],
    )
  await direct('which has expired', oldRoot)
  await direct('which is an intermediate that has expired', oldBelow)
  await direct('which is no authority', noAuthority)
  await direct('which may not sign', noSigner)
  await direct('which is for clients', forClients)
  await direct('which may not have authorities below', barren)
  await direct('which signs with SHA-1', sha1Root)
  await direct('which is signed with SHA-1', sha1Below)
  const directKey = async (name: string, issuer: Authority) =>
    add(
      `2 1 0 of the issuer, ${name}`,
      [await leafOf(issuer), issuer],
      [tlsa(2, 1, 0, publicKeyOf(issuer).toString('hex'))],
    )
  await directKey('which has expired', oldRoot)
  await directKey('which signs with SHA-1', sha1Root)
  add(
    '2 0 1, key of 1024 bits',
    [await leafOf(rsaRoot, { rsaBits: 1024 }), rsaRoot],
    [tlsa(2, 0, 1, sha256(rsaRoot.der))],
  )
  const tiny = await leafOf(rsaRoot, { rsaBits: 512 })
  add('2 0 1, key of 512 bits', [tiny, rsaRoot], [tlsa(2, 0, 1, sha256(rsaRoot.der))])
  add('3 1 1, key of 512 bits', [tiny], [ee(tiny)])
  add('2 0 1 and 3 1 1, only the second fits', [own], [...ta, ee(own)])
  add('2 0 1 and 3 1 1, only the first fits', [await leafOf(root), root], [...ta, tlsa(3, 1, 1, wrong)])
  // Digests.
  add('3 1 2 does not fit, 3 1 1 does', [own], [tlsa(3, 1, 2, sha512(Buffer.from('x'))), ee(own)])
  add('3 1 1 does not fit, 3 1 2 does', [own], [tlsa(3, 1, 1, wrong), tlsa(3, 1, 2, sha512(key))])
  add('3 0 2 does not fit, 3 1 1 does', [own], [tlsa(3, 0, 2, sha512(Buffer.from('x'))), ee(own)])
  add('3 1 2 is too short, 3 1 1 fits', [own], [tlsa(3, 1, 2, wrong), ee(own)])
  add(
    '3 1 2 does not fit, 3 1 0 does',
    [own],
    [tlsa(3, 1, 2, sha512(Buffer.from('x'))), tlsa(3, 1, 0, key.toString('hex'))],
  )
  add(
    'many records',
    [own],
    [...Array.from({ length: 90 }, (_, i) => tlsa(3, 1, 1, sha256(Buffer.from([i])))), ee(own)],
  )
  // None.
  add('no records', [own], [])
  add('no records, dane-only', [own], [], { profile: 'only' })
  add('no TLS offered', [own], [ee(own)], { script: 'no TLS' })
  add('STARTTLS refused', [own], [ee(own)], { script: { answers: { STARTTLS: '454 4.7.0 no' } } })
  add('no TLS offered, none that fit', [own], [tlsa(1, 1, 1, wrong)], { script: 'no TLS' })
  // Names.
  const names = (name: string, chain: readonly Certificate[], more: Omit<DaneCase, 'name' | 'chain'>) =>
    cases.push({ name, chain, ...more })
  {
    const c = id()
    names('no MX, records of the domain', [own], {
      zone: (at) => [`${c} IN A 127.0.0.1`, `${at}.${c} ${ee(own)}`],
    })
  }
  {
    const c = id()
    names('no MX, wrong records of the domain', [own], {
      zone: (at) => [`${c} IN A 127.0.0.1`, `${at}.${c} ${tlsa(3, 1, 1, wrong)}`],
    })
  }
  {
    const c = id()
    names('next hop in brackets', [own], {
      bracketed: `${c}.dane.test`,
      zone: (at) => [`${c} IN A 127.0.0.1`, `${at}.${c} ${ee(own)}`],
    })
  }
  for (const [name, at1, at2] of [
    ['at the name they lead to', true, false],
    ['at the name that was asked for', false, true],
    ['at both, the first fits', true, 'wrong'],
    ['at both, the second fits', 'wrong', true],
    ['nowhere', false, false],
  ] as const) {
    const c = id()
    const record = (how: boolean | 'wrong', where: string) =>
      how === false ? [] : [`${where} ${how === true ? ee(own) : tlsa(3, 1, 1, wrong)}`]
    names(`exchanger is an alias, records ${name}`, [own], {
      zone: (at) => [
        `${c} IN MX 10 mx.${c}`,
        `mx.${c} IN CNAME real.${c}`,
        `real.${c} IN A 127.0.0.1`,
        ...record(at1, `${at}.real.${c}`),
        ...record(at2, `${at}.mx.${c}`),
      ],
    })
  }
  for (const [name, cert] of [
    ['the alias', 'mx'],
    ['the name it leads to', 'real'],
  ] as const) {
    const c = id()
    names(
      `exchanger is an alias, 2 0 1 there, certificate for ${name}`,
      [await root.issue({ names: [`${cert}.${c}.dane.test`] }), root],
      {
        zone: (at) => [
          `${c} IN MX 10 mx.${c}`,
          `mx.${c} IN CNAME real.${c}`,
          `real.${c} IN A 127.0.0.1`,
          `${at}.real.${c} ${ta[0]}`,
        ],
      },
    )
  }
  {
    const c = id()
    names('exchanger is an alias of a name that is not signed', [own], {
      zone: (at) => [
        `${c} IN MX 10 mx.${c}`,
        `mx.${c} IN CNAME ${c}.plain.test.`,
        `${at}.mx.${c} ${tlsa(3, 1, 1, wrong)}`,
      ],
      plain: (at) => [`${c} IN A 127.0.0.1`, `${at}.${c} ${tlsa(3, 1, 1, wrong)}`],
    })
  }
  {
    const c = id()
    names('the same, looked for all the same', [own], {
      profile: 'forced',
      zone: (at) => [
        `${c} IN MX 10 mx.${c}`,
        `mx.${c} IN CNAME ${c}.plain.test.`,
        `${at}.mx.${c} ${tlsa(3, 1, 1, wrong)}`,
      ],
      plain: (at) => [`${c} IN A 127.0.0.1`, `${at}.${c} ${tlsa(3, 1, 1, wrong)}`],
    })
  }
  {
    const c = id()
    names('exchanger is an alias, not signed, of a signed name', [own], {
      domain: `${c}.plain.test`,
      zone: (at) => [`real.${c} IN A 127.0.0.1`, `${at}.real.${c} ${tlsa(3, 1, 1, wrong)}`],
      plain: () => [`${c} IN MX 10 mx.${c}`, `mx.${c} IN CNAME real.${c}.dane.test.`],
    })
  }
  for (const which of ['domain', 'expanded', 'host'] as const) {
    const c = id()
    const name = { domain: c, expanded: `r${c}`, host: `mx.${c}` }[which]
    names(
      `domain is an alias, 2 0 1, certificate for ${which}`,
      [await root.issue({ names: [`${name}.dane.test`] }), root],
      {
        zone: (at) => [
          `${c} IN CNAME r${c}`,
          `r${c} IN MX 10 mx.${c}`,
          `mx.${c} IN A 127.0.0.1`,
          `${at}.mx.${c} ${ta[0]}`,
        ],
      },
    )
  }
  for (const [name, target] of [
    ['signed', 'dane'],
    ['not signed', 'plain'],
  ] as const) {
    const c = id()
    names(`the records are an alias, ${name}`, [own], {
      zone: (at) => [
        `${c} IN MX 10 mx.${c}`,
        `mx.${c} IN A 127.0.0.1`,
        `${at}.mx.${c} IN CNAME ${at}.tlsa.${c}.${target}.test.`,
        ...(target === 'dane' ? [`${at}.tlsa.${c} ${tlsa(3, 1, 1, wrong)}`] : []),
      ],
      plain: (at) => (target === 'plain' ? [`${at}.tlsa.${c} ${tlsa(3, 1, 1, wrong)}`] : []),
    })
  }
  {
    const c = id()
    names('a wildcard has the records', [own], {
      zone: () => [
        `${c} IN MX 10 mx.${c}`,
        `mx.${c} IN A 127.0.0.1`,
        `*._tcp.mx.${c} ${tlsa(3, 1, 1, wrong)}`,
      ],
    })
  }
  // Not signed.
  for (const profile of ['dane', 'only', 'insecurenone', 'insecureencrypt', 'bytable', 'forced'] as const) {
    for (const fits of [true, false]) {
      const c = id()
      names(`MX not signed, host is, ${fits ? 'fits' : 'does not fit'}: ${profile}`, [own], {
        profile,
        domain: `${c}.plain.test`,
        zone: (at) => [`mx.${c} IN A 127.0.0.1`, `${at}.mx.${c} ${fits ? ee(own) : tlsa(3, 1, 1, wrong)}`],
        plain: () => [`${c} IN MX 10 mx.${c}.dane.test.`],
      })
    }
    const c = id()
    names(`nothing is signed: ${profile}`, [own], {
      profile,
      domain: `${c}.plain.test`,
      zone: () => [],
      plain: (at) => [
        `${c} IN MX 10 mx.${c}`,
        `mx.${c} IN A 127.0.0.1`,
        `${at}.mx.${c} ${tlsa(3, 1, 1, wrong)}`,
      ],
    })
    const d = id()
    names(`MX is signed, host is not: ${profile}`, [own], {
      profile,
      zone: () => [`${d} IN MX 10 mx.${d}.plain.test.`],
      plain: (at) => [`mx.${d} IN A 127.0.0.1`, `${at}.mx.${d} ${tlsa(3, 1, 1, wrong)}`],
    })
  }
  {
    const c = id()
    names(
      'MX not signed, 2 0 1, certificate for the domain',
      [await root.issue({ names: [`${c}.plain.test`] }), root],
      {
        domain: `${c}.plain.test`,
        zone: (at) => [`mx.${c} IN A 127.0.0.1`, `${at}.mx.${c} ${ta[0]}`],
        plain: () => [`${c} IN MX 10 mx.${c}.dane.test.`],
      },
    )
  }
  // Bogus.
  for (const profile of ['dane', 'only'] as const) {
    for (const what of ['mx', 'address', 'records', 'absence'] as const) {
      const c = `bogus-${what}-${id()}`
      names(`bogus ${what}: ${profile}`, [own], {
        profile,
        domain: `${c}.dane.test`,
        zone: (at) => [
          `${c} IN MX 10 mx.${c}`,
          `mx.${c} IN A 127.0.0.1`,
          ...(what === 'absence' ? [] : [`${at}.mx.${c} ${ee(own)}`]),
        ],
      })
    }
  }
  return cases
}

/** Spoils the signatures of what the names say is bogus. */
function spoil(zone: string): string {
  const broken = (line: string) =>
    line.replace(/([A-Za-z0-9+/]{20})(==?)?\s*$/, (text) => `${text.slice(0, 4)}AAAA${text.slice(8)}`)
  return zone
    .split('\n')
    .map((line) => {
      const isOf = (pattern: RegExp, type: string) =>
        pattern.test(line) && new RegExp(`\\sRRSIG\\s+${type}\\s`).test(line)
      if (isOf(/^bogus-mx-\w+\.dane/, 'MX')) return broken(line)
      if (isOf(/^mx\.bogus-address-\w+\.dane/, 'A')) return broken(line)
      if (isOf(/_tcp\.mx\.bogus-records-\w+\.dane/, 'TLSA')) return broken(line)
      if (isOf(/^mx\.bogus-absence-\w+\.dane/, 'NSEC')) return broken(line)
      return line
    })
    .join('\n')
}

interface Seen {
  readonly result: string
  readonly server: ScriptedServer
  readonly trust: string
}

describe.skipIf(missing !== undefined)(`DANE of Postfix's client and of ours${because(missing)}`, () => {
  test('the same with the same zones and servers', { timeout: 240_000 }, async () => {
    const cases = await daneCases()
    const start = async (one: DaneCase) => {
      const chain = one.chain.map(({ cert }) => cert).join('')
      const context = createSecureContext({ cert: chain, key: one.chain[0]!.key, ciphers: 'ALL:@SECLEVEL=0' })
      const script = one.script === 'no TLS' ? {} : { ...one.script, tls: { context } }
      return ScriptedServer.start(script)
    }
    await using stack = new AsyncDisposableStack()
    const started = await Promise.all(cases.map(async (one) => [await start(one), await start(one)] as const))
    for (const server of started.flat()) stack.use(server)
    const linesOf = (zone: 'zone' | 'plain') =>
      cases.flatMap((one, index) => [
        ...new Set(started[index]!.flatMap(({ port }) => one[zone]?.(`_${port}._tcp`) ?? [])),
      ])
    // A name server must be at port 53 for Postfix: the rest of 127/8 is as good as 127.0.0.1.
    const address = `127.${[0, 0, 0].map(() => 10 + Math.floor(Math.random() * 200)).join('.')}`
    const nameServer = await startValidatingResolver(
      [
        { name: 'dane.test', records: linesOf('zone'), tamper: spoil },
        { name: 'plain.test', records: linesOf('plain'), unsigned: true },
      ],
      { address, port: 53 },
    )
    const hopOf = (one: DaneCase, index: number, port: number) =>
      one.bracketed === undefined ? `${domainOf(one, index)}:${port}` : `[${one.bracketed}]:${port}`
    // Patient: the machine may be busy.
    const resolver = createResolver({
      ...defaults(dnsSettings),
      servers: [nameServer],
      timeout: 20_000,
      tries: 3,
    })
    const observeOurs = async (one: DaneCase, index: number): Promise<Seen> => {
      const server = started[index]![1]
      const log: LogLine[] = []
      const settings = { ...profiles[one.profile ?? 'dane'], ...common }
      const report = await deliver({
        log,
        settings,
        request: {
          nexthop: hopOf(one, index, server.port),
          recipients: [{ id: 1, address: `a@${domainOf(one, index)}` }],
        },
        environment: { resolver, tls: tlsClient(settingsOf('smtp', settings), 'smtp', { resolver }) },
      })
      await server.until(() => server.sessions.every(({ closed }) => closed))
      const trust = String(log.find(({ event }) => event === 'delivery.tls')?.facts.class ?? '')
      const { status, dsn } = report.results[0]!
      return { result: `${status} ${dsn}`, server, trust }
    }
    const [theirs, ours] = await Promise.all([
      observePostfix(
        cases.map((one, index) => ({
          domain: domainOf(one, index),
          profile: one.profile ?? 'dane',
          nexthop: hopOf(one, index, started[index]![0].port),
          server: started[index]![0],
        })),
        address,
      ),
      inTurns(cases, observeOurs),
    ])
    const differences = cases.flatMap(({ name }, index) => {
      const [a, b] = [theirs[index]!, ours[index]!].map(short)
      return a === b ? [] : `${name}\n  Postfix ${a}\n  ours    ${b}`
    })
    expect(differences.join('\n')).toBe('')
  })
})

/** A few at a time, results in order. */
async function inTurns<T, R>(list: readonly T[], work: (one: T, index: number) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  const left = [...list.entries()]
  const worker = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      results[next[0]] = await work(next[1], next[0])
    }
  }
  await Promise.all(Array.from({ length: 6 }, worker))
  return results
}

const common: Partial<ClientSettings> = {
  dns_support_level: 'dnssec',
  tls_loglevel: 1,
}

const domainOf = (one: DaneCase, index: number): string => one.domain ?? `c${index}.dane.test`

function short({ result, server, trust }: Seen): string {
  const said = server.sessions
    .map(({ commands }) => commands.map((command) => command.split(/[ :]/)[0]).join(' '))
    .join(' / ')
  // A trusted certificate for another name is `untrusted` to Postfix 3.7, and `trusted` to newer ones and to us.
  const isRefused = !result.startsWith('sent') && trust === 'trusted'
  return `${result}; ${said}; ${isRefused ? 'untrusted' : trust}`
}

interface Route {
  readonly domain: string
  readonly profile: string
  readonly nexthop: string
  readonly server: ScriptedServer
}

async function observePostfix(routes: readonly Route[], nameServer: string): Promise<Seen[]> {
  const dir = tempDir()
  chmodSync(dir, 0o755)
  const map = join(dir, 'transport')
  writeFileSync(
    map,
    `${routes.map(({ domain, profile, nexthop }) => `${domain} ${profile}:${nexthop}\n`).join('')}sender.test discard:\n`,
  )
  const services = Object.entries(profiles).map(([name, settings]) => {
    const options = Object.entries({ ...settings, ...common })
      .map(([key, value]) => ` -o {smtp_${key} = ${value === true ? 'yes' : value}}`)
      .join('')
    return `${name} unix - - n - - smtp${options}`
  })
  const settings = [
    'myhostname=client.test',
    `transport_maps=texthash:${map}`,
    'smtp_address_preference=ipv4',
    'smtp_host_lookup=dns',
    'smtp_tls_CAfile=/etc/ssl/certs/ca-certificates.crt',
    'bounce_queue_lifetime=1d',
  ].join(';')
  const peer = await startPostfixModel(settings, services.join('\n'), nameServer)
  const client = await SmtpClient.connect(peer.port)
  await client.expect(250, 'EHLO feeder.test')
  for (const { domain } of routes) {
    await client.expect(250, 'MAIL FROM:<s@sender.test>')
    await client.expect(250, `RCPT TO:<a@${domain}>`)
    await client.expect(354, 'DATA')
    await client.expect(250, 'Subject: x\r\n\r\nx\r\n.')
  }
  client.close()
  const log = () => readFileSync(join(peer.dir, 'maillog'), 'utf8')
  const seen: Seen[] = []
  for (const { domain, server } of routes) {
    const pattern = new RegExp(`: to=<a@${domain.replaceAll('.', '\\.')}>, .* dsn=([0-9.]+), status=(\\S+) `)
    const [, dsn, status] = await until(domain, () => pattern.exec(log()) ?? false, {
      deadlineMs: 60_000,
      everyMs: 100,
    })
    await server.until(() => server.sessions.every(({ closed }) => closed), 30_000)
    const trust = new RegExp(
      `mtp\\[\\d+\\]: (\\w+) TLS connection established to \\S+\\]:${server.port}:`,
    ).exec(log())
    seen.push({ result: `${status} ${dsn}`, server, trust: trust?.[1]?.toLowerCase() ?? '' })
  }
  return seen
}

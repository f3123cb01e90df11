/**
 * TLS of Postfix's delivery client and of ours with the same scripted servers: results, connections and commands
 * agree. Left out: replies that nobody asked for, which Postfix takes for answers and we drop, and a SIZE limit that
 * was offered before TLS alone, which Postfix remembers; and
 * tls_scert_verifydepth, which Postfix 3.7 does not keep to.
 */
import { createHash } from 'node:crypto'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createSecureContext } from 'node:tls'
import { describe, expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import type { Script, TlsScript } from '../protocols/smtp/client/scripted-server.ts'
import { Authority, type Certificate, publicKeyOf, selfSigned } from '../support/certificates.ts'
import { tempDir } from '../support/fixtures.ts'
import { type ModelCase, observeOurs, PostfixModel, type Profile } from '../support/postfix-model.ts'
import { because } from '../support/privileges.ts'

const noPostfix = whyMissing(['postfix'], { root: true })

const contextOf = (leaf: Certificate, ...issuers: Certificate[]) =>
  createSecureContext({
    cert: [leaf, ...issuers].map(({ cert }) => cert).join(''),
    key: leaf.key,
  })

const digestOf = (bytes: Buffer): string =>
  createHash('sha256')
    .update(bytes)
    .digest('hex')
    .toUpperCase()
    .replace(/..(?!$)/g, '$&:')

async function material() {
  const authority = await Authority.make('Root')
  const below = await authority.subordinate('Below')
  const stranger = await Authority.make('Stranger')
  const names = ['mail.test']
  const dir = tempDir()
  chmodSync(dir, 0o755)
  const caFile = join(dir, 'ca.pem')
  writeFileSync(caFile, authority.cert, { mode: 0o644 })
  const anchor = join(dir, 'anchor.pem')
  writeFileSync(anchor, below.cert, { mode: 0o644 })
  const leaf = await authority.issue({ names })
  const chained = await below.issue({ names })
  const own = await selfSigned({ names })
  const servers: Record<string, TlsScript> = {
    right: { context: contextOf(leaf) },
    'right, by way of another authority': { context: contextOf(chained, below) },
    'an authority is left out': { context: contextOf(chained) },
    'for another name': { context: contextOf(await authority.issue({ names: ['else.test'] })) },
    'for a name below': { context: contextOf(await authority.issue({ names: ['a.mail.test'] })) },
    'two labels below': { context: contextOf(await authority.issue({ names: ['b.a.mail.test'] })) },
    'wildcard below': { context: contextOf(await authority.issue({ names: ['*.mail.test'] })) },
    'wildcard above': { context: contextOf(await authority.issue({ names: ['*.test'] })) },
    'part of a label as wildcard': { context: contextOf(await authority.issue({ names: ['ma*.test'] })) },
    'upper case': { context: contextOf(await authority.issue({ names: ['MAIL.TEST'] })) },
    'common name alone': { context: contextOf(await authority.issue({ commonName: 'mail.test' })) },
    'common name beside others': {
      context: contextOf(await authority.issue({ commonName: 'mail.test', names: ['else.test'] })),
    },
    expired: { context: contextOf(await authority.issue({ names, from: -9, to: -1 })) },
    'not valid yet': { context: contextOf(await authority.issue({ names, from: 2 })) },
    'self-signed': { context: contextOf(own) },
    'from a stranger': { context: contextOf(await stranger.issue({ names }), stranger) },
    'TLS 1.2 at most': {
      context: createSecureContext({ cert: leaf.cert, key: leaf.key, maxVersion: 'TLSv1.2' }),
    },
    'TLS 1.3 at least': {
      context: createSecureContext({ cert: leaf.cert, key: leaf.key, minVersion: 'TLSv1.3' }),
    },
    'anonymous only': {
      context: createSecureContext({
        ciphers: 'aNULL:@SECLEVEL=0',
        maxVersion: 'TLSv1.2',
        ecdhCurve: 'auto',
      }),
    },
    'null cipher only': {
      context: createSecureContext({
        cert: leaf.cert,
        key: leaf.key,
        ciphers: 'ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0',
        maxVersion: 'TLSv1.2',
      }),
    },
    'no handshake': { context: contextOf(leaf), broken: 'not TLS at all, sorry\r\n' },
    'hangs up': { context: contextOf(leaf), broken: 'close' },
    alert: { context: contextOf(leaf), broken: '\x15\x03\x03\x00\x02\x02\x28' },
    'replies put in': { context: contextOf(leaf), injected: '250-evil\n250 PIPELINING\n250 2.0.0 a' },
  }
  const match = ['mail.test', '.mail.test']
  const trusting = { tls_CAfile: caFile }
  const ourTrust = { tls_ca_file: caFile }
  const level = (
    name: string,
    tls_security_level: NonNullable<Profile['ours']>['tls_security_level'],
    postfix: Record<string, string> = {},
    ours: Profile['ours'] = {},
  ): Profile => ({
    name,
    postfix: { tls_security_level: tls_security_level!, ...trusting, ...postfix },
    ours: { tls_security_level: tls_security_level!, ...ourTrust, ...ours },
  })
  const profiles = [
    level('none', 'none'),
    level('may', 'may'),
    level('encrypt', 'encrypt'),
    level(
      'verify',
      'verify',
      { tls_verify_cert_match: 'mail.test' },
      { tls_verify_cert_match: ['mail.test'] },
    ),
    level('secure', 'secure', { tls_secure_cert_match: match.join(' ') }, { tls_secure_cert_match: match }),
    level(
      'bydigest',
      'fingerprint',
      { tls_fingerprint_digest: 'sha256', tls_fingerprint_cert_match: digestOf(own.der) },
      { tls_fingerprint_cert_match: [digestOf(own.der)] },
    ),
    level(
      'bykey',
      'fingerprint',
      { tls_fingerprint_digest: 'sha256', tls_fingerprint_cert_match: digestOf(publicKeyOf(leaf)) },
      { tls_fingerprint_cert_match: [digestOf(publicKeyOf(leaf))] },
    ),
    level(
      'anchored',
      'secure',
      { tls_trust_anchor_file: anchor, tls_secure_cert_match: match.join(' ') },
      { tls_trust_anchor_file: [anchor], tls_secure_cert_match: match },
    ),
    level(
      'newest',
      'encrypt',
      { tls_mandatory_protocols: '>=TLSv1.3' },
      { tls_mandatory_protocols: ['>=TLSv1.3'] },
    ),
  ]
  return { servers, profiles, leaf }
}

/** What else a server may do around a good handshake, or instead of one. */
const scriptsAround = (tls: TlsScript): Record<string, Script> => ({
  'TLS not offered': {},
  'STARTTLS 454': { tls, answers: { STARTTLS: '454 4.7.0 not now' } },
  'STARTTLS 502': { tls, answers: { STARTTLS: '502 5.5.1 what' } },
  'STARTTLS 554': { tls, answers: { STARTTLS: '554 5.7.3 never' } },
  'STARTTLS closes': { tls, answers: { STARTTLS: { close: '' } } },
  'EHLO within TLS 550': { tls, answers: { EHLO: ['250-mx.test\n250 STARTTLS', '550 5.5.1 no'] } },
  'EHLO within TLS 421': { tls, answers: { EHLO: ['250-mx.test\n250 STARTTLS', '421 4.3.0 later'] } },
  'MAIL 450 within TLS': { tls, answers: { MAIL: '450 4.1.0 later' } },
  'lost at MAIL': { tls, answers: { MAIL: { close: '' } } },
  'lost at RCPT': { tls, answers: { RCPT: { close: '' } } },
  'lost after the dot': { tls, dot: { close: '' } },
  'other keywords within': { keywords: ['DSN'], tls: { ...tls, keywords: ['PIPELINING'] } },
  'fewer keywords within': { keywords: ['PIPELINING', 'SIZE', 'DSN'], tls: { ...tls, keywords: [] } },
})

describe.skipIf(noPostfix !== undefined)(`TLS of Postfix's client and of ours${because(noPostfix)}`, () => {
  test('the same with the same servers', { timeout: 180_000 }, async () => {
    const { servers, profiles, leaf } = await material()
    const cases: ModelCase[] = profiles.flatMap((profile) => [
      ...Object.entries(servers).map(([name, tls]): ModelCase => {
        return { name: `${profile.name}: certificate ${name}`, profile, servers: [[{ tls }]] }
      }),
      ...Object.entries(scriptsAround(servers.right!)).map(([name, script]): ModelCase => {
        return { name: `${profile.name}: ${name}`, profile, servers: [[script]] }
      }),
      {
        name: `${profile.name}: a bad server and a good one`,
        profile,
        servers: [[{ tls: servers['no handshake']! }], [{ tls: servers.right! }]],
      },
      {
        name: `${profile.name}: one without TLS and one with`,
        profile,
        servers: [[{}], [{ tls: { context: contextOf(leaf) } }]],
      },
    ])
    const theirs = await PostfixModel.observe(cases)
    const differences: string[] = []
    for (const [index, one] of cases.entries()) {
      const ours = await observeOurs(one)
      const [a, b] = [theirs[index]!, ours].map(({ results, sessions }) =>
        JSON.stringify({ results, sessions }),
      )
      if (a !== b) differences.push(`${one.name}\n  Postfix ${a}\n  ours    ${b}`)
    }
    expect(differences.join('\n')).toBe('')
  })
})

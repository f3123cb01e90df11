/** Servers with certificates of every kind, and policies of every kind, for comparisons of TLS clients. */
import { createHash } from 'node:crypto'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import type { TlsScript } from '../../protocols/smtp/client/scripted-server.ts'
import { Authority, type Certificate, publicKeyOf, selfSigned } from '../../support/certificates.ts'
import { tempDir } from '../../support/fixtures.ts'
import type { Profile } from '../../support/postfix-model.ts'

/** The name that most of the certificates are for. */
const name = 'mail.test'
const serverAuth = '1.3.6.1.5.5.7.3.1'
const clientAuth = '1.3.6.1.5.5.7.3.2'
const anyPurpose = '2.5.29.37.0'

/** A server with this leaf, followed by what stands for its issuers. */
const served = (chain: readonly Certificate[], options: SecureContextOptions = {}): TlsScript => ({
  context: createSecureContext({
    cert: chain.map(({ cert }) => cert).join(''),
    key: chain[0]!.key,
    // Weak keys and digests are what some of them are about.
    ciphers: 'ALL:@SECLEVEL=0',
    ...options,
  }),
})

export const digestOf = (bytes: Buffer, algorithm = 'sha256'): string =>
  createHash(algorithm)
    .update(bytes)
    .digest('hex')
    .toUpperCase()
    .replace(/..(?!$)/g, '$&:')

export interface TlsMaterial {
  readonly servers: Readonly<Record<string, TlsScript>>
  readonly policies: readonly string[]
  /** Settings of both clients: the authority is trusted. */
  profile(name: string, policy: string): Profile
}

export async function tlsMaterial(): Promise<TlsMaterial> {
  const root = await Authority.make('Root')
  const rsaRoot = await Authority.make('RSA root', { rsaBits: 2048 })
  const sha1Root = await Authority.make('SHA-1 root', { rsaBits: 2048, hash: 'SHA-1' })
  const below = await root.subordinate('Below')
  const deeper = await below.subordinate('Deeper')
  const barren = await root.subordinate('Barren', { pathLength: 0 })
  const belowBarren = await barren.subordinate('Below barren')
  const noAuthority = await root.subordinate('No authority', { ca: false })
  const noSigner = await root.subordinate('No signer', { withoutCertSign: true })
  const oldAuthority = await root.subordinate('Old', { from: -9, to: -1 })
  const forClients = await root.subordinate('For clients', { purposes: [clientAuth] })
  const stranger = await Authority.make('Stranger')
  const names = [name]
  const leaf = await root.issue({ names })
  const chained = await below.issue({ names })
  const deep = await deeper.issue({ names })
  const own = await selfSigned({ names })
  const ownExpired = await selfSigned({ names, from: -9, to: -1 })
  const weak = await rsaRoot.issue({ names, rsaBits: 1024 })
  const by = (issuer: Authority, chain: readonly Certificate[] = [issuer]) =>
    issuer.issue({ names }).then((one) => served([one, ...chain]))
  const of = async (options: Parameters<Authority['issue']>[0]) => served([await root.issue(options)])

  const dir = tempDir()
  chmodSync(dir, 0o755)
  const file = (label: string, text: string): string => {
    const path = join(dir, label)
    writeFileSync(path, text, { mode: 0o644 })
    return path
  }
  const caFile = file('ca.pem', root.cert + rsaRoot.cert + sha1Root.cert)
  const anchorBelow = file('below.pem', below.cert)
  const anchorStranger = file('stranger.pem', stranger.cert)
  const anchorLeaf = file('leaf.pem', leaf.cert)
  const anchorKey = file('key.pem', pemKey(publicKeyOf(below)))
  const anchorOwn = file('own.pem', own.cert)
  const noAnchor = file('empty.pem', '')

  const servers: Record<string, TlsScript> = {
    right: served([leaf]),
    'by way of another': served([chained, below]),
    'by way of two': served([deep, deeper, below]),
    'chain in another order': served([deep, below, deeper]),
    'chain with strangers in it': served([chained, stranger, own, below, root]),
    'intermediate missing': served([chained]),
    'one of two missing': served([deep, deeper]),
    'self-signed': served([own]),
    'self-signed and expired': served([ownExpired]),
    'of a stranger': await by(stranger),
    expired: await of({ names, from: -9, to: -1 }),
    'not valid yet': await of({ names, from: 2 }),
    'authority expired': await by(oldAuthority),
    'authority is none': await by(noAuthority),
    'authority may not sign': await by(noSigner),
    'authority is for clients': await by(forClients),
    'path too long': await by(belowBarren, [belowBarren, barren]),
    'path just right': await by(barren),
    'for servers': await of({ names, purposes: [serverAuth] }),
    'for clients': await of({ names, purposes: [clientAuth] }),
    'for anything': await of({ names, purposes: [anyPurpose] }),
    'an authority itself': await of({ names, ca: true }),
    'RSA, 1024 bits': served([weak]),
    'RSA, 2048 bits': served([await rsaRoot.issue({ names, rsaBits: 2048 })]),
    'signed with SHA-1': served([await sha1Root.issue({ names })]),
    'SHA-1, RSA, 1024 bits': served([await sha1Root.issue({ names, rsaBits: 1024 })]),
    'for another': await of({ names: ['else.test'] }),
    'upper case': await of({ names: ['MAIL.TEST'] }),
    'dot at the end': await of({ names: ['mail.test.'] }),
    'a name below': await of({ names: ['a.mail.test'] }),
    'two labels below': await of({ names: ['b.a.mail.test'] }),
    'wildcard below': await of({ names: ['*.mail.test'] }),
    'wildcard beside': await of({ names: ['*.test'] }),
    'wildcard for all': await of({ names: ['*'] }),
    'wildcard with two labels': await of({ names: ['*.*.test'] }),
    'wildcard inside': await of({ names: ['mail.*'] }),
    'wildcard at the end of a label': await of({ names: ['mai*.test'] }),
    'wildcard below a label': await of({ names: ['a.*.mail.test'] }),
    'wildcard twice': await of({ names: ['**.test'] }),
    'an empty label': await of({ names: ['mail..test'] }),
    'common name alone': await of({ commonName: name }),
    'common name with wildcard': await of({ commonName: '*.test' }),
    'common name in capitals': await of({ commonName: 'Mail.Test' }),
    'common name beside others': await of({ commonName: name, names: ['else.test'] }),
    'common name beside an address': await of({ commonName: name, addresses: ['192.0.2.9'] }),
    'an address': await of({ names: [], addresses: ['127.0.0.1'], commonName: 'x' }),
    'an address as a name': await of({ names: ['127.0.0.1'] }),
    'an address as common name': await of({ commonName: '127.0.0.1' }),
    'NUL in the name': await of({ names: ['mail.test\0.evil.test'] }),
    'NUL in another name': await of({ names: ['else\0.test', name] }),
    'a name and an address': await of({ names, addresses: ['127.0.0.1'] }),
    'no name at all': await of({ commonName: '' }),
    'an empty name': await of({ names: ['', name] }),
    'a blank before the name': await of({ names: [' mail.test'] }),
    'a hundred names': await of({
      names: [...Array.from({ length: 100 }, (_, i) => `host${i}.test`), name],
    }),
    'A-label': await of({ names: ['xn--mnchen-3ya.test'] }),
    'wildcard above an A-label': await of({ names: ['*.xn--mnchen-3ya.test'] }),
    'part of an A-label': await of({ names: ['xn--mnchen-*.test'] }),
    'U-label': await of({ names: [latin1('münchen.test')] }),
    underscore: await of({ names: ['_mail.test'] }),
    'TLS 1.2': served([leaf], { maxVersion: 'TLSv1.2' }),
    'TLS 1.3': served([leaf], { minVersion: 'TLSv1.3' }),
    'TLS 1.0': served([leaf], { minVersion: 'TLSv1', maxVersion: 'TLSv1' }),
    'TLS 1.1': served([leaf], { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1' }),
    'AES-128 alone': served([leaf], { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' }),
    'CBC alone': served([leaf], { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0' }),
    'anonymous alone': {
      context: createSecureContext({
        ciphers: 'aNULL:@SECLEVEL=0',
        maxVersion: 'TLSv1.2',
        ecdhCurve: 'auto',
      }),
    },
    'null cipher alone': served([leaf], {
      maxVersion: 'TLSv1.2',
      ciphers: 'ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0',
    }),
    'asks for a certificate': { ...served([leaf]), requestCert: true },
  }

  const print = digestOf(own.der)
  const keyPrint = digestOf(publicKeyOf(leaf))
  const policies = [
    'none',
    'none match=x bogus=1',
    'may',
    'MAY',
    'may ciphers=high',
    'may ciphers=HIGH',
    'may ciphers=low',
    'may ciphers=nonsense',
    'may ciphers=',
    'may protocols=TLSv1.2',
    'may protocols=>=TLSv1.3',
    'may protocols=!TLSv1.3:!TLSv1.2',
    'may protocols=!TLSv1.3,ciphers=high',
    'may protocols=bogus',
    'may protocols=SSLv3',
    'may protocols=',
    'may protocols=<=TLSv1.2 protocols=TLSv1.2',
    'may match=mail.test',
    'may tafile=/etc/hosts',
    'may bogus=1',
    'may bogus',
    'may =1',
    'may exclude=AES256:CHACHA20',
    'may exclude=aNULL:eNULL',
    'may exclude=',
    'may servername=mail.test',
    'may servername=hostname',
    'may servername=',
    'may servername=bad_name.test.',
    'may connection_reuse=yes',
    'may connection_reuse=yes connection_reuse=no',
    'may connection_reuse=maybe',
    'encrypt',
    'encrypt ciphers=high protocols=>=TLSv1.2',
    'encrypt ciphers=null',
    'encrypt ciphers=high ciphers=high',
    'encrypt protocols=!SSLv2:!SSLv3:!TLSv1:!TLSv1.1',
    'encrypt protocols=TLSv1:TLSv1.3',
    'encrypt protocols=0303',
    'encrypt protocols=>=0304',
    'encrypt match=mail.test',
    'encrypt exclude=ECDSA',
    'encrypt, exclude=aNULL',
    'fingerprint',
    `fingerprint match=${print}`,
    `fingerprint match=${print.toLowerCase()}`,
    `fingerprint match=${print.replaceAll(':', '')}`,
    `fingerprint match=${keyPrint}`,
    `fingerprint match=${digestOf(Buffer.from('x'))}|${print}`,
    `fingerprint match=${digestOf(Buffer.from('x'))} match=${print}`,
    `fingerprint match=||${print}|`,
    `fingerprint match=${digestOf(leaf.der, 'sha1')}`,
    'fingerprint match=zz:zz',
    `fingerprint match=${digestOf(weak.der)}`,
    `fingerprint match=${digestOf(ownExpired.der)}|zz`,
    'verify',
    'verify match=mail.test',
    'verify match=MAIL.TEST',
    'verify match=mail.test.',
    'verify match=.mail.test',
    'verify match=.test',
    'verify match=.',
    'verify match=hostname',
    'verify match=nexthop:dot-nexthop',
    'verify match=else.test:mail.test',
    'verify match=else.test match=mail.test',
    'verify match=:mail.test:',
    'verify match=',
    'verify match=*.test',
    'verify match=münchen.test',
    'verify match=.münchen.test',
    'verify match=xn--mnchen-3ya.test',
    'verify match=a.xn--mnchen-3ya.test',
    'verify match=127.0.0.1',
    'verify match=hostname:mail.test',
    'verify match=192.0.2.1:hostname',
    'verify match=hostname:192.0.2.1',
    'verify match=a.mail.test',
    'verify match=b.a.mail.test',
    'verify match=a.b.mail.test',
    'verify match=test',
    'verify match=_mail.test',
    'verify match=mail..test',
    'verify match=mail.test protocols=TLSv1.2',
    'verify match=mail.test ciphers=null',
    'verify match=mail.test ciphers=null protocols=<=TLSv1.2',
    'may ciphers=null',
    'secure',
    'secure match=mail.test',
    'secure match=mail.test:.mail.test',
    'SECURE MATCH=mail.test',
    `secure match=mail.test tafile=${anchorBelow}`,
    `secure match=mail.test tafile=${anchorStranger}`,
    `secure match=mail.test tafile=${anchorStranger} tafile=${anchorBelow}`,
    `secure match=mail.test tafile=${anchorKey}`,
    `secure match=mail.test tafile=${anchorLeaf}`,
    `secure match=mail.test tafile=${anchorOwn}`,
    `secure match=mail.test tafile=${noAnchor}`,
    `secure match=mail.test tafile=${dir}/nothing`,
    'secure match=mail.test ciphers=high exclude=AES256',
    'secure match=mail.test exclude=ECDSA',
    'secure match=mail.test servername=nexthop',
    'secure match=hostname servername=hostname',
    'dane',
    'dane-only',
    'dane match=mail.test',
    'dane servername=mail.test',
    'secure\tmatch=mail.test',
    'secure  match=mail.test,,ciphers=high',
    'half-dane',
    'bogus',
    ',',
  ]
  return {
    servers,
    policies,
    profile: (label, policy) => ({
      name: label,
      postfix: {
        tls_policy_maps: `static:{${policy}}`,
        tls_CAfile: caFile,
        tls_loglevel: '1',
        tls_fingerprint_digest: 'sha256',
      },
      ours: {
        tls_policy_maps: [`static:{${policy}}`],
        tls_ca_file: caFile,
        tls_loglevel: 1,
      },
    }),
  }
}

/** Octets of UTF-8 one by one, for a field that is ASCII by right. */
const latin1 = (text: string): string => Buffer.from(text).toString('latin1')

const pemKey = (der: Buffer): string =>
  `-----BEGIN PUBLIC KEY-----\n${der.toString('base64').replace(/.{64}/g, '$&\n')}\n-----END PUBLIC KEY-----\n`

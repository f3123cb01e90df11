/** Chains that lead to a trust anchor of DANE, or of a file, and those that do not: as OpenSSL judges them for Postfix. */
import type { X509Certificate } from 'node:crypto'
import { beforeAll, describe, expect, it } from 'vitest'
import { chainProblem } from '../../../../../src/protocols/smtp/client/tls/chain.ts'
import { Authority, type Certificate, selfSigned } from '../../../../support/certificates.ts'

let root: Authority
beforeAll(async () => {
  root = await Authority.make('Root')
})

/** What is wrong with a chain when `anchor` is trusted: its certificate, or its key alone. */
const problem = (
  chain: readonly Certificate[],
  anchor: Certificate,
  by: 'certificate' | 'key' = 'certificate',
) =>
  chainProblem(
    chain.map((one) => one.x509),
    {
      certificates: [],
      keys: by === 'key' ? [anchor.x509.publicKey] : [],
      isAnchor: (one: X509Certificate) => by === 'certificate' && one.raw.equals(anchor.der),
    },
    9,
    Date.now(),
  )

describe('usage 2', () => {
  it('TLS-20 certificates that are not meant for TLS servers', async () => {
    const clients = ['1.3.6.1.5.5.7.3.2']
    const servers = ['1.3.6.1.5.5.7.3.1', ...clients]
    expect(problem([await root.issue({ purposes: servers }), root], root)).toBeUndefined()
    expect(problem([await root.issue({ purposes: clients }), root], root)).toMatch(
      /not meant for TLS servers/,
    )
    expect(problem([await root.issue({ purposes: ['2.5.29.37.0'] }), root], root)).toMatch(/not meant/)
    expect(problem([await root.issue({ ca: true }), root], root)).toMatch(/key is not meant for TLS/)
    const below = await root.subordinate('For clients', { purposes: clients })
    expect(problem([await below.issue({}), below, root], root)).toMatch(/authority above it: .*not meant/)
  })

  it('TLS-20 who may not issue certificates', async () => {
    for (const options of [{ ca: false }, { withoutCertSign: true as const }]) {
      const below = await root.subordinate('Below', options)
      const chain = [await below.issue({}), below, root]
      expect(problem(chain, root)).toMatch(/may not issue certificates/)
      expect(problem(chain, below)).toMatch(/may not issue certificates/)
    }
    const narrow = await root.subordinate('Narrow', { pathLength: 0 })
    const deeper = await narrow.subordinate('Deeper')
    expect(problem([await narrow.issue({}), narrow], narrow)).toBeUndefined()
    expect(problem([await deeper.issue({}), deeper, narrow], narrow)).toMatch(/more authorities below it/)
  })

  it('TLS-20 dates count, but for an anchor that another one has issued', async () => {
    const expired = { from: -9, to: -1 }
    const old = await root.subordinate('Old', expired)
    const oldRoot = await Authority.make('Old root', expired)
    expect(problem([await old.issue({}), old, root], root)).toMatch(/has expired/)
    expect(problem([await old.issue({}), old, root], old)).toBeUndefined()
    expect(problem([await oldRoot.issue({}), oldRoot], oldRoot)).toMatch(/has expired/)
    expect(problem([await oldRoot.issue({}), oldRoot], oldRoot, 'key')).toMatch(/has expired/)
    expect(problem([await oldRoot.issue({})], oldRoot, 'key')).toBeUndefined()
    expect(problem([await root.issue(expired), root], root)).toMatch(/has expired/)
  })

  it('TLS-20 keys and digests that are too weak', async () => {
    const rsa = await Authority.make('RSA', { rsaBits: 2048 })
    expect(problem([await rsa.issue({ rsaBits: 1024 }), rsa], rsa)).toBeUndefined()
    expect(problem([await rsa.issue({ rsaBits: 512 }), rsa], rsa)).toMatch(/key is too short/)
    const sha1 = await Authority.make('SHA-1', { rsaBits: 2048, hash: 'SHA-1' })
    expect(problem([await sha1.issue({}), sha1], sha1)).toMatch(/digest of its signature is too weak/)
    // What an anchor is signed with does not matter.
    const below = await sha1.subordinate('Below')
    expect(problem([await below.issue({}), below], below)).toBeUndefined()
  })

  it('TLS-20 the server itself is no anchor, and chains in any order are', async () => {
    const own = await selfSigned({ ca: true })
    expect(problem([own], own)).toMatch(/no trust anchor/)
    const below = await root.subordinate('Below')
    const deeper = await below.subordinate('Deeper')
    const stranger = await Authority.make('Stranger')
    expect(problem([await deeper.issue({}), root, stranger, below, deeper], root)).toBeUndefined()
    expect(problem([await deeper.issue({}), root, deeper], root)).toMatch(/no trust anchor/)
    expect(problem([], root)).toMatch(/sent no certificate/)
  })
})

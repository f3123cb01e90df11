/**
 * Which mechanism Postfix's delivery client chooses and which ours: demands on mechanisms in plaintext, within TLS and with
 * a certificate that matches, filters, and offers of all sorts, from a seed. Left out: mechanisms that Cyrus has and we do
 * not (DIGEST-MD5, SCRAM-SHA-512, NTLM, ANONYMOUS), and the -PLUS ones, which Postfix gives no channel binding for.
 */
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createSecureContext } from 'node:tls'
import { describe, expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { Random } from '../../src/testing/random.ts'
import { Authority } from '../support/certificates.ts'
import { tempDir } from '../support/fixtures.ts'
import {
  type ModelCase,
  type Observed,
  observeOurs,
  PostfixModel,
  type Profile,
} from '../support/postfix-model.ts'
import { because } from '../support/privileges.ts'
import { chosenSeed } from '../support/seed.ts'

const noPostfix = whyMissing(['postfix'], { root: true })
const mechanisms = ['PLAIN', 'LOGIN', 'CRAM-MD5', 'SCRAM-SHA-1', 'SCRAM-SHA-256', 'X-ODD']
const demands = ['noplaintext', 'noactive', 'nodictionary', 'noanonymous', 'mutual_auth']
const filters = [[], [], [], ['!plain', 'static:all'], ['cram-md5', 'plain'], ['scram-sha-1'], ['!cram-md5']]

async function cases(random: Random, profileCount: number, each: number): Promise<ModelCase[]> {
  const authority = await Authority.make()
  const { cert, key } = await authority.issue({ names: ['mail.test'] })
  const tls = { context: createSecureContext({ cert, key }) }
  const dir = tempDir()
  chmodSync(dir, 0o755)
  const caFile = join(dir, 'ca.pem')
  writeFileSync(caFile, authority.cert, { mode: 0o644 })
  const some = () => demands.filter(() => random.chance(0.3))
  return Array.from({ length: profileCount }).flatMap((_, index) => {
    const level = random.pick(['none', 'may', 'secure'] as const)
    const [plain, secure, verified] = [some(), some(), some()]
    const filter = random.pick(filters)
    const profile: Profile = {
      name: `options${index}`,
      postfix: {
        tls_security_level: level,
        tls_secure_cert_match: 'mail.test',
        tls_CAfile: caFile,
        sasl_auth_enable: 'yes',
        sasl_password_maps: 'static:u:p:w',
        sasl_security_options: plain.join(', '),
        sasl_tls_security_options: secure.join(', '),
        sasl_tls_verified_security_options: verified.join(', '),
        sasl_mechanism_filter: filter.join(', '),
      },
      ours: {
        tls_security_level: level,
        tls_secure_cert_match: ['mail.test'],
        tls_ca_file: caFile,
        sasl_auth_enable: true,
        sasl_password_maps: ['static:u:p:w'],
        sasl_security_options: plain,
        sasl_tls_security_options: secure,
        sasl_tls_verified_security_options: verified,
        sasl_mechanism_filter: filter,
      },
    }
    return Array.from({ length: each }, (): ModelCase => {
      const offered = mechanisms.filter(() => random.chance(0.4))
      const script = {
        keywords: offered.length === 0 ? [] : [`AUTH ${offered.join(' ')}`],
        answers: { AUTH: '535 5.7.8 no' },
        ...(level === 'none' ? {} : { tls }),
      }
      const name = `${level}, ${plain} / ${secure} / ${verified}, filter ${filter}: ${offered}`
      return { name, profile, servers: [[script]] }
    })
  })
}

/** The result, and the verbs with the mechanism of AUTH. */
function short({ results, sessions }: Observed): string {
  const said = sessions.flat(2).map((line) => /^(?:AUTH \S+|[^ :]*)/.exec(line)![0])
  return `${results.join()}; ${said.join(' ')}`
}

describe.skipIf(noPostfix !== undefined)(`logins of Postfix and ours${because(noPostfix)}`, () => {
  test('the same mechanism is chosen', { timeout: 120_000 }, async () => {
    const all = await cases(new Random(chosenSeed()), 16, 6)
    const theirs = await PostfixModel.observe(all)
    const differences: string[] = []
    for (const [index, one] of all.entries()) {
      const [a, b] = [theirs[index]!, await observeOurs(one)].map(short)
      if (a !== b) differences.push(`${one.name}\n  Postfix ${a}\n  ours    ${b}`)
    }
    expect(differences.join('\n')).toBe('')
  })
})

/**
 * TLS that breaks, and mail that has waited: when Postfix's delivery client and ours go on in plaintext, when they go
 * elsewhere, and when the mail waits.
 */
import { createSecureContext } from 'node:tls'
import { describe, expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import type { Answer, Script } from '../protocols/smtp/client/scripted-server.ts'
import { selfSigned } from '../support/certificates.ts'
import {
  type ModelCase,
  type Observed,
  observeOurs,
  PostfixModel,
  type Profile,
} from '../support/postfix-model.ts'
import { because } from '../support/privileges.ts'

const noPostfix = whyMissing(['postfix'], { root: true })

const level = (
  name: string,
  tls_security_level: 'may' | 'encrypt',
  postfix: Record<string, string> = {},
  ours: Profile['ours'] = {},
): Profile => ({
  name,
  postfix: { tls_security_level, starttls_timeout: '4s', helo_timeout: '6s', ...postfix },
  ours: { tls_security_level, starttls_timeout: 4_000, helo_timeout: 6_000, ...ours },
})

async function cases(): Promise<ModelCase[]> {
  const { cert, key } = await selfSigned({ names: ['mail.test'] })
  const context = createSecureContext({ cert, key })
  const older = createSecureContext({ cert, key, maxVersion: 'TLSv1.2' })
  const tls = { context }
  const good: Script = { tls }
  const lost = (answers: Record<string, Answer | readonly Answer[]>): Script => ({ tls, answers })
  const gone = { close: '' }
  const broken: Record<string, readonly (readonly Script[])[]> = {
    'closes, then good': [[{ tls: { context, broken: 'close' } }, good]],
    'resets, then good': [[{ tls: { context, broken: 'reset' } }, good]],
    'falls silent, then good': [[{ tls: { context, broken: 'silence' } }, good]],
    'talks plaintext, then good': [[{ tls: { context, broken: '220 what\r\n' } }, good]],
    'alert, then good': [[{ tls: { context, broken: '\x15\x03\x03\x00\x02\x02\x28' } }, good]],
    'a record that is too long, then good': [[{ tls: { context, broken: '\x16\x03\x03\xff\xff' } }, good]],
    'closes each time': [[{ tls: { context, broken: 'close' } }]],
    'closes, then is gone': [[{ tls: { context, broken: 'close' } }, { greeting: gone }]],
    'closes, then 421': [[{ tls: { context, broken: 'close' } }, { greeting: { close: '421 4.3.2 later' } }]],
    'closes, then the recipient is refused': [
      [{ tls: { context, broken: 'close' } }, { tls, answers: { RCPT: '550 5.1.1 no' } }],
    ],
    'closes, another one is good': [[{ tls: { context, broken: 'close' } }, { greeting: gone }], [good]],
    'STARTTLS lost, then good': [[{ tls, answers: { STARTTLS: gone } }, good]],
    'STARTTLS 454': [[lost({ STARTTLS: '454 4.7.0 not now' })]],
    'STARTTLS 421 and gone': [[lost({ STARTTLS: { close: '421 4.7.0 not now' } }), good]],
    'STARTTLS garbage, then 220': [[lost({ STARTTLS: 'what\n220 go' })]],
    'EHLO within TLS 421': [[lost({ EHLO: ['250-mx.test\n250 STARTTLS', '421 4.3.0 later'] }), good]],
    'EHLO within TLS lost': [[lost({ EHLO: ['250-mx.test\n250 STARTTLS', gone] }), good]],
    'MAIL lost': [[lost({ MAIL: gone }), good]],
    'MAIL 421 and gone': [[lost({ MAIL: { close: '421 4.3.0 later' } }), good]],
    'RCPT lost': [[lost({ RCPT: gone }), good]],
    'the second RCPT lost': [[lost({ RCPT: ['250 2.1.5 ok', gone] }), good]],
    'one RCPT 450, the next lost': [[lost({ RCPT: ['450 4.2.0 later', gone] }), good]],
    'one RCPT 550, the next lost': [[lost({ RCPT: ['550 5.1.1 no', gone] }), good]],
    'all RCPT 550, DATA lost': [[lost({ RCPT: '550 5.1.1 no', DATA: gone, RSET: gone }), good]],
    'DATA lost': [[lost({ DATA: gone }), good]],
    'the reply to the dot is lost': [[{ tls, dot: gone }, good]],
    'lost, and lost in plaintext': [[lost({ RCPT: gone }), { tls, answers: { RCPT: gone } }, good]],
    'lost, another one is good': [[lost({ MAIL: gone }), { greeting: gone }], [good]],
    'TLS 1.2, MAIL lost': [[{ tls: { context: older }, answers: { MAIL: gone } }, good]],
  }
  for (const octets of [1, 5, 90, 400, 800, 1_100, 1_500]) {
    // Of TLS 1.3 our server's part is longer: newer clients agree on keys in a newer way.
    if (octets < 100) {
      broken[`ends after ${octets} octets of TLS 1.3`] = [[{ tls: { context, cutAfter: octets } }, good]]
    }
    broken[`ends after ${octets} octets of TLS 1.2`] = [[{ tls: { context: older, cutAfter: octets } }, good]]
  }
  const profiles = [
    level('may', 'may'),
    level('encrypt', 'encrypt'),
    level(
      'withpassword',
      'may',
      { sasl_auth_enable: 'yes', sasl_password_maps: 'static:u:p' },
      { sasl_auth_enable: true, sasl_password_maps: ['static:u:p'] },
    ),
  ]
  return profiles.flatMap((profile, index) =>
    // Where nothing may go in plaintext, each third will do.
    Object.entries(broken)
      .filter((_, i) => index === 0 || (i + index) % 3 === 0)
      .map(([name, servers]) => ({
        name: `${profile.name}: ${name}`,
        profile,
        servers,
        recipients: ['a', 'b'],
      })),
  )
}

/** Ours, a few at a time: some of them wait for their timeout. */
async function observeAll(all: readonly ModelCase[]): Promise<Observed[]> {
  const seen: Observed[] = []
  const left = [...all.entries()]
  const work = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      seen[next[0]] = await observeOurs(next[1])
    }
  }
  await Promise.all(Array.from({ length: 6 }, work))
  return seen
}

/** Results and verbs of each session, and whether TLS came about. */
function short({ results, sessions }: Observed): string {
  const said = sessions.map((server) =>
    server.map((commands) => commands.map((command) => command.split(/[ :]/)[0]).join(' ')).join(' / '),
  )
  return `${results.join(', ')}; ${said.join(' // ')}`
}

describe.skipIf(noPostfix !== undefined)(`TLS that breaks, Postfix and ours${because(noPostfix)}`, () => {
  test.each([false, true])('the mail has waited: %s', { timeout: 180_000 }, async (hasWaited) => {
    // Mail that has not waited never goes in plaintext: fewer of them will do.
    const all = (await cases())
      .filter((_, index) => hasWaited || index % 2 === 0)
      .map((one): ModelCase => (hasWaited ? { ...one, aged: true } : one))
    const [theirs, ours] = await Promise.all([PostfixModel.observe(all), observeAll(all)])
    const differences = all.flatMap(({ name }, index) => {
      const [a, b] = [theirs[index]!, ours[index]!].map(short)
      return a === b ? [] : `${name}\n  Postfix ${a}\n  ours    ${b}`
    })
    expect(differences.join('\n')).toBe('')
  })
})

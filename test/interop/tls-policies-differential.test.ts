/**
 * Policies and certificates: Postfix's delivery client and ours have the same result, say the same commands and trust
 * the server as much. `CAMPAIGN=N` takes a dozen policies from the N-th on with every server.
 *
 * Left out: a list of names to match that are all empty, with which Postfix begins a session that must fail.
 */
import { describe, expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { Random } from '../../src/testing/random.ts'
import { type ModelCase, type Observed, observeOurs, PostfixModel } from '../support/postfix-model.ts'
import { because } from '../support/privileges.ts'
import { chosenSeed } from '../support/seed.ts'
import { type TlsMaterial, tlsMaterial } from './differential/tls-material.ts'

const noPostfix = whyMissing(['postfix'], { root: true })

/** Policies with the names of their servers. */
function pairs({ servers, policies }: TlsMaterial): readonly (readonly [string, string])[] {
  const labels = Object.keys(servers)
  if (process.env.CAMPAIGN !== undefined) {
    const from = Number(process.env.CAMPAIGN)
    return policies
      .slice(from, from + 12)
      .flatMap((policy) => labels.map((label) => [policy, label] as const))
  }
  const random = new Random(chosenSeed())
  return [
    ...policies.map((policy) => [policy, random.chance(0.5) ? 'right' : random.pick(labels)] as const),
    ...labels.map((label) => ['secure match=mail.test', label] as const),
    ...labels.map((label) => [random.pick(policies), label] as const),
    ['verify match=mail.test ciphers=null protocols=<=TLSv1.2', 'null cipher alone'],
  ]
}

/** Result, commands, and what TLS was. */
function short({ results, sessions, tls }: Observed): string {
  const said = sessions
    .flat()
    .map((commands) => commands.map((command) => command.split(/[ :]/)[0]).join(' '))
    .join(' / ')
  const isRefused = results[0] === 'a deferred 4.7.5'
  // A policy that nobody can keep to: Postfix finds that out when it has asked for TLS, we before.
  if (isRefused && tls.length === 0 && !said.includes('handshake')) return 'refused before TLS'
  // A trusted certificate for another name is `untrusted` to Postfix 3.7, and `trusted` to newer ones and to us.
  const classes = isRefused ? tls.map((line) => line.replace(/^trusted/, 'untrusted')) : tls
  return [...results, said, ...classes].join('; ')
}

describe.skipIf(noPostfix !== undefined)(`TLS policies of Postfix and of ours${because(noPostfix)}`, () => {
  test('the same policies come to the same with the same servers', { timeout: 900_000 }, async () => {
    const material = await tlsMaterial()
    const profiles = new Map(
      material.policies.map((policy, index) => [policy, material.profile(`p${index}`, policy)]),
    )
    const cases = pairs(material).map(([policy, label]): ModelCase => {
      const tls = material.servers[label]!
      return { name: `${policy}: ${label}`, profile: profiles.get(policy)!, servers: [[{ tls }]] }
    })
    const theirs = await PostfixModel.observe(cases)
    const differences: string[] = []
    for (const [index, one] of cases.entries()) {
      const ours = await observeOurs(one)
      const [a, b] = [theirs[index]!, ours].map(short)
      if (a !== b) differences.push(`${one.name}\n  Postfix ${a}\n  ours    ${b}`)
    }
    expect(differences.join('\n')).toBe('')
  })
})

/** What a mail asks for by itself, RFC 8689. */
import type { Course } from '../course.ts'
import type { Destination } from '../destination.ts'
import type { MailDemand } from './client.ts'
import { isRequired } from './levels.ts'
import { findNexthop, nexthopKey } from './next-hop.ts'
import type { PolicyResult } from './policy.ts'
import { isRequireTlsAction } from './require-tls.ts'

/**
 * REQUIRETLS as the settings have it for the next hop, or `TLS-Required: no` where that would change anything. A
 * result instead of a demand: the table of next hops cannot be used.
 */
export async function mailDemand(
  course: Course,
  destination: Destination,
  policy: PolicyResult,
): Promise<MailDemand | PolicyResult | undefined> {
  const { tlsFeatures, settings, maps } = course.env
  if (course.request.requiretls === true) {
    if (!tlsFeatures.requiretls_enable) return undefined
    for (const word of settings.requiretls_policy) {
      if (isRequireTlsAction(word)) return word
      const answer = findNexthop(maps([word]), destination)
      if (answer.kind === 'none') continue
      if (answer.kind === 'found' && isRequireTlsAction(answer.value)) return answer.value
      const what = answer.kind === 'found' ? `\`${answer.value}\` is no action` : answer.detail
      return { ok: false, dsn: '4.7.10', reason: `requiretls_policy, ${nexthopKey(destination)}: ${what}` }
    }
    return 'enforce'
  }
  const mayMatter = tlsFeatures.required_enable && !(policy.ok && !isRequired(policy.policy.level))
  if (!mayMatter) return undefined
  const header = await course.header()
  const saysNo = header !== undefined && /^TLS-Required:[ \t]*no[ \t]*\r?$/im.test(header)
  return saysNo ? 'no-tls-needed' : undefined
}

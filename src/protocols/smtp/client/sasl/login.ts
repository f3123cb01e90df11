/** Authentication of a session that has just come about: with what, whether at all, and what a refusal means. */
import type { Course } from '../course.ts'
import { dataFailure, type Failure, LocalDataError, localFailure } from '../failure.ts'
import type { Session } from '../session.ts'
import { authenticate, type Refusal } from './authentication.ts'
import { chooseMechanism, findAccount } from './credentials.ts'
import { failureKey, type KnownFailure, passwordDigest } from './known-failures.ts'
import type { SaslAccount } from './mechanisms.ts'

/** Undefined: the session may go on, logged in or not. */
export async function logIn(course: Course, session: Session, nexthop: string): Promise<Refusal | undefined> {
  const { settings, saslFailures } = course.env
  const { host } = session.target
  const { auth } = session.features
  let account: SaslAccount | undefined
  try {
    account = findAccount(course, { host, nexthop })
  } catch (error) {
    if (error instanceof LocalDataError) return { failure: dataFailure(error.message), polite: true }
    throw error
  }
  session.account = account
  // A server that offers no AUTH decides on its own what it takes.
  if (account === undefined || auth === undefined) return undefined
  const binding = session.channelBinding
  const mechanism = chooseMechanism({
    offered: auth,
    filter: settings.sasl_mechanism_filter,
    demands: demandsOf(course, session),
    hasBinding: binding !== undefined,
  })
  if (mechanism === undefined) {
    const reason = `authentication with ${session.relay} is not possible: of its mechanisms (${auth.join(' ') || 'it names none'}) none is allowed here`
    return { failure: localFailure('site', '4.7.0', reason), polite: true }
  }
  const caches = settings.sasl_auth_cache_name !== '' && saslFailures !== undefined
  const key = failureKey(host, account.user)
  if (caches) {
    const known = await saslFailures.find(key)
    const age = known === undefined ? 0 : course.env.now() - known.at
    if (known !== undefined) {
      if (
        age <= settings.sasl_auth_cache_time &&
        known.digest === passwordDigest(account.password, known.salt)
      )
        return { failure: knownFailure(known, settings.sasl_auth_soft_bounce), polite: true }
      saslFailures.forget(key)
    }
  }
  const { port } = session.target
  const refusal = await authenticate(session, {
    mechanism,
    account,
    exchange: mechanism.start(account, { host, port, ...(binding === undefined ? {} : { binding }) }),
    timeoutMs: settings.helo_timeout,
    softBounce: settings.sasl_auth_soft_bounce,
  })
  if (caches && refusal?.isFinal === true) {
    const { dsn, reason } = refusal.failure
    saslFailures.remember(key, { at: course.env.now(), password: account.password, dsn, reason })
  }
  return refusal
}

function demandsOf({ env }: Course, { tls }: Session): readonly string[] {
  const plain = env.settings.sasl_security_options
  const same = (list: readonly string[], other: readonly string[]) =>
    list.includes('inherit') ? other : list
  const secure = same(env.settings.sasl_tls_security_options, plain)
  if (tls === undefined) return plain
  return tls.verified ? same(env.settings.sasl_tls_verified_security_options, secure) : secure
}

function knownFailure({ dsn, reason }: KnownFailure, softBounce: boolean): Failure {
  const code = softBounce ? `4${dsn.slice(1)}` : `5${dsn.slice(1)}`
  return { scope: 'site', dsn: code, reason, remote: true }
}

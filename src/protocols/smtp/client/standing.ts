/**
 * What a kept connection is trusted with, and whether it still is. Labels say which connections are alike; they cannot
 * tell that a table, the DNS or a policy of the domain says something else by now.
 */
import type { ClientSettings } from './config.ts'
import type { Course } from './course.ts'
import type { Destination } from './destination.ts'
import { LocalDataError } from './failure.ts'
import { findAccount } from './sasl/credentials.ts'
import type { Server } from './servers.ts'
import type { Session } from './session.ts'
import { mailDemand } from './tls/mail-demand.ts'

/** Where a connection went, and on what terms. */
export interface Standing {
  readonly destination: Destination
  readonly server: Server
  /** A reload brings others. */
  readonly settings: ClientSettings
  /** Of the TLS policy of the next hop. */
  readonly policyKey: string
  /** Of the TLS plan for the server. */
  readonly sessionKey: string
}

/** Whether the connection would be made on the same terms now, for the mail of this course. */
export async function isStillGood(course: Course, session: Session): Promise<boolean> {
  const { madeFor } = session
  if (madeFor === undefined || madeFor.settings !== course.env.settings) return false
  const { tls } = course.env
  const { destination, server } = madeFor
  const ours = await tls.policy(destination)
  if (!ours.ok || ours.policy.key !== madeFor.policyKey || !hasAccount(course, session, madeFor)) return false
  const { level, sts } = ours.policy
  const isSettled = level !== 'dane' && level !== 'dane-only' && sts === undefined
  if (isSettled && course.request.requiretls !== true) return true
  // The DNS and the domain have a say.
  const demand = course.request.requiretls === true ? await mailDemand(course, destination, ours) : undefined
  const now = await tls.planForMail(ours, demand, server, destination)
  return now.ok && now.plan.sessionKey === madeFor.sessionKey
}

/** Passwords change, and so does who has which. */
function hasAccount(course: Course, { account }: Session, { destination, server }: Standing): boolean {
  try {
    const now = findAccount(course, { host: server.host, nexthop: destination.nexthop })
    if (now === undefined || account === undefined) return now === account
    return now.user === account.user && now.password === account.password
  } catch (error) {
    // It is said when a connection is made.
    if (error instanceof LocalDataError) return false
    throw error
  }
}

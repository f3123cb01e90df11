/** Sessions per service, user and address (Dovecot's and Postfix's anvil). One actor, registered as `accounting`. */
import type { AnyRef, Contract } from '../actors/index.ts'

export interface SessionInfo {
  readonly session: string
  readonly service: string
  readonly user: string
  readonly address: string
  readonly since: number
}

export type AccountingContract = Contract<{
  /** Counts a logged-in session; false: over `limits.max_userip_connections`. The session is monitored: its end uncounts it. */
  connect(owner: AnyRef, session: string, service: string, user: string, address: string): boolean
  disconnect(session: string): void
  sessions(): readonly SessionInfo[]
}>

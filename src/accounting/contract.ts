/**
 * Who is connected: all sessions of the service, and how many each user has from an address (Dovecot's and Postfix's
 * anvil). One actor, registered as `accounting`.
 */
import type { AnyRef, Contract } from '../actors/index.ts'

export interface SessionInfo {
  readonly session: string
  readonly service: string
  /** Empty: not logged in. */
  readonly user: string
  readonly address: string
  /** Connected, in milliseconds since the epoch. */
  readonly since: number
}

/** What a session tells of itself. */
export interface SessionFacts {
  /** What it waits for or does, one word. */
  readonly state: string
  /** The client's address, if a load balancer or a proxy has named it. */
  readonly address: string
  readonly tls: string | null
  /** Milliseconds without anything from or to the client. */
  readonly idleMs: number
  /** Octets from and to the client. */
  readonly input: number
  readonly output: number
}

/** What sessions answer that can be looked at and thrown out. */
export type WatchedSession = Contract<{
  facts(): SessionFacts
  /** `admin`: somebody wants it to end. `pending`: others wait to log in, and this one has not for longest. */
  throwOut(why: 'admin' | 'pending'): void
}>

/** `session`, `user` and `address`: all that are given have to fit. */
export interface SessionFilter {
  readonly session?: string
  readonly user?: string
  readonly address?: string
}

/** What sessions have done since the service started. */
export interface SessionTotals {
  readonly logins: number
  readonly failedLogins: number
  /** Mails that were sent whole (RETR), and their octets. */
  readonly fetchedMails: number
  readonly fetchedOctets: number
  readonly removedMails: number
  readonly input: number
  readonly output: number
}

export type ConnectResult =
  | 'ok'
  /** Over `limits.max_userip_connections`. */
  | 'userip'
  /** Over `pop3.max_sessions`. */
  | 'full'
  /** Earlier than `pop3.capa.login_delay` allows. */
  | 'too-soon'

export type AccountingContract = Contract<{
  /**
   * A connection was accepted. `watched`: it answers `WatchedSession`. Its end is noticed.
   */
  accepted(owner: AnyRef, info: Omit<SessionInfo, 'user' | 'since'>, watched: boolean): void
  /** Counts a logged-in session; anything but `ok`: it is not to go on. */
  connect(owner: AnyRef, session: string, service: string, user: string, address: string): ConnectResult
  /** People know the session by another name, which need not be its alone. */
  renamed(session: string, name: string): void
  /** The session is not logged in any more. */
  disconnect(session: string): void
  /**
   * Wants something for this session alone, a mailbox by its path; false: somebody else kept it for `waitMs`. Given up
   * by `release`, and at the end of the session, which has to be a logged-in one.
   */
  claim(owner: AnyRef, what: string, waitMs: number): boolean
  release(owner: AnyRef, what: string): void
  /** A POP3 session ended and has done this. */
  ended(done: SessionTotals): void
  totals(): SessionTotals
  sessions(): readonly SessionInfo[]
  /** The same with what each says of itself; null: it does not answer such questions. */
  watch(): readonly (SessionInfo & { readonly facts: SessionFacts | null })[]
  /** Ends all sessions that fit; answers with their ids. */
  kick(filter: SessionFilter): readonly string[]
}>

/** What a client does that may be limited. */
export type ClientActivity = 'connection' | 'message' | 'recipient' | 'auth' | 'tls'

export interface ClientUse {
  /** Connections open, this one included. */
  readonly connections: number
  /** Connections begun in the current `anvil.rate_time_unit`, this one included. */
  readonly rate: number
}

/** Registered as `anvil`. */
export type AnvilContract = Contract<{
  /**
   * Counts a connection of a client to a service. The session is monitored: its end uncounts it. A session that says
   * it again is now another client's.
   */
  connected(owner: AnyRef, session: string, service: string, address: string): ClientUse
  /** Counts something a client does; how often it did so in the current `anvil.rate_time_unit`. */
  did(activity: ClientActivity, service: string, address: string): number
  /** One more of `kind` is under way in a session; false: there are `limit` in the service already, and it is not. */
  begin(owner: AnyRef, session: string, kind: string, limit: number): boolean
  /** Nothing of the session is under way any more. Its end does the same. */
  finish(session: string): void
}>

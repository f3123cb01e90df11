/**
 * Knows all sessions of all services and threads, and counts those of each user and address. A session that ends
 * without saying so, because its thread died, is forgotten by its monitor.
 */
import {
  type ActorContext,
  type ActorRef,
  type AnyRef,
  actor,
  type Contract,
  Deferred,
  type Down,
  type SupervisorContract,
} from '../actors/index.ts'
import type { Config } from '../config/settings.ts'
import { Claims } from './claims.ts'
import type {
  AccountingContract,
  ConnectResult,
  SessionFacts,
  SessionFilter,
  SessionInfo,
  SessionTotals,
  WatchedSession,
} from './contract.ts'

type AccountingMessages = AccountingContract & Contract<{ stopWaiting(what: string, owner: number): void }>

interface Known {
  /** By which the service knows it; others may know it by a name that a proxy gave it. */
  readonly id: string
  info: SessionInfo
  readonly owner: AnyRef
  readonly monitor: number
  isWatched: boolean
  /** Service, user and address it is counted under; empty: not logged in. */
  key: string
}

/** Users whose last login is remembered, for `pop3.capa.login_delay`. */
const maxLogins = 100_000
/** A session that does not answer in this time is shown without what it would say. */
const factsTimeoutMs = 1_000
/** Sessions asked at the same time. */
const factsAtOnce = 500

class Accounting {
  readonly #context: ActorContext<AccountingMessages>
  readonly #bySession = new Map<string, Known>()
  readonly #byMonitor = new Map<number, Known>()
  /** POP3 sessions that are not logged in, the oldest first. */
  readonly #pending = new Map<string, Known>()
  /** Logged-in sessions by service, user and address. */
  readonly #counts = new Map<string, number>()
  #loggedIn = 0
  readonly #claims = new Claims()
  readonly #totals = {
    logins: 0,
    failedLogins: 0,
    fetchedMails: 0,
    fetchedOctets: 0,
    removedMails: 0,
    input: 0,
    output: 0,
  }
  /** Time of the last login by user, the oldest first. */
  readonly #logins = new Map<string, number>()

  constructor(context: ActorContext<AccountingMessages>) {
    this.#context = context
  }

  get #config(): Config | undefined {
    return this.#context.setting<Config>('config')
  }

  accepted(owner: AnyRef, info: Omit<SessionInfo, 'user' | 'since'>, watched: boolean): void {
    const known = this.#bySession.get(info.session)
    if (known !== undefined) {
      // It was faster than the listener.
      known.isWatched = watched
      return
    }
    const added = this.#add(owner, { ...info, user: '', since: this.#context.clock.now() }, watched)
    if (info.service === 'pop3' && watched) this.#wait(added)
  }

  connect(owner: AnyRef, session: string, service: string, user: string, address: string): ConnectResult {
    const { limits, pop3 } = this.#config ?? {}
    const key = `${service}\0${user.toLowerCase()}\0${address}`
    // The same session asking again changes its user; it is not one more.
    this.disconnect(session)
    const most = limits?.max_userip_connections ?? 0
    const open = this.#counts.get(key) ?? 0
    if (most > 0 && open >= most) return 'userip'
    if (pop3 !== undefined && this.#loggedIn >= pop3.max_sessions) return 'full'
    if (pop3 !== undefined && !this.#mayLogIn(user.toLowerCase(), pop3.capa.login_delay)) return 'too-soon'
    const known =
      this.#bySession.get(session) ??
      this.#add(owner, { session, service, user, address, since: this.#context.clock.now() }, false)
    known.info = { ...known.info, user, address }
    known.key = key
    this.#pending.delete(session)
    this.#counts.set(key, open + 1)
    this.#loggedIn++
    return 'ok'
  }

  renamed(session: string, name: string): void {
    const known = this.#bySession.get(session)
    if (known !== undefined) known.info = { ...known.info, session: name }
  }

  disconnect(session: string): void {
    const known = this.#bySession.get(session)
    if (known === undefined || known.key === '') return
    this.#uncount(known)
    known.info = { ...known.info, user: '' }
    if (known.info.service === 'pop3' && known.isWatched) this.#wait(known)
  }

  claim(owner: AnyRef, what: string, waitMs: number): Deferred<boolean> {
    const answer = new Deferred<boolean>()
    let isAnswered = false
    this.#claims.claim(what, owner.id, (got) => {
      isAnswered = true
      answer.resolve(got)
    })
    if (!isAnswered) this.#context.sendAfter(waitMs, 'stopWaiting', what, owner.id)
    return answer
  }

  stopWaiting(what: string, owner: number): void {
    this.#claims.giveUp(what, owner)
  }

  release(owner: AnyRef, what: string): void {
    this.#claims.release(what, owner.id)
  }

  ended(done: SessionTotals): void {
    for (const key of Object.keys(this.#totals) as (keyof SessionTotals)[]) this.#totals[key] += done[key]
  }

  totals(): SessionTotals {
    return { ...this.#totals }
  }

  sessions(): readonly SessionInfo[] {
    return Array.from(this.#bySession.values(), ({ info }) => info)
  }

  watch(): Deferred<readonly (SessionInfo & { facts: SessionFacts | null })[]> {
    const answer = new Deferred<readonly (SessionInfo & { facts: SessionFacts | null })[]>()
    const all = [...this.#bySession.values()]
    void this.#ask(all).then((facts) =>
      answer.resolve(all.map(({ info }, index) => ({ ...info, facts: facts[index]! }))),
    )
    return answer
  }

  kick({ session, user, address }: SessionFilter): readonly string[] {
    const kicked: string[] = []
    for (const { id, info, owner, isWatched } of this.#bySession.values()) {
      if (session !== undefined && info.session !== session) continue
      if (user !== undefined && info.user.toLowerCase() !== user.toLowerCase()) continue
      if (address !== undefined && info.address !== address) continue
      kicked.push(info.session)
      if (isWatched) owner.tell('throwOut', 'admin')
      else this.#context.whereis<SupervisorContract>('sessions')?.tell('terminateChild', id)
    }
    return kicked
  }

  handleDown({ monitor }: Down): void {
    const known = this.#byMonitor.get(monitor)
    if (known === undefined) return
    if (known.key !== '') this.#uncount(known)
    this.#byMonitor.delete(monitor)
    this.#bySession.delete(known.id)
    this.#pending.delete(known.id)
    if (this.#claims.size > 0) this.#claims.forget(known.owner.id)
  }

  #add(owner: AnyRef, info: SessionInfo, isWatched: boolean): Known {
    const known: Known = {
      id: info.session,
      info,
      owner,
      monitor: this.#context.monitor(owner),
      isWatched,
      key: '',
    }
    this.#bySession.set(info.session, known)
    this.#byMonitor.set(known.monitor, known)
    return known
  }

  /** One more that is not logged in; if there are too many, the oldest goes. */
  #wait(added: Known): void {
    this.#pending.set(added.id, added)
    if (this.#pending.size <= (this.#config?.login.max_pending ?? Number.POSITIVE_INFINITY)) return
    const [oldest] = this.#pending.values()
    if (oldest === undefined) return
    this.#pending.delete(oldest.id)
    oldest.owner.tell('throwOut', 'pending')
  }

  #uncount(known: Known): void {
    const left = (this.#counts.get(known.key) ?? 1) - 1
    if (left > 0) this.#counts.set(known.key, left)
    else this.#counts.delete(known.key)
    known.key = ''
    this.#loggedIn--
  }

  #mayLogIn(user: string, delayMs: number): boolean {
    if (delayMs === 0) return true
    const now = this.#context.clock.monotonic()
    const last = this.#logins.get(user)
    if (last !== undefined && now - last < delayMs) return false
    this.#logins.delete(user)
    this.#logins.set(user, now)
    const [oldest] = this.#logins.keys()
    if (this.#logins.size > maxLogins && oldest !== undefined) this.#logins.delete(oldest)
    return true
  }

  async #ask(all: readonly Known[]): Promise<(SessionFacts | null)[]> {
    const found: (SessionFacts | null)[] = []
    for (let start = 0; start < all.length; start += factsAtOnce) {
      const part = all
        .slice(start, start + factsAtOnce)
        .map(({ owner, isWatched }) =>
          isWatched
            ? (owner as ActorRef<WatchedSession>)
                .askWith({ timeoutMs: factsTimeoutMs }, 'facts')
                .catch(() => null)
            : null,
        )
      found.push(...(await Promise.all(part)))
    }
    return found
  }
}

/** Registered as `accounting`; one for the whole service. */
export const accountingActor = actor<AccountingMessages>({
  name: 'accounting',
  module: import.meta.url,
  init: (context) => new Accounting(context),
})

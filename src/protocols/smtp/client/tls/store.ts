/** The actor `tls-store`: one for all delivery threads. Deliveries do without when it is not there. */
import { join } from 'node:path'
import { type ActorContext, actor } from '../../../../actors/index.ts'
import type { Config } from '../../../../config/settings.ts'
import { createResolver } from '../../../../dns/resolver.ts'
import { familiesOf } from '../own-network.ts'
import { Contexts } from './contexts.ts'
import type { TlsStoreContract, WaitingReport } from './contract.ts'
import { type CountedFact, TlsCounts, type TlsFact } from './counts.ts'
import { dayOf, type ReportEvent, Tally } from './rpt/events.ts'
import { buildReport, type ReportFacts, reportContact } from './rpt/report.ts'
import { ReportSender } from './rpt/send.ts'
import { SessionTable, type StoredSession, type TlsSessions } from './sessions.ts'
import { type ReportKey, StateDatabase } from './state-database.ts'
import type { StsState, StsStore } from './sts/lookup.ts'
import { expiryOf } from './sts/policy.ts'

/** How often counts go to the disk and reports that are due are sent. */
const tickMs = 60_000
/** Reports of a day go out within so long after its end, RFC 8460 section 4.1; which moment is left to chance. */
const spreadMs = 4 * 3_600_000
/** Reports that cannot be sent are dropped after so many days. */
const maxAgeDays = 3
/** Domains whose state is kept in memory. */
const maxDomains = 10_000
/** Reports shown at once. */
const maxShown = 1_000
const dayMs = 86_400_000

type OwnContract = TlsStoreContract & { readonly tick: () => void }

class TlsStore {
  readonly #context: ActorContext<OwnContract>
  readonly #sessions = new SessionTable()
  readonly #sts = new Map<string, StsState>()
  readonly #tally = new Tally()
  readonly #counts = new TlsCounts()
  /** Milliseconds after midnight. */
  readonly #sendAt = Math.floor(Math.random() * spreadMs)
  #database: StateDatabase | undefined
  #sending = false

  constructor(context: ActorContext<OwnContract>) {
    this.#context = context
    context.sendAfter(tickMs, 'tick')
  }

  findSession(key: string): StoredSession | null {
    return this.#sessions.find(key, this.#context.clock.monotonic()) ?? null
  }

  saveSession(key: string, session: StoredSession, ttlMs: number): void {
    this.#sessions.save(key, session, this.#context.clock.monotonic() + ttlMs)
  }

  dropSession(key: string): void {
    this.#sessions.drop(key)
  }

  findSts(domain: string): StsState | null {
    return this.#sts.get(domain) ?? this.#onDisk((database) => database.sts(domain), undefined) ?? null
  }

  saveSts(domain: string, state: StsState): void {
    const known = this.#sts.get(domain)
    this.#sts.delete(domain)
    this.#sts.set(domain, state)
    if (this.#sts.size > maxDomains) this.#sts.delete(this.#sts.keys().next().value!)
    // That a domain was looked at again is no news; which policy it has is.
    if (state.policy === undefined || state.policy.fetchedAt === known?.policy?.fetchedAt) return
    const { policy } = state
    this.#onDisk((database) => database.saveSts(domain, state, expiryOf(policy)), undefined)
  }

  count(event: ReportEvent): void {
    this.#tally.add(dayOf(this.#context.clock.now()), event)
  }

  tally(fact: TlsFact): void {
    this.#counts.add(fact)
  }

  tallied(): readonly CountedFact[] {
    return this.#counts.rows()
  }

  reports(domain: string): readonly WaitingReport[] {
    return this.#waiting(domain)
      .slice(0, maxShown)
      .map((key) => {
        const facts = this.#facts(key)
        const sum = (failed: boolean) =>
          facts.events.reduce(
            (total, { failure, count }) => total + ((failure !== undefined) === failed ? count : 0),
            0,
          )
        return { ...key, successes: sum(false), failures: sum(true), report: buildReport(facts).json }
      })
  }

  sendReports(domain: string): number {
    const keys = this.#waiting(domain)
    this.#send(keys)
    return keys.length
  }

  tick(): void {
    this.#context.sendAfter(tickMs, 'tick')
    this.#flush()
    const now = this.#context.clock.now()
    if (this.#database === undefined && !this.#config.smtp.tlsrpt_enable) return
    this.#onDisk((database) => database.dropExpired(now), undefined)
    if (now % dayMs < this.#sendAt) return
    const today = dayOf(now)
    this.#send(this.#onDisk((database) => database.reports(), []).filter(({ day }) => day < today))
  }

  terminate(): void {
    this.#flush()
    this.#database?.close()
  }

  get #config(): Config {
    return this.#context.setting<Config>('config')!
  }

  #open(): StateDatabase {
    this.#database ??= new StateDatabase(join(this.#config.data_dir, 'tls'))
    return this.#database
  }

  /** A disk that is full or gone costs reports and what was to be remembered, and no delivery. */
  #onDisk<T>(work: (database: StateDatabase) => T, otherwise: T): T {
    try {
      return work(this.#open())
    } catch (error) {
      const reason = (error as Error).message
      this.#context.log.error({ event: 'tls.state-failed', reason }, 'what is known of TLS cannot be kept')
      return otherwise
    }
  }

  #flush(): void {
    if (!this.#tally.isEmpty) this.#onDisk((database) => database.count(this.#tally.take()), undefined)
  }

  #waiting(domain: string): readonly ReportKey[] {
    this.#flush()
    const all = this.#onDisk((database) => database.reports(), [])
    return all.filter((key) => domain === '' || key.domain === domain)
  }

  #facts(key: ReportKey): ReportFacts {
    const { hostname, smtp } = this.#config
    const contact = reportContact(smtp.tlsrpt_contact_info, hostname)
    return { ...key, events: this.#onDisk((database) => database.events(key), []), hostname, contact }
  }

  /** Sends one after the other, while other messages are handled. */
  #send(keys: readonly ReportKey[]): void {
    if (this.#sending || keys.length === 0) return
    this.#sending = true
    const { dns, net, smtp, tls } = this.#config
    const contexts = new Contexts(smtp, tls)
    const sender = new ReportSender(this.#context as unknown as ActorContext, {
      resolver: createResolver(dns),
      families: familiesOf(net.inet_protocols),
      settings: smtp,
      https: () => contexts.https(),
    })
    const oldest = dayOf(this.#context.clock.now() - maxAgeDays * dayMs)
    const next = this.#context.bind((index: number) => {
      const key = keys[index]
      if (key === undefined) {
        this.#sending = false
        return
      }
      const settled = this.#context.bind((isDone: boolean) => {
        if (isDone || key.day < oldest) this.#onDisk((database) => database.dropReport(key), undefined)
        next(index + 1)
      })
      void sender.send(this.#facts(key)).then(settled)
    })
    next(0)
  }
}

export const tlsStore = actor<OwnContract, undefined>({
  name: 'tls-store',
  module: import.meta.url,
  init: (context) => new TlsStore(context),
})

/** How long a delivery waits for the store before it goes on without. */
const patienceMs = 1_000

const storeOf = (context: ActorContext) => context.whereis<TlsStoreContract>('tls-store')

/** The sessions of the store, for one delivery. */
export function sharedSessions(context: ActorContext): TlsSessions {
  return {
    async find(key) {
      try {
        return (await storeOf(context)?.askWith({ timeoutMs: patienceMs }, 'findSession', key)) ?? undefined
      } catch {
        return undefined
      }
    },
    save(key, session, ttlMs) {
      storeOf(context)?.tell('saveSession', key, session, ttlMs)
    },
    drop(key) {
      storeOf(context)?.tell('dropSession', key)
    },
  }
}

/** The MTA-STS policies of the store, for one delivery. */
export function sharedStsStore(context: ActorContext): StsStore {
  return {
    async get(domain) {
      try {
        return (await storeOf(context)?.askWith({ timeoutMs: patienceMs }, 'findSts', domain)) ?? undefined
      } catch {
        return undefined
      }
    },
    put(domain, state) {
      storeOf(context)?.tell('saveSts', domain, state)
    },
  }
}

/** Counts a session for reports. */
export function countSession(context: ActorContext, event: ReportEvent): void {
  storeOf(context)?.tell('count', event)
}

/** Counts a session for metrics. */
export function tallySession(context: ActorContext, fact: TlsFact): void {
  storeOf(context)?.tell('tally', fact)
}

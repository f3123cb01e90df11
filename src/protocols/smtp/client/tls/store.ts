/** The actor `tls-store`: one for all delivery threads. Deliveries do without when it is not there. */
import { type ActorContext, actor } from '../../../../actors/index.ts'
import type { TlsStoreContract } from './contract.ts'
import { SessionTable, type StoredSession, type TlsSessions } from './sessions.ts'

class TlsStore {
  readonly #context: ActorContext<TlsStoreContract>
  readonly #sessions = new SessionTable()

  constructor(context: ActorContext<TlsStoreContract>) {
    this.#context = context
  }

  findSession(key: string): StoredSession | null {
    return this.#sessions.find(key, this.#context.clock.monotonic()) ?? null
  }

  saveSession(key: string, session: StoredSession, ttlMs: number): void {
    this.#sessions.save(key, session, this.#context.clock.monotonic() + ttlMs)
  }
}

export const tlsStore = actor<TlsStoreContract, undefined>({
  name: 'tls-store',
  module: import.meta.url,
  init: (context) => new TlsStore(context),
})

/** How long a delivery waits for the store before it goes on without. */
const patienceMs = 1_000

/** The sessions of the store, for one delivery. */
export function sharedSessions(context: ActorContext): TlsSessions {
  const store = () => context.whereis<TlsStoreContract>('tls-store')
  return {
    async find(key) {
      try {
        return (await store()?.askWith({ timeoutMs: patienceMs }, 'findSession', key)) ?? undefined
      } catch {
        return undefined
      }
    },
    save(key, session, ttlMs) {
      store()?.tell('saveSession', key, session, ttlMs)
    },
  }
}

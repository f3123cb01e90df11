/** What the control socket and the admin page need of the running service; `serve.ts` provides it. */

import type { AccountingContract } from '../accounting/contract.ts'
import type { ActorRef } from '../actors/index.ts'
import type { CacheContract } from '../cache/contract.ts'
import type { ListenerInfo } from '../listeners/contract.ts'
import type { MailboxesContract } from '../mailbox/contract.ts'
import type { TlsStoreContract } from '../protocols/smtp/client/tls/contract.ts'
import type { ClientInfo, Envelope, QueueContract } from '../queue/contract.ts'

/** One actor of the live tree. */
export interface TreeNode {
  readonly name: string
  readonly id: number
  readonly thread: number
  readonly state: string
  readonly restarts: number
  /** How the one before it failed, one line. */
  readonly lastCrash?: string
  readonly queueLength: number
  readonly handled: number
  /** Name of its definition. */
  readonly kind?: string
  /** The message whose handler waits, and for how long. */
  readonly current?: string
  readonly currentMs?: number
  readonly children: readonly TreeNode[]
}

/** One thread of a pool. */
export interface ThreadRow {
  readonly pool: string
  readonly thread: number
  readonly actors: number
  /** Share of time the event loop was busy since the last look, 0..1. */
  readonly utilization: number
  readonly heapBytes: number
  /** `running`; `draining` takes no new actors and ends when its last has; `resting` and `starting` too. */
  readonly state?: string
  /** Actors ever started on it. */
  readonly started?: number
  readonly uptimeMs?: number
  /** Times something blocked it for long. */
  readonly stalls?: number
  /** Milliseconds it has been stuck now. */
  readonly stalledMs?: number
}

/** One pool of worker threads. */
export interface PoolRow {
  readonly name: string
  readonly kind: string
  readonly minThreads: number
  readonly maxThreads: number
  readonly actorsPerThread: number
  /** Threads that take actors or jobs. */
  readonly threads: number
  readonly draining: number
  readonly actors: number
  readonly recycled: number
  readonly stalls: number
  readonly crashes: number
  readonly quarantinedMs: number
}

export interface PoolSizeRequest {
  readonly minThreads?: number
  readonly maxThreads?: number
  readonly actorsPerThread?: number
}

export type SubmitResult =
  | { readonly ok: true; readonly queueId: string }
  | { readonly ok: false; readonly temporary: boolean; readonly dsn: string; readonly reason: string }

export interface Administered {
  readonly hostname: string
  readonly version: string
  readonly startedAt: number
  listeners(): Promise<readonly ListenerInfo[]>
  tree(): Promise<TreeNode>
  threads(): Promise<readonly ThreadRow[]>
  pools(): readonly PoolRow[]
  /** @throws UsageError for a pool that is not there, or a size it cannot have. */
  resizePool(name: string, size: PoolSizeRequest): Promise<PoolRow>
  /** Answers with the threads that drain when their successors run. @throws UsageError */
  recyclePool(name: string): Promise<readonly number[]>
  readonly queue: () => ActorRef<QueueContract>
  readonly cache: () => ActorRef<CacheContract>
  readonly tlsStore: () => ActorRef<TlsStoreContract>
  readonly accounting: () => ActorRef<AccountingContract>
  readonly mailboxes: () => ActorRef<MailboxesContract>
  /** Takes a mail from a local user; answers when it is on stable storage. */
  submit(envelope: Envelope, content: Uint8Array, client: ClientInfo): Promise<SubmitResult>
  /** Names what could not change in the running service. */
  reload(): Promise<readonly string[]>
  /** Returns at once; the service ends afterwards. */
  stop(now: boolean): void
}

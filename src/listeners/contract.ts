import type { Contract } from '../actors/index.ts'

/** Where a listener listens, as the `ready` event and `status` show it. */
export interface ListenerInfo {
  readonly service: string
  /** As bound: `127.0.0.1:2525`, `[::1]:2525` or `unix:/path`; a configured port 0 is shown as the real one. */
  readonly address: string
  readonly tls: string
  /** Connections accepted, and refused because a limit or a worker's queue was reached. */
  readonly accepted: number
  readonly refused: number
}

export type ListenerContract = Contract<{
  info(): ListenerInfo
}>

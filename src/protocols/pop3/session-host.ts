/** What the states of a session have in common: its connection, its place in the order of commands, and its end. */

import type { WatchedSession } from '../../accounting/contract.ts'
import type { ActorContext, Contract } from '../../actors/index.ts'
import type { Config, ListenerConfig } from '../../config/settings.ts'
import type { Connection } from './connection.ts'

export interface Pop3SessionArgs {
  readonly service: string
  readonly listener: ListenerConfig
  /** Id that all log lines of the session have. */
  readonly session: string
}

/** What the session sends itself, and what it is asked. */
export type Pop3SessionContract = WatchedSession &
  Contract<{
    /** Something may have taken too long. */
    tick(): void
    /** Sizes that were found out go to the mailbox. */
    commit(): void
    /** The lock of the mailbox is still in use. */
    touchLock(): void
  }>

/** For all log lines of a session. */
export interface SessionIds {
  readonly session: string
  readonly remote: string
}

/** What a state may do with the session it belongs to. */
export interface SessionHost {
  readonly context: ActorContext<Pop3SessionContract>
  readonly config: Config
  readonly connection: Connection
  readonly ids: SessionIds
  /** Memory to read into, shared by all sessions of the thread; for synchronous use only. */
  readonly scratch: Buffer
  readonly isClosed: boolean
  /** Adds a line to what is sent; its CRLF is added. */
  reply(line: string): void
  /** The command takes time: lines behind it wait until `done`. `cancel` gives it up when the session ends. */
  begin(cancel?: () => void): void
  /** The running command is done; lines that waited for it go on. */
  done(): void
  /** Goes on when the client has read; only while the output is blocked. */
  whenDrained(callback: () => void): void
  /** A last line, and the end. */
  refuse(line: string, reason: string): void
  /** The end after what was said so far. */
  end(reason: string): void
  /** The end in the middle of an answer: nothing more is sent. */
  cutOff(reason: string): void
}

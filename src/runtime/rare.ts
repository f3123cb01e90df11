import type { ExitReason } from '../actors/index.ts'
import type { Asker, Message } from './message.ts'
import type { MessageList } from './message-queue.ts'
import { SignalQueue } from './signal-queue.ts'

/** What an actor needs only now and then: the many that are idle do without. */
export class Rare extends SignalQueue {
  #stash: MessageList | undefined = undefined
  /** Messages put aside. They count for the queue. */
  stashed = 0
  stopReason: ExitReason | undefined = undefined
  /** Messages to handle before it ends, on a thread that drains. */
  left = 0
  /** When the handler in hand began to await; of use only while it does. */
  waitingSince = 0
  resume: ((value: unknown) => void) | undefined = undefined
  crash: ((error: unknown) => void) | undefined = undefined
  atEnd: (() => void) | undefined = undefined
  /** Those who wait for a Deferred of this actor. */
  promised: Set<Asker> | undefined = undefined

  putAside(message: Message): void {
    message.next = undefined
    if (this.#stash === undefined) this.#stash = { first: message, last: message }
    else {
      this.#stash.last.next = message
      this.#stash.last = message
    }
    this.stashed++
  }

  /** Those put aside, which go before the messages that wait. */
  takeStash(): MessageList | undefined {
    const stash = this.#stash
    if (stash === undefined) return undefined
    this.#stash = undefined
    this.messagesTaken(-this.stashed)
    this.stashed = 0
    return stash
  }

  /** The actor has ended. */
  refusePromised(why: string, reason: ExitReason): void {
    const { promised } = this
    if (promised === undefined) return
    this.promised = undefined
    const waiting = [...promised]
    // A Deferred that is settled later must find nobody.
    promised.clear()
    for (const asker of waiting) asker.refuse('down', why, reason)
  }
}

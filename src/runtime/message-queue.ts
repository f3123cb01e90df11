import type { Message } from './message.ts'
import { Relations } from './relations.ts'

/** Messages linked by `next`. */
export interface MessageList {
  first: Message
  last: Message
}

/** An actor's messages that wait, in order. A part of the actor, as its relations are: idle actors are many. */
export class MessageQueue extends Relations {
  /** Those put aside included. */
  queueLength = 0
  #first: Message | undefined = undefined
  #last: Message | undefined = undefined

  get firstMessage(): Message | undefined {
    return this.#first
  }

  addMessage(message: Message): void {
    if (this.#last === undefined) this.#first = message
    else this.#last.next = message
    this.#last = message
    this.queueLength++
  }

  shiftMessage(): Message | undefined {
    const message = this.#first
    if (message === undefined) return undefined
    this.#first = message.next
    if (this.#first === undefined) this.#last = undefined
    this.queueLength--
    return message
  }

  /** Before all others. They are counted already. */
  prependMessages({ first, last }: MessageList): void {
    last.next = this.#first
    this.#first = first
    this.#last ??= last
  }

  /** Leaves out those before `message`; all, when it is undefined. Counts nothing: the actor ends. */
  dropMessagesBefore(message: Message | undefined): void {
    this.#first = message
    if (message === undefined) this.#last = undefined
  }
}

import type { Signal } from './message.ts'

/** Signals looked at one by one before an index is made of them. */
const fewSignals = 32

/**
 * Signals that wait for their turn, in order, each after the messages that were there before it: what an actor said last is
 * heard before its end. One may be taken out of its turn: the end of a child that is being stopped, the word of a monitor
 * that is given up. Of the very many that wait when all children of a supervisor end at once, each is found by an index.
 */
export class SignalQueue {
  /** Whether signals go before messages, instead of in their order. */
  signalsFirst = false
  #first: Signal | undefined = undefined
  #last: Signal | undefined = undefined
  /** Those that wait, by `keyOf`; made when it is needed. */
  #index: Map<number, Signal> | undefined = undefined
  /** How many messages go before the last signal. */
  #ahead = 0

  get firstSignal(): Signal | undefined {
    for (let first = this.#first; first?.isTaken === true; first = this.#first) {
      this.#first = first.next
      if (this.#first !== undefined) this.#first.messagesFirst += first.messagesFirst
    }
    if (this.#first === undefined) {
      this.#last = this.#index = undefined
      this.#ahead = 0
    }
    return this.#first
  }

  /** The one whose turn it is. */
  get dueSignal(): Signal | undefined {
    const signal = this.firstSignal
    return signal?.messagesFirst === 0 ? signal : undefined
  }

  /** `messages`: how many wait. */
  addSignal(signal: Signal, messages: number): void {
    const before = this.signalsFirst ? 0 : messages
    if (this.firstSignal === undefined || this.#last === undefined) this.#first = signal
    else this.#last.next = signal
    this.#last = signal
    signal.messagesFirst = before - this.#ahead
    this.#ahead = before
    this.#index?.set(keyOf(signal), signal)
  }

  /** A message was taken, or, where negative, so many came before all others. */
  messagesTaken(count: number): void {
    // Mostly there is none.
    if (this.#first === undefined || this.signalsFirst) return
    const first = this.firstSignal
    if (first === undefined) return
    first.messagesFirst -= count
    this.#ahead -= count
  }

  takeSignal(): Signal | undefined {
    const signal = this.dueSignal
    if (signal === undefined) return undefined
    this.#first = signal.next
    if (this.#first === undefined) this.#last = undefined
    this.#index?.delete(keyOf(signal))
    return signal
  }

  /** The end of a linked actor, out of its turn. */
  takeEndOf(actor: number): Signal | undefined {
    return this.#take(actor)
  }

  /** What a monitor has to say, out of its turn. */
  takeDown(monitor: number): Signal | undefined {
    return this.#take(-monitor)
  }

  #take(key: number): Signal | undefined {
    const found = this.#index === undefined ? this.#look(key) : this.#index.get(key)
    if (found === undefined) return undefined
    this.#index?.delete(key)
    found.isTaken = true
    return found
  }

  #look(key: number): Signal | undefined {
    let looked = 0
    for (let signal = this.firstSignal; signal !== undefined; signal = signal.next) {
      if (!signal.isTaken && keyOf(signal) === key) return signal
      if (++looked === fewSignals) return this.#indexed().get(key)
    }
    return undefined
  }

  #indexed(): Map<number, Signal> {
    const index = new Map<number, Signal>()
    for (let signal = this.firstSignal; signal !== undefined; signal = signal.next) {
      const key = keyOf(signal)
      // Of two with one key the earlier one is meant.
      if (!signal.isTaken && !index.has(key)) index.set(key, signal)
    }
    this.#index = index
    return index
  }

  dropSignals(): void {
    this.#first = this.#last = this.#index = undefined
    this.#ahead = 0
  }
}

/** Actors and monitors are numbered from 1, so this tells ends of the ones from words of the others. */
function keyOf({ kind, ref, monitor }: Signal): number {
  if (kind === 'down') return -monitor
  return kind === 'link' ? ref.id : 0
}

import type { Signal } from './message.ts'

/** Signals that wait for their turn, in order. */
export class SignalQueue {
  firstSignal: Signal | undefined = undefined
  #last: Signal | undefined = undefined

  addSignal(signal: Signal): void {
    if (this.#last === undefined) this.firstSignal = signal
    else this.#last.next = signal
    this.#last = signal
  }

  takeSignal(): Signal | undefined {
    const signal = this.firstSignal
    if (signal === undefined) return undefined
    this.firstSignal = signal.next
    if (this.firstSignal === undefined) this.#last = undefined
    return signal
  }

  /** The first that matches, out of its turn. */
  takeSignalThat(matches: (signal: Signal) => boolean): Signal | undefined {
    let before: Signal | undefined
    for (let signal = this.firstSignal; signal !== undefined; before = signal, signal = signal.next) {
      if (!matches(signal)) continue
      if (before === undefined) this.firstSignal = signal.next
      else before.next = signal.next
      if (this.#last === signal) this.#last = before
      return signal
    }
    return undefined
  }

  dropSignals(): void {
    this.firstSignal = this.#last = undefined
  }
}

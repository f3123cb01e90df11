import { performance } from 'node:perf_hooks'

const lookMs = 250
/** Main serves all threads: this long is worth a note. */
const stallMs = 1_000

/** Whether main itself gets stuck. It can only tell afterwards, by how late its own timer is. */
export class MainPulse {
  #stalls = 0
  #last = performance.now()
  #timer: NodeJS.Timeout | undefined

  start(): void {
    this.#last = performance.now()
    this.#timer = setInterval(() => {
      const now = performance.now()
      if (now - this.#last > stallMs + lookMs) this.#stalls++
      this.#last = now
    }, lookMs)
    this.#timer.unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  read(): { readonly stalls: number; readonly stalledMs: number } {
    return { stalls: this.#stalls, stalledMs: 0 }
  }
}

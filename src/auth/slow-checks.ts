/** Checks of slow hashes: few at once, because each takes memory or a thread; a bounded number waits. */

/** Slow checks at once: four times 19 MiB, and four of libuv's threads at most. */
const maxRunning = 4
/** Checks that wait for their turn; beyond it the answer is "not now". */
const maxWaiting = 1_000

/** `undefined`: it could not be found out. */
type Done = (fits: boolean | undefined) => void

interface Check {
  readonly run: () => Promise<boolean>
  readonly done: Done
}

export interface SlowChecksHost {
  /** As of an actor's context. */
  // biome-ignore lint/suspicious/noExplicitAny: any callback
  bind<F extends (...args: any[]) => void>(callback: F): (...args: Parameters<F>) => void
  failed(error: Error): void
}

export class SlowChecks {
  readonly #host: SlowChecksHost
  #running = 0
  readonly #waiting: Check[] = []
  /** Checks under way by digest, so that ten connections of one client cost one check. */
  readonly #underWay = new Map<string, Done[]>()

  constructor(host: SlowChecksHost) {
    this.#host = host
  }

  get waiting(): number {
    return this.#waiting.length
  }

  /** Runs a check when there is room for it; false: too many wait, and `done` is not called. */
  add(key: string, run: Check['run'], done: Done): boolean {
    const others = this.#underWay.get(key)
    if (others !== undefined) {
      others.push(done)
      return true
    }
    if (this.#waiting.length >= maxWaiting) return false
    const askers = [done]
    this.#underWay.set(key, askers)
    const check: Check = {
      run,
      done: (fits) => {
        this.#underWay.delete(key)
        for (const asker of askers) asker(fits)
      },
    }
    if (this.#running < maxRunning) this.#start(check)
    else this.#waiting.push(check)
    return true
  }

  #start({ run, done }: Check): void {
    this.#running++
    const finished = (fits: boolean | undefined) => {
      this.#running--
      done(fits)
      const next = this.#waiting.shift()
      if (next !== undefined) this.#start(next)
    }
    run().then(
      this.#host.bind(finished),
      this.#host.bind((error: Error) => {
        this.#host.failed(error)
        finished(undefined)
      }),
    )
  }
}

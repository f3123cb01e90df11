/** Calls the hooks of a pool in one of its threads. */
import type { ThreadTask } from './control.ts'
import { loadHooks, type PoolHooks } from './pool-hooks.ts'
import type { ThreadRuntime } from './thread-runtime.ts'

/** How often it is looked whether something was done, for a `loop` that wants to know. */
const lookMs = 250

export class HookRunner {
  readonly #module: string | undefined
  readonly #place: { readonly pool: string; readonly thread: number }
  readonly #runtime: ThreadRuntime
  readonly #recycle: () => void
  #hooks: PoolHooks | undefined
  #timer: NodeJS.Timeout | undefined
  #lastWork = 0
  #isStopped = false

  constructor({ pool, thread, hooks }: ThreadTask, runtime: ThreadRuntime, recycle: () => void) {
    this.#module = hooks
    this.#place = { pool, thread }
    this.#runtime = runtime
    this.#recycle = recycle
  }

  /** Calls `open` when `postInit` is done; at once, and returns nothing, when there are no hooks. */
  start(open: () => void): Promise<void> | undefined {
    if (this.#module !== undefined) return this.#start(this.#module, open)
    open()
    return undefined
  }

  async #start(module: string, open: () => void): Promise<void> {
    const hooks = await loadHooks(module)
    this.#hooks = hooks
    const { preAccept } = hooks
    await hooks.postInit?.(this.#place)
    if (preAccept !== undefined) {
      this.#runtime.beforeStart = (kind) => {
        if (preAccept({ ...this.#place, kind }) === 'recycle') this.#recycle()
      }
    }
    open()
    if (hooks.loop !== undefined) this.#loop(hooks.loop)
  }

  #loop(loop: NonNullable<PoolHooks['loop']>): void {
    if (this.#isStopped) return
    const next = loop(this.#place)
    if (next === 'recycle') {
      this.#recycle()
      return
    }
    if (next >= 0) {
      this.#timer = setTimeout(() => this.#loop(loop), next)
      return
    }
    this.#lastWork = this.#turns
    this.#timer = setInterval(() => {
      if (this.#turns === this.#lastWork) return
      clearInterval(this.#timer)
      this.#loop(loop)
    }, lookMs)
  }

  get #turns(): number {
    return this.#runtime.heartbeat?.turns ?? 0
  }

  stop(): void {
    this.#isStopped = true
    clearTimeout(this.#timer)
  }

  exit(): Promise<void> | undefined {
    const { exit } = this.#hooks ?? {}
    return exit === undefined ? undefined : Promise.resolve(exit(this.#place))
  }
}

import { type AsyncHook, createHook } from 'node:async_hooks'
import { currentActor } from '../runtime/cell.ts'

// Of Node's async resources those that end by themselves, soon: requests to disk, name service, thread pool, peers.
const request =
  /REQ(?:UEST)?(?:CALLBACK|PROMISE|WRAP)?$|^FSREQ|^ZLIB$|^(?:TCPCONNECT|PIPECONNECT|WRITE|SHUTDOWN|QUERY)WRAP$/
const connection = /^(?:TCP|PIPE|TLS|UDP|PROCESS)WRAP$/
/** A real timer of an actor that is longer is a guard, and not work. */
const longestTimerMs = 100

/**
 * What actors have asked of the real world and not got yet. A virtual clock does not wait for it by itself, so who
 * moves the clock has to.
 */
export class RealWork {
  readonly #requests = new Set<number>()
  readonly #connections = new Set<number>()
  readonly #hook: AsyncHook

  constructor() {
    const done = (id: number): void => {
      this.#requests.delete(id)
    }
    const options = {
      init: (id: number, type: string, _trigger: number, resource: object) => {
        if (currentActor.getStore() === undefined) return
        if (request.test(type)) this.#requests.add(id)
        else if (connection.test(type)) this.#connections.add(id)
        else if (type === 'Timeout') {
          const { _idleTimeout: ms = Infinity } = resource as { _idleTimeout?: number }
          if (ms <= longestTimerMs) this.#requests.add(id)
        }
      },
      after: done,
      destroy: (id: number) => {
        done(id)
        this.#connections.delete(id)
      },
      // Promises would make up nearly all calls.
      trackPromises: false,
    }
    this.#hook = createHook(options).enable()
  }

  /** Waits a little when there is real work under way; `false`, at once: there is none. */
  async wait(): Promise<boolean> {
    if (this.#requests.size === 0) return false
    await new Promise((resolve) => setTimeout(resolve, 1))
    return true
  }

  /** Whether actors have connections whose other end may have something to say. */
  get hasConnections(): boolean {
    return this.#connections.size > 0
  }

  close(): void {
    this.#hook.disable()
    this.#requests.clear()
    this.#connections.clear()
  }
}

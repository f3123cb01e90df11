/**
 * Ends a worker thread of a running service from outside, through Node's inspector: the service is started with
 * `--inspect=127.0.0.1:0` and needs no test hook of its own. `process.exit` inside a worker ends that thread alone,
 * at once, in the middle of whatever it does.
 */
import type { Service } from './service.ts'
import { until, within } from './until.ts'

/** For `ServiceOptions.nodeArgs`. */
export const inspectable: readonly string[] = ['--inspect=127.0.0.1:0']

interface CdpMessage {
  readonly id?: number
  readonly method?: string
  readonly params?: {
    readonly sessionId?: string
    readonly message?: string
    readonly workerInfo?: { readonly workerId: string; readonly title: string }
  }
  readonly result?: { readonly result?: { readonly value?: unknown } }
}

export interface WorkerThread {
  /** Node's `threadId`. */
  readonly id: number
  /** What the inspector calls it. */
  readonly title: string
  /** Evaluates an expression on that thread. */
  evaluate(expression: string): Promise<unknown>
  /** Ends the thread and waits until it is gone. */
  end(): Promise<void>
}

export class ThreadInspector {
  readonly #socket: WebSocket
  readonly #attached = new Map<string, string>()
  readonly #pending = new Map<string, (value: unknown) => void>()
  #lastId = 0

  private constructor(socket: WebSocket) {
    this.#socket = socket
    socket.addEventListener('message', (event) => this.#receive(JSON.parse(String(event.data)) as CdpMessage))
  }

  /** Attaches to a service started with `inspectable`. */
  static async attach(service: Service): Promise<ThreadInspector> {
    const url = await until('the address of the inspector', () => /ws:\/\/\S+/.exec(service.stderr)?.[0])
    const socket = new WebSocket(url)
    await within(
      'the inspector',
      new Promise<void>((resolve, reject) => {
        socket.addEventListener('open', () => resolve())
        socket.addEventListener('error', () => reject(new Error(`no inspector at ${url}`)))
      }),
    )
    const inspector = new ThreadInspector(socket)
    inspector.#send('NodeWorker.enable', { waitForDebuggerOnStart: false })
    return inspector
  }

  #send(method: string, params: object): void {
    this.#socket.send(JSON.stringify({ id: ++this.#lastId, method, params }))
  }

  #receive(message: CdpMessage): void {
    const sessionId = message.params?.sessionId ?? ''
    if (message.method === 'NodeWorker.attachedToWorker') {
      this.#attached.set(sessionId, message.params?.workerInfo?.title ?? '')
    } else if (message.method === 'NodeWorker.detachedFromWorker') {
      this.#attached.delete(sessionId)
    } else if (message.method === 'NodeWorker.receivedMessageFromWorker') {
      const inner = JSON.parse(message.params?.message ?? '{}') as CdpMessage
      const key = `${sessionId}/${inner.id}`
      this.#pending.get(key)?.(inner.result?.result?.value)
      this.#pending.delete(key)
    }
  }

  #evaluate(sessionId: string, expression: string): Promise<unknown> {
    const id = ++this.#lastId
    const message = JSON.stringify({
      id,
      method: 'Runtime.evaluate',
      params: { expression, returnByValue: true, includeCommandLineAPI: true },
    })
    const answer = new Promise<unknown>((resolve) => this.#pending.set(`${sessionId}/${id}`, resolve))
    this.#send('NodeWorker.sendMessageToWorker', { sessionId, message })
    return answer
  }

  /** The worker threads that live now, once at least `least` of them are known. */
  async workers(least = 1): Promise<WorkerThread[]> {
    await until(`${least} worker threads`, () => this.#attached.size >= least)
    return Promise.all(
      [...this.#attached].map(async ([sessionId, title]) => {
        const evaluate = (expression: string): Promise<unknown> =>
          within(`an answer of ${title}`, this.#evaluate(sessionId, expression))
        const id = Number(await evaluate("require('node:worker_threads').threadId"))
        const end = async (): Promise<void> => {
          // No answer comes.
          void this.#evaluate(sessionId, 'process.exit(1)')
          await until(`the end of ${title}`, () => !this.#attached.has(sessionId))
        }
        return { id, title, evaluate, end }
      }),
    )
  }

  detach(): void {
    this.#socket.close()
  }
}

/** The connection of a session: the accepted socket, or TLS over it, with what is written to it. */
import type { Socket } from 'node:net'
import type { ActorContext } from '../../actors/index.ts'
import type { Asker, SaslFacts } from '../../auth/contract.ts'
import { saslFacts } from '../server-sasl.ts'
import { type ServerTls, tlsFacts, upgradeToTls, verifiedName } from '../server-tls.ts'
import { Output } from './output.ts'

export interface ConnectionEvents {
  readonly received: (chunk: Buffer) => void
  /** The client sent FIN. */
  readonly ended: () => void
  /** The client has read what was waiting for it. */
  readonly drained: () => void
  readonly failed: (error: NodeJS.ErrnoException) => void
  readonly closed: () => void
}

export class Connection {
  readonly output: Output
  readonly #accepted: Socket
  /** The accepted socket, or TLS over it. */
  #socket: Socket
  #tlsVersion: string | null = null
  readonly #listeners: readonly (readonly [event: string, listener: (...args: never[]) => void])[]
  #isPaused = false

  /** Reads nothing before `start`. */
  constructor(
    context: Pick<ActorContext, 'bind'>,
    accepted: Socket,
    highWater: number,
    events: ConnectionEvents,
  ) {
    this.#accepted = accepted
    this.#socket = accepted
    this.output = new Output(accepted, highWater, context.bind(events.drained))
    this.#listeners = [
      ['data', context.bind(events.received)],
      ['end', context.bind(events.ended)],
      ['error', context.bind(events.failed)],
      ['close', context.bind(events.closed)],
    ]
    this.#listen()
  }

  start(): void {
    this.#socket.resume()
  }

  /** TLS from now on. What is written before the handshake is done waits for it. */
  secure(tls: ServerTls): void {
    for (const [event, listener] of this.#listeners) {
      this.#accepted.off(event, listener as (...args: unknown[]) => void)
    }
    // Its errors come out of the TLS socket, too.
    this.#accepted.on('error', () => {})
    const secured = upgradeToTls(this.#accepted, tls, 'pop3')
    secured.once('secure', () => {
      this.#tlsVersion = tlsFacts(secured).version
    })
    this.#socket = secured
    this.output.moveTo(this.#socket)
    this.#listen()
    this.#isPaused = false
  }

  #listen(): void {
    // A client may send its last command together with FIN, and still wants the answer.
    this.#socket.allowHalfOpen = true
    for (const [event, listener] of this.#listeners) {
      this.#socket.on(event, listener as (...args: unknown[]) => void)
    }
  }

  get hasTls(): boolean {
    return this.#socket !== this.#accepted
  }

  /** Version of TLS; null without, and while the handshake is not done. */
  get tlsVersion(): string | null {
    return this.#tlsVersion
  }

  /** Common name of a client certificate that was verified. */
  get certificateName(): string | undefined {
    return verifiedName(this.#socket)
  }

  saslFacts(asker: Asker): SaslFacts {
    return saslFacts(this.#socket, asker)
  }

  /** Whether the client is kept waiting before it is read further. */
  pause(wanted: boolean): void {
    if (wanted === this.#isPaused) return
    this.#isPaused = wanted
    if (wanted) this.#socket.pause()
    else this.#socket.resume()
  }

  /** Ends when what was said has been sent; within a handshake, which may never be done, at once. */
  end(): void {
    this.output.end()
    if (this.hasTls && this.#tlsVersion === null) this.#socket.destroy()
    // Unread input would turn our FIN into a reset, which can overtake the last reply.
    if (!this.#socket.destroyed) this.#socket.resume()
  }

  get isGone(): boolean {
    return this.#socket.destroyed
  }

  destroy(): void {
    this.#socket.destroy()
  }

  /** Waits for its end, `timeoutMs` at most. */
  async gone(timeoutMs: number): Promise<void> {
    const socket = this.#socket
    if (socket.destroyed) return
    const timer = setTimeout(() => socket.destroy(), timeoutMs)
    await new Promise<void>((resolve) => socket.once('close', () => resolve()))
    clearTimeout(timer)
  }
}

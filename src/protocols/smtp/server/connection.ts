/**
 * The connection of a session: the accepted socket, or TLS over it. Collects replies and writes them together, knows
 * whether the client reads them, and says goodbye so that the last reply arrives.
 */
import type { Socket } from 'node:net'
import type { ActorContext } from '../../../actors/index.ts'
import type { Asker, SaslFacts } from '../../../auth/contract.ts'
import { saslFacts } from '../../server-sasl.ts'
import { type ServerTls, type TlsFacts, tlsFacts, upgradeToTls, verifiedName } from '../../server-tls.ts'

export interface ConnectionEvents {
  readonly received: (chunk: Buffer) => void
  /** The client sent FIN. */
  readonly ended: () => void
  /** It takes replies again. */
  readonly drained: () => void
  readonly closed: () => void
}

export class Connection {
  /** The client does not read its replies: nothing more is executed for it. */
  isBlocked = false
  /** Why it went away, when it did without QUIT. */
  failure = 'connection lost'
  readonly #context: Pick<ActorContext, 'bind'>
  readonly #accepted: Socket
  readonly #listeners: readonly (readonly [string, (...args: never[]) => void])[]
  #socket: Socket
  #tls: TlsFacts | undefined
  #output = ''
  #isPaused = false

  /** Reads nothing before `start`, or `secure`. */
  constructor(context: Pick<ActorContext, 'bind'>, accepted: Socket, events: ConnectionEvents) {
    this.#context = context
    this.#accepted = accepted
    this.#socket = accepted
    this.#listeners = [
      ['data', context.bind(events.received)],
      ['end', context.bind(events.ended)],
      [
        'drain',
        context.bind(() => {
          this.isBlocked = false
          events.drained()
        }),
      ],
      ['error', context.bind((error: Error) => this.#failed(error))],
      ['close', context.bind(events.closed)],
    ]
    // A last command and its FIN may come together; the reply is still wanted.
    accepted.allowHalfOpen = true
  }

  get isDestroyed(): boolean {
    return this.#socket.destroyed
  }

  get octetsIn(): number {
    return this.#accepted.bytesRead
  }

  get octetsOut(): number {
    return this.#accepted.bytesWritten
  }

  /** Undefined without TLS, and while the handshake is not done. */
  get tls(): TlsFacts | undefined {
    return this.#tls
  }

  /** What a SASL exchange has to know. */
  saslFacts(asker: Asker): SaslFacts {
    return saslFacts(this.#socket, asker)
  }

  /** Common name of a client certificate that was verified. */
  get certificateName(): string | undefined {
    return verifiedName(this.#socket)
  }

  start(): void {
    this.#listen(this.#accepted)
    this.#accepted.resume()
  }

  /** TLS from now on. The handshake begins when the client speaks; what is written before it is done waits. */
  secure(tls: ServerTls): void {
    const accepted = this.#accepted
    for (const [event, listener] of this.#listeners) {
      accepted.off(event, listener as (...args: unknown[]) => void)
    }
    // Its errors come out of the TLS socket, too.
    accepted.on('error', () => {})
    const secured = upgradeToTls(accepted, tls)
    this.failure = 'TLS handshake failed'
    secured.once(
      'secure',
      this.#context.bind(() => {
        this.failure = 'connection lost'
        this.#tls = tlsFacts(secured)
      }),
    )
    this.isBlocked = false
    this.#socket = secured
    this.#listen(secured)
    secured.resume()
  }

  /** Adds to what `flush` writes. */
  say(reply: string): void {
    this.#output += reply
  }

  flush(): void {
    if (this.#output === '') return
    const output = this.#output
    this.#output = ''
    if (this.#socket.writable && !this.#socket.write(output)) this.isBlocked = true
  }

  pause(wanted: boolean): void {
    if (wanted === this.#isPaused) return
    this.#isPaused = wanted
    if (wanted) this.#socket.pause()
    else this.#socket.resume()
  }

  /**
   * Writes what is left and closes. The client gets time to see it: what it still sends is read and dropped, because
   * a close with octets unread would reset the connection and take the last reply with it.
   */
  end(): void {
    const output = this.#takeOutput()
    this.pause(false)
    if (this.#socket.writable) this.#socket.end(output)
    else this.#socket.destroy()
  }

  /**
   * As `end`, when both sides are done and nothing is left unread. To wait for the client's FIN would cost a wake-up
   * more for every connection, and many clients reset it without reading the reply to QUIT.
   */
  endNow(): void {
    const socket = this.#socket
    // Not within the callback: there it would cost an error object for a stream that is destroyed while it writes.
    if (socket.writable) socket.write(this.#takeOutput(), () => queueMicrotask(() => socket.destroy()))
    else socket.destroy()
  }

  /** As `end`, without waiting for the client. */
  endSoon(): void {
    this.end()
    this.#socket.destroySoon()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  #takeOutput(): string {
    const output = this.#output
    this.#output = ''
    return output
  }

  #failed(error: Error): void {
    if (this.failure === 'connection lost')
      this.failure = (error as NodeJS.ErrnoException).code ?? error.message
  }

  #listen(socket: Socket): void {
    for (const [event, listener] of this.#listeners) {
      socket.on(event, listener as (...args: unknown[]) => void)
    }
  }
}

/**
 * SASL on the server's side of a line protocol, RFC 4422: base64 of its messages, and the way to the `auth` actor, which
 * carries the exchanges out. POP3 (RFC 5034) and SMTP (RFC 4954) differ in what they write around them.
 */
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { ActorContext, AnyContract } from '../actors/index.ts'
import type { Asker, AuthContract, SaslFacts, SaslReply } from '../auth/contract.ts'
import { verifiedName } from './server-tls.ts'

/** A refused login is answered late on purpose, and a slow hash may wait for its turn. */
const timeoutMs = 120_000

/** Strict, RFC 5034 section 4: only the alphabet, `=` only at the end, whole groups. Undefined: it is not. */
export function decodeSasl(text: string): Buffer | undefined {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return undefined
  return Buffer.from(text, 'base64')
}

export const encodeSasl = (data: Uint8Array): string =>
  Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64')

/** What an exchange has to know of the connection it is on. */
export const saslFacts = (socket: Socket, { remote, session }: Asker): SaslFacts => ({
  remote,
  session,
  bindings: channelBindings(socket),
  certificateName: verifiedName(socket) ?? '',
})

/** What a mechanism can be bound to on this connection: nothing without TLS. */
function channelBindings(socket: Socket): SaslFacts['bindings'] {
  // Nobody is there any more who could go on; see `tlsFacts`.
  if (!(socket instanceof TLSSocket) || socket.destroyed) return {}
  const bindings: { [name: string]: Uint8Array } = {}
  const protocol = socket.getProtocol()
  // RFC 9266: with TLS 1.3 always, before it only where the extended master secret is used, which cannot be seen here.
  if (protocol === 'TLSv1.3') {
    bindings['tls-exporter'] = socket.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0))
  } else {
    // RFC 5929 section 3: the first Finished message, which is the client's unless the session is an old one.
    const finished = socket.isSessionReused() ? socket.getFinished() : socket.getPeerFinished()
    if (finished !== undefined) bindings['tls-unique'] = finished
  }
  return bindings
}

export interface SaslOptions<C extends AnyContract> {
  readonly context: ActorContext<C>
  /** Called once for each step, and not after `cancel`. `internal` also when there is no answer. */
  readonly done: (reply: SaslReply) => void
}

/** One exchange with one client. */
export class ServerSasl<C extends AnyContract> {
  readonly #options: SaslOptions<C>
  #exchange: number | undefined
  #over = false

  constructor(options: SaslOptions<C>) {
    this.#options = options
  }

  start(mechanism: string, initial: Buffer | undefined, facts: SaslFacts): void {
    const auth = this.#auth
    if (auth === undefined) queueMicrotask(this.#options.context.bind(() => this.#failed()))
    else this.#wait(auth.askWith({ timeoutMs }, 'saslStart', mechanism, initial ?? null, facts))
  }

  /** The client's answer to the last challenge. */
  respond(data: Buffer): void {
    const auth = this.#auth
    if (auth === undefined || this.#exchange === undefined) {
      queueMicrotask(this.#options.context.bind(() => this.#failed()))
    } else this.#wait(auth.askWith({ timeoutMs }, 'saslNext', this.#exchange, data))
  }

  cancel(): void {
    if (this.#over) return
    this.#over = true
    if (this.#exchange !== undefined) this.#auth?.tell('saslCancel', this.#exchange)
  }

  get #auth() {
    return this.#options.context.whereis<AuthContract>('auth')
  }

  #wait(answer: Promise<SaslReply>): void {
    const { context } = this.#options
    answer.then(
      context.bind((reply: SaslReply) => this.#took(reply)),
      context.bind(() => this.#failed()),
    )
  }

  #took(reply: SaslReply): void {
    if (reply.kind === 'challenge') {
      this.#exchange = reply.exchange
      // Given up while the answer was on its way.
      if (this.#over) this.#auth?.tell('saslCancel', reply.exchange)
    }
    if (this.#over) return
    this.#over = reply.kind !== 'challenge'
    this.#options.done(reply)
  }

  #failed(): void {
    this.#took({ kind: 'failure', reason: 'internal', user: '' })
  }
}

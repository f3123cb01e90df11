/**
 * A listener accepts connections and hands each to a session actor of its own, on a thread of the
 * `connections` pool. It reads nothing: a socket moves before its first byte. Unix sockets cannot move, so
 * their sessions run beside the listener.
 */
import { createServer, type Server, type Socket } from 'node:net'
import type { AccountingContract } from '../accounting/contract.ts'
import {
  type ActorContext,
  type AnyActorDefinition,
  actor,
  type StartChildResult,
  type SupervisorContract,
} from '../actors/index.ts'
import type { Config, ListenerConfig } from '../config/settings.ts'
import type { ListenerContract, ListenerInfo } from './contract.ts'
import { boundAddress, listenAt } from './listen.ts'

export interface ListenerArgs {
  readonly listener: ListenerConfig
  /** What serves a connection; started with `{ service, listener, session }`, and `isStressed` when they are many. */
  readonly session: AnyActorDefinition
  /** Line that turns a client away when there is no room for it, without its CRLF. */
  readonly busy: string
  /** It answers `WatchedSession`. */
  readonly watched?: boolean
}

/** How long a session may take to start, without the wait for a PROXY header. */
const startTimeoutMs = 5_000

class Listener {
  readonly #context: ActorContext<ListenerContract>
  readonly #args: ListenerArgs
  readonly #server: Server
  /** Distinguishes the sessions of this start of this listener from those of earlier ones. */
  readonly #prefix: string
  /** Sessions alive of all listeners: the limit is for the service, and all listeners share the main thread. */
  readonly #open: { sessions: number }
  #accepted = 0
  #refused = 0

  constructor(context: ActorContext<ListenerContract>, args: ListenerArgs) {
    this.#context = context
    this.#args = args
    this.#open = context.local('listeners.open', () => ({ sessions: 0 }))
    this.#prefix = `${context.clock.now().toString(36)}${context.self.id.toString(36)}`
    // allowHalfOpen: a client may send its last command and FIN together and still wants the reply.
    this.#server = createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true }, (socket) =>
      this.#accept(socket),
    )
  }

  async listen(): Promise<this> {
    const { address } = this.#args.listener
    await listenAt(this.#server, this.#context, this.#args.listener)
    // Out of file descriptors, mostly. The connections wait in the backlog.
    this.#server.on(
      'error',
      this.#context.bind((error: Error) =>
        this.#context.log.error({ event: 'listener.error', address, error: error.message }, 'accept failed'),
      ),
    )
    return this
  }

  info(): ListenerInfo {
    const { service, tls } = this.#args.listener
    return {
      service,
      address: boundAddress(this.#server.address(), this.#args.listener.address),
      tls,
      accepted: this.#accepted,
      refused: this.#refused,
    }
  }

  async terminate(): Promise<void> {
    // The sessions are not ours to close: only no new ones from here.
    this.#server.close()
  }

  #accept(socket: Socket): void {
    const { max_connections = 20_000, stress_threshold = 90 } =
      this.#context.setting<Config>('config')?.limits ?? {}
    if (this.#open.sessions >= max_connections) {
      this.#refuse(socket, 'limits.max_connections is reached')
      return
    }
    // Looked up each time: it may have been restarted since.
    const sessions = this.#context.whereis<SupervisorContract>('sessions')
    if (sessions === undefined) {
      this.#refuse(socket, 'the session supervisor is not running')
      return
    }
    this.#accepted++
    this.#open.sessions++
    const session = `${this.#prefix}-${this.#accepted.toString(36)}`
    const { listener } = this.#args
    const address = listener.address.startsWith('unix:') ? 'unix' : (socket.remoteAddress ?? 'unknown')
    // A socket that dies before it has an owner has nobody else to hear of it.
    socket.on('error', ignore)
    const { timeout = 0 } = this.#context.setting<Config>('config')?.proxy_protocol ?? {}
    const timeoutMs = startTimeoutMs + (listener.proxy_protocol ? timeout : 0)
    const started = sessions.askWith({ timeoutMs }, 'startChild', {
      id: session,
      actor: this.#args.session,
      args: {
        service: listener.service,
        listener,
        session,
        ...(this.#open.sessions * 100 > max_connections * stress_threshold ? { isStressed: true } : {}),
      },
      placement: listener.address.startsWith('unix:') ? 'here' : { pool: 'connections' },
      restart: 'temporary',
      socket,
    })
    const failed = this.#context.bind((why: string) => {
      this.#open.sessions--
      this.#refuse(socket, why)
    })
    started.then(
      this.#context.bind((result: StartChildResult) => {
        if (result.ok) {
          // Its end, on whatever thread, makes room again.
          this.#context.monitor(result.ref)
          const info = { session, service: listener.service, address }
          this.#accounting?.tell('accepted', result.ref, info, this.#args.watched === true)
        } else failed(result.reason?.message ?? result.error)
      }),
      (error: Error) => failed(error.message),
    )
  }

  /** Looked up each time, as the session supervisor is. */
  get #accounting() {
    return this.#context.whereis<AccountingContract>('accounting')
  }

  handleDown(): void {
    this.#open.sessions--
  }

  #refuse(socket: Socket, why: string): void {
    this.#refused++
    const { service } = this.#args.listener
    this.#context.log.warn({ event: 'session.refused', service, reason: why }, 'connection turned away')
    if (!socket.destroyed) {
      socket.end(`${this.#args.busy}\r\n`)
      socket.destroySoon()
    }
  }
}

function ignore(): void {}

/** One per `[[listener]]`; lives in the main thread, because that is where connections are accepted. */
export const listenerActor = actor<ListenerContract, ListenerArgs>({
  name: 'listener',
  module: import.meta.url,
  init: (context, args) => new Listener(context, args).listen(),
})

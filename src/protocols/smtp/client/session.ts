/**
 * One connection to a server: socket, reply parser, and one timer for whatever is waited for. It knows no
 * commands: a listener (handshake, transaction, keeper) says what to send and gets the replies. It changes
 * owners when it is kept for the next delivery; everything it calls runs on behalf of the present one.
 */
import { connect, type Socket } from 'node:net'
import { connect as connectTls, type SecureContext, TLSSocket } from 'node:tls'
import { type Features, noFeatures } from './ehlo.ts'
import { dataFailure, type Failure, LocalDataError, localFailure } from './failure.ts'
import { type Reply, type ReplyListener, ReplyParser } from './reply-parser.ts'
import type { SaslAccount } from './sasl/mechanisms.ts'
import type { Standing } from './standing.ts'
import type { Transcript } from './transcript.ts'

export interface SessionTarget {
  /** Name to show and to check certificates against. */
  readonly host: string
  /** IP address, or path of a unix socket. */
  readonly address: string
  /** 0 for unix sockets. */
  readonly port: number
  readonly localAddress?: string
}

/** How a connection ended although nobody here asked for it. */
export interface EndCause {
  /** `data`: not the connection, but data of our own that its replies need. */
  readonly kind: 'lost' | 'timeout' | 'data'
  /** Words of the operating system, if there are any. */
  readonly detail: string
}

export interface SessionListener {
  /** Called with whatever arrives, in the place of all else: for those who expect nothing. */
  onInput?(): void
  onReply(reply: Reply): void
  /** Called once; the socket is closed already. */
  onEnd(cause: EndCause): void
}

/** How a TLS handshake begins. */
export interface TlsStart {
  readonly secureContext: SecureContext
  /** SNI. */
  readonly servername?: string
  /** To be resumed. */
  readonly session?: Buffer
  /** Gets the first ticket that the server sends, to resume the session with. */
  onTicket?(ticket: Buffer): void
}

/** What is known of the server through TLS. */
export interface SessionTls {
  readonly protocol: string
  readonly cipher: string
  /** The certificate is the one that the policy demands. */
  readonly verified: boolean
}

/** Runs a task on behalf of an actor: `context.bind`, or plainly in tests. */
export type Run = (task: (argument: never) => void, argument: unknown) => void

/** Wraps a callback so that it runs on behalf of an actor: `context.bind`, or nothing in tests. */
// biome-ignore lint/suspicious/noExplicitAny: any callback
export type Bind = <F extends (...args: any[]) => void>(callback: F) => (...args: Parameters<F>) => void

/** Replies that nobody waits for, kept for the next listener; more than that is flooding. */
const maxUnclaimed = 64

/** Octets that the buffer of a socket has always room for. */
const shortWrite = 32 * 1024

/** Longest stay of a connection that we said QUIT on. */
const partingLimitMs = 10_000

export class Session implements ReplyListener {
  readonly target: SessionTarget
  /** `name[address]:port`, as logs and reports show it. */
  readonly relay: string
  features: Features = noFeatures
  /** Deliveries made or begun on this connection. */
  uses = 0
  /** `performance.now()` when the connection was there. */
  readonly connectedAt: number
  /** A server that broke the protocol: never keep this connection. */
  poisoned = false
  /** A firewall in between breaks the final dot: it is to travel alone. */
  delayDot = false
  /** What is said is written down here; undefined: nobody will ask. */
  transcript: Transcript | undefined
  /** Classes of trouble it has made, as in `notify.classes`. */
  readonly trouble = new Set<string>()
  /** Undefined: the connection is in plaintext. */
  tls: SessionTls | undefined
  /** Whether a connection with TLS may be kept. */
  tlsReusable = false
  /** Label under which it is kept; empty: nobody could find it again. */
  endpoint = ''
  /** Who it was made for, and what it was trusted with then. */
  madeFor: Standing | undefined
  /** What it was logged in with, where the server let us; undefined: nobody has an account there. */
  account: SaslAccount | undefined
  /** Other servers are as good for its destination. */
  hasRivals = false
  /** The last mail was taken for somebody. */
  hasTaken = false
  /** What it took to get here from nothing, milliseconds. */
  setupMs = 0
  /** The level of TLS and what came of it, for the log; undefined: nothing was decided. */
  tlsStatus: string | undefined

  #socket: Socket
  readonly #parser = new ReplyParser()
  #listener: SessionListener | undefined
  #run: Run
  #unclaimed: Reply[] = []
  readonly #secrets = new Set<string>()
  /** Finds any of them. */
  #secret: RegExp | undefined
  #garbage = 0
  /** Within AUTH: who listens takes care of secrets. */
  isAuthenticating = false
  /** Lines that were too long to be kept whole, so far. */
  cutLines = 0
  #end: EndCause | undefined
  #closed = false
  #lastError = ''

  #timer: NodeJS.Timeout | undefined
  /** When the armed timer fires. */
  #timerAt = 0
  /** When the present wait is over; 0: nothing is waited for. */
  #deadline = 0
  #limitMs = 0
  /** Limit of a write without progress; 0: no such write. */
  #progressMs = 0
  /** `per_request_deadline`: octets that arrive do not start the time again. */
  deadlines = false
  /** What is read in the place of a line, octets as latin1; throws LocalDataError. */
  replyFilter: ((line: string) => string) | undefined

  constructor(socket: Socket, target: SessionTarget, run: Run) {
    this.target = target
    this.relay = relayName(target)
    this.#socket = socket
    this.#run = run
    this.connectedAt = performance.now()
    this.#listen()
  }

  readonly #onChunk = (chunk: Buffer): void => this.#run(this.#takeChunk as (argument: never) => void, chunk)
  readonly #takeChunk = (chunk: Buffer): void => this.#onData(chunk)
  readonly #onOver = (): void => this.#run(this.#lose, undefined)
  readonly #lose = (): void => this.#ended('lost')
  readonly #onStall = (): void => this.#run(this.#stall, undefined)
  readonly #stall = (): void => {
    if (this.#progressMs !== 0) this.#ended('timeout')
  }
  readonly #onError = (error: Error): void => {
    this.#lastError = error.message
  }

  #listen(): void {
    this.#socket.on('data', this.#onChunk)
    this.#socket.on('end', this.#onOver)
    this.#socket.on('error', this.#onError)
    this.#socket.on('close', this.#onOver)
  }

  /** Makes `listener` the one that hears of replies, on behalf of whom `run` belongs to. */
  attach(listener: SessionListener, run?: Run): void {
    if (run !== undefined) this.#run = run
    this.#listener = listener
    while (this.#unclaimed.length > 0 && this.#listener === listener)
      listener.onReply(this.#unclaimed.shift()!)
    if (this.#end !== undefined && this.#listener === listener) this.#tellEnd()
  }

  /** Nobody listens for a moment: what arrives waits. */
  detach(): void {
    this.#listener = undefined
    this.#deadline = 0
    this.#stopProgressTimer()
  }

  /** Our own address on this connection; empty: it has none. */
  get localAddress(): string {
    return this.#socket.localAddress ?? ''
  }

  /** Whether commands can be sent. */
  get alive(): boolean {
    return !this.#closed && this.#end === undefined
  }

  /** Input that nobody asked for is waiting: on an idle connection that is trouble. */
  get hasStrayInput(): boolean {
    return this.#unclaimed.length > 0 || this.#parser.pending
  }

  /** Whether the server ever sent a line that is no reply. */
  get damaged(): boolean {
    return this.poisoned || this.#parser.damaged
  }

  /** Lines that were no replies, so far. */
  get garbageLines(): number {
    return this.#garbage
  }

  /** What must not be written down, should the server repeat it, now or as long as the session lives. */
  hide(secret: string): void {
    if (secret.length < 2) return
    this.#secrets.add(secret)
    this.#secret = undefined
  }

  /** Text of the server without what is hidden. */
  redacted(text: string): string {
    if (this.#secrets.size === 0) return text
    // The longest first: what is part of it must not leave the rest.
    const inOrder = () => [...this.#secrets].sort((a, b) => b.length - a.length)
    this.#secret ??= new RegExp(inOrder().map(literally).join('|'), 'g')
    return text.replace(this.#secret, '(hidden)')
  }

  /** Replies end up in the log and with the sender. A challenge has to stay as it is. */
  #withoutSecrets(reply: Reply): Reply {
    if (this.#secrets.size === 0 || this.isAuthenticating) return reply
    return { ...reply, text: this.redacted(reply.text), lastLine: this.redacted(reply.lastLine) }
  }

  /** Sends a line of which only `shown` is written down. */
  sendSecret(line: string, shown: string): void {
    this.transcript?.out(shown)
    if (this.alive) this.#socket.write(line)
  }

  /** RFC 9266 and RFC 5929: what ties an authentication to this TLS connection; undefined: there is none. */
  get channelBinding(): { readonly name: string; readonly data: Buffer } | undefined {
    const socket = this.#socket
    // One that has ended meanwhile has no keys; to ask it would end the process (Node 24).
    if (!(socket instanceof TLSSocket) || socket.destroyed) return undefined
    return {
      name: 'tls-exporter',
      data: socket.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0)),
    }
  }

  /** Sends one or more commands, as one write. */
  send(commands: string): void {
    this.transcript?.out(commands)
    if (this.alive) this.#socket.write(commands)
  }

  /**
   * Sends content and what ends it in one write; `flushed(true)` is called when the system has taken it all,
   * `flushed(false)` when the connection ended before.
   */
  sendContent(bytes: Buffer, tail: string, flushed: (ok: boolean) => void): void {
    if (!this.alive) {
      flushed(false)
      return
    }
    const done = (error?: Error | null) =>
      this.#run(flushed as (argument: never) => void, error === undefined || error === null)
    if (tail === '') {
      this.#socket.write(bytes, done)
      return
    }
    this.#socket.cork()
    if (bytes.length > 0) this.#socket.write(bytes)
    this.#socket.write(tail, done)
    this.#socket.uncork()
  }

  /**
   * Starts TLS on the connection, after the server agreed to it. All that was said in plaintext is forgotten, also
   * what arrived already: it may have been put in by somebody else (RFC 3207 section 6). Resolves with the socket, to
   * be asked who the server is, or with what went wrong; then there must be no more I/O on this connection.
   */
  startTls(options: TlsStart, timeoutMs: number): Promise<TLSSocket | string> {
    this.detach()
    const plain = this.#socket
    plain.off('data', this.#onChunk)
    plain.off('end', this.#onOver)
    plain.off('close', this.#onOver)
    return new Promise((resolve) => {
      const { onTicket, ...rest } = options
      // Who the server is gets judged afterwards, by the policy: until then nothing is said to it.
      const secure = connectTls({
        socket: plain,
        ...rest,
        rejectUnauthorized: false,
        checkServerIdentity: () => undefined,
      })
      const timer = setTimeout(() => settle('timed out'), timeoutMs)
      const onSecure = () => settle(undefined)
      const onError = (error: NodeJS.ErrnoException) => settle(tlsError(error))
      const onClose = () => settle('connection lost')
      const settle = (problem: string | undefined) => {
        clearTimeout(timer)
        secure.off('secureConnect', onSecure)
        secure.off('close', onClose)
        secure.off('error', onError)
        this.#socket = secure
        if (problem === undefined) {
          this.#parser.reset()
          this.#unclaimed = []
          this.features = noFeatures
          this.#listen()
        } else {
          secure.on('error', this.#onError)
          this.destroy()
        }
        resolve(problem ?? secure)
      }
      if (onTicket !== undefined) secure.once('session', onTicket)
      secure.once('secureConnect', onSecure)
      secure.once('error', onError)
      secure.once('close', onClose)
    })
  }

  /** From now on the peer has `limitMs` to say something; each octet it sends starts the time again, unless there
   * are `deadlines`. */
  expect(limitMs: number): void {
    this.#stopProgressTimer()
    const now = performance.now()
    this.#limitMs = limitMs
    this.#deadline = now + limitMs
    if (this.#timer !== undefined) {
      if (this.#timerAt <= this.#deadline) return
      clearTimeout(this.#timer)
    }
    this.#arm(now)
  }

  expectNothing(): void {
    this.#deadline = 0
    this.#stopProgressTimer()
  }

  /**
   * From now on the peer may not let `limitMs` pass without taking some of the `octets` that are written next. What
   * is so short that the system takes it whole has a plain limit.
   */
  expectProgress(limitMs: number, octets: number): void {
    if (octets <= shortWrite) {
      this.expect(limitMs)
      return
    }
    this.#deadline = 0
    if (this.#progressMs === limitMs) return
    this.#progressMs = limitMs
    // The socket's own: it looks whether the system took anything meanwhile.
    this.#socket.setTimeout(limitMs, this.#onStall)
  }

  #stopProgressTimer(): void {
    if (this.#progressMs === 0) return
    this.#progressMs = 0
    this.#socket.setTimeout(0, this.#onStall)
  }

  /** Says goodbye after `before` (such as RSET) and leaves: nobody waits for it. `waitForReply`: close after the reply to QUIT. */
  part(options: { before?: 'RSET'; quitSent?: boolean; waitMs: number; waitForReply: boolean }): void {
    if (!this.alive) {
      this.destroy()
      return
    }
    // Runs on nobody's behalf: the delivery is over, and what is left is to close. A program that embeds us may
    // end meanwhile.
    this.#run = runPlainly
    this.#socket.unref()
    this.#unclaimed = []
    const quit = () => {
      if (options.quitSent === true) {
        if (!options.waitForReply) this.#socket.end()
      } else if (options.waitForReply) this.#socket.write('QUIT\r\n')
      else this.#socket.end('QUIT\r\n')
    }
    let resetting = options.before === 'RSET' && !this.features.pipelining
    if (resetting) this.#socket.write('RSET\r\n')
    else {
      if (options.before === 'RSET') this.#socket.write('RSET\r\n')
      quit()
    }
    // With RSET and QUIT in one flight the first reply is not the last.
    let replies = options.before === 'RSET' && !resetting ? 2 : 1
    this.#listener = {
      onReply: () => {
        if (resetting) {
          resetting = false
          quit()
        } else if (--replies <= 0) this.destroy()
      },
      onEnd: () => this.destroy(),
    }
    this.expect(options.waitForReply ? options.waitMs : Math.min(options.waitMs, partingLimitMs))
    this.#timer?.unref()
  }

  /** Closes at once, without a word. */
  destroy(): void {
    this.#closed = true
    this.#listener = undefined
    this.#stopTimer()
    this.#socket.destroy()
  }

  onReply(said: Reply): void {
    const reply = this.#withoutSecrets(said)
    if (this.transcript !== undefined)
      for (const line of this.redacted(reply.text).split('\n')) this.transcript.in(line)
    if (this.#listener !== undefined) this.#listener.onReply(reply)
    else if (this.#unclaimed.length < maxUnclaimed) this.#unclaimed.push(reply)
    else this.#abort('too many replies that nobody asked for')
  }

  onGarbage(line: string): void {
    this.#garbage++
    this.trouble.add('protocol')
    this.transcript?.in(this.redacted(line))
  }

  onCutLine(): void {
    this.cutLines++
  }

  /** The failure that the end of this connection is, at the stage `stage`. */
  endFailure(cause: EndCause, stage: string): Failure {
    if (cause.kind === 'data') return dataFailure(cause.detail)
    const what =
      cause.kind === 'timeout'
        ? `conversation with ${this.relay} timed out while ${stage}`
        : `lost connection with ${this.relay} while ${stage}`
    return localFailure('site', '4.4.2', cause.detail === '' ? what : `${what}: ${cause.detail}`)
  }

  #onData(chunk: Buffer): void {
    if (this.#listener?.onInput !== undefined) {
      this.#listener.onInput()
      return
    }
    if (this.#deadline !== 0 && !this.deadlines) this.#deadline = performance.now() + this.#limitMs
    try {
      if (!this.#parser.push(chunk, this, this.replyFilter)) this.#abort('a line without end')
    } catch (error) {
      if (!(error instanceof LocalDataError)) throw error
      this.#lastError = error.message
      this.#ended('data')
    }
  }

  #ended(kind: EndCause['kind']): void {
    if (this.#closed || this.#end !== undefined) return
    this.#end = { kind, detail: this.#lastError }
    this.#stopTimer()
    this.#socket.destroy()
    if (this.#listener !== undefined) this.#tellEnd()
  }

  #tellEnd(): void {
    const listener = this.#listener
    this.#listener = undefined
    listener?.onEnd(this.#end!)
  }

  #abort(why: string): void {
    this.#lastError = why
    this.#ended('lost')
  }

  #arm(now: number): void {
    this.#timerAt = this.#deadline
    this.#timer = setTimeout(() => this.#run(this.#onTimer, undefined), Math.ceil(this.#deadline - now))
  }

  // One timer for all waits: it is not moved with each reply, but looks again when it fires too early.
  readonly #onTimer = (): void => {
    this.#timer = undefined
    if (this.#deadline === 0 || this.#closed) return
    const now = performance.now()
    if (now < this.#deadline) this.#arm(now)
    else this.#ended('timeout')
  }

  #stopTimer(): void {
    this.#deadline = 0
    if (this.#timer !== undefined) clearTimeout(this.#timer)
    this.#timer = undefined
  }
}

/** `name[address]:port`, or `name[path]` for a unix socket. */
export function relayName(target: SessionTarget): string {
  return target.port === 0
    ? `${target.host}[${target.address}]`
    : `${target.host}[${target.address}]:${target.port}`
}

/** As part of a regular expression. */
const literally = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')

const runPlainly: Run = (task, argument) => task(argument as never)

export interface ConnectOptions {
  /** 0: the limit of the operating system. */
  readonly timeoutMs: number
  readonly run: Run
  readonly signal?: AbortSignal
}

/** Connects; resolves with the session, or with the 4.4.1 failure that names server and reason (4.4.0: the
 * local address cannot be used). Never rejects. */
export function openSession(target: SessionTarget, options: ConnectOptions): Promise<Session | Failure> {
  return new Promise((resolve) => {
    const socket =
      target.port === 0
        ? connect({ path: target.address })
        : connect({
            host: target.address,
            port: target.port,
            noDelay: true,
            ...(target.localAddress === undefined ? {} : { localAddress: target.localAddress }),
          })
    let timer: NodeJS.Timeout | undefined
    const settle = (result: Session | Failure) => {
      clearTimeout(timer)
      options.signal?.removeEventListener('abort', onAbort)
      resolve(result)
    }
    const fail = (why: string, dsn = '4.4.1') => {
      socket.removeListener('connect', onConnect)
      socket.removeListener('error', onError)
      socket.on('error', ignore)
      socket.destroy()
      settle(localFailure('lookup', dsn, `connect to ${relayName(target)}: ${why}`))
    }
    const onConnect = () => {
      socket.removeListener('error', onError)
      settle(new Session(socket, target, options.run))
    }
    const onError = (error: NodeJS.ErrnoException) => {
      const bind = target.localAddress !== undefined && error.code === 'EADDRNOTAVAIL'
      fail(connectError(error), bind || error.code === 'EINVAL' ? '4.4.0' : '4.4.1')
    }
    const onAbort = () => fail('shutting down')
    socket.once('connect', onConnect)
    socket.once('error', onError)
    options.signal?.addEventListener('abort', onAbort, { once: true })
    if (options.timeoutMs > 0) timer = setTimeout(() => fail('timed out'), options.timeoutMs)
  })
}

function ignore(): void {}

/** What went wrong in a handshake: OpenSSL's reason, or the system's. */
function tlsError(error: NodeJS.ErrnoException & { reason?: string }): string {
  const text =
    error.reason ?? (error.code === 'ECONNRESET' ? 'connection lost' : (error.code ?? error.message))
  return text.replaceAll(/[^\x20-\x7e]/g, '?')
}

/** The system's reason without what our sentence says already. */
function connectError(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'ECONNREFUSED':
      return 'connection refused'
    case 'ETIMEDOUT':
      return 'timed out'
    case 'EHOSTUNREACH':
      return 'no route to host'
    case 'ENETUNREACH':
      return 'network is unreachable'
    case 'ENOENT':
      return 'no such file'
    case 'EACCES':
      return 'permission denied'
    case 'EADDRNOTAVAIL':
      return 'local address is not available'
    default:
      return error.code ?? error.message
  }
}

/**
 * One POP3 connection (RFC 1939): the only part of this folder that touches socket, clock and other actors.
 * Lines go to `authorization.ts`, later to `transaction.ts`; what these decide is carried out here.
 *
 * Replies come in the order of the commands however they arrive. A command that takes time (a login, a large
 * mail, a client that does not read) stops the line loop; the lines behind it wait in the reader, the socket is not
 * read, and the loop goes on when the command is done: not with the next octets from the client, which may never come.
 *
 * Nothing is removed unless the client says QUIT and the mailbox has answered that it is done.
 */
import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import type { SecureContext, TLSSocket } from 'node:tls'
import { type ActorContext, actor, type Contract, type ExitReason, normal } from '../../actors/index.ts'
import type { SaslReply } from '../../auth/contract.ts'
import type { Config, ListenerConfig } from '../../config/settings.ts'
import type { UpdateResult } from '../../mailbox/contract.ts'
import { type Endpoints, endpointsOf, isSameMachine, receiveProxyHeader } from '../endpoints.ts'
import { LineReader, lineTooLong } from '../line-reader.ts'
import { channelBindings, ServerSasl } from '../server-sasl.ts'
import { serverTls, upgradeToTls } from '../server-tls.ts'
import { Authorization, malformed } from './authorization.ts'
import { capabilities } from './capabilities.ts'
import { parseCommand } from './command.ts'
import type { Pop3Settings } from './config.ts'
import { Listing } from './listing.ts'
import { Login, type LoginResult, notNow, refusedLogin } from './login.ts'
import { smallMailOctets } from './mail-file.ts'
import { changes, MailboxLink } from './mailbox-link.ts'
import type { Maildrop } from './maildrop.ts'
import { Output } from './output.ts'
import { Retrieval, type RetrievalHost } from './retrieval.ts'
import { transact } from './transaction.ts'

export interface Pop3SessionArgs {
  readonly service: string
  readonly listener: ListenerConfig
  /** Id that all log lines of the session have. */
  readonly session: string
}

/** What the session sends itself. */
export type Pop3SessionContract = Contract<{
  /** Something may have taken too long. */
  tick(): void
  /** Sizes that were found out go to the mailbox. */
  commit(): void
}>

/** A client that does not take the last reply in this time loses it. */
const lingerMs = 5_000
/** At a shutdown the last line must leave at once. */
const goodbyeMs = 1_000
/** Octets of a listing per write. */
const listingOctets = 16 * 1024

type State = 'authorization' | 'verifying' | 'transaction' | 'closed'

class Pop3Session {
  readonly #context: ActorContext<Pop3SessionContract>
  readonly #args: Pop3SessionArgs
  readonly #config: Config
  readonly #settings: Pop3Settings
  readonly #accepted: Socket
  /** The accepted socket, or TLS over it. */
  #socket: Socket
  readonly #listeners: readonly (readonly [event: string, listener: (...args: never[]) => void])[]
  readonly #remote: string
  /** The certificate; undefined: no TLS on this connection. */
  readonly #tls: SecureContext | undefined
  #reader: LineReader
  readonly #output: Output
  readonly #authorization: Authorization
  /** Of the greeting, for APOP; empty: it is not offered. */
  readonly #stamp: string
  /** The SASL exchange under way, and its mechanism. */
  #sasl: { readonly exchange: ServerSasl<Pop3SessionContract>; readonly method: string } | undefined
  #state: State = 'authorization'
  /** A command is being carried out; the lines behind it wait. */
  #busy = false
  /** What goes on with the running command when the client has read. */
  #resume: (() => void) | undefined
  /** The client has sent FIN. */
  #ended = false
  #paused = false
  #running = false
  /** First octets of the line that is not complete, to tell AUTH, which may be long, from others. */
  #lineStart = ''
  #badCommands = 0
  #user = ''
  #maildrop: Maildrop | undefined
  /** Made at the first RETR or TOP. */
  #host: RetrievalHost | undefined
  #mailbox: MailboxLink<Pop3SessionContract> | undefined
  /** Gives up what the running command does, if the session ends in the middle of it. */
  #cancel: (() => void) | undefined
  /** Milliseconds of the monotonic clock. */
  readonly #startedAt: number
  #lastInput: number
  #lastOutput: number
  #tickAt = Number.POSITIVE_INFINITY
  #timer = 0
  #closedAt = 0
  /** For the log line at the end. */
  readonly #counts = { topCount: 0, topBytes: 0, retrCount: 0, retrBytes: 0, input: 0 }
  #expunged = { count: 0, octets: 0 }

  constructor(
    context: ActorContext<Pop3SessionContract>,
    args: Pop3SessionArgs,
    socket: Socket,
    ends: Endpoints,
  ) {
    this.#context = context
    this.#args = args
    this.#config = context.setting<Config>('config')!
    this.#settings = this.#config.pop3
    this.#accepted = socket
    this.#socket = socket
    this.#listeners = [
      ['data', context.bind((chunk: Buffer) => this.#received(chunk))],
      ['end', context.bind(() => this.#inputEnded())],
      ['error', context.bind((error: NodeJS.ErrnoException) => this.#failed(error))],
      ['close', context.bind(() => this.#gone())],
    ]
    this.#remote = ends.remoteAddress
    const mode = args.listener.tls
    this.#tls = mode === 'off' ? undefined : serverTls(context, this.#config.tls)
    this.#reader = this.#loginReader()
    this.#output = new Output(
      socket,
      this.#settings.output_high_water,
      context.bind(() => this.#drained()),
    )
    const { mechanisms } = this.#config.auth
    const hasApop = mechanisms.some((name) => name.toUpperCase() === 'APOP')
    this.#stamp = hasApop ? stamp(this.#config.hostname, context.clock.now()) : ''
    this.#authorization = new Authorization({
      cleartext: this.#config.auth.allow_cleartext || isSecured(ends, this.#config),
      tls: false,
      mechanisms,
      apop: hasApop,
      stls: mode === 'starttls' && this.#tls !== undefined,
      maxBadCommands: this.#settings.login_max_bad_commands,
      maxLine: this.#settings.login_max_line - 1,
    })
    this.#startedAt = context.clock.monotonic()
    this.#lastInput = this.#startedAt
    this.#lastOutput = this.#startedAt
    this.#tickBy(this.#startedAt + this.#settings.login_timeout)
    this.#listen()
    if (mode === 'implicit') {
      if (this.#tls === undefined) {
        // Nothing can be said that this client would understand.
        this.#cutOff('No certificate for TLS')
        return
      }
      this.#secure(this.#tls)
    }
    this.#reply(`+OK ${this.#settings.login_greeting}${hasApop ? ` ${this.#stamp}` : ''}`)
    this.#output.flush()
    this.#socket.resume()
  }

  #listen(): void {
    // A client may send its last command together with FIN, and still wants the answer.
    this.#socket.allowHalfOpen = true
    for (const [event, listener] of this.#listeners) {
      this.#socket.on(event, listener as (...args: unknown[]) => void)
    }
  }

  #loginReader(): LineReader {
    return new LineReader({ maxOctets: this.#settings.login_max_sasl_line - 1, ending: 'lf' })
  }

  // TLS

  /** STLS, RFC 2595 section 4: what came behind it in clear is forgotten, and so is what was said before. */
  #startTls(): void {
    this.#reply('+OK begin TLS now')
    this.#output.flush()
    this.#reader = this.#loginReader()
    this.#lineStart = ''
    this.#secure(this.#tls!)
    this.#paused = false
    this.#socket.resume()
  }

  /** TLS from now on. What is written before the handshake is done waits for it. */
  #secure(tls: SecureContext): void {
    for (const [event, listener] of this.#listeners) {
      this.#accepted.off(event, listener as (...args: unknown[]) => void)
    }
    // Its errors come out of the TLS socket, too.
    this.#accepted.on('error', () => {})
    this.#socket = upgradeToTls(this.#accepted, tls)
    this.#output.moveTo(this.#socket)
    this.#authorization.secured()
    this.#listen()
  }

  /** Version of TLS; null without. */
  get #tlsVersion(): string | null {
    return this.#socket === this.#accepted ? null : (this.#socket as TLSSocket).getProtocol()
  }

  // Input

  #received(chunk: Buffer): void {
    if (this.#state === 'closed') return
    this.#counts.input += chunk.length
    this.#lastInput = this.#context.clock.monotonic()
    this.#reader.push(chunk)
    this.#run()
    if (this.#state === 'authorization') this.#checkLogin(chunk)
  }

  /** Executes lines until there are none, or one takes time. */
  #run(): void {
    // A command that was done at once comes back here: the loop that started it goes on.
    if (this.#running) return
    this.#running = true
    while (!this.#busy && !this.#output.blocked && this.#state !== 'closed') {
      const line = this.#reader.next()
      if (line === undefined) break
      if (line === lineTooLong) this.#lineTooLong()
      else if (this.#state === 'transaction') this.#execute(line)
      else this.#login(line)
    }
    this.#running = false
    if (this.#state === 'closed') return
    this.#output.flush()
    const waiting = this.#busy || this.#output.blocked
    if (waiting !== this.#paused) {
      this.#paused = waiting
      if (waiting) this.#socket.pause()
      else this.#socket.resume()
    }
    if (this.#ended && !waiting) this.#close('Connection closed')
  }

  #inputEnded(): void {
    this.#ended = true
    this.#run()
  }

  /** The client has read what was waiting for it. */
  #drained(): void {
    this.#lastOutput = this.#context.clock.monotonic()
    const resume = this.#resume
    this.#resume = undefined
    if (resume !== undefined) resume()
    this.#run()
  }

  #lineTooLong(): void {
    // Who sends more than a SASL exchange can need gets no answer: it may take one for part of the exchange.
    if (this.#state === 'authorization') this.#close('Authentication data too long')
    else this.#refuse('-ERR command line too long', 'Command line too long')
  }

  /** An incomplete line that is not AUTH is held to the ordinary limit, before its end has come. */
  #checkLogin(chunk: Buffer): void {
    const { held } = this.#reader
    if (held === 0) return
    if (held <= chunk.length)
      this.#lineStart = chunk.toString('latin1', chunk.length - held, chunk.length - held + 5)
    else if (this.#lineStart.length < 5)
      this.#lineStart += chunk.toString('latin1', 0, 5 - this.#lineStart.length)
    if (held < this.#settings.login_max_line || this.#authorization.inExchange) return
    if (this.#lineStart.toUpperCase() === 'AUTH ') return
    this.#refuse('-ERR command line too long', 'Command line too long')
  }

  // AUTHORIZATION

  #login(line: string): void {
    const step = this.#authorization.line(line)
    switch (step.kind) {
      case 'reply':
        this.#reply(step.line)
        return
      case 'text':
        this.#output.add(step.text)
        return
      case 'close':
        this.#refuse(step.line, step.reason)
        return
      case 'starttls':
        this.#startTls()
        return
      case 'verify': {
        const { user, password, method } = step
        this.#logIn(user, method).start((auth, options) =>
          auth.askWith(options, 'verify', user, password, this.#remote),
        )
        return
      }
      case 'apop': {
        const { user, digest } = step
        this.#logIn(user, 'APOP').start((auth, options) =>
          auth.askWith(options, 'verifyApop', user, this.#stamp, digest, this.#remote),
        )
        return
      }
      case 'sasl':
        this.#startSasl(step.mechanism, step.initial)
        return
      case 'response':
        this.#waitForSasl()
        this.#sasl!.exchange.respond(step.data)
        return
      case 'cancel':
        this.#sasl!.exchange.cancel()
        this.#sasl = undefined
        this.#reply(step.line)
    }
  }

  #startSasl(method: string, initial: Buffer | undefined): void {
    const exchange = new ServerSasl({
      context: this.#context,
      remote: this.#remote,
      done: (reply) => this.#saslAnswered(method, reply),
    })
    this.#sasl = { exchange, method }
    this.#waitForSasl()
    exchange.start(method, initial, channelBindings(this.#socket))
  }

  #waitForSasl(): void {
    this.#state = 'verifying'
    this.#busy = true
    this.#cancel = () => this.#sasl?.exchange.cancel()
  }

  #saslAnswered(method: string, reply: SaslReply): void {
    if (this.#state === 'closed') return
    if (reply.kind === 'challenge') {
      this.#state = 'authorization'
      this.#reply(this.#authorization.challenge(reply.data))
      this.#done()
      return
    }
    this.#sasl = undefined
    if (reply.kind === 'success') {
      this.#logIn(reply.account.user, method).accepted(reply.account)
      return
    }
    const { reason, user } = reply
    const line = reason === 'internal' ? notNow : reason === 'malformed' ? malformed : refusedLogin
    this.#verified(user, method, { ok: false, line, reason, close: false })
  }

  /** A login from here to its end; `user` and `method` are for the log. */
  #logIn(user: string, method: string): Login<Pop3SessionContract> {
    this.#state = 'verifying'
    this.#busy = true
    const login = new Login({
      context: this.#context,
      service: this.#args.service,
      session: this.#args.session,
      remote: this.#remote,
      settings: this.#settings,
      scratch: this.#scratch(),
      keep: ({ maildir }, uidValidity, sized) =>
        new MailboxLink(this.#context, maildir, uidValidity, sized).tell({}),
      done: (result) => this.#verified(user, method, result),
    })
    this.#cancel = () => login.cancel()
    return login
  }

  #verified(user: string, method: string, result: LoginResult): void {
    this.#cancel = undefined
    if (result.ok) {
      this.#begin(result, method)
      return
    }
    const { line, reason, close } = result
    const facts = { event: 'pop3.login-failed', ...this.#ids(), user: loggable(user), method, reason }
    this.#context.log.info(facts, 'login failed')
    this.#state = 'authorization'
    if (close) {
      this.#refuse(line, 'Mailbox not opened')
      return
    }
    this.#reply(line)
    this.#done()
  }

  #begin({ account, maildrop, sized }: Extract<LoginResult, { ok: true }>, method: string): void {
    this.#maildrop = maildrop
    this.#user = account.user
    this.#mailbox = new MailboxLink(this.#context, account.maildir, maildrop.uidValidity, sized)
    this.#state = 'transaction'
    this.#reader.maxOctets = this.#settings.max_line - 1
    const now = this.#context.clock.monotonic()
    this.#lastInput = now
    this.#lastOutput = now
    this.#tickBy(now + this.#settings.idle_timeout)
    const { commit_interval } = this.#settings
    if (this.#mailbox.hasSizes && commit_interval > 0) this.#context.sendAfter(commit_interval, 'commit')
    const facts = { event: 'pop3.login', ...this.#ids(), user: account.user, method, tls: this.#tlsVersion }
    this.#context.log.info(facts, 'logged in')
    this.#reply('+OK welcome, the maildrop is open')
    this.#done()
  }

  // TRANSACTION

  #execute(line: string): void {
    const maildrop = this.#maildrop!
    const outcome = transact(maildrop, parseCommand(line), this.#settings)
    if (outcome.kind === 'reply') {
      this.#reply(outcome.line)
      if (outcome.bad) this.#countBad()
      else this.#badCommands = 0
      return
    }
    // A mail that turns out to be gone may count as a wrong command, see `markGone`.
    if (outcome.kind !== 'retrieve') this.#badCommands = 0
    switch (outcome.kind) {
      case 'listing':
        this.#busy = true
        this.#list(new Listing(maildrop, outcome.of))
        return
      case 'retrieve':
        this.#retrieve(outcome.index, outcome.lines)
        return
      case 'capabilities':
        this.#output.add(
          capabilities({ mechanisms: this.#authorization.mechanisms, user: true, stls: false }),
        )
        return
      case 'unseen':
        this.#busy = true
        this.#update(this.#mailbox!.update(changes({ unseen: outcome.uids })), () => {
          this.#reply(outcome.line)
          this.#done()
        })
        return
      case 'quit':
        this.#quit()
    }
  }

  #countBad(): void {
    if (++this.#badCommands <= this.#settings.max_bad_commands) return
    this.#refuse('-ERR too many wrong commands', 'Too many bad commands')
  }

  #list(listing: Listing): void {
    while (!listing.done) {
      if (this.#output.blocked) {
        this.#resume = () => this.#list(listing)
        return
      }
      this.#output.add(listing.produce(listingOctets))
    }
    this.#finished()
  }

  #retrieve(index: number, lines: number | undefined): void {
    if (lines === undefined) this.#counts.retrCount++
    else this.#counts.topCount++
    this.#host ??= this.#makeHost()
    this.#busy = true
    const retrieval = new Retrieval(this.#host, index, lines)
    this.#cancel = () => retrieval.cancel()
    retrieval.start()
  }

  /** What retrievals need of the session. */
  #makeHost(): RetrievalHost {
    const context = this.#context
    const mailbox = this.#mailbox!
    const facts = this.#ids()
    return {
      maildrop: this.#maildrop!,
      maildir: mailbox.maildir,
      settings: this.#settings,
      output: this.#output,
      scratch: this.#scratch(),
      bind: (callback) => context.bind(callback),
      locate: (uid) => mailbox.locate(uid),
      whenDrained: (callback) => {
        this.#resume = callback
      },
      learn: (uid, octets) => mailbox.learn(uid, octets),
      log: (error) =>
        context.log.error({ event: 'pop3.retr', ...facts, error: error.message }, 'mail not opened'),
      refused: (line) => {
        this.#reply(line)
        this.#done()
      },
      gone: (index) => {
        this.#reply(`-ERR message ${index + 1} is no longer there`)
        if (this.#maildrop!.markGone(index)) this.#countBad()
        else this.#badCommands = 0
        this.#done()
      },
      broken: (what) => {
        context.log.error({ event: 'pop3.retr', ...facts, ...what }, 'mail could not be sent to its end')
        this.#cutOff('Mail could not be read')
      },
      sent: (octets, lines) => {
        this.#badCommands = 0
        if (lines === undefined) this.#counts.retrBytes += octets
        else this.#counts.topBytes += octets
        this.#done()
      },
    }
  }

  // UPDATE

  /** RFC 1939 section 6: the only way into the UPDATE state. Answered when the files are gone. */
  #quit(): void {
    const maildrop = this.#maildrop!
    const mailbox = this.#mailbox!
    const wanted = changes({ expunge: maildrop.expunged(), seen: maildrop.seen(true) })
    if (Object.keys(wanted).length === 0) {
      mailbox.tell({})
      this.#refuse('+OK goodbye', 'Logged out')
      return
    }
    this.#busy = true
    const { deletedCount: count, deletedSize: octets } = maildrop
    // Whatever ends the session from here on, the marks are not applied a second time.
    maildrop.reset()
    this.#update(mailbox.update(wanted), (failed) => {
      this.#busy = false
      if (failed > 0) {
        this.#refuse(`-ERR [SYS/TEMP] ${failed} of ${count} deleted messages not removed`, 'Update failed')
        return
      }
      this.#expunged = { count, octets }
      this.#refuse(count > 0 ? '+OK goodbye, deleted messages are removed' : '+OK goodbye', 'Logged out')
    })
  }

  /** Waits for the mailbox; a failure ends the session. */
  #update(answer: Promise<UpdateResult>, done: (failed: number) => void): void {
    answer.then(
      this.#context.bind((result: UpdateResult) => {
        if (this.#state === 'closed') return
        if (result.ok) done(result.failed)
        else this.#updateFailed(result.temporary)
      }),
      this.#context.bind((error: Error) => {
        const facts = { event: 'pop3.update', ...this.#ids(), error: error.message }
        this.#context.log.error(facts, 'update failed')
        if (this.#state !== 'closed') this.#updateFailed(true)
      }),
    )
  }

  #updateFailed(temporary: boolean): void {
    const code = temporary ? 'SYS/TEMP' : 'SYS/PERM'
    this.#refuse(`-ERR [${code}] not all changes could be made`, 'Update failed')
  }

  /** Sizes that were found out reach the disk, so that the next session need not read the mails again. */
  commit(): void {
    if (this.#state === 'transaction') this.#mailbox!.tell({})
  }

  // Ends

  /** The running command is done; lines that waited for it go on. */
  #done(): void {
    this.#finished()
    this.#run()
  }

  #finished(): void {
    this.#busy = false
    this.#cancel = undefined
    this.#lastOutput = this.#context.clock.monotonic()
  }

  #refuse(line: string, reason: string): void {
    this.#reply(line)
    this.#close(reason)
  }

  /** Ends in the middle of an answer: nothing more is sent. */
  #cutOff(reason: string): void {
    this.#output.abandon()
    this.#close(reason)
    this.#socket.destroy()
  }

  /** One log line; what was said is still sent; then the connection ends. */
  #close(reason: string): void {
    if (this.#state === 'closed') return
    const loggedIn = this.#state === 'transaction'
    this.#state = 'closed'
    this.#resume = undefined
    this.#cancel?.()
    this.#sasl?.exchange.cancel()
    // Without QUIT mails that were fetched are still marked as seen; nothing is removed.
    this.#mailbox?.tell(changes({ seen: this.#maildrop!.seen(false) }))
    this.#logEnd(loggedIn, reason)
    this.#closedAt = this.#context.clock.monotonic()
    this.#output.end()
    // Unread input would turn our FIN into a reset, which can overtake the last reply.
    if (!this.#socket.destroyed) this.#socket.resume()
    this.#tickBy(this.#closedAt + lingerMs)
  }

  #logEnd(loggedIn: boolean, reason: string): void {
    const { log } = this.#context
    if (!loggedIn) {
      log.info({ event: 'pop3.disconnect', ...this.#ids(), reason }, 'ended without login')
      return
    }
    const maildrop = this.#maildrop!
    log.info(
      {
        event: 'pop3.logout',
        ...this.#ids(),
        user: this.#user,
        reason,
        ...this.#counts,
        deletedCount: this.#expunged.count,
        deletedBytes: this.#expunged.octets,
        messageCount: maildrop.count,
        messageBytes: maildrop.totalSize,
        output: this.#output.octets,
      },
      'session ended',
    )
  }

  #failed(error: NodeJS.ErrnoException): void {
    this.#output.abandon()
    this.#close(`Connection closed: ${error.code ?? error.message}`)
  }

  #gone(): void {
    this.#output.abandon()
    this.#close('Connection closed')
    this.#context.stop(normal)
  }

  tick(): void {
    this.#tickAt = Number.POSITIVE_INFINITY
    const now = this.#context.clock.monotonic()
    if (this.#state === 'closed') {
      if (now - this.#closedAt >= lingerMs) this.#socket.destroy()
      this.#tickBy(this.#closedAt + lingerMs)
      return
    }
    if (this.#state !== 'transaction') {
      const deadline = this.#startedAt + this.#settings.login_timeout
      if (now < deadline) this.#tickBy(deadline)
      else if (this.#busy) this.#refuse('-ERR the login took too long', 'Login timeout')
      else this.#refuse('-ERR no login in time', 'Login timeout')
      return
    }
    const deadline = Math.max(this.#lastInput, this.#lastOutput) + this.#settings.idle_timeout
    if (now < deadline) {
      this.#tickBy(deadline)
      return
    }
    if (this.#busy || this.#output.blocked) {
      // In the middle of an answer nothing can be said.
      this.#cutOff(`Peer not draining output for ${Math.round((now - this.#lastOutput) / 1000)} s`)
      return
    }
    const reason = `No command for ${Math.round((now - this.#lastInput) / 1000)} s`
    if (this.#settings.silent_autologout) this.#close(reason)
    else this.#refuse('-ERR closing the connection after a long time without commands', reason)
  }

  /** Makes sure that `tick` comes at this time of the monotonic clock or earlier. */
  #tickBy(at: number): void {
    if (at >= this.#tickAt) return
    if (this.#tickAt !== Number.POSITIVE_INFINITY) this.#context.cancelTimer(this.#timer)
    this.#tickAt = at
    this.#timer = this.#context.sendAfter(
      Math.max(1, Math.ceil(at - this.#context.clock.monotonic())),
      'tick',
    )
  }

  async terminate(reason: ExitReason): Promise<void> {
    const socket = this.#socket
    if (socket.destroyed) return
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
    if (this.#state !== 'closed') {
      const why = reason.kind === 'shutdown' ? 'Server shutting down' : 'Internal error'
      // In the middle of an answer a line of ours would become part of it.
      if (this.#state === 'transaction' && (this.#busy || this.#output.blocked)) this.#cutOff(why)
      else if (reason.kind === 'shutdown') this.#refuse('-ERR [SYS/TEMP] Server shutting down.', why)
      else this.#refuse('-ERR [SYS/TEMP] internal error, please log in again', why)
    }
    const timer = setTimeout(() => socket.destroy(), goodbyeMs)
    await closed
    clearTimeout(timer)
  }

  // Helpers

  #reply(line: string): void {
    this.#output.add(`${line}\r\n`)
  }

  #ids(): { session: string; remote: string } {
    return { session: this.#args.session, remote: this.#remote }
  }

  /** Memory to read into, shared by all sessions of the thread; for synchronous use only. */
  #scratch(): Buffer {
    return this.#context.local('pop3.scratch', () => Buffer.allocUnsafeSlow(smallMailOctets))
  }
}

/** Whether nobody can listen on the way: within one machine, or TLS that ended at a load balancer. */
function isSecured(ends: Endpoints, config: Config): boolean {
  if (ends.proxy === undefined) return isSameMachine(ends)
  return ends.proxy.tls === true || config.proxy_protocol.assume_secure
}

/** What APOP digests are made with, RFC 1939 section 7: never the same again. */
const stamp = (hostname: string, now: number): string =>
  `<${randomBytes(16).toString('base64url')}.${now.toString(16)}@${hostname}>`

/** Names come from strangers. */
const loggable = (user: string): string => user.slice(0, 80).replaceAll(/[\p{Cc}]/gu, '?')

export const pop3Session = actor<Pop3SessionContract, Pop3SessionArgs>({
  name: 'pop3-session',
  module: import.meta.url,
  async init(context, args) {
    const socket = context.takeSocket()
    const { listener, service } = args
    const ends =
      socket === undefined || !listener.proxy_protocol
        ? socket && endpointsOf(socket, listener)
        : await receiveProxyHeader(context, socket, listener, { alpn: 'pop3', service })
    if (socket === undefined || ends === undefined) {
      // The client was gone before we came, or was not let in.
      context.stop(normal)
      return { tick() {}, commit() {} }
    }
    return new Pop3Session(context, args, socket, ends)
  },
})

/**
 * One POP3 connection (RFC 1939): the actor of it. Lines go to the authenticator, later to the mail commands; here is
 * what both have in common: order, time and the end.
 *
 * Replies come in the order of the commands however they arrive. A command that takes time (a login, a large
 * mail, a client that does not read) stops the line loop; the lines behind it wait in the reader, the socket is not
 * read, and the loop goes on when the command is done: not with the next octets from the client, which may never come.
 *
 * Nothing is removed unless the client says QUIT and the mailbox has answered that it is done.
 */
import type { Socket } from 'node:net'
import type { AccountingContract, SessionFacts } from '../../accounting/contract.ts'
import { type ActorContext, actor, type ExitReason, normal } from '../../actors/index.ts'
import type { Config } from '../../config/settings.ts'
import { type Endpoints, endpointsOf, receiveProxyHeader } from '../endpoints.ts'
import { LineReader, lineTooLong } from '../line-reader.ts'
import { type ServerTls, serverTls } from '../server-tls.ts'
import { Authenticator, type AuthenticatorHost } from './authenticator.ts'
import { Connection } from './connection.ts'
import type { OpenMaildrop } from './login.ts'
import { MailCommands, type MailCommandsHost } from './mail-commands.ts'
import { smallMailOctets } from './mail-file.ts'
import { MailboxLink } from './mailbox-link.ts'
import { RawLog } from './rawlog.ts'
import type { Pop3SessionArgs, Pop3SessionContract, SessionIds } from './session-host.ts'
import { type SessionLock, touchMs } from './session-lock.ts'
import { type AbortCode, type Connected, disconnectFacts, loginFacts, logoutFacts } from './session-log.ts'
import { timeStamp } from './time-stamp.ts'
import { WireForm } from './wire-form.ts'
import type { XclientFacts } from './xclient.ts'

export type { Pop3SessionArgs, Pop3SessionContract } from './session-host.ts'

/** A client that does not take the last reply in this time loses it. */
const lingerMs = 5_000
/** Octets of `AUTH` and the name of a mechanism. */
const maxBeforeResponse = 64
/** At a shutdown the last line must leave at once. */
const goodbyeMs = 1_000

class Pop3Session implements AuthenticatorHost, MailCommandsHost {
  readonly context: ActorContext<Pop3SessionContract>
  readonly config: Config
  readonly connection: Connection
  ids: SessionIds
  readonly #args: Pop3SessionArgs
  #ends: Endpoints
  /** The certificate; undefined: no TLS on this connection. */
  readonly #tls: ServerTls | undefined
  #reader: LineReader
  readonly #authenticator: Authenticator
  /** Since the login. */
  #commands: MailCommands | undefined
  #lock: SessionLock<Pop3SessionContract> | undefined
  #rawlog: RawLog | undefined
  #user = ''
  isClosed = false
  /** A command is being carried out; the lines behind it wait. */
  #busy = false
  /** Gives up what the running command does, if the session ends in the middle of it. */
  #cancel: (() => void) | undefined
  /** What goes on with the running command when the client has read. */
  #resume: (() => void) | undefined
  /** The client has sent FIN. */
  #ended = false
  /** What has ended the connection, for the log. */
  #broke = 'Connection closed'
  #running = false
  #input = 0
  /** Octets until the login; the log line at the end counts from there. */
  #beforeLogin = { input: 0, output: 0 }
  /** Milliseconds of the monotonic clock. */
  readonly #startedAt: number
  #lastInput: number
  #lastOutput: number
  #tickAt = Number.POSITIVE_INFINITY
  #timer = 0
  #closedAt = 0

  constructor(
    context: ActorContext<Pop3SessionContract>,
    args: Pop3SessionArgs,
    socket: Socket,
    ends: Endpoints,
  ) {
    this.context = context
    this.config = context.setting<Config>('config')!
    this.#args = args
    this.#ends = ends
    this.ids = { session: args.session, remote: ends.remoteAddress }
    this.#startedAt = context.clock.monotonic()
    this.#lastInput = this.#startedAt
    this.#lastOutput = this.#startedAt
    this.#reader = this.#loginReader()
    this.connection = new Connection(context, socket, this.config.pop3.output_high_water, {
      received: (chunk) => this.#received(chunk),
      ended: () => this.#inputEnded(),
      drained: () => this.#drained(),
      failed: (error) => this.#failed(error),
      closed: () => this.#gone(),
    })
    const mode = args.listener.tls
    this.#tls = mode === 'off' ? undefined : serverTls(context, this.config.tls)
    // TLS that ended at a load balancer is not begun once more.
    const stls = mode === 'starttls' && this.#tls !== undefined && ends.proxy?.tls !== true
    this.#authenticator = new Authenticator(this, args, ends, stls)
    this.#tickBy(this.#startedAt + this.config.login.timeout)
    if (mode === 'implicit') {
      if (this.#tls === undefined) {
        // Nothing can be said that this client would understand.
        this.cutOff('No certificate for TLS')
        return
      }
      this.#secure(this.#tls)
    }
    this.reply(this.#authenticator.greeting)
    this.connection.output.flush()
    this.connection.start()
  }

  #loginReader(): LineReader {
    const maxOctets = this.config.login.max_sasl_line + maxBeforeResponse
    return new LineReader({ maxOctets, ending: 'lf', countsCr: true })
  }

  // TLS

  /** STLS, RFC 2595 section 4: what was said before is forgotten. */
  startTls(): void {
    this.reply('+OK begin TLS now')
    const { unread, held } = this.#reader
    if (unread + held > 0) {
      // No client does that: somebody on the way wants it carried out as if it had come through TLS.
      this.#close('Something in clear behind STLS')
      return
    }
    this.connection.output.flush()
    this.#reader = this.#loginReader()
    this.#secure(this.#tls!)
    this.connection.start()
  }

  #secure(tls: ServerTls): void {
    this.connection.secure(tls)
    this.#authenticator.authorization.secured()
  }

  // Input

  #received(chunk: Buffer): void {
    if (this.isClosed) return
    this.#input += chunk.length
    this.#lastInput = this.context.clock.monotonic()
    this.#rawlog?.write('in', chunk.toString('latin1'))
    this.#reader.push(chunk)
    this.#run()
  }

  /** Executes lines until there are none, or one takes time. */
  #run(): void {
    // A command that was done at once comes back here: the loop that started it goes on.
    if (this.#running) return
    this.#running = true
    const { output } = this.connection
    while (!this.#busy && !output.blocked && !this.isClosed) {
      const line = this.#reader.next()
      if (line === undefined) break
      if (line === lineTooLong) this.#lineTooLong()
      else if (this.#commands !== undefined) this.#commands.execute(line)
      else if (!this.#exceedsLogin(line, line.length, this.#reader.wasBare ? 1 : 2))
        this.#authenticator.execute(line)
    }
    this.#running = false
    if (this.#commands === undefined && !this.#busy && !this.isClosed) this.#checkLogin()
    if (this.isClosed) return
    output.flush()
    const isWaiting = this.#busy || output.blocked
    this.connection.pause(isWaiting)
    if (isWaiting) return
    if (this.#ended) this.#close('Connection closed')
    else this.#commands?.idle()
  }

  #inputEnded(): void {
    this.#ended = true
    this.#run()
  }

  #drained(): void {
    this.#lastOutput = this.context.clock.monotonic()
    const resume = this.#resume
    this.#resume = undefined
    if (resume !== undefined) resume()
    this.#run()
  }

  #lineTooLong(): void {
    // Who sends more than a SASL exchange can need gets no answer: it may take one for part of the exchange.
    if (this.#commands === undefined) this.#close('Authentication data too long')
    else this.refuse('-ERR command line too long', 'Command line too long')
  }

  /** A line before login is held to its limit before its end has come. */
  #checkLogin(): void {
    const { held } = this.#reader
    if (held > this.config.login.max_line)
      this.#exceedsLogin(this.#reader.heldStart(maxBeforeResponse), held, 0)
  }

  /**
   * Whether a line before login is too long, of which `octets` are here and `end` more as its end; then the session ends.
   * As in Dovecot the verb does not count, and before an initial response neither does the name of the mechanism.
   */
  #exceedsLogin(start: string, octets: number, end: 0 | 1 | 2): boolean {
    const { max_line, max_sasl_line } = this.config.login
    const isAuth = /^AUTH /i.test(start)
    if (this.#authenticator.authorization.inExchange || isAuth) {
      const before = isAuth ? /^\S+ +\S* ?/.exec(start)![0].length : 0
      // Here the LF does not count.
      if (octets + Math.max(0, end - 1) - before > max_sasl_line) this.#lineTooLong()
    } else if (octets + end - (start.indexOf(' ') + 1) > max_line) {
      this.refuse('-ERR command line too long', 'Command line too long')
    }
    return this.isClosed
  }

  // What the states do, see `SessionHost`

  reply(line: string): void {
    this.connection.output.add(`${line}\r\n`)
  }

  begin(cancel?: () => void): void {
    this.#busy = true
    this.#cancel = cancel
  }

  done(): void {
    this.#busy = false
    this.#cancel = undefined
    this.#lastOutput = this.context.clock.monotonic()
    this.#run()
  }

  whenDrained(callback: () => void): void {
    this.#resume = callback
  }

  get wireForm(): WireForm | undefined {
    return this.context.local('pop3.wireForm', () => WireForm.make())
  }

  get scratch(): Buffer {
    return this.context.local(
      'pop3.scratch',
      () => this.wireForm?.mail ?? Buffer.allocUnsafeSlow(smallMailOctets),
    )
  }

  get capabilities(): string {
    return this.#authenticator.authorization.capabilities(true)
  }

  get utf8(): boolean {
    return this.#authenticator.authorization.utf8
  }

  takeUtf8(): void {
    this.#authenticator.authorization.utf8 = true
  }

  came({ remoteAddress, remotePort, localAddress, localPort, session }: XclientFacts): void {
    const before = this.#ends
    this.#ends = {
      remoteAddress: remoteAddress ?? before.remoteAddress,
      remotePort: remotePort ?? before.remotePort,
      localAddress: localAddress ?? before.localAddress,
      localPort: localPort ?? before.localPort,
      proxy: before.proxy,
    }
    this.ids = { session: session ?? this.ids.session, remote: this.#ends.remoteAddress }
    if (session === undefined) return
    this.context.whereis<AccountingContract>('accounting')?.tell('renamed', this.#args.session, session)
  }

  // TRANSACTION

  loggedIn(opened: OpenMaildrop<Pop3SessionContract>, method: string): void {
    const { context, config } = this
    const { account, maildrop, findings, lock } = opened
    const mailbox = new MailboxLink(context, account, maildrop.uidValidity, findings, maildrop)
    this.#user = account.user
    this.#lock = lock
    this.#commands = new MailCommands(this, maildrop, mailbox)
    this.#reader.maxOctets = config.pop3.max_line - 1
    const { unread, held } = this.#reader
    this.#beforeLogin = { input: this.#input - unread - held, output: this.connection.output.octets }
    const now = context.clock.monotonic()
    this.#lastInput = now
    this.#lastOutput = now
    this.#tickBy(now + config.pop3.idle_timeout)
    const { commit_interval, rawlog_dir } = config.pop3
    if (mailbox.hasFindings && commit_interval > 0) context.sendAfter(commit_interval, 'commit')
    if (lock !== undefined) context.sendAfter(touchMs, 'touchLock')
    if (rawlog_dir !== '') this.#startRawLog(rawlog_dir)
    context.log.info(loginFacts(this.#connected, account.user, method, config), 'logged in')
    this.reply('+OK welcome, the maildrop is open')
    this.done()
  }

  #startRawLog(dir: string): void {
    const rawlog = new RawLog(dir, this.context.self.id, () => this.context.clock.now())
    this.#rawlog = rawlog
    this.connection.output.tap = (text) => rawlog.write('out', text)
    // What came together with the password.
    const rest = this.#reader.takeRest()
    if (rest === undefined) return
    rawlog.write('in', rest.toString('latin1'))
    this.#reader.push(rest)
  }

  commit(): void {
    if (!this.isClosed) this.#commands?.mailbox.tell({})
  }

  touchLock(): void {
    if (this.isClosed || this.#lock === undefined) return
    if (this.#lock.touch()) this.context.sendAfter(touchMs, 'touchLock')
    else this.#endNow('-ERR [SYS/TEMP] the lock of the mailbox is lost', 'Session lock lost')
  }

  // Ends

  refuse(line: string, reason: string): void {
    this.reply(line)
    this.#close(reason)
  }

  end(reason: string): void {
    this.#close(reason)
  }

  cutOff(reason: string): void {
    this.connection.output.abandon()
    this.#close(reason)
    this.connection.destroy()
  }

  /** In the middle of an answer a line of ours would become part of it. */
  #endNow(line: string, reason: string, code: AbortCode | '' = ''): void {
    if (this.#isSending) this.cutOff(reason)
    else {
      this.reply(line)
      this.#close(reason, code)
    }
  }

  /** Octets of a mail or a listing may be on their way. A login that is being checked has said nothing yet. */
  get #isSending(): boolean {
    return this.#commands !== undefined && (this.#busy || this.connection.output.blocked)
  }

  /** One log line; what was said is still sent; then the connection ends. `code`: why, if there was no login. */
  #close(reason: string, code: AbortCode | '' = ''): void {
    if (this.isClosed) return
    this.isClosed = true
    this.#resume = undefined
    this.#cancel?.()
    this.#authenticator.cancel()
    this.#commands?.leave()
    this.#lock?.release()
    // The last line counts.
    this.connection.output.flush()
    this.#logEnd(reason, code)
    this.#closedAt = this.context.clock.monotonic()
    this.connection.end()
    this.#rawlog?.close()
    this.#tickBy(this.#closedAt + lingerMs)
  }

  get #connected(): Connected {
    return {
      ids: this.ids,
      ends: this.#ends,
      service: this.#args.service,
      tls: this.connection.tlsVersion,
      security: this.#security,
      input: this.#input - this.#beforeLogin.input,
      output: this.connection.output.octets - this.#beforeLogin.output,
    }
  }

  get #security(): string {
    const { hasTls, tlsVersion } = this.connection
    if (hasTls) return tlsVersion === null ? `TLS handshaking: ${this.#broke}` : 'TLS'
    return this.#authenticator.isSecured ? 'secured' : ''
  }

  #logEnd(reason: string, code: AbortCode | ''): void {
    const { log } = this.context
    this.#tellTotals()
    if (this.#commands !== undefined) {
      const facts = logoutFacts(this.#connected, this.#user, reason, this.#commands, this.config)
      log.info(facts, 'session ended')
      return
    }
    const { progress: made } = this.#authenticator
    const progress = {
      ...made,
      seconds: Math.round((this.context.clock.monotonic() - (made.triedAt ?? this.#startedAt)) / 1000),
      tlsUnfinished: this.connection.hasTls && this.connection.tlsVersion === null,
    }
    log.info(disconnectFacts(this.#connected, reason, code, progress, this.config), 'ended without login')
  }

  #tellTotals(): void {
    const commands = this.#commands
    const { attempts } = this.#authenticator.progress
    if (commands === undefined && attempts === 0) return
    this.context.whereis<AccountingContract>('accounting')?.tell('ended', {
      logins: commands === undefined ? 0 : 1,
      failedLogins: commands === undefined ? attempts : attempts - 1,
      fetchedMails: commands?.counts.retrCount ?? 0,
      fetchedOctets: commands?.counts.retrBytes ?? 0,
      removedMails: commands?.expunged.count ?? 0,
      input: this.#input,
      output: this.connection.output.octets,
    })
  }

  #failed(error: NodeJS.ErrnoException): void {
    this.connection.output.abandon()
    this.#broke = error.code ?? error.message
    this.#close(`Connection closed: ${this.#broke}`)
  }

  #gone(): void {
    this.connection.output.abandon()
    this.#close('Connection closed')
    this.context.stop(normal)
  }

  // Time

  tick(): void {
    this.#tickAt = Number.POSITIVE_INFINITY
    const now = this.context.clock.monotonic()
    if (this.isClosed) {
      if (now - this.#closedAt >= lingerMs) this.connection.destroy()
      this.#tickBy(this.#closedAt + lingerMs)
    } else if (this.#commands === undefined) this.#checkLoginTime(now)
    else this.#checkIdleTime(now)
  }

  #checkLoginTime(now: number): void {
    const deadline = this.#startedAt + this.config.login.timeout
    if (now < deadline) {
      this.#tickBy(deadline)
      return
    }
    const { isVerifying, inExchange } = this.#authenticator.progress
    const what = isVerifying
      ? 'the login took too long'
      : inExchange
        ? 'no answer in time'
        : 'no login in time'
    this.refuse(`-ERR ${what}`, 'Login timeout')
  }

  #checkIdleTime(now: number): void {
    const { idle_timeout, silent_autologout } = this.config.pop3
    const deadline = Math.max(this.#lastInput, this.#lastOutput) + idle_timeout
    if (now < deadline) {
      this.#tickBy(deadline)
      return
    }
    if (this.#isSending) {
      // In the middle of an answer nothing can be said.
      this.cutOff(`Peer not draining output for ${Math.round((now - this.#lastOutput) / 1000)} s`)
      return
    }
    const reason = `No command for ${Math.round((now - this.#lastInput) / 1000)} s`
    if (silent_autologout) this.#close(reason)
    else this.refuse('-ERR closing the connection after a long time without commands', reason)
  }

  /** Makes sure that `tick` comes at this time of the monotonic clock or earlier. */
  #tickBy(at: number): void {
    if (at >= this.#tickAt) return
    if (this.#tickAt !== Number.POSITIVE_INFINITY) this.context.cancelTimer(this.#timer)
    this.#tickAt = at
    const delayMs = Math.max(1, Math.ceil(at - this.context.clock.monotonic()))
    this.#timer = this.context.sendAfter(delayMs, 'tick')
  }

  // Operators

  facts(): SessionFacts {
    const now = this.context.clock.monotonic()
    const { isVerifying } = this.#authenticator.progress
    const state = this.isClosed
      ? 'closing'
      : this.#commands === undefined
        ? isVerifying
          ? 'verifying'
          : 'login'
        : this.#isSending
          ? 'sending'
          : 'idle'
    return {
      state,
      address: this.ids.remote,
      tls: this.connection.tlsVersion,
      idleMs: Math.round(now - Math.max(this.#lastInput, this.#lastOutput)),
      input: this.#input,
      output: this.connection.output.octets,
    }
  }

  throwOut(why: 'admin' | 'pending'): void {
    if (this.isClosed) return
    if (why === 'admin') this.#endNow(goodbye, 'Kicked by an administrator')
    // It may have logged in meanwhile.
    else if (this.#commands === undefined && !this.#authenticator.progress.isVerifying) {
      this.#endNow('-ERR too many connections that have not logged in', 'Login queue full', 'process_full')
    }
  }

  async terminate(reason: ExitReason): Promise<void> {
    if (this.connection.isGone) return
    if (!this.isClosed) {
      if (reason.kind === 'shutdown') this.#endNow(goodbye, 'Server shutting down', 'shutting_down')
      else
        this.#endNow(
          `-ERR [SYS/TEMP] internal error, please log in again [${timeStamp(this.context.clock.now())}]`,
          'Internal error',
        )
    }
    await this.connection.gone(goodbyeMs)
  }
}

const goodbye = '-ERR [SYS/TEMP] Server shutting down.'

const nothing = {
  tick() {},
  commit() {},
  touchLock() {},
  throwOut() {},
  facts: (): SessionFacts => ({ state: 'closing', address: '', tls: null, idleMs: 0, input: 0, output: 0 }),
}

export const pop3Session = actor<Pop3SessionContract, Pop3SessionArgs>({
  name: 'pop3-session',
  module: import.meta.url,
  init(context, args) {
    const socket = context.takeSocket()
    const { listener, service } = args
    if (socket === undefined) {
      // The client was gone before we came.
      context.stop(normal)
      return nothing
    }
    if (!listener.proxy_protocol) return new Pop3Session(context, args, socket, endpointsOf(socket, listener))
    return receiveProxyHeader(context, socket, listener, { alpn: 'pop3', service }).then((ends) => {
      if (ends !== undefined) return new Pop3Session(context, args, socket, ends)
      context.stop(normal)
      return nothing
    })
  },
})

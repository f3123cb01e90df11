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
import type { Socket } from 'node:net'
import type { AccountingContract } from '../../accounting/contract.ts'
import {
  type ActorContext,
  type ActorRef,
  actor,
  type Contract,
  type ExitReason,
  normal,
} from '../../actors/index.ts'
import type { Account, AuthContract, VerifyResult } from '../../auth/contract.ts'
import type { Config, ListenerConfig } from '../../config/settings.ts'
import {
  type LocateResult,
  type MailboxesContract,
  type OpenResult,
  sizeBytes,
  type UpdateRequest,
  type UpdateResult,
  uidBytes,
} from '../../mailbox/contract.ts'
import { LineReader, lineTooLong } from '../line-reader.ts'
import { Authorization, type Step } from './authorization.ts'
import { capabilities } from './capabilities.ts'
import { parseCommand } from './command.ts'
import type { Pop3Settings } from './config.ts'
import { Listing } from './listing.ts'
import { MailFile, pieceOctets, smallMailOctets } from './mail-file.ts'
import { Maildrop } from './maildrop.ts'
import { Output } from './output.ts'
import { SizeScan } from './size-scan.ts'
import { transact } from './transaction.ts'
import { Transmission } from './transmission.ts'

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

/** A refused login is answered late on purpose, and a slow hash may wait for its turn. */
const verifyTimeoutMs = 120_000
/** The mailbox may wait two minutes for another program's lock. */
const mailboxTimeoutMs = 160_000
/** A client that does not take the last reply in this time loses it. */
const lingerMs = 5_000
/** At a shutdown the last line must leave at once. */
const goodbyeMs = 1_000
/** Times the mailbox is opened again when mails vanish while their sizes are being found out. */
const openAttempts = 3
/** Octets of a listing per write. */
const listingOctets = 16 * 1024

type State = 'authorization' | 'verifying' | 'transaction' | 'closed'

class Pop3Session {
  readonly #context: ActorContext<Pop3SessionContract>
  readonly #args: Pop3SessionArgs
  readonly #config: Config
  readonly #settings: Pop3Settings
  readonly #socket: Socket
  readonly #remote: string
  readonly #reader: LineReader
  readonly #output: Output
  readonly #authorization: Authorization
  #state: State = 'authorization'
  /** A command is being carried out; the lines behind it wait. */
  #busy = false
  /** What goes on with the running command when the client has read. */
  #resume: (() => void) | undefined
  /** The client has sent FIN. */
  #ended = false
  #paused = false
  /** First octets of the line that is not complete, to tell AUTH, which may be long, from others. */
  #lineStart = ''
  #badCommands = 0
  #account: Account | undefined
  #maildrop: Maildrop | undefined
  /** Sizes found out and not yet told to the mailbox. */
  #sized: { uids: number[]; sizes: number[] } | undefined
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

  constructor(context: ActorContext<Pop3SessionContract>, args: Pop3SessionArgs, socket: Socket) {
    this.#context = context
    this.#args = args
    this.#config = context.setting<Config>('config')!
    this.#settings = this.#config.pop3
    this.#socket = socket
    this.#remote = socket.remoteAddress ?? 'unix'
    this.#reader = new LineReader({ maxOctets: this.#settings.login_max_sasl_line - 1, ending: 'lf' })
    this.#output = new Output(
      socket,
      this.#settings.output_high_water,
      context.bind(() => this.#drained()),
    )
    this.#authorization = new Authorization({
      cleartext: this.#config.auth.allow_cleartext || isSameHost(socket),
      // TODO(tls): with `listener.tls` of starttls or implicit; the socket is replaced and the reader emptied then.
      stls: false,
      maxBadCommands: this.#settings.login_max_bad_commands,
      maxLine: this.#settings.login_max_line - 1,
    })
    this.#startedAt = context.clock.monotonic()
    this.#lastInput = this.#startedAt
    this.#lastOutput = this.#startedAt
    this.#listen()
    this.#reply(`+OK ${this.#settings.login_greeting}`)
    this.#output.flush()
    this.#tickBy(this.#startedAt + this.#settings.login_timeout)
    socket.resume()
  }

  #listen(): void {
    const { bind } = this.#context
    const socket = this.#socket
    // A client may send its last command together with FIN, and still wants the answer.
    socket.allowHalfOpen = true
    socket.on(
      'data',
      bind.call(this.#context, (chunk: Buffer) => this.#received(chunk)),
    )
    socket.on(
      'end',
      bind.call(this.#context, () => this.#inputEnded()),
    )
    socket.on(
      'error',
      bind.call(this.#context, (error: NodeJS.ErrnoException) => this.#failed(error)),
    )
    socket.on(
      'close',
      bind.call(this.#context, () => this.#gone()),
    )
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
    while (!this.#busy && !this.#output.blocked && this.#state !== 'closed') {
      const line = this.#reader.next()
      if (line === undefined) break
      if (line === lineTooLong) this.#lineTooLong()
      else if (this.#state === 'transaction') this.#execute(line)
      else this.#login(line)
    }
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
    const step: Step = this.#authorization.line(line)
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
        this.#reply('-ERR TLS cannot be started here')
        return
      case 'verify':
        this.#verify(step.user, step.password, step.method)
    }
  }

  #verify(user: string, password: string, method: string): void {
    this.#state = 'verifying'
    this.#busy = true
    const auth = this.#context.whereis<AuthContract>('auth')
    if (auth === undefined) {
      this.#loginFailed('-ERR [SYS/TEMP] logins cannot be checked now, try again later', user, 'internal')
      return
    }
    auth.askWith({ timeoutMs: verifyTimeoutMs }, 'verify', user, password, this.#remote).then(
      this.#context.bind((result: VerifyResult) => {
        if (result.ok) this.#count(result.account, method)
        else if (result.reason === 'credentials') {
          this.#loginFailed('-ERR [AUTH] wrong user name or password', user, 'credentials')
        } else {
          this.#loginFailed('-ERR [SYS/TEMP] logins cannot be checked now, try again later', user, 'internal')
        }
      }),
      this.#context.bind((error: Error) => {
        this.#context.log.error(
          { event: 'pop3.auth', ...this.#ids(), error: error.message },
          'login not checked',
        )
        this.#loginFailed('-ERR [SYS/TEMP] logins cannot be checked now, try again later', user, 'internal')
      }),
    )
  }

  #loginFailed(line: string, user: string, reason: string): void {
    if (this.#state === 'closed') return
    this.#context.log.info(
      { event: 'pop3.login-failed', ...this.#ids(), user: loggable(user), reason },
      'login failed',
    )
    this.#state = 'authorization'
    this.#reply(line)
    this.#done()
  }

  /** Is there room for one more session of this user from there? */
  #count(account: Account, method: string): void {
    if (this.#state === 'closed') return
    const accounting = this.#context.whereis<AccountingContract>('accounting')
    const { session, service } = this.#args
    const counted = this.#context.bind((ok: boolean) => {
      if (ok) this.#open(account, method, 1)
      else
        this.#loginFailed(
          '-ERR [IN-USE] too many sessions of this user from your address',
          account.user,
          'limit',
        )
    })
    if (accounting === undefined) {
      counted(true)
      return
    }
    // A registry that does not answer is no reason to keep anyone from their mail.
    accounting
      .ask('connect', this.#context.self, session, service, account.user, this.#remote)
      .then(counted, () => counted(true))
  }

  #uncount(): void {
    this.#context.whereis<AccountingContract>('accounting')?.tell('disconnect', this.#args.session)
  }

  #open(account: Account, method: string, attempt: number): void {
    if (this.#state === 'closed') return
    this.#askMailboxes((mailboxes) =>
      mailboxes.askWith(
        { timeoutMs: mailboxTimeoutMs },
        'open',
        account.user,
        account.maildir,
        this.#settings.no_flag_updates,
      ),
    ).then(
      this.#context.bind((result: OpenResult) => {
        if (this.#state === 'closed') return
        if (!result.ok) this.#openFailed(result.temporary)
        else this.#size(new Maildrop(result.snapshot, this.#settings), account, method, attempt)
      }),
      this.#context.bind((error: Error) => {
        this.#context.log.error(
          { event: 'pop3.mailbox', ...this.#ids(), error: error.message },
          'mailbox not opened',
        )
        if (this.#state !== 'closed') this.#openFailed(true)
      }),
    )
  }

  #openFailed(temporary: boolean): void {
    this.#uncount()
    const line = temporary
      ? '-ERR [SYS/TEMP] the mailbox cannot be opened now, try again later'
      : '-ERR [SYS/PERM] the mailbox cannot be opened, please tell the administrator'
    this.#refuse(line, 'Mailbox not opened')
  }

  /** Finds out the sizes that nobody knows; then the session is in TRANSACTION state. */
  #size(maildrop: Maildrop, account: Account, method: string, attempt: number): void {
    const scan = new SizeScan(maildrop, account.maildir, this.#settings.fast_size_lookups, this.#scratch())
    const step = this.#context.bind(() => {
      if (this.#state === 'closed') return
      const progress = scan.work()
      if (progress === 'more') {
        setImmediate(step)
        return
      }
      if (scan.uids.length > 0) this.#sized = { uids: scan.uids, sizes: scan.sizes }
      if (progress === 'done') {
        this.#begin(maildrop, account, method)
        return
      }
      // What was found out is not lost: the next attempt has less to do.
      this.#account = account
      this.#maildrop = maildrop
      this.commit()
      if (progress === 'vanished' && attempt < openAttempts) this.#open(account, method, attempt + 1)
      else this.#openFailed(true)
    })
    step()
  }

  #begin(maildrop: Maildrop, account: Account, method: string): void {
    maildrop.freeze()
    this.#maildrop = maildrop
    this.#account = account
    this.#state = 'transaction'
    this.#reader.maxOctets = this.#settings.max_line - 1
    this.#badCommands = 0
    const now = this.#context.clock.monotonic()
    this.#lastInput = now
    this.#lastOutput = now
    this.#tickBy(now + this.#settings.idle_timeout)
    if (this.#sized !== undefined && this.#settings.commit_interval > 0) {
      this.#context.sendAfter(this.#settings.commit_interval, 'commit')
    }
    this.#context.log.info(
      { event: 'pop3.login', ...this.#ids(), user: account.user, method, tls: null },
      'logged in',
    )
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
        this.#output.add(capabilities({ mechanisms: ['PLAIN', 'LOGIN'], user: true, stls: false }))
        return
      case 'unseen': {
        this.#busy = true
        const { line: reply, uids } = outcome
        this.#update({ unseen: uidBytes(uids) }, () => {
          this.#reply(reply)
          this.#done()
        })
        return
      }
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
    const maildrop = this.#maildrop!
    const file = this.#openMail(maildrop.file(index))
    if (file === 'failed') return
    if (file !== undefined) {
      this.#send(file, index, lines)
      return
    }
    // Moved by another program, or gone.
    this.#busy = true
    this.#askMailboxes((mailboxes) =>
      mailboxes.askWith(
        { timeoutMs: mailboxTimeoutMs },
        'locate',
        this.#account!.maildir,
        maildrop.uid(index),
      ),
    ).then(
      this.#context.bind((place: LocateResult) => {
        if (this.#state === 'closed') return
        this.#busy = false
        const found = place === null ? undefined : this.#openMail(place)
        if (found === undefined) this.#mailGone(index)
        else if (found !== 'failed') this.#send(found, index, lines)
        if (!this.#busy) this.#run()
      }),
      this.#context.bind(() => {
        if (this.#state === 'closed') return
        this.#reply('-ERR [SYS/TEMP] the message cannot be read now')
        this.#done()
      }),
    )
  }

  #openMail(place: { readonly name: string; readonly inNew: boolean }): MailFile | undefined | 'failed' {
    try {
      return MailFile.open(this.#account!.maildir, place)
    } catch (error) {
      this.#context.log.error(
        { event: 'pop3.retr', ...this.#ids(), error: (error as Error).message },
        'mail not opened',
      )
      this.#reply('-ERR [SYS/PERM] the message cannot be read')
      return 'failed'
    }
  }

  #mailGone(index: number): void {
    this.#reply(`-ERR message ${index + 1} is no longer there`)
    if (this.#maildrop!.markGone(index)) this.#countBad()
    else this.#badCommands = 0
  }

  #send(file: MailFile, index: number, lines: number | undefined): void {
    this.#badCommands = 0
    const maildrop = this.#maildrop!
    const size = maildrop.sizes[index]!
    const workarounds = this.#settings.client_workarounds
    const transmission = new Transmission({
      lines,
      noNuls: workarounds.includes('outlook-no-nuls'),
      addEndOfHeaders: workarounds.includes('oe-ns-eoh'),
    })
    let status = '+OK\r\n'
    if (lines === undefined) {
      maildrop.markFetched(index)
      const octets = this.#settings.exact_octets && !file.endsLine() ? size + 2 : size
      status = `+OK ${octets} octets\r\n`
    }
    if (file.octets > smallMailOctets) {
      this.#busy = true
      this.#sendPieces(file, index, lines, transmission, status)
      return
    }
    let stored: Buffer | undefined
    try {
      stored = file.readAll(this.#scratch())
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === undefined) throw error
    } finally {
      file.close()
    }
    if (stored === undefined) {
      this.#broken(index, -1)
      return
    }
    const text = transmission.push(stored.toString('latin1'))
    const end = transmission.end()
    if (lines === undefined && !this.#isWhole(index, transmission.octets)) return
    this.#countSent(lines, status.length + text.length + end.length - 3)
    this.#output.add(status + text + end)
  }

  /** A large mail, piece by piece as the client reads. */
  #sendPieces(
    file: MailFile,
    index: number,
    lines: number | undefined,
    transmission: Transmission,
    status: string,
  ): void {
    // Its own: other sessions of this thread read while this one waits for the disk.
    const buffer = Buffer.allocUnsafeSlow(pieceOctets)
    this.#output.add(status)
    this.#countSent(lines, status.length)
    const next = (): void => {
      if (this.#state === 'closed') {
        file.close()
        return
      }
      if (this.#output.blocked) {
        this.#resume = next
        return
      }
      file.readPiece(buffer, arrived)
    }
    const arrived = this.#context.bind((length: number) => {
      if (this.#state === 'closed') {
        file.close()
        return
      }
      if (length > 0) {
        const text = transmission.push(buffer.toString('latin1', 0, length))
        this.#countSent(lines, text.length)
        this.#output.add(text)
        this.#output.flush()
        if (!transmission.complete) {
          next()
          return
        }
      }
      file.close()
      if (length === -1) {
        this.#broken(index, -1)
        return
      }
      const end = transmission.end()
      if (lines === undefined && !this.#isWhole(index, transmission.octets)) return
      this.#countSent(lines, end.length - 3)
      this.#output.add(end)
      this.#done()
    })
    this.#release = () => file.close()
    next()
  }

  /** Less than was announced must not look like a whole mail: the client would remove it. */
  #isWhole(index: number, octets: number): boolean {
    const announced = this.#maildrop!.sizes[index]!
    if (octets === announced || this.#settings.fast_size_lookups) return true
    if (octets < announced) {
      this.#broken(index, octets)
      return false
    }
    this.#learn(index, octets)
    return true
  }

  /** The file was cut or cannot be read: the connection ends without the final dot. */
  #broken(index: number, octets: number): void {
    const facts = { event: 'pop3.retr', ...this.#ids(), uid: this.#maildrop!.uid(index) }
    this.#context.log.error(facts, 'mail is shorter than it was, or cannot be read')
    if (octets >= 0) this.#learn(index, octets)
    this.#output.abandon()
    this.#close('Mail could not be read')
    this.#socket.destroy()
  }

  /** The size was wrong; sessions after this one announce the right one. */
  #learn(index: number, octets: number): void {
    this.#sized ??= { uids: [], sizes: [] }
    this.#sized.uids.push(this.#maildrop!.uid(index))
    this.#sized.sizes.push(octets)
  }

  #countSent(lines: number | undefined, octets: number): void {
    if (lines === undefined) this.#counts.retrBytes += octets
    else this.#counts.topBytes += octets
  }

  // UPDATE

  /** RFC 1939 section 6: the only way into the UPDATE state. Answered when the files are gone. */
  #quit(): void {
    const maildrop = this.#maildrop!
    const expunge = maildrop.expunged()
    const seen = maildrop.seen(true)
    if (expunge.length === 0 && seen.length === 0 && this.#sized === undefined) {
      this.#refuse('+OK goodbye', 'Logged out')
      return
    }
    this.#busy = true
    const request = {
      ...(expunge.length === 0 ? {} : { expunge: uidBytes(expunge) }),
      ...(seen.length === 0 ? {} : { seen: uidBytes(seen) }),
    }
    // Whatever ends the session from here on, the marks are not applied a second time.
    const { deletedCount: count, deletedSize: octets } = maildrop
    maildrop.reset()
    this.#update(request, (failed) => {
      this.#busy = false
      if (failed > 0) {
        this.#refuse(`-ERR [SYS/TEMP] ${failed} of ${count} deleted messages not removed`, 'Update failed')
        return
      }
      this.#expunged = { count, octets }
      this.#refuse(count > 0 ? '+OK goodbye, deleted messages are removed' : '+OK goodbye', 'Logged out')
    })
  }

  /** Has the mailbox change something; a failure ends the session. Sizes that were found out go along. */
  #update(request: Omit<UpdateRequest, 'uidValidity'>, done: (failed: number) => void): void {
    const complete = this.#request(request)
    this.#askMailboxes((mailboxes) =>
      mailboxes.askWith({ timeoutMs: mailboxTimeoutMs }, 'update', this.#account!.maildir, complete),
    ).then(
      this.#context.bind((result: UpdateResult) => {
        if (this.#state === 'closed') return
        if (result.ok) done(result.failed)
        else this.#updateFailed(result.temporary)
      }),
      this.#context.bind((error: Error) => {
        this.#context.log.error(
          { event: 'pop3.update', ...this.#ids(), error: error.message },
          'update failed',
        )
        if (this.#state !== 'closed') this.#updateFailed(true)
      }),
    )
  }

  #updateFailed(temporary: boolean): void {
    const code = temporary ? 'SYS/TEMP' : 'SYS/PERM'
    this.#refuse(`-ERR [${code}] not all changes could be made`, 'Update failed')
  }

  #request(request: Omit<UpdateRequest, 'uidValidity'>): UpdateRequest {
    const sized = this.#sized
    this.#sized = undefined
    return {
      uidValidity: this.#maildrop!.uidValidity,
      ...request,
      ...(sized === undefined
        ? {}
        : { sized: { uids: uidBytes(sized.uids), sizes: sizeBytes(sized.sizes) } }),
    }
  }

  /** Sizes that were found out reach the disk, so that the next session need not read the mails again. */
  commit(): void {
    if (this.#sized !== undefined) this.#tellUpdate({})
  }

  #tellUpdate(request: Omit<UpdateRequest, 'uidValidity'>): void {
    const mailboxes = this.#context.whereis<MailboxesContract>('mailboxes')
    mailboxes?.tell('update', this.#account!.maildir, this.#request(request))
  }

  /** Without QUIT mails that were fetched are still marked as seen; nothing is removed. */
  #applyMarks(): void {
    if (this.#maildrop === undefined || this.#account === undefined) return
    const seen = this.#maildrop.seen(false)
    if (seen.length > 0) this.#tellUpdate({ seen: uidBytes(seen) })
    else this.commit()
  }

  // Ends

  /** The running command is done; lines that waited for it go on. */
  #done(): void {
    this.#finished()
    this.#run()
  }

  #finished(): void {
    this.#busy = false
    this.#release = undefined
    this.#lastOutput = this.#context.clock.monotonic()
  }

  /** Frees what the running command holds, if the session ends in the middle of it. */
  #release: (() => void) | undefined

  #refuse(line: string, reason: string): void {
    this.#reply(line)
    this.#close(reason)
  }

  /** One log line; what was said is still sent; then the connection ends. */
  #close(reason: string): void {
    if (this.#state === 'closed') return
    const loggedIn = this.#state === 'transaction'
    this.#state = 'closed'
    this.#resume = undefined
    this.#applyMarks()
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
        user: this.#account!.user,
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
    this.#release?.()
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
      this.#output.abandon()
      this.#close(`Peer not draining output for ${Math.round((now - this.#lastOutput) / 1000)} s`)
      this.#socket.destroy()
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
    this.#release?.()
    if (this.#socket.destroyed) return
    const socket = this.#socket
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
    if (this.#state !== 'closed') {
      // In the middle of a mail a line of ours would become part of it.
      const quiet = (this.#busy && this.#state === 'transaction') || this.#output.blocked
      if (quiet) this.#output.abandon()
      else if (reason.kind === 'shutdown') this.#reply('-ERR [SYS/TEMP] Server shutting down.')
      else this.#reply('-ERR [SYS/TEMP] internal error, please log in again')
      this.#close(reason.kind === 'shutdown' ? 'Server shutting down' : 'Internal error')
      if (quiet) socket.destroy()
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

  #askMailboxes<R>(ask: (mailboxes: ActorRef<MailboxesContract>) => Promise<R>): Promise<R> {
    const mailboxes = this.#context.whereis<MailboxesContract>('mailboxes')
    return mailboxes === undefined
      ? Promise.reject(new Error('the mailboxes are not running'))
      : ask(mailboxes)
  }
}

/** A connection within one machine needs no TLS to be safe from listeners. Unix sockets have no addresses. */
function isSameHost(socket: Socket): boolean {
  return socket.remoteAddress === undefined || socket.remoteAddress === socket.localAddress
}

/** Names come from strangers. */
const loggable = (user: string): string => user.slice(0, 80).replaceAll(/[\p{Cc}]/gu, '?')

export const pop3Session = actor<Pop3SessionContract, Pop3SessionArgs>({
  name: 'pop3-session',
  module: import.meta.url,
  init(context, args) {
    const socket = context.takeSocket()
    if (socket === undefined) {
      // The client was gone before we came.
      context.stop(normal)
      return { tick() {}, commit() {} }
    }
    return new Pop3Session(context, args, socket)
  },
})

/**
 * One connection of SMTP, submission or LMTP: the actor around the pure parts of this folder. It owns the socket,
 * reads lines or content, carries out the effects that `machine.ts` asks for, and writes the replies.
 *
 * - Replies to commands that came together leave together (RFC 2920 section 3.2); they are also written before
 *   the session waits for anything slow.
 * - While an effect runs nothing more is executed; what the client sends meanwhile is kept up to a bound, then the
 *   socket is paused. A client that does not read its replies is not read from.
 * - One timer per session, set seldom: activity moves a deadline, and the timer looks at it when it rings. Only
 *   whole commands and content that arrives fast enough move it, so octets trickled in do not keep a session.
 */
import type { Socket } from 'node:net'
import { join } from 'node:path'
import type { SecureContext, TLSSocket } from 'node:tls'
import {
  type ActorContext,
  AskError,
  actor,
  type Contract,
  type ExitReason,
  type Handlers,
} from '../../../actors/index.ts'
import type { Account, AuthContract, VerifyResult } from '../../../auth/contract.ts'
import type { Config, ListenerConfig } from '../../../config/settings.ts'
import type { MailboxesContract } from '../../../mailbox/contract.ts'
import { deliver } from '../../../mailbox/deliver.ts'
import type { ClientInfo, Content, EnvelopeRecipient, QueueContract } from '../../../queue/contract.ts'
import { deliveryDelays } from '../../../queue/delays.ts'
import { newQueueId } from '../../../queue/queue-id.ts'
import { LineReader, lineTooLong } from '../../line-reader.ts'
import { serverTls, upgradeToTls } from '../../server-tls.ts'
import { passwordVerified } from './authentication.ts'
import { DataReader } from './data-reader.ts'
import { type HeaderFacts, protocolWord, readHeader, receivedField, submissionFields } from './header.ts'
import { count, execute, executeTooLong } from './machine.ts'
import { mailFinished, recipientLookedUp } from './mail.ts'
import { tlsStarted } from './other-commands.ts'
import { isLoopbackAddress, plainAddress, ServerPolicy } from './policy.ts'
import * as replies from './replies.ts'
import { Spool } from './spool.ts'
import { type Environment, initialState, type Peer, type SessionState, type Transition } from './state.ts'
import { type LocalOutcome, type StoreResult, storeMail } from './store.ts'

export interface SmtpSessionArgs {
  readonly service: 'smtp' | 'submission' | 'lmtp'
  readonly listener: ListenerConfig
  /** Id of the session in the log. */
  readonly session: string
}

export type SmtpSessionContract = Contract<{
  /** The session's one timer rang. */
  tick(): void
  /** The delay of an error reply is over. */
  wake(): void
}>

/** Input kept while an effect runs or replies are not read; beyond it the socket is paused. */
const maxUnread = 64 * 1024
/** Content that may wait for the disk; beyond it the socket is paused. */
const maxBacklog = 512 * 1024
/** An oversized command line that goes on for longer than this is not going to be a command. */
const maxSkipped = 64 * 1024
/** How long a closed session waits for the client to see it and close too. */
const lingerMs = 5_000
/** Room for a commit behind many others on a slow disk. */
const enqueueTimeoutMs = 60_000
const authTimeoutMs = 30_000

/** A mail whose content is coming in. */
interface Incoming {
  readonly queueId: string
  readonly arrivedAt: number
  readonly client: ClientInfo
  readonly reader: DataReader
  readonly spool: Spool
  readonly sink: (slice: Buffer) => void
  header: HeaderFacts | undefined
}

class SmtpSession {
  readonly #context: ActorContext<SmtpSessionContract>
  readonly #args: SmtpSessionArgs
  /** What is read from and written to: the accepted socket, or TLS over it. */
  #socket: Socket
  readonly #accepted: Socket
  readonly #listeners: readonly (readonly [string, (...args: never[]) => void])[]
  readonly #tls: SecureContext | undefined
  readonly #environment: Environment
  #reader: LineReader
  #state: SessionState = initialState
  #incoming: Incoming | undefined
  /** Replies not written yet. */
  #output = ''
  /** An effect runs: nothing is executed until it is done. */
  #isBusy = false
  /** A recipient is looked up, which is quick: replies wait for it, to leave together. */
  #isLookingUp = false
  /** The socket has more to send than it took: nothing is executed until it has. */
  #isBlocked = false
  #isPaused = false
  /** The client sent FIN. */
  #hasEnded = false
  /** We have said our last word. */
  #isClosing = false
  #endReason = 'connection lost'
  #deadline = 0
  /** Transition that waits for `wake`. */
  #delayed: Transition | undefined
  /** The mail being stored; terminate waits for it. */
  #storing: Promise<void> | undefined
  #commands = 0
  #mails = 0
  #recipients = 0
  readonly #startedAt: number

  constructor(context: ActorContext<SmtpSessionContract>, args: SmtpSessionArgs, socket: Socket) {
    this.#context = context
    this.#args = args
    this.#socket = socket
    this.#accepted = socket
    const policy = policyOf(context)
    const { tls } = args.listener
    this.#tls = tls === 'off' ? undefined : serverTls(context, policy.config.tls)
    this.#environment = {
      peer: peerOf(socket, args, policy),
      policy,
      offersTls: tls === 'starttls' && this.#tls !== undefined,
    }
    this.#reader = this.#newReader()
    this.#startedAt = context.clock.monotonic()
    this.#listeners = [
      ['data', context.bind((chunk: Buffer) => this.#received(chunk))],
      ['end', context.bind(() => this.#ended())],
      ['drain', context.bind(() => this.#drained())],
      ['error', context.bind((error: Error) => this.#failed(error))],
      ['close', context.bind(() => this.#closed())],
    ]
    // A last command and its FIN may come together; the reply is still wanted.
    socket.allowHalfOpen = true
    this.#touch()
    context.sendAfter(policy.smtpd.timeout, 'tick')
    if (tls !== 'implicit') this.#listen(socket)
    else if (this.#tls !== undefined) {
      this.#socket = this.#secure(this.#tls)
      this.#state = { ...initialState, isSecured: true }
    } else {
      this.#listen(socket)
      // Nothing can be said that this client would understand.
      socket.destroy()
      return
    }
    this.#output = policy.greeting(args.service)
    this.#flush()
    this.#socket.resume()
  }

  #listen(socket: Socket): void {
    for (const [event, listener] of this.#listeners)
      socket.on(event, listener as (...args: unknown[]) => void)
  }

  #newReader(): LineReader {
    return new LineReader({ maxOctets: policyOf(this.#context).smtpd.line_length_limit })
  }

  /** TLS over the accepted socket, from now on. */
  #secure(tls: SecureContext): Socket {
    for (const [event, listener] of this.#listeners) {
      this.#accepted.off(event, listener as (...args: unknown[]) => void)
    }
    // Its errors come out of the TLS socket, too.
    this.#accepted.on('error', () => {})
    const secured = upgradeToTls(this.#accepted, tls)
    this.#endReason = 'TLS handshake failed'
    secured.once(
      'secure',
      this.#context.bind(() => {
        this.#endReason = 'connection lost'
      }),
    )
    this.#listen(secured)
    return secured
  }

  // --- Messages

  tick(): void {
    const now = this.#context.clock.monotonic()
    if (this.#isBusy && !this.#isClosing) {
      // The client waits for us, not we for it.
      this.#context.sendAfter(this.#environment.policy.smtpd.timeout, 'tick')
      return
    }
    const left = this.#deadline - now
    if (left > 0) {
      this.#context.sendAfter(Math.ceil(left), 'tick')
      return
    }
    if (this.#isClosing) {
      this.#socket.destroy()
      return
    }
    this.#output += replies.idleTooLong(this.#environment.policy.hostname)
    this.#close('timeout')
  }

  wake(): void {
    const transition = this.#delayed
    if (transition === undefined || this.#isClosing) return
    this.#delayed = undefined
    this.#isBusy = false
    this.#apply({ ...transition, delayMs: 0 })
    this.#run()
  }

  /** The service stops, or something in this session broke. Mail that is being stored is answered first. */
  async terminate(reason: ExitReason): Promise<void> {
    if (reason.kind === 'shutdown') await this.#storing
    this.#dropIncoming()
    if (this.#socket.destroyed) return
    if (!this.#isClosing) {
      const { hostname } = this.#environment.policy
      this.#output += reason.kind === 'shutdown' ? replies.stopping(hostname) : replies.internal(hostname)
      this.#endReason = reason.kind
      this.#isClosing = true
      this.#socket.end(this.#output)
      this.#logEnd()
    }
    this.#socket.destroySoon()
  }

  // --- Input

  #received(chunk: Buffer): void {
    if (this.#isClosing) return
    if (this.#incoming !== undefined && !this.#isBusy && !this.#isBlocked && this.#reader.unread === 0) {
      this.#receiveContent(chunk)
    } else this.#reader.push(chunk)
    this.#run()
  }

  /** Executes what there is to execute, then writes the replies. */
  #run(): void {
    while (!this.#isBusy && !this.#isBlocked && !this.#isClosing) {
      if (this.#incoming !== undefined) {
        const rest = this.#reader.takeRest()
        if (rest === undefined) break
        this.#receiveContent(rest)
        continue
      }
      const line = this.#reader.next()
      if (line === undefined) {
        if (this.#reader.skipped > maxSkipped) {
          this.#output += replies.lineFlood
          this.#close('line flood')
          return
        }
        break
      }
      this.#commands += 1
      this.#touch()
      this.#apply(
        line === lineTooLong
          ? executeTooLong(this.#state, this.#environment)
          : execute(this.#state, line, this.#environment),
      )
    }
    if (this.#isClosing) return
    if (!this.#isLookingUp) this.#flush()
    if (this.#hasEnded && !this.#isBusy && !this.#isBlocked) {
      this.#close('connection closed by client')
      return
    }
    this.#regulate()
  }

  /** Pauses or resumes the socket, after how much is waiting. */
  #regulate(): void {
    const waiting = this.#isBusy || this.#isBlocked
    const tooMuch =
      (waiting && this.#reader.unread > maxUnread) ||
      (this.#incoming !== undefined && this.#incoming.spool.backlog > maxBacklog)
    if (tooMuch === this.#isPaused) return
    this.#isPaused = tooMuch
    if (tooMuch) this.#socket.pause()
    else this.#socket.resume()
  }

  #ended(): void {
    this.#hasEnded = true
    // What is still in hand is finished first: the client may have sent everything at once.
    if (!this.#isBusy && !this.#isBlocked && !this.#isClosing) this.#run()
  }

  #drained(): void {
    if (!this.#isBlocked || this.#isClosing) return
    this.#isBlocked = false
    this.#touch()
    this.#run()
  }

  #failed(error: Error): void {
    if (this.#isClosing || this.#endReason !== 'connection lost') return
    this.#endReason = (error as NodeJS.ErrnoException).code ?? error.message
  }

  #closed(): void {
    this.#dropIncoming()
    if (!this.#isClosing) {
      this.#isClosing = true
      this.#logEnd()
    }
    // A mail that is complete is stored even if its client does not wait for the answer.
    if (this.#storing === undefined) this.#context.stop()
    else void this.#storing.then(this.#context.bind(() => this.#context.stop()))
  }

  // --- Transitions

  #apply(transition: Transition): void {
    if (transition.delayMs !== undefined && transition.delayMs > 0) {
      this.#flush()
      this.#isBusy = true
      this.#delayed = transition
      this.#context.sendAfter(transition.delayMs, 'wake')
      return
    }
    const before = this.#state
    this.#state = transition.state
    this.#output += transition.reply
    const { effect } = transition
    if (transition.state.auth !== before.auth) this.#limitLines()
    if (transition.reply.charCodeAt(0) >= 52) this.#logRefusal(transition.reply)
    if (effect === undefined) return
    switch (effect.kind) {
      case 'account':
        this.#lookUp(effect.key, effect.recipient)
        return
      case 'verify':
        this.#flush()
        this.#verify(effect.user, effect.password)
        return
      case 'content':
        this.#beginContent()
        return
      case 'starttls':
        this.#flush()
        // Whatever came behind STARTTLS in clear is forgotten.
        this.#reader = this.#newReader()
        this.#isBlocked = false
        this.#socket = this.#secure(this.#tls!)
        this.#state = tlsStarted(this.#state)
        return
      case 'close':
        this.#close(effect.reason)
        return
    }
  }

  /** An effect is done. */
  #continue(transition: Transition): void {
    this.#isBusy = false
    this.#isLookingUp = false
    // The socket may be gone meanwhile; then there is nobody to tell.
    if (this.#isClosing) return
    this.#touch()
    this.#apply(count(transition, this.#environment))
    this.#run()
  }

  #lookUp(key: string, recipient: EnvelopeRecipient): void {
    this.#isBusy = true
    this.#isLookingUp = true
    const done = this.#context.bind((account: Account | null) =>
      this.#continue(recipientLookedUp(this.#state, recipient, account)),
    )
    const failed = this.#context.bind((error: Error) => {
      this.#context.log.warn(
        { event: 'smtpd.lookup-failed', session: this.#args.session, error: error.message },
        'a recipient could not be looked up',
      )
      this.#continue(recipientLookedUp(this.#state, recipient, 'unavailable'))
    })
    const auth = this.#context.whereis<AuthContract>('auth')
    if (auth === undefined) failed(new Error('auth is not running'))
    else auth.ask('account', key).then(done, failed)
  }

  #verify(user: string, password: string): void {
    this.#isBusy = true
    const { address } = this.#environment.peer
    const done = this.#context.bind((result: VerifyResult | 'unavailable') => {
      const isOk = result !== 'unavailable' && result.ok
      this.#context.log.info(
        { event: 'smtpd.auth', session: this.#args.session, client: address, user, ok: isOk },
        isOk ? 'logged in' : 'login refused',
      )
      this.#continue(passwordVerified(this.#state, user, result))
    })
    const auth = this.#context.whereis<AuthContract>('auth')
    if (auth === undefined) done('unavailable')
    else {
      auth
        .askWith({ timeoutMs: authTimeoutMs }, 'verify', user, password, address)
        .then(done, () => done('unavailable'))
    }
  }

  #limitLines(): void {
    const { smtpd } = this.#environment.policy
    this.#reader.maxOctets =
      this.#state.auth === undefined ? smtpd.line_length_limit : smtpd.sasl_response_limit
  }

  // --- Content

  #beginContent(): void {
    const { peer, policy } = this.#environment
    const state = this.#state
    const transaction = state.mail!
    const queueId = newQueueId(this.#context)
    const arrivedAt = this.#context.clock.now()
    const client: ClientInfo = {
      address: peer.address,
      port: peer.port,
      ...(peer.isLoopback && peer.address !== 'unix' ? { name: 'localhost' } : {}),
      ...(state.helo === '' ? {} : { helo: state.helo }),
      protocol: protocolWord({
        service: peer.service,
        greeting: state.greeting,
        smtputf8: transaction.smtputf8,
        isSecured: state.isSecured,
        isAuthenticated: state.user !== undefined,
      }),
      ...(state.user === undefined ? {} : { user: state.user }),
    }
    const { recipients } = transaction
    const trace = {
      queueId,
      hostname: policy.hostname,
      client,
      arrivedAt,
      recipient: recipients.length === 1 ? recipients[0]!.envelope.address : undefined,
    }
    const spool = new Spool({
      file: join(policy.config.data_dir, 'queue', 'content', queueId),
      inMemoryLimit: policy.smtpd.in_memory_limit,
      maxOctets: policy.smtpd.message_size_limit,
      front: (head) => {
        const header = readHeader(head)
        incoming.header = header
        let fields = receivedField(trace)
        if (peer.service === 'submission') fields += submissionFields(header, trace, transaction.sender)
        return Buffer.from(header.isMissing ? `${fields}\r\n` : fields)
      },
      onRoom: this.#context.bind(() => {
        if (!this.#isClosing) this.#regulate()
      }),
    })
    const incoming: Incoming = {
      queueId,
      arrivedAt,
      client,
      reader: new DataReader(),
      spool,
      sink: (slice) => spool.append(slice),
      header: undefined,
    }
    this.#incoming = incoming
  }

  #receiveContent(chunk: Buffer): void {
    const incoming = this.#incoming!
    const end = incoming.reader.push(chunk, 0, incoming.sink)
    if (end === -1) {
      this.#earn(chunk.length)
      return
    }
    if (end < chunk.length) this.#reader.push(chunk.subarray(end))
    this.#incoming = undefined
    this.#touch()
    this.#contentEnded(incoming)
  }

  #contentEnded(incoming: Incoming): void {
    const { policy, peer } = this.#environment
    const bareNewlines = incoming.reader.hasBareLineEnd ? policy.bareNewlines(peer.address) : 'normalize'
    if (incoming.spool.isTooLarge || bareNewlines === 'reject') {
      this.#refuse(incoming, incoming.spool.isTooLarge ? replies.tooLarge : replies.bareLineEnd)
      return
    }
    if (bareNewlines === 'note') {
      this.#context.log.info(
        { event: 'smtpd.bare-newline', session: this.#args.session, queueId: incoming.queueId },
        'CR or LF alone was normalized',
      )
    }
    this.#isBusy = true
    this.#storing = this.#finishMail(incoming, incoming.spool.finish())
  }

  /** Never rejects but for a broken invariant: what fails becomes a reply. */
  async #finishMail(incoming: Incoming, finished: Content | Promise<Content>): Promise<void> {
    const { policy, peer } = this.#environment
    const transaction = this.#state.mail!
    let result: StoreResult | undefined
    let reply = replies.notStored
    try {
      const content = finished instanceof Promise ? await finished : finished
      if (incoming.header!.hops > policy.smtpd.hopcount_limit) reply = replies.tooManyHops
      else {
        const { queueId, client, arrivedAt } = incoming
        result = await storeMail(
          { queueId, transaction, content, client, arrivedAt },
          peer.service === 'lmtp',
          this.#services(incoming),
        )
      }
    } catch (error) {
      const { code, message, syscall } = error as NodeJS.ErrnoException
      if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG') reply = replies.noRoom
      this.#context.log.error(
        {
          event: 'smtpd.store-failed',
          session: this.#args.session,
          queueId: incoming.queueId,
          error: message,
        },
        'a mail could not be stored',
      )
      if (syscall === undefined) {
        await incoming.spool.discard()
        this.#context.bind(() => {
          throw error
        })()
        return
      }
    }
    if (result?.isWithQueue === true) incoming.spool.release()
    await incoming.spool.discard()
    this.#storing = undefined
    this.#context.bind(() => this.#mailStored(incoming, result, reply))()
  }

  #mailStored(incoming: Incoming, result: StoreResult | undefined, failure: string): void {
    const transaction = this.#state.mail!
    const { peer } = this.#environment
    const wasAccepted = result?.wasAccepted === true
    if (wasAccepted) {
      this.#mails += 1
      this.#recipients += transaction.recipients.length
      this.#context.log.info(
        {
          event: 'mail.accepted',
          session: this.#args.session,
          queueId: incoming.queueId,
          from: transaction.sender,
          recipients: transaction.recipients.map((recipient) => recipient.envelope.address),
          octets: incoming.spool.octets,
          client: peer.address,
          helo: this.#state.helo,
          protocol: incoming.client.protocol,
          ...(this.#state.user === undefined ? {} : { user: this.#state.user }),
        },
        'mail accepted',
      )
    }
    const answers = result?.replies ?? transaction.recipients.map(() => failure)
    const reply = peer.service === 'lmtp' ? answers.join('') : answers[0]!
    this.#continue(mailFinished(this.#state, reply, wasAccepted))
  }

  #refuse(incoming: Incoming, refusal: string): void {
    void incoming.spool.discard()
    const reply =
      this.#environment.peer.service === 'lmtp'
        ? refusal.repeat(this.#state.mail!.recipients.length)
        : refusal
    this.#apply(count(mailFinished(this.#state, reply, false), this.#environment))
  }

  #services(incoming: Incoming) {
    const { config } = this.#environment.policy
    const context = this.#context
    return {
      hostname: config.hostname,
      saveCrlf: config.mail.save_crlf,
      fsync: config.mail.fsync !== 'never',
      deliver,
      enqueue: async (mail: Parameters<QueueContract['enqueue']>[0]) => {
        const queue = context.whereis<QueueContract>('queue')
        if (queue === undefined) throw new AskError('no_actor', 'the queue is not running')
        if ('file' in mail.content) await incoming.spool.sync()
        return queue.askWith({ timeoutMs: enqueueTimeoutMs }, 'enqueue', mail)
      },
      arrived: (account: Account) => {
        context.whereis<MailboxesContract>('mailboxes')?.tell('arrived', account.maildir)
      },
      delivered: (recipient: EnvelopeRecipient, outcome: LocalOutcome) =>
        this.#logDelivery(incoming, recipient, outcome),
    }
  }

  /** The client is gone, or thrown out, before its mail was complete: nothing of it stays. */
  #dropIncoming(): void {
    const incoming = this.#incoming
    this.#incoming = undefined
    if (incoming !== undefined) void incoming.spool.discard()
  }

  // --- Time

  /** A whole command, or our own delay, buys a full timeout. */
  #touch(): void {
    this.#deadline = this.#context.clock.monotonic() + this.#environment.policy.smtpd.timeout
  }

  /** Content buys time by its amount: a second for every `min_data_rate` octets, no more than a full timeout. */
  #earn(octets: number): void {
    const { min_data_rate, timeout } = this.#environment.policy.smtpd
    const latest = this.#context.clock.monotonic() + timeout
    if (min_data_rate === 0) this.#deadline = latest
    else this.#deadline = Math.min(latest, this.#deadline + (octets * 1000) / min_data_rate)
  }

  // --- Output

  #flush(): void {
    if (this.#output === '') return
    const output = this.#output
    this.#output = ''
    if (!this.#socket.writable) return
    if (!this.#socket.write(output)) this.#isBlocked = true
  }

  /** Says what is left to say, then waits for the client to close, so that it can read it. */
  #close(reason: string): void {
    if (this.#isClosing) return
    this.#isClosing = true
    this.#endReason = reason
    this.#dropIncoming()
    const output = this.#output
    this.#output = ''
    const socket = this.#socket
    if (!socket.writable) socket.destroy()
    else if (reason === 'quit' && this.#reader.unread === 0) {
      // Both sides are done. To wait for the client's FIN would cost a wake-up more for every connection, and many
      // clients reset it without reading the reply.
      socket.write(output, () => socket.destroy())
    } else socket.end(output)
    this.#deadline = this.#context.clock.monotonic() + lingerMs
    this.#context.sendAfter(lingerMs, 'tick')
    if (this.#isPaused) {
      this.#isPaused = false
      this.#socket.resume()
    }
    this.#logEnd()
  }

  // --- Log

  #logRefusal(reply: string): void {
    this.#context.log.info(
      {
        event: 'smtpd.refused',
        session: this.#args.session,
        client: this.#environment.peer.address,
        reply: reply.trimEnd(),
      },
      'refused',
    )
  }

  #logDelivery(incoming: Incoming, recipient: EnvelopeRecipient, outcome: LocalOutcome): void {
    const { arrivedAt } = incoming
    // Nothing came in between: it is transmission from the first octet.
    const times = deliveryDelays({
      arrivedAt,
      activeAt: arrivedAt,
      startedAt: arrivedAt,
      setupAt: arrivedAt,
      doneAt: this.#context.clock.now(),
    })
    this.#context.log.info(
      {
        event: 'delivery',
        session: this.#args.session,
        queueId: incoming.queueId,
        to: recipient.address,
        relay: 'local',
        ...times,
        dsn: outcome.status === 'sent' ? '2.0.0' : outcome.dsn,
        status: outcome.status,
        reply: outcome.status === 'sent' ? 'delivered to the mailbox' : outcome.reason,
      },
      'delivery',
    )
  }

  #logEnd(): void {
    const { peer } = this.#environment
    this.#context.log.info(
      {
        event: 'smtpd.disconnect',
        session: this.#args.session,
        service: peer.service,
        client: peer.address,
        reason: this.#endReason,
        mails: this.#mails,
        recipients: this.#recipients,
        commands: this.#commands,
        errors: this.#state.errors,
        ...(this.#socket === this.#accepted
          ? {}
          : { tls: (this.#socket as TLSSocket).getProtocol?.() ?? null }),
        input: this.#accepted.bytesRead,
        output: this.#accepted.bytesWritten,
        durationMs: Math.round(this.#context.clock.monotonic() - this.#startedAt),
      },
      'connection ended',
    )
  }
}

/** Made once per thread: the sessions of a thread share it. */
function policyOf(context: ActorContext<SmtpSessionContract>): ServerPolicy {
  const config = context.setting<Config>('config')
  if (config === undefined) throw new Error('the system was started without a configuration')
  return context.local('smtpd.policy', () => new ServerPolicy(config))
}

function peerOf(socket: Socket, { service, listener }: SmtpSessionArgs, policy: ServerPolicy): Peer {
  // A TCP connection that is gone already has no address either: not to be mistaken for a unix socket, which is trusted.
  const isUnix = listener.address.startsWith('unix:')
  const address = isUnix ? 'unix' : plainAddress(socket.remoteAddress ?? 'unknown')
  return {
    service,
    address,
    port: socket.remotePort ?? 0,
    // Asked for only where a recipient is an address literal: it costs a system call.
    get localAddress() {
      return plainAddress(socket.localAddress ?? '')
    },
    isLoopback: isLoopbackAddress(address),
    isTrusted: policy.isTrusted(address),
  }
}

/** Serves the services smtp, submission and lmtp; started by a listener with the accepted socket. */
export const smtpSession = actor<SmtpSessionContract, SmtpSessionArgs>({
  name: 'smtp-session',
  module: import.meta.url,
  init(context, args): Handlers<SmtpSessionContract> {
    const socket = context.takeSocket()
    if (socket === undefined) throw new Error('a session needs a socket')
    return new SmtpSession(context, args, socket)
  },
})

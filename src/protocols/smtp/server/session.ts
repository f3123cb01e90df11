/**
 * One connection of SMTP, submission or LMTP: the actor around the pure parts of this folder. It reads lines or
 * content, carries out the effects that `machine.ts` asks for, and sends the replies.
 *
 * - Replies to commands that came together leave together (RFC 2920 section 3.2); they are also written before
 *   the session waits for anything slow.
 * - While an effect runs nothing more is executed; what the client sends meanwhile is kept up to a bound, then the
 *   socket is paused. A client that does not read its replies is not read from.
 * - One timer per session, set seldom: activity moves a deadline, and the timer looks at it when it rings. Only
 *   whole commands and content that arrives fast enough move it, so octets trickled in do not keep a session.
 */
import type { Socket } from 'node:net'
import { type ActorContext, actor, type Contract, type ExitReason, normal } from '../../../actors/index.ts'
import type { Account, AuthContract, SaslReply } from '../../../auth/contract.ts'
import type { Config, ListenerConfig } from '../../../config/settings.ts'
import type { EnvelopeRecipient } from '../../../queue/contract.ts'
import { type Endpoints, endpointsOf, receiveProxyHeader } from '../../endpoints.ts'
import { LineReader, lineTooLong } from '../../line-reader.ts'
import { ServerSasl } from '../../server-sasl.ts'
import { type ServerTls, serverTls } from '../../server-tls.ts'
import { saslAnswered } from './authentication.ts'
import { Connection } from './connection.ts'
import { IncomingMail, type Stored } from './incoming.ts'
import { count, execute, executeTooLong } from './machine.ts'
import { mailFinished, recipientLookedUp } from './mail.ts'
import { tlsStarted } from './other-commands.ts'
import { isLoopbackAddress, ServerPolicy } from './policy.ts'
import * as replies from './replies.ts'
import { type Environment, initialState, type Peer, type SessionState, type Transition } from './state.ts'

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

class SmtpSession {
  readonly #context: ActorContext<SmtpSessionContract>
  readonly #args: SmtpSessionArgs
  readonly #connection: Connection
  readonly #environment: Environment
  readonly #tls: ServerTls | undefined
  #reader: LineReader
  #state: SessionState = initialState
  /** The mail whose content is coming in. */
  #incoming: IncomingMail | undefined
  /** The AUTH exchange under way. */
  #sasl: ServerSasl<SmtpSessionContract> | undefined
  /** An effect runs: nothing is executed until it is done. */
  #isBusy = false
  /** A recipient is looked up, which is quick: replies wait for it, to leave together. */
  #isLookingUp = false
  /** The client sent FIN. */
  #hasEnded = false
  /** We have said our last word. */
  #isClosing = false
  #deadline = 0
  /** Transition that waits for `wake`. */
  #delayed: Transition | undefined
  /** A mail is being stored; the end of the session waits for it. */
  #storing: Promise<void> | undefined
  #commands = 0
  #mails = 0
  readonly #startedAt: number

  constructor(
    context: ActorContext<SmtpSessionContract>,
    args: SmtpSessionArgs,
    socket: Socket,
    ends: Endpoints,
  ) {
    this.#context = context
    this.#args = args
    const policy = policyOf(context)
    const { tls } = args.listener
    this.#tls = tls === 'off' ? undefined : serverTls(context, policy.config.tls)
    this.#environment = {
      peer: peerOf(ends, args.service, policy),
      policy,
      offersTls: tls === 'starttls' && this.#tls !== undefined,
    }
    this.#reader = new LineReader({ maxOctets: policy.smtpd.line_length_limit })
    this.#startedAt = context.clock.monotonic()
    this.#connection = new Connection(context, socket, {
      received: (chunk) => this.#received(chunk),
      ended: () => this.#ended(),
      drained: () => this.#drained(),
      closed: () => this.#closed(),
    })
    this.#touch()
    context.sendAfter(policy.smtpd.timeout, 'tick')
    if (tls !== 'implicit') this.#connection.start()
    else if (this.#tls !== undefined) {
      this.#connection.secure(this.#tls)
      this.#state = { ...initialState, isSecured: true }
    } else {
      this.#connection.start()
      // Nothing can be said that this client would understand.
      this.#connection.destroy()
      return
    }
    this.#connection.say(policy.greeting(args.service))
    this.#connection.flush()
  }

  // --- Messages

  tick(): void {
    const { hostname, smtpd } = this.#environment.policy
    if (this.#isBusy && !this.#isClosing) {
      // The client waits for us, not we for it.
      this.#context.sendAfter(smtpd.timeout, 'tick')
      return
    }
    const left = this.#deadline - this.#context.clock.monotonic()
    if (left > 0) this.#context.sendAfter(Math.ceil(left), 'tick')
    else if (this.#isClosing) this.#connection.destroy()
    else {
      this.#connection.say(replies.idleTooLong(hostname))
      this.#close('timeout')
    }
  }

  wake(): void {
    const transition = this.#delayed
    if (transition === undefined || this.#isClosing) return
    this.#delayed = undefined
    this.#isBusy = false
    this.#touch()
    this.#apply({ ...transition, delayMs: 0 })
    this.#run()
  }

  /** The service stops, or something in this session broke. Mail that is being stored is answered first. */
  async terminate(reason: ExitReason): Promise<void> {
    if (reason.kind === 'shutdown') await this.#storing
    this.#dropIncoming()
    if (this.#connection.isDestroyed) return
    if (!this.#isClosing) {
      const { hostname } = this.#environment.policy
      const isOrderly = reason.kind === 'shutdown'
      this.#connection.say(isOrderly ? replies.stopping(hostname) : replies.internal(hostname))
      this.#isClosing = true
      this.#logEnd(reason.kind)
    }
    this.#connection.endSoon()
  }

  // --- Input

  #received(chunk: Buffer): void {
    if (this.#isClosing) return
    if (this.#incoming !== undefined && !this.#isWaiting && this.#reader.unread === 0) {
      this.#receiveContent(chunk)
    } else this.#reader.push(chunk)
    this.#run()
  }

  get #isWaiting(): boolean {
    return this.#isBusy || this.#connection.isBlocked
  }

  /** Executes what there is to execute, then writes the replies. */
  #run(): void {
    while (!this.#isWaiting && !this.#isClosing) {
      if (this.#incoming !== undefined) {
        const rest = this.#reader.takeRest()
        if (rest === undefined) break
        this.#receiveContent(rest)
        continue
      }
      const line = this.#reader.next()
      if (line === undefined) {
        if (this.#reader.skipped <= maxSkipped) break
        this.#connection.say(replies.lineFlood)
        this.#close('line flood')
        return
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
    if (!this.#isLookingUp) this.#connection.flush()
    if (this.#hasEnded && !this.#isWaiting) this.#close('connection closed by client')
    else this.#regulate()
  }

  /** Reads on, or not, after how much is waiting already. */
  #regulate(): void {
    const isFull = this.#isWaiting && this.#reader.unread > maxUnread
    this.#connection.pause(isFull || (this.#incoming?.backlog ?? 0) > maxBacklog)
  }

  #ended(): void {
    this.#hasEnded = true
    // What is still in hand is finished first: the client may have sent everything at once.
    if (!this.#isWaiting && !this.#isClosing) this.#run()
  }

  #drained(): void {
    if (this.#isClosing) return
    this.#touch()
    this.#run()
  }

  #closed(): void {
    this.#dropIncoming()
    this.#dropSasl()
    if (!this.#isClosing) {
      this.#isClosing = true
      this.#logEnd(this.#connection.failure)
    }
    // A mail that is complete is stored even if its client does not wait for the answer.
    if (this.#storing === undefined) this.#context.stop()
    else void this.#storing.then(this.#context.bind(() => this.#context.stop()))
  }

  // --- Transitions

  #apply(transition: Transition): void {
    if (transition.delayMs !== undefined && transition.delayMs > 0) {
      this.#connection.flush()
      this.#isBusy = true
      this.#delayed = transition
      this.#context.sendAfter(transition.delayMs, 'wake')
      return
    }
    if (transition.state.inExchange !== this.#state.inExchange) this.#limitLines(transition.state)
    this.#state = transition.state
    this.#connection.say(transition.reply)
    // 4xx and 5xx.
    if (transition.reply.charCodeAt(0) >= 52) this.#logRefusal(transition.reply)
    const { effect } = transition
    if (effect?.kind !== 'sasl-response' && !transition.state.inExchange) this.#dropSasl()
    if (effect === undefined) return
    switch (effect.kind) {
      case 'account':
        this.#lookUp(effect.key, effect.recipient)
        return
      case 'sasl':
        this.#connection.flush()
        this.#startSasl(effect.mechanism, effect.initial)
        return
      case 'sasl-response':
        this.#connection.flush()
        this.#isBusy = true
        this.#sasl!.respond(effect.data)
        return
      case 'content':
        this.#beginContent()
        return
      case 'starttls':
        this.#startTls()
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
    // The client may be gone meanwhile; then there is nobody to tell.
    if (this.#isClosing) return
    this.#touch()
    this.#apply(count(transition, this.#environment))
    this.#run()
  }

  #lookUp(key: string, recipient: EnvelopeRecipient): void {
    this.#isBusy = true
    this.#isLookingUp = true
    const done = (account: Account | null | 'unavailable') =>
      this.#continue(recipientLookedUp(this.#state, recipient, account))
    const auth = this.#context.whereis<AuthContract>('auth')
    if (auth === undefined) {
      this.#logLookUpFailed('auth is not running')
      // Not from within `#apply`: the caller is not done with this transition yet.
      queueMicrotask(this.#context.bind(() => done('unavailable')))
      return
    }
    auth.ask('account', key).then(
      this.#context.bind(done),
      this.#context.bind((error: Error) => {
        this.#logLookUpFailed(error.message)
        done('unavailable')
      }),
    )
  }

  #startSasl(mechanism: string, initial: Buffer | undefined): void {
    this.#isBusy = true
    const { address } = this.#environment.peer
    this.#sasl = new ServerSasl({
      context: this.#context,
      done: (reply) => {
        if (reply.kind !== 'challenge') this.#logAuth(mechanism, reply)
        this.#continue(saslAnswered(this.#state, reply))
      },
    })
    this.#sasl.start(mechanism, initial, this.#connection.saslFacts(address))
  }

  /** The exchange is over, or given up. */
  #dropSasl(): void {
    this.#sasl?.cancel()
    this.#sasl = undefined
  }

  #limitLines(state: SessionState): void {
    const { smtpd } = this.#environment.policy
    this.#reader.maxOctets = state.inExchange ? smtpd.sasl_response_limit : smtpd.line_length_limit
  }

  #startTls(): void {
    this.#connection.flush()
    // Whatever came behind STARTTLS in clear is forgotten.
    this.#reader = new LineReader({ maxOctets: this.#reader.maxOctets })
    this.#connection.secure(this.#tls!)
    this.#state = tlsStarted(this.#state)
  }

  // --- Content

  #beginContent(): void {
    this.#incoming = new IncomingMail({
      context: this.#context,
      session: this.#args.session,
      environment: this.#environment,
      state: this.#state,
      onRoom: this.#context.bind(() => {
        if (!this.#isClosing) this.#regulate()
      }),
    })
  }

  #receiveContent(chunk: Buffer): void {
    const incoming = this.#incoming!
    const end = incoming.push(chunk)
    if (end === -1) {
      this.#earn(chunk.length)
      return
    }
    if (end < chunk.length) this.#reader.push(chunk.subarray(end))
    this.#incoming = undefined
    this.#touch()
    const refusal = incoming.refusal()
    if (refusal === undefined) this.#store(incoming)
    else {
      incoming.discard()
      const refused = { replies: incoming.transaction.recipients.map(() => refusal), wasAccepted: false }
      this.#apply(count(this.#finished(refused), this.#environment))
    }
  }

  #store(incoming: IncomingMail): void {
    this.#isBusy = true
    this.#storing = incoming.store().then(
      this.#context.bind((stored: Stored) => {
        this.#storing = undefined
        if (stored.wasAccepted) this.#mails += 1
        this.#continue(this.#finished(stored))
      }),
      this.#context.bind((error: unknown) => {
        throw error
      }),
    )
  }

  #finished(stored: Stored): Transition {
    const isLmtp = this.#environment.peer.service === 'lmtp'
    const reply = isLmtp ? stored.replies.join('') : stored.replies[0]!
    return mailFinished(this.#state, reply, stored.wasAccepted)
  }

  /** The client is gone, or thrown out, before its mail was complete: nothing of it stays. */
  #dropIncoming(): void {
    this.#incoming?.discard()
    this.#incoming = undefined
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

  // --- The end

  #close(reason: string): void {
    if (this.#isClosing) return
    this.#isClosing = true
    this.#dropIncoming()
    this.#dropSasl()
    this.#logEnd(reason)
    this.#deadline = this.#context.clock.monotonic() + lingerMs
    if (reason === 'quit' && this.#reader.unread === 0) {
      // Should it hang after all, the timer that runs anyway ends it.
      this.#connection.endNow()
      return
    }
    this.#connection.end()
    this.#context.sendAfter(lingerMs, 'tick')
  }

  // --- Log

  #logRefusal(reply: string): void {
    const { address } = this.#environment.peer
    this.#context.log.info(
      { event: 'smtpd.refused', session: this.#args.session, client: address, reply: reply.trimEnd() },
      'refused',
    )
  }

  #logAuth(mechanism: string, reply: Exclude<SaslReply, { kind: 'challenge' }>): void {
    const ok = reply.kind === 'success'
    const user = ok ? reply.account.user : reply.user
    const { address } = this.#environment.peer
    this.#context.log.info(
      { event: 'smtpd.auth', session: this.#args.session, client: address, mechanism, user, ok },
      ok ? 'logged in' : 'login refused',
    )
  }

  #logLookUpFailed(error: string): void {
    this.#context.log.warn(
      { event: 'smtpd.lookup-failed', session: this.#args.session, error },
      'a recipient could not be looked up',
    )
  }

  #logEnd(reason: string): void {
    const { peer } = this.#environment
    const { tls, octetsIn, octetsOut } = this.#connection
    this.#context.log.info(
      {
        event: 'smtpd.disconnect',
        session: this.#args.session,
        service: peer.service,
        client: peer.address,
        ...(tls === undefined ? {} : { tls }),
        reason,
        mails: this.#mails,
        commands: this.#commands,
        errors: this.#state.errors,
        input: octetsIn,
        output: octetsOut,
        durationMs: Math.round(this.#context.clock.monotonic() - this.#startedAt),
      },
      'connection ended',
    )
  }
}

/** Made once per thread and configuration: the sessions of a thread share it, and a reload brings a new one. */
function policyOf(context: ActorContext<SmtpSessionContract>): ServerPolicy {
  const config = context.setting<Config>('config')
  if (config === undefined) throw new Error('the system was started without a configuration')
  const known = context.local('smtpd.policies', () => new WeakMap<Config, ServerPolicy>())
  let policy = known.get(config)
  if (policy === undefined) {
    policy = new ServerPolicy(config)
    known.set(config, policy)
  }
  return policy
}

function peerOf(ends: Endpoints, service: SmtpSessionArgs['service'], policy: ServerPolicy): Peer {
  const address = ends.remoteAddress
  return {
    service,
    address,
    port: ends.remotePort,
    // Asked for only where a recipient is an address literal: it costs a system call.
    get localAddress() {
      return ends.localAddress
    },
    isLoopback: isLoopbackAddress(address),
    isTrusted: policy.isTrusted(address),
  }
}

/** Serves the services smtp, submission and lmtp; started by a listener with the accepted socket. */
export const smtpSession = actor<SmtpSessionContract, SmtpSessionArgs>({
  name: 'smtp-session',
  module: import.meta.url,
  async init(context, args) {
    const socket = context.takeSocket()
    if (socket === undefined) throw new Error('a session needs a socket')
    const { listener, service } = args
    const ends = listener.proxy_protocol
      ? await receiveProxyHeader(context, socket, listener, { alpn: 'smtp', service })
      : endpointsOf(socket, listener)
    if (ends === undefined) {
      // Not let in.
      context.stop(normal)
      return { tick() {}, wake() {} }
    }
    return new SmtpSession(context, args, socket, ends)
  },
})

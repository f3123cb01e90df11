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
import type { Account } from '../../../auth/contract.ts'
import type { ListenerConfig } from '../../../config/settings.ts'
import type { EnvelopeRecipient } from '../../../queue/contract.ts'
import { type Endpoints, endpointsOf, receiveProxyHeader } from '../../endpoints.ts'
import { LineReader, lineTooLong } from '../../line-reader.ts'
import { ServerSasl } from '../../server-sasl.ts'
import { type ServerTls, serverTls } from '../../server-tls.ts'
import { saslAnswered } from './authentication.ts'
import { chunkReceived } from './chunks.ts'
import { asClient, type ClientFacts } from './client-facts.ts'
import { Connection } from './connection.ts'
import { type Completed, ContentIntake } from './content-intake.ts'
import { Deadline } from './deadline.ts'
import type { IncomingMail, Stored } from './incoming.ts'
import { count, execute, executeTooLong } from './machine.ts'
import { mailFinished, recipientLookedUp } from './mail.ts'
import { flushed, tlsStarted, verified } from './other-commands.ts'
import { otherPeer, peerOf } from './peer.ts'
import { Questions } from './questions.ts'
import * as replies from './replies.ts'
import { SessionLog } from './session-log.ts'
import {
  type ClientEvent,
  type Effect,
  type Environment,
  initialState,
  type Peer,
  type SessionState,
  type Transition,
} from './state.ts'
import { hasRoom, policyOf } from './thread-policy.ts'

export interface SmtpSessionArgs {
  readonly service: 'smtp' | 'submission' | 'lmtp'
  readonly listener: ListenerConfig
  /** Id of the session in the log. */
  readonly session: string
  /** The service had more connections than it likes when this one came. */
  readonly isStressed?: boolean
}

export type SmtpSessionContract = Contract<{
  /** The session's one timer rang. */
  tick(): void
  /** The delay of a reply is over. */
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
  readonly #log: SessionLog
  readonly #questions: Questions
  readonly #tls: ServerTls | undefined
  readonly #intake: ContentIntake
  #environment: Environment
  #reader: LineReader
  #state: SessionState = initialState
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
  readonly #deadline: Deadline
  /** Transition that waits for `wake`. */
  #delayed: Transition | undefined
  /** The name of the client is being looked up; its first mail waits for it. */
  #naming: Promise<void> | undefined
  /** A mail is being stored; the end of the session waits for it. */
  #storing: Promise<void> | undefined

  constructor(
    context: ActorContext<SmtpSessionContract>,
    args: SmtpSessionArgs,
    socket: Socket,
    ends: Endpoints,
  ) {
    this.#context = context
    this.#deadline = new Deadline(context.clock)
    this.#args = args
    this.#log = new SessionLog(context, args.session)
    this.#questions = new Questions(context, this.#log, args.session)
    const policy = policyOf(context)
    const { tls } = args.listener
    this.#tls = tls === 'off' ? undefined : serverTls(context, policy.config.tls)
    const peer = peerOf(ends, args, policy)
    this.#environment = {
      peer,
      policy,
      offersTls:
        tls === 'starttls' &&
        this.#tls !== undefined &&
        ends.proxy?.tls !== true &&
        policy.smtpd.tls_security_level !== 'none' &&
        policy.offers('STARTTLS'),
      mayXforward: policy.mayXforward(peer.address),
      isLimited: policy.isLimited(peer.address),
      isBehindTls: ends.proxy?.tls === true,
      certificateName: () => this.#connection.certificateName ?? ends.proxy?.certificateName,
      hasRoom: (octets) => hasRoom(context, policy, octets),
    }
    this.#reader = newReader(policy.smtpd.line_length_limit)
    this.#intake = new ContentIntake((form) => ({
      context,
      session: args.session,
      environment: this.#environment,
      state: this.#state,
      form,
      tls: this.#connection.tls,
      onRoom: context.bind(() => {
        if (!this.#isClosing) this.#regulate()
      }),
    }))
    this.#connection = new Connection(context, socket, {
      received: (chunk) => this.#received(chunk),
      ended: () => this.#ended(),
      drained: () => this.#drained(),
      closed: () => this.#closed(),
    })
    this.#touch()
    context.sendAfter(this.#timeout, 'tick')
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
    this.#begin()
  }

  /** The greeting, unless the client has too many connections. */
  #begin(): void {
    const { peer, policy, isLimited } = this.#environment
    if (peer.name === undefined) this.#lookUpName(peer)
    if (!isLimited) {
      this.#connection.say(policy.greeting(peer.service))
      this.#connection.flush()
      return
    }
    this.#isBusy = true
    this.#questions.connected(peer, (use) => {
      if (this.#isClosing) return
      this.#isBusy = false
      const { client_connection_count_limit: limit, client_connection_rate_limit: rateLimit } = policy.smtpd
      const isOver = limit > 0 && use.connections > limit
      if (isOver || (rateLimit > 0 && use.rate > rateLimit)) {
        this.#log.limit(peer, isOver ? 'connections' : 'connection rate', isOver ? use.connections : use.rate)
        this.#connection.say(replies.tooManyConnections(policy.hostname))
        this.#close('too many connections')
      } else if (policy.smtpd.forbid_unauth_pipelining && this.#reader.unread > 0 && !this.#state.isSecured) {
        this.#connection.say(replies.outOfStep)
        this.#close('spoke before the greeting')
      } else {
        this.#connection.say(policy.greeting(peer.service))
        this.#run()
      }
    })
  }

  // --- Messages

  tick(): void {
    const { hostname } = this.#environment.policy
    if (this.#isBusy && !this.#isClosing) {
      // The client waits for us, not we for it.
      this.#context.sendAfter(this.#timeout, 'tick')
      return
    }
    const { left } = this.#deadline
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
    this.#intake.drop()
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
    if (!this.#environment.policy.smtpd.per_request_deadline) this.#touch()
    if (this.#intake.isReceiving && !this.#isWaiting && this.#reader.unread === 0) this.#receiveContent(chunk)
    else this.#reader.push(chunk)
    this.#run()
  }

  get #isWaiting(): boolean {
    return this.#isBusy || this.#connection.isBlocked
  }

  /** Executes what there is to execute, then writes the replies. */
  #run(): void {
    while (!this.#isWaiting && !this.#isClosing) {
      if (this.#intake.isReceiving) {
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
      if (!this.#state.inExchange) this.#log.command(line === lineTooLong ? '' : line)
      this.#touch()
      if (line === lineTooLong) this.#apply(executeTooLong(this.#state, this.#environment))
      else {
        const isFollowed = this.#reader.unread > 0 || this.#reader.held > 0
        const facts = { isBare: this.#reader.wasBare, isFollowed }
        this.#apply(execute(this.#state, line, this.#environment, facts))
      }
    }
    if (this.#isClosing) return
    if (!this.#isLookingUp) this.#connection.flush()
    if (this.#hasEnded && !this.#isWaiting) this.#close('connection closed by client')
    else this.#regulate()
  }

  /** Reads on, or not, after how much is waiting already. */
  #regulate(): void {
    const isFull = this.#isWaiting && this.#reader.unread > maxUnread
    this.#connection.pause(isFull || this.#intake.backlog > maxBacklog)
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
    this.#intake.drop()
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
    const { effect } = transition
    // 4xx and 5xx.
    if (transition.reply.charCodeAt(0) >= 52)
      this.#log.refused(this.#environment.peer, this.#state, transition.reply)
    if (effect?.kind !== 'sasl-response' && !transition.state.inExchange) this.#dropSasl()
    // RSET, EHLO: chunks that have come are of a mail that is none any more.
    if (transition.state.mail === undefined && this.#storing === undefined) this.#mailEnded()
    if (effect !== undefined) this.#carryOut(effect)
  }

  #mailEnded(): void {
    this.#intake.drop()
    this.#questions.finished()
  }

  #carryOut(effect: Effect): void {
    switch (effect.kind) {
      case 'account': {
        const { key, recipient } = effect
        this.#lookUpRecipient(key, recipient)
        return
      }
      case 'verify': {
        const { key, address } = effect
        this.#lookUp(key, (account) => verified(this.#state, address, account))
        return
      }
      case 'count':
        this.#countEvent(effect.event, effect.next)
        return
      case 'client':
        this.#becomeClient(effect.facts)
        return
      case 'flush':
        this.#flushQueue(effect.domain)
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
        this.#whenNamed(() => this.#intake.beginData())
        return
      case 'chunk':
        this.#whenNamed(() => {
          const completed = this.#intake.beginChunk(effect)
          if (completed !== undefined) this.#contentCompleted(completed)
        })
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

  #lookUpName(peer: Peer): void {
    const found = (name: string | undefined) => {
      this.#naming = undefined
      // XCLIENT may have made it somebody else meanwhile.
      if (name === undefined || this.#environment.peer !== peer) return
      this.#environment = { ...this.#environment, peer: { ...peer, name } }
    }
    this.#naming = this.#environment.policy.lookUpName(peer)?.then(this.#context.bind(found))
  }

  #whenNamed(then: () => void): void {
    if (this.#naming === undefined) {
      then()
      return
    }
    this.#connection.flush()
    this.#isBusy = true
    void this.#naming.then(
      this.#context.bind(() => {
        this.#isBusy = false
        if (this.#isClosing) return
        this.#touch()
        then()
        this.#run()
      }),
    )
  }

  #lookUp(key: string, then: (account: Account | null | 'unavailable') => Transition): void {
    this.#isBusy = true
    this.#isLookingUp = true
    this.#questions.account(key, (account) => this.#continue(then(account)))
  }

  #lookUpRecipient(key: string, recipient: EnvelopeRecipient): void {
    const { policy, peer } = this.#environment
    this.#isBusy = true
    this.#isLookingUp = true
    this.#questions.recipient(key, policy.config, peer, (account) => {
      this.#continue(recipientLookedUp(this.#state, recipient, account))
    })
  }

  /** Goes on with `next`, unless the client does this too often. */
  #countEvent(event: ClientEvent, next: () => Transition): void {
    this.#isBusy = true
    this.#isLookingUp = true
    const { peer, policy } = this.#environment
    this.#questions.did(event, peer, (rate) => {
      if (rate <= policy.rateLimit(event)) {
        this.#continue(next())
        return
      }
      this.#log.limit(peer, `${event} rate`, rate)
      const reply = event === 'tls' ? replies.tlsOverLimit : replies.overLimit
      this.#continue({ state: this.#state, reply })
    })
  }

  /** XCLIENT: everything from the greeting on is as for the client it names. */
  #becomeClient(facts: ClientFacts): void {
    const { policy, peer } = this.#environment
    const other = otherPeer(peer, facts, policy)
    this.#log.client(peer, other)
    this.#environment = { ...this.#environment, peer: other, isLimited: policy.isLimited(other.address) }
    this.#state = asClient(this.#state, facts)
    this.#begin()
  }

  #flushQueue(domain: string): void {
    this.#isBusy = true
    this.#questions.flush(domain, (isStarted) => this.#continue(flushed(this.#state, isStarted)))
  }

  #startSasl(mechanism: string, initial: Buffer | undefined): void {
    this.#isBusy = true
    const { peer, certificateName } = this.#environment
    const asker = { remote: peer.address, session: this.#args.session }
    this.#sasl = new ServerSasl({
      context: this.#context,
      done: (reply) => {
        if (reply.kind !== 'challenge') this.#log.login(this.#environment.peer, mechanism, reply)
        this.#continue(saslAnswered(this.#state, reply))
      },
    })
    const facts = { ...this.#connection.saslFacts(asker), certificateName: certificateName() ?? '' }
    this.#sasl.start(mechanism, initial, facts)
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
    this.#reader = newReader(this.#reader.maxOctets)
    this.#connection.secure(this.#tls!)
    this.#state = tlsStarted(this.#state)
  }

  // --- Content

  #receiveContent(octets: Buffer): void {
    const { used, completed } = this.#intake.receive(octets)
    if (completed === undefined) {
      this.#deadline.earn(used, this.#environment.policy.smtpd.min_data_rate, this.#timeout)
      return
    }
    if (used < octets.length) this.#reader.push(octets.subarray(used))
    this.#touch()
    this.#contentCompleted(completed)
  }

  #contentCompleted(completed: Completed): void {
    if (completed.kind === 'chunk') {
      const { octets, isLast, refusal } = completed
      const received = chunkReceived(this.#state, octets, isLast, refusal, this.#environment)
      this.#apply(count(received, this.#environment))
      return
    }
    const { mail } = completed
    const refusal = mail.refusal()
    if (refusal === undefined) this.#store(mail)
    else {
      mail.discard()
      const refused = { replies: mail.transaction.recipients.map(() => refusal), wasAccepted: false }
      this.#apply(count(this.#finished(refused), this.#environment))
    }
  }

  #store(incoming: IncomingMail): void {
    this.#isBusy = true
    this.#storing = incoming.store().then(
      this.#context.bind((stored: Stored) => {
        this.#storing = undefined
        if (stored.wasAccepted) this.#log.mails += 1
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

  // --- Time

  get #timeout(): number {
    return this.#environment.policy.timeout(this.#environment.peer)
  }

  /** A whole command, or our own delay, buys a full timeout. */
  #touch(): void {
    this.#deadline.extend(this.#timeout)
  }

  // --- The end

  #close(reason: string): void {
    if (this.#isClosing) return
    this.#isClosing = true
    this.#intake.drop()
    this.#dropSasl()
    this.#logEnd(reason)
    this.#deadline.extend(lingerMs)
    if (reason === 'quit' && this.#reader.unread === 0) {
      // Should it hang after all, the timer that runs anyway ends it.
      this.#connection.endNow()
      return
    }
    this.#connection.end()
    this.#context.sendAfter(lingerMs, 'tick')
  }

  #logEnd(reason: string): void {
    this.#log.ended(this.#environment.peer, reason, this.#state, this.#connection)
  }
}

/** Tools on this machine end lines in LF; whether that is taken, `machine.ts` decides. */
const newReader = (maxOctets: number) => new LineReader({ maxOctets, ending: 'lf' })

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

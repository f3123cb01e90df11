/**
 * From the connection to a session that takes mail: greeting, EHLO or LHLO, HELO for servers that know no EHLO,
 * STARTTLS and EHLO again. RFC 5321 sections 3.1 and 3.2, RFC 2033 section 4.1, RFC 3207.
 */
import type { ClientSettings } from './config.ts'
import { parseEhlo } from './ehlo.ts'
import {
  dataFailure,
  type Failure,
  isHard,
  LocalDataError,
  localFailure,
  replyFailure,
  softened,
} from './failure.ts'
import { oneLine, type Reply } from './reply-parser.ts'
import type { EndCause, Session, SessionListener } from './session.ts'
import type { TlsOutcome } from './tls/client.ts'
import { isRequired, needsMatch } from './tls/levels.ts'
import type { TlsPlan } from './tls/plan.ts'
import { demandsTls } from './tls/require-tls.ts'

export interface HandshakeOptions {
  readonly protocol: 'smtp' | 'lmtp'
  readonly settings: ClientSettings
  /** Name in EHLO. */
  readonly heloName: string
  /** Our own name, which no other server should have. */
  readonly hostname: string
  /** Whether a server with our name means a loop (SMTP on port 25). */
  readonly detectLoops: boolean
  /** What `discard_ehlo_keywords` and `pix_workarounds` come to for this server; throw LocalDataError. */
  discards(): readonly string[]
  workarounds(): readonly string[]
  /** Whether this server is among the best exchangers of the destination. */
  readonly best: boolean
  /** TLS as it has to be with this server. */
  readonly plan: TlsPlan
  /** Performs the TLS handshake; never rejects. */
  secure(session: Session, plan: TlsPlan): Promise<TlsOutcome>
  /** Hears how TLS went, where it was tried or missed. */
  onTls(event: TlsEvent): void
  /** What is worth a line in the log. */
  warn(event: string, facts: object): void
}

/** What TLS came to with a server. */
export type TlsEvent =
  | { readonly kind: 'handshake'; readonly outcome: TlsOutcome }
  /** TLS is wanted, and the server does not offer it, or refused it. */
  | { readonly kind: 'missing'; readonly reason: string }

/** How a session came about. */
export type HandshakeResult =
  | { readonly ok: true }
  /** `polite`: the connection is sound, QUIT is due. `tlsFailed`: without TLS it might have gone well. */
  | { readonly ok: false; readonly failure: Failure; readonly polite: boolean; readonly tlsFailed: boolean }

type State = 'greeting' | 'ehlo' | 'helo' | 'starttls' | 'tls'

const stages: Record<State, string> = {
  greeting: 'waiting for the greeting',
  ehlo: 'performing the EHLO handshake',
  helo: 'performing the HELO handshake',
  starttls: 'waiting for the reply to STARTTLS',
  tls: 'performing the TLS handshake',
}

/** Performs the handshake; never rejects. The session is detached afterwards. */
export function handshake(session: Session, options: HandshakeOptions): Promise<HandshakeResult> {
  return new Promise((resolve) => new Handshake(session, options, resolve).start())
}

class Handshake implements SessionListener {
  readonly #session: Session
  readonly #options: HandshakeOptions
  readonly #resolve: (result: HandshakeResult) => void
  #state: State = 'greeting'
  #secured = false

  constructor(session: Session, options: HandshakeOptions, resolve: (result: HandshakeResult) => void) {
    this.#session = session
    this.#options = options
    this.#resolve = resolve
  }

  start(): void {
    if (this.#options.plan.implicit) {
      this.#secure(() => this.#awaitGreeting())
      return
    }
    this.#awaitGreeting()
  }

  #awaitGreeting(): void {
    this.#state = 'greeting'
    this.#session.expect(this.#options.settings.helo_timeout)
    this.#session.attach(this)
  }

  onReply(reply: Reply): void {
    try {
      this.#take(reply)
    } catch (error) {
      if (!(error instanceof LocalDataError)) throw error
      this.#session.detach()
      this.#resolve({ ok: false, failure: dataFailure(error.message), polite: false, tlsFailed: false })
    }
  }

  #take(reply: Reply): void {
    switch (this.#state) {
      case 'greeting':
        this.#greeted(reply)
        break
      case 'ehlo':
        this.#ehloAnswered(reply)
        break
      case 'helo':
        if (!isPositive(reply)) this.#fail(replyFailure('site', reply))
        else if (!this.#isOurselves(reply)) this.#hailed()
        break
      case 'starttls':
        this.#startTls(reply)
        break
      case 'tls':
        // Nobody listens to plaintext meanwhile.
        break
    }
  }

  onEnd(cause: EndCause): void {
    const failure = this.#session.endFailure(cause, stages[this.#state])
    // Within TLS nobody knows whose fault it is.
    this.#resolve({ ok: false, failure, polite: false, tlsFailed: this.#secured })
  }

  #greeted(reply: Reply): void {
    const { settings, protocol } = this.#options
    if (!isPositive(reply)) {
      const failure = replyFailure('site', reply)
      // A server that is not for mail, or not today: the next one may be. 1xx and 3xx are no answer at all.
      const skip = settings.skip_5xx_greeting && isHard(failure) && reply.code >= 500
      this.#fail(skip ? softened(failure) : failure)
      return
    }
    if (protocol === 'lmtp') {
      this.#hello('LHLO')
      return
    }
    const workarounds = looksMasked(reply.text) ? this.#options.workarounds() : []
    if (workarounds.length > 0) {
      this.#session.delayDot = workarounds.includes('delay_dotcrlf')
      this.#options.warn('delivery.pix-workarounds', { relay: this.#session.relay, workarounds })
    }
    const [first = '', ...words] = reply.text.slice(4).trimStart().split(/\s+/)
    if (this.#options.detectLoops && sameName(first, this.#options.hostname)) {
      this.#options.warn('delivery.same-name-greeting', { relay: this.#session.relay })
    }
    const masked = workarounds.includes('disable_esmtp')
    const esmtp =
      (settings.always_send_ehlo && !masked) || words.some((word) => word.toUpperCase() === 'ESMTP')
    this.#hello(esmtp && !settings.never_send_ehlo && !masked ? 'EHLO' : 'HELO')
  }

  #hello(verb: 'EHLO' | 'HELO' | 'LHLO'): void {
    this.#state = verb === 'HELO' ? 'helo' : 'ehlo'
    this.#session.expect(this.#options.settings.helo_timeout)
    this.#session.send(`${verb} ${this.#options.heloName}\r\n`)
  }

  #ehloAnswered(reply: Reply): void {
    if (!isPositive(reply)) {
      // 421 is about the connection, not about EHLO. LMTP has nothing to fall back to.
      const must = this.#options.protocol === 'lmtp'
      if (must || reply.code === 421) this.#fail(replyFailure('site', reply))
      else this.#hello('HELO')
      return
    }
    if (this.#isOurselves(reply)) return
    const { features, discarded, warnings } = parseEhlo(reply, this.#options.discards())
    // RFC 8689 section 2: what is said in plaintext about it counts for nothing.
    const requireTls = features.requireTls && this.#secured && this.#options.plan.requireTls !== undefined
    this.#session.features = { ...features, requireTls }
    const { relay } = this.#session
    if (discarded.length > 0) this.#options.warn('delivery.ehlo-discarded', { relay, keywords: discarded })
    for (const warning of warnings) this.#options.warn('delivery.ehlo-odd', { relay, warning })
    this.#hailed()
  }

  /** The server said hello: now TLS, if it is wanted and not there yet. */
  #hailed(): void {
    const { plan, settings } = this.#options
    const { relay, features } = this.#session
    if (this.#secured) {
      if (plan.requireTls !== 'enforce' || features.requireTls) this.#done()
      else this.#fail(this.#demanded('5.7.30', `${relay} does not offer REQUIRETLS`))
    } else if (plan.level === 'none') {
      if (features.startTls && settings.tls_note_starttls_offer && plan.wanted === 'none') {
        this.#options.warn('delivery.starttls-offered', { relay })
      }
      this.#done()
    } else if (!features.startTls) {
      const reason = `${relay} does not offer TLS`
      this.#options.onTls({ kind: 'missing', reason })
      if (demandsTls(plan.requireTls)) this.#fail(this.#demanded('5.7.30', reason))
      else if (!isRequired(plan.level)) this.#done()
      else this.#fail(localFailure('site', '4.7.4', `TLS is required, but ${reason}`))
    } else if (plan.context === undefined) {
      const reason = `TLS cannot be used: ${plan.problem}`
      this.#options.warn('delivery.tls-unavailable', { relay, reason })
      if (!isRequired(plan.level)) this.#done()
      else this.#fail(localFailure('site', '4.7.5', reason))
    } else {
      this.#state = 'starttls'
      this.#session.expect(settings.starttls_timeout)
      this.#session.send('STARTTLS\r\n')
    }
  }

  #startTls(reply: Reply): void {
    const { plan, protocol } = this.#options
    if (!isPositive(reply)) {
      // It changed its mind; where TLS is a favour, plaintext on the same connection is what it gets.
      const reason = `${this.#session.relay} refused STARTTLS: ${oneLine(reply)}`
      this.#options.onTls({ kind: 'missing', reason })
      if (demandsTls(plan.requireTls)) this.#fail(this.#demanded('5.7.10', reason))
      else if (!isRequired(plan.level)) this.#done()
      else this.#fail(replyFailure('site', reply))
      return
    }
    this.#secure(() => {
      this.#session.attach(this)
      this.#hello(protocol === 'lmtp' ? 'LHLO' : 'EHLO')
    })
  }

  /** Performs the TLS handshake and goes on with `next` when the server is the right one. */
  #secure(next: () => void): void {
    const { plan, secure, onTls } = this.#options
    this.#state = 'tls'
    if (plan.context === undefined) {
      const reason = `TLS cannot be used: ${plan.problem}`
      this.#options.warn('delivery.tls-unavailable', { relay: this.#session.relay, reason })
      this.#resolve({
        ok: false,
        failure: localFailure('site', '4.7.5', reason),
        polite: false,
        tlsFailed: false,
      })
      return
    }
    void secure(this.#session, plan).then((outcome) => {
      onTls({ kind: 'handshake', outcome })
      if (!outcome.ok) {
        const reason = `TLS handshake with ${this.#session.relay} failed: ${outcome.problem}`
        const failure = {
          ...localFailure('site', '4.7.5', reason),
          ...(isRequired(plan.level) ? {} : { noThrottle: true }),
        }
        this.#resolve({ ok: false, failure, polite: false, tlsFailed: true })
        return
      }
      const { peer, verdict } = outcome
      if (verdict.refusal !== undefined) {
        const reason = `${this.#session.relay} is not the server it should be: ${verdict.refusal}`
        this.#session.detach()
        // QUIT within TLS tells nobody anything. Before a greeting it would be out of turn.
        const polite = !plan.implicit
        const failure =
          plan.requireTls === 'enforce'
            ? this.#demanded('5.7.10', reason)
            : localFailure('site', '4.7.5', reason)
        this.#resolve({ ok: false, failure, polite, tlsFailed: false })
        return
      }
      this.#secured = true
      this.#session.tls = {
        protocol: peer.protocol,
        cipher: peer.cipher,
        verified: needsMatch(plan.level) && verdict.class === 'verified',
      }
      next()
    })
  }

  /** A server that does not do for mail with REQUIRETLS; another one may. */
  #demanded(dsn: '5.7.10' | '5.7.30', reason: string): Failure {
    return { ...localFailure('site', dsn, `the mail has REQUIRETLS, and ${reason}`), softUntilFinal: true }
  }

  /** RFC 5321 section 6.3: mail must not go round in circles. */
  #isOurselves(reply: Reply): boolean {
    const { hostname, best, detectLoops } = this.#options
    const name = /^\S*/.exec(reply.lastLine.slice(4))?.[0] ?? ''
    const first = reply.text.includes('\n') ? /^\S*/.exec(reply.text.slice(4))![0] : name
    if (!detectLoops || !sameName(first, hostname)) return false
    const reason = `mail for this destination comes back to ourselves: ${this.#session.relay} greets with our own name`
    this.#fail(localFailure('site', best ? '5.4.6' : '4.4.6', reason))
    return true
  }

  #fail(failure: Failure): void {
    this.#session.detach()
    this.#resolve({ ok: false, failure, polite: true, tlsFailed: false })
  }

  #done(): void {
    this.#session.detach()
    this.#resolve({ ok: true })
  }
}

function isPositive(reply: Reply): boolean {
  return reply.code >= 200 && reply.code < 300
}

function sameName(a: string, b: string): boolean {
  return a !== '' && a.toLowerCase() === b.toLowerCase()
}

/** A greeting of nothing but `2`, `0`, blanks and asterisks: a PIX firewall sits in between. */
function looksMasked(greeting: string): boolean {
  return /^[20 *\t\n]*$/.test(greeting)
}

/**
 * What an SMTP or LMTP session knows, and what a command does to it. The functions of `greeting.ts`, `mail.ts`,
 * `authentication.ts` and `other-commands.ts` take a state and give a {@link Transition}; they touch no socket,
 * no disk and no clock. The session actor writes the reply and carries out the effect.
 */
import type { Account } from '../../../auth/contract.ts'
import type { EnvelopeRecipient } from '../../../queue/contract.ts'
import type { ClientFacts } from './client-facts.ts'
import type { ServerPolicy } from './policy.ts'

export type Service = 'smtp' | 'submission' | 'lmtp'

/** The other end, as far as it is known before it says anything. */
export interface Peer {
  readonly service: Service
  /** IP address without a mapped-IPv4 prefix; `unix` for a unix socket. */
  readonly address: string
  readonly port: number
  /** Host name, where one is known. */
  readonly name?: string
  /** Our address of this connection; address literals of it are local. */
  readonly localAddress: string
  /** A loopback address or a unix socket: passwords cannot be overheard. */
  readonly isLoopback: boolean
  /** In `smtpd.mynetworks`: may send to any destination. */
  readonly isTrusted: boolean
  /** The service has more connections than it likes: short timeouts, few errors. */
  readonly isStressed: boolean
}

/** What is counted of a client, see `smtpd.client_…_rate_limit`. */
export type ClientEvent = 'message' | 'recipient' | 'auth' | 'tls'

/** What does not change during a session, but for XCLIENT. */
export interface Environment {
  readonly peer: Peer
  readonly policy: ServerPolicy
  /** Whether STARTTLS is offered while the session is not encrypted. */
  readonly offersTls: boolean
  /** Whether there is space on the disk for a mail of so many octets. */
  hasRoom(octets: number): boolean
  /** The client that is connected, not one it speaks for, is in `authorized_xforward_hosts`. */
  readonly mayXforward: boolean
  /** The limits of what one client may do count for this one. */
  readonly isLimited: boolean
  /** The client uses TLS, which ends at a load balancer. */
  readonly isBehindTls: boolean
  /** Common name of the client's certificate that was verified, here or at the load balancer; undefined: there is none. */
  certificateName(): string | undefined
}

/** A recipient that was accepted: with an account a local one, without it one for the queue. */
export interface AcceptedRecipient {
  readonly envelope: EnvelopeRecipient
  readonly account: Account | undefined
}

/** A mail transaction, RFC 5321 section 3.3: from MAIL to the end of the content, RSET or a new greeting. */
export interface MailTransaction {
  /** Canonical reverse-path; empty: the null reverse-path. */
  readonly sender: string
  readonly envid: string | undefined
  readonly ret: 'FULL' | 'HDRS' | undefined
  readonly body: '7BIT' | '8BITMIME' | undefined
  readonly smtputf8: boolean
  readonly requiretls: boolean
  /** Grows in place: a copy per RCPT would be quadratic. It has no other owner than this transaction. */
  readonly recipients: AcceptedRecipient[]
  /** RCPTs refused because there were too many, for `recipient_overshoot_limit`. */
  readonly overshoot: number
}

export interface SessionState {
  /** Undefined: no greeting yet. */
  readonly greeting: 'HELO' | 'EHLO' | 'LHLO' | undefined
  /** What the client called itself; empty without a greeting. */
  readonly helo: string
  readonly isSecured: boolean
  /** Login name after a successful AUTH. */
  readonly user: string | undefined
  readonly mail: MailTransaction | undefined
  /** What the client says of where it has the next mail from (XFORWARD). */
  readonly forwarded: ClientFacts | undefined
  /** Content by BDAT: none of it yet, some, or some was refused and the rest is skipped. */
  readonly chunking: 'none' | 'open' | 'failed'
  /** Octets of the chunks so far. */
  readonly chunked: number
  /** The client's next line answers a challenge of AUTH. */
  readonly inExchange: boolean
  /** Errors, and commands without effect, since the last accepted mail. */
  readonly errors: number
  readonly junk: number
}

/** What the session actor has to do before the next command is looked at. */
export type Effect =
  /** Ask for the account of a recipient, then `recipientLookedUp`. */
  | { readonly kind: 'account'; readonly key: string; readonly recipient: EnvelopeRecipient }
  /** Ask whether there is such an account, for VRFY, then `verified`. */
  | { readonly kind: 'verify'; readonly key: string; readonly address: string }
  /** Count something the client does against its limits; then `next`, unless it was too much. */
  | { readonly kind: 'count'; readonly event: ClientEvent; readonly next: () => Transition }
  /** Begin again as another client (XCLIENT), with what is known of it. */
  | { readonly kind: 'client'; readonly facts: ClientFacts }
  /** Try the waiting mail of a domain, then `flushed`. */
  | { readonly kind: 'flush'; readonly domain: string }
  /** Begin a SASL exchange, then `saslAnswered`. Undefined: no initial response. */
  | { readonly kind: 'sasl'; readonly mechanism: string; readonly initial: Buffer | undefined }
  /** Go on with it, then `saslAnswered`. */
  | { readonly kind: 'sasl-response'; readonly data: Buffer }
  /** Receive content, store the mail, then `mailFinished`. */
  | { readonly kind: 'content' }
  /** Receive a chunk of content, or drop it when there is a `refusal`, then `chunkReceived`; after the last one as `content`. */
  | {
      readonly kind: 'chunk'
      readonly octets: number
      readonly isLast: boolean
      readonly refusal: string | undefined
    }
  /** Begin TLS, with everything the client sent before it forgotten. */
  | { readonly kind: 'starttls' }
  /** Write the reply and hang up. */
  | { readonly kind: 'close'; readonly reason: string }

export interface Transition {
  readonly state: SessionState
  /** Whole reply lines with their CRLF; empty: none yet. */
  readonly reply: string
  readonly effect?: Effect
  /** A 4xx or 5xx that is not the client's fault. */
  readonly isForgiven?: boolean
  /** Wait so long before the reply goes out. */
  readonly delayMs?: number
}

export const initialState: SessionState = {
  greeting: undefined,
  helo: '',
  isSecured: false,
  user: undefined,
  mail: undefined,
  forwarded: undefined,
  chunking: 'none',
  chunked: 0,
  inExchange: false,
  errors: 0,
  junk: 0,
}

/** Does `next` if the client is not over its limit; without a limit at once. */
export function limited(
  state: SessionState,
  environment: Environment,
  event: ClientEvent,
  next: () => Transition,
): Transition {
  if (!environment.isLimited || environment.policy.rateLimit(event) === 0) return next()
  return { state, reply: '', effect: { kind: 'count', event, next } }
}

/** The state without a mail transaction. */
export const withoutMail = (state: SessionState): SessionState => ({
  ...state,
  mail: undefined,
  forwarded: undefined,
  chunking: 'none',
  chunked: 0,
})

/** A reply that changes nothing. */
export const answer = (state: SessionState, reply: string): Transition => ({ state, reply })

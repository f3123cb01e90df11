/** Carries out what `authorization.ts` decides: SASL exchanges, password checks, the way to an open maildrop. */
import { randomBytes } from 'node:crypto'
import type { SaslReply } from '../../auth/contract.ts'
import { Networks } from '../../auth/networks.ts'
import type { Config } from '../../config/settings.ts'
import { type Endpoints, isSameMachine } from '../endpoints.ts'
import { ServerSasl } from '../server-sasl.ts'
import { Authorization, malformed, type Step } from './authorization.ts'
import { Login, type LoginResult, notNow, type OpenMaildrop, refusedLogin } from './login.ts'
import { MailboxLink } from './mailbox-link.ts'
import type { Pop3SessionArgs, Pop3SessionContract, SessionHost } from './session-host.ts'
import { type AbortCode, failureCode, type LoginProgress, loggable } from './session-log.ts'
import type { XclientFacts } from './xclient.ts'

/** What it does to the session beyond what all states do. */
export interface AuthenticatorHost extends SessionHost {
  startTls(): void
  /** The client has said who it comes for; `ids` are others now. */
  came(facts: XclientFacts): void
  loggedIn(opened: OpenMaildrop<Pop3SessionContract>, method: string): void
}

export class Authenticator {
  readonly authorization: Authorization
  readonly #host: AuthenticatorHost
  readonly #proxyCertificateName: string | undefined
  readonly #args: Pop3SessionArgs
  /** Of the greeting, for APOP; empty: it is not offered. */
  readonly #stamp: string
  readonly #isTrusted: boolean
  /** The SASL exchange under way, and its mechanism. */
  #sasl: { readonly exchange: ServerSasl<Pop3SessionContract>; readonly method: string } | undefined
  #isVerifying = false
  /** Whether nobody can listen on the way, although TLS does not end here. */
  readonly isSecured: boolean
  /** For the log line of a client that never logged in. */
  #attempts = 0
  /** Milliseconds of the monotonic clock: the first of them. */
  #triedAt: number | undefined
  /** Why the last attempt came to nothing. */
  #failure: AbortCode = 'auth_failed'
  #user = ''
  #method = ''

  constructor(host: AuthenticatorHost, args: Pop3SessionArgs, ends: Endpoints, stls: boolean) {
    this.#host = host
    this.#proxyCertificateName = ends.proxy?.certificateName
    this.#args = args
    const { auth, login, pop3, tls, hostname } = host.config
    const hasApop = auth.mechanisms.some((name) => name.toUpperCase() === 'APOP')
    this.#stamp = hasApop ? stamp(hostname, host.context.clock.now()) : ''
    this.#isTrusted = isTrusted(host, ends)
    this.isSecured = isSecured(ends, host.config, this.#isTrusted)
    this.authorization = new Authorization({
      cleartext: auth.allow_cleartext || this.isSecured,
      tls: false,
      tlsRequired: tls.mode === 'required',
      certificateName: () => this.#certificateName,
      clientCertificates: tls.client_cert,
      trusted: this.#isTrusted,
      capa: pop3.capa,
      mechanisms: auth.mechanisms,
      apop: hasApop,
      stls,
      maxBadCommands: login.max_bad_commands,
    })
  }

  /** Of a client certificate that was verified, here or where TLS ends. */
  get #certificateName(): string | undefined {
    return this.#host.connection.certificateName ?? this.#proxyCertificateName
  }

  get greeting(): string {
    const { greeting } = this.#host.config.login
    return `+OK ${this.#isTrusted ? '[XCLIENT] ' : ''}${greeting}${this.#stamp === '' ? '' : ` ${this.#stamp}`}`
  }

  /** What the client was doing, for the answer to one that takes too long, and for the log. */
  get progress(): Omit<LoginProgress, 'seconds' | 'tlsUnfinished'> & {
    readonly triedAt: number | undefined
  } {
    return {
      isVerifying: this.#isVerifying,
      inExchange: this.#sasl !== undefined,
      attempts: this.#attempts,
      failure: this.#failure,
      user: this.#user,
      method: this.#method,
      triedAt: this.#triedAt,
    }
  }

  /** The session ends. */
  cancel(): void {
    this.#sasl?.exchange.cancel()
  }

  execute(line: string): void {
    this.#do(this.authorization.line(line))
  }

  #do(step: Step): void {
    const host = this.#host
    switch (step.kind) {
      case 'reply':
        host.reply(step.line)
        return
      case 'refused':
        this.#tried(step.user, step.method)
        this.#failure = step.code
        host.reply(step.line)
        return
      case 'text':
        host.connection.output.add(step.text)
        return
      case 'close':
        host.refuse(step.line, step.reason)
        return
      case 'starttls':
        host.startTls()
        return
      case 'xclient':
        host.came(step.facts)
        host.reply(step.line)
        return
      case 'verify': {
        const { user, password, method } = step
        const { ids } = host
        this.#logIn(user, method).start((auth, options) =>
          auth.askWith(options, 'verify', user, password, ids),
        )
        return
      }
      case 'apop': {
        const { user, digest } = step
        const { ids } = host
        this.#logIn(user, 'APOP').start((auth, options) =>
          auth.askWith(options, 'verifyApop', user, this.#stamp, digest, ids),
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
        this.#failure = step.code
        host.reply(step.line)
    }
  }

  #startSasl(method: string, initial: Buffer | undefined): void {
    const { context, connection, ids } = this.#host
    this.#tried('', method)
    const exchange = new ServerSasl({ context, done: (reply) => this.#saslAnswered(method, reply) })
    this.#sasl = { exchange, method }
    this.#waitForSasl()
    const certificateName = this.#certificateName ?? ''
    exchange.start(method, initial, { ...connection.saslFacts(ids), certificateName })
  }

  #waitForSasl(): void {
    this.#isVerifying = true
    this.#host.begin(() => this.#sasl?.exchange.cancel())
  }

  #saslAnswered(method: string, reply: SaslReply): void {
    const host = this.#host
    if (host.isClosed) return
    if (reply.kind === 'challenge') {
      this.#isVerifying = false
      host.reply(this.authorization.challenge(reply.data))
      host.done()
      return
    }
    this.#sasl = undefined
    if (reply.kind === 'success') {
      this.#logInAs(reply.account.user, method).accepted(reply.account)
      return
    }
    const { reason, user } = reply
    const line =
      reason === 'internal'
        ? notNow(host.config.hostname, host.context.clock.now())
        : reason === 'malformed'
          ? malformed
          : refusedLogin
    this.#verified(user, method, { ok: false, line, reason, close: false })
  }

  #logIn(user: string, method: string): Login<Pop3SessionContract> {
    this.#tried(user, method)
    return this.#logInAs(user, method)
  }

  #tried(user: string, method: string): void {
    this.#attempts++
    this.#triedAt ??= this.#host.context.clock.monotonic()
    this.#user = loggable(user)
    this.#method = method
    this.#failure = 'auth_failed'
  }

  /** A login from here to its end; `user` and `method` are for the log. */
  #logInAs(user: string, method: string): Login<Pop3SessionContract> {
    const { context, config, ids, scratch } = this.#host
    const login = new Login<Pop3SessionContract>({
      context,
      service: this.#args.service,
      session: ids.session,
      counted: this.#args.session,
      remote: ids.remote,
      settings: config.pop3,
      hostname: config.hostname,
      exclusiveLocks: config.mail.dotlock_excl,
      scratch,
      keep: (account, uidValidity, findings) =>
        new MailboxLink(context, account, uidValidity, findings).tell({}),
      done: (result) => this.#verified(user, method, result),
    })
    this.#isVerifying = true
    this.#host.begin(() => login.cancel())
    return login
  }

  #verified(user: string, method: string, result: LoginResult<Pop3SessionContract>): void {
    const host = this.#host
    this.#isVerifying = false
    if (result.ok) {
      host.loggedIn(result, method)
      return
    }
    const { line, reason, close } = result
    this.#user = loggable(user)
    this.#failure = failureCode(reason)
    const facts = { event: 'pop3.login-failed', ...host.ids, user: this.#user, method, reason }
    host.context.log.info(facts, 'login failed')
    if (close) {
      host.refuse(line, `Login not completed: ${reason}`)
      return
    }
    host.reply(line)
    host.done()
  }
}

function isTrusted({ context, config }: SessionHost, { remoteAddress }: Endpoints): boolean {
  const { trusted_networks } = config.login
  if (trusted_networks.length === 0) return false
  const known = context.local('pop3.trusted', () => new WeakMap<readonly string[], Networks>())
  let networks = known.get(trusted_networks)
  if (networks === undefined) {
    networks = new Networks(trusted_networks)
    known.set(trusted_networks, networks)
  }
  return networks.has(remoteAddress)
}

/** Whether nobody can listen on the way: within one machine, or TLS that ended at a load balancer. */
function isSecured(ends: Endpoints, { tls, proxy_protocol }: Config, isTrustedPeer: boolean): boolean {
  // Asked in any case: log lines name the local end.
  const isSame = isSameMachine(ends)
  if (ends.proxy?.tls === true) return true
  if (tls.mode === 'required') return false
  if (isTrustedPeer) return true
  return ends.proxy === undefined ? isSame : proxy_protocol.assume_secure
}

/** What APOP digests are made with, RFC 1939 section 7: never the same again. */
const stamp = (hostname: string, now: number): string =>
  `<${randomBytes(16).toString('base64url')}.${now.toString(16)}@${hostname}>`

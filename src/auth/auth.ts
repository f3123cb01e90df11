/**
 * Answers who may log in and who receives mail. Owns what is known of the passwd-file and the SASL exchanges under way;
 * no password leaves it and none is logged.
 *
 * A check of a slow hash runs elsewhere while the actor goes on: on libuv's threads, or as a job. Few run at once,
 * and a bounded number waits. A refusal is answered `auth.failure_delay` after it was asked, whatever its reason and
 * its cost, so neither the answer nor its time tells whether there is such a user. After refusals the next attempts
 * from the same address wait before they are looked at, see `penalty.ts`.
 */
import { createHash, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { type ActorContext, actor, type Contract, Deferred, type HandlerResult } from '../actors/index.ts'
import type { Config } from '../config/settings.ts'
import { Bans } from './bans.ts'
import type { Account, Asker, AuthContract, SaslFacts, SaslReply, VerifyResult } from './contract.ts'
import { DelayedAnswers } from './delayed-answers.ts'
import { PasswdFileError } from './errors.ts'
import { Exchanges, type OpenExchange } from './exchanges.ts'
import { type AuthArgs, fitsPassword } from './hasher.ts'
import { KnownPasswords, knownPasswordOctets } from './known-passwords.ts'
import { loginName, splitMaster } from './login-name.ts'
import { Networks } from './networks.ts'
import { Penalties } from './penalty.ts'
import { Salts } from './salts.ts'
import { isApopDigest } from './sasl/apop.ts'
import type { Identity, SaslHost, SaslStep } from './sasl/mechanism.ts'
import { startExchange } from './sasl/mechanisms.ts'
import { needsBinding } from './sasl/offer.ts'
import type { Secret } from './schemes.ts'
import { SlowChecks } from './slow-checks.ts'
import { Tokens } from './tokens.ts'
import { type Candidate, UserDatabases } from './user-databases.ts'
import { addressCandidates } from './users.ts'

/** Databases are looked at no more often than this. */
const lookAgainMs = 1_000
/** Longest name that is looked for or logged. */
const maxNameLength = 512
/** Exchanges that lasted too long are forgotten so often. */
const sweepMs = 60_000

type AuthMessages = AuthContract & Contract<{ release(): void; sweep(): void }>

/** One try to log in. */
interface Attempt {
  /** As given. */
  readonly name: string
  readonly asker: Asker
  readonly askedAt: number
  /** Whose mail is wanted; empty: the same user's. */
  readonly authorization: string
  /** What tells one wrong try from another, for the penalty; undefined: each is another one. Never logged. */
  readonly credentials: string | undefined
  readonly reply: (result: VerifyResult) => void
}

const refused: VerifyResult = { ok: false, reason: 'credentials' }
const notNow: VerifyResult = { ok: false, reason: 'internal' }

class Auth {
  readonly #context: ActorContext<AuthMessages>
  #config: Config
  #users: UserDatabases
  #known: KnownPasswords
  #tokens: Tokens
  #salts: Salts
  #trusted: Networks
  #lookedAt = Number.NEGATIVE_INFINITY
  readonly #delayed = new DelayedAnswers()
  #releaseAt = Number.POSITIVE_INFINITY
  #timer = 0
  #isSweeping = false
  readonly #checks: SlowChecks
  readonly #checkElsewhere: AuthArgs['checkElsewhere']
  readonly #penalties = new Penalties()
  readonly #bans = new Bans()
  readonly #exchanges = new Exchanges()

  constructor(context: ActorContext<AuthMessages>, config: Config, args: AuthArgs | undefined) {
    this.#context = context
    this.#config = config
    this.#users = new UserDatabases(config)
    this.#known = knownPasswordsOf(config)
    this.#tokens = new Tokens(config.auth)
    this.#salts = saltsOf(config)
    this.#trusted = new Networks(config.login.trusted_networks)
    this.#checkElsewhere =
      args?.checkElsewhere ?? (async (field, password) => await fitsPassword(field, password))
    this.#checks = new SlowChecks({
      bind: (callback) => context.bind(callback),
      failed: ({ message }) =>
        context.log.error({ event: 'auth.error', error: message }, 'password could not be checked'),
    })
    this.#refresh()
  }

  // --- Messages

  verify(name: string, password: string, asker: Asker): HandlerResult<VerifyResult> {
    const answer = new Deferred<VerifyResult>()
    const identity = splitMaster(name, this.#config.auth.master_separator)
    const credentials = `${name}\0${password}`
    this.#whenAllowed(asker, () => {
      const attempt = this.#attempt(identity, asker, (result) => answer.resolve(result))
      this.#verify({ ...attempt, credentials }, password)
    })
    return answer
  }

  verifyApop(name: string, stamp: string, digest: string, asker: Asker): HandlerResult<VerifyResult> {
    const answer = new Deferred<VerifyResult>()
    this.#whenAllowed(asker, () => {
      const attempt = this.#attempt({ user: name, authorization: '' }, asker, (result) =>
        answer.resolve(result),
      )
      if (isApopDigest(this.#find(name)?.password?.secret, stamp, digest)) this.#accept(attempt)
      else this.#refuse(attempt, 'wrong digest, or a password of which it cannot be made')
    })
    return answer
  }

  saslStart(mechanism: string, initial: Uint8Array | null, facts: SaslFacts): HandlerResult<SaslReply> {
    const answer = new Deferred<SaslReply>()
    const exchange = startExchange(mechanism, this.#saslHost(facts))
    if (exchange === undefined) answer.resolve({ kind: 'failure', reason: 'malformed', user: '' })
    else {
      const startedAt = this.#context.clock.monotonic()
      const { remote, session, certificateName } = facts
      const open = { mechanism, exchange, asker: { remote, session }, certificateName, startedAt }
      this.#whenAllowed(open.asker, () => this.#step(this.#exchanges.nextNumber(), open, initial, answer))
    }
    return answer
  }

  saslNext(number: number, response: Uint8Array): HandlerResult<SaslReply> {
    const open = this.#exchanges.take(number)
    if (open === undefined) return { kind: 'failure', reason: 'internal', user: '' }
    const answer = new Deferred<SaslReply>()
    this.#step(number, open, response, answer)
    return answer
  }

  saslCancel(number: number): void {
    this.#exchanges.take(number)
  }

  account(address: string): HandlerResult<Account | null> {
    this.#refresh()
    const account = this.#accountOf(address) ?? (this.#lookNow() ? this.#accountOf(address) : undefined)
    if (account === 'invalid' || (account === undefined && !this.#users.isKnown)) {
      const unknown = new Deferred<Account | null>()
      const problem =
        account === 'invalid'
          ? `an id of ${address.slice(0, maxNameLength)} is not in auth.valid_uids or auth.valid_gids`
          : 'the users are not known: the passwd-file cannot be read'
      unknown.reject(new PasswdFileError(problem))
      return unknown
    }
    return account ?? null
  }

  reload(): void {
    const config = this.#context.setting<Config>('config') ?? this.#config
    if (config !== this.#config) {
      this.#config = config
      this.#users = new UserDatabases(config)
      this.#known = knownPasswordsOf(config)
      this.#tokens = new Tokens(config.auth)
      this.#salts = saltsOf(config)
      this.#trusted = new Networks(config.login.trusted_networks)
    }
    this.#lookNow()
  }

  /** Gives the answers, and begins the checks, whose time has come. */
  release(): void {
    this.#releaseAt = Number.POSITIVE_INFINITY
    this.#delayed.release(this.#context.clock.monotonic())
    this.#setTimer()
  }

  sweep(): void {
    this.#isSweeping = false
    this.#exchanges.expire(this.#context.clock.monotonic())
    if (this.#exchanges.size > 0) this.#sweepLater()
  }

  terminate(): void {
    // Nobody is left without an answer, and a guess that waits learns nothing new by it.
    this.#delayed.releaseAll()
  }

  // --- Passwords

  #attempt({ user, authorization }: Identity, asker: Asker, reply: Attempt['reply']): Attempt {
    const askedAt = this.#context.clock.monotonic()
    return { name: user, authorization, asker, askedAt, credentials: undefined, reply }
  }

  #verify(attempt: Attempt, password: string): void {
    if (this.#isBanned(attempt)) {
      this.#refuse(attempt, 'banned')
      return
    }
    const candidates = this.#candidates(attempt.name)
    if (candidates.length === 0 && !this.#users.isKnown) this.#postpone(attempt)
    else this.#tryNext(attempt, password, candidates)
  }

  /** Tries the password on the first of the users of this name, then on the others; on nobody's where there is none. */
  #tryNext(attempt: Attempt, password: string, [user, ...others]: readonly Candidate[]): void {
    const { name } = attempt
    const decoy = user === undefined ? this.#users.decoy : undefined
    const stored = user === undefined ? decoy?.password : user.password
    const failed = (reason: string) => {
      if (others.length > 0) this.#tryNext(attempt, password, others)
      // The password may have been changed just now: then look at the databases as they are.
      else if (user !== undefined && this.#lookNow()) this.#verify(attempt, password)
      else if (this.#users.isKnown) this.#refuse(attempt, reason, password)
      else this.#postpone(attempt)
    }
    if (stored === undefined) {
      failed(user === undefined ? 'unknown user' : 'no usable password')
      return
    }
    const decide = (fits: boolean) => {
      if (fits && user !== undefined) this.#accept(attempt, user)
      else failed(user === undefined ? 'unknown user' : 'wrong password')
    }
    if (!stored.isSlow) {
      decide(stored.verify(password) === true)
      return
    }
    const field = user?.field ?? decoy?.field ?? ''
    const digest = this.#known.digest(name.toLowerCase(), password, field)
    const known = this.#known.find(digest, this.#context.clock.monotonic())
    if (known !== undefined) {
      decide(known && user !== undefined)
      return
    }
    const isTaken = this.#checks.add(
      digest,
      async () => await (stored.blocks ? this.#checkElsewhere(field, password) : stored.verify(password)),
      (fits) => {
        if (fits === undefined) this.#postpone(attempt)
        else {
          this.#known.add(digest, fits, this.#context.clock.monotonic())
          decide(fits)
        }
      },
    )
    if (isTaken) return
    const { waiting } = this.#checks
    this.#context.log.warn({ event: 'auth.overloaded', waiting }, 'too many logins at once')
    this.#postpone(attempt)
  }

  // --- SASL

  #step(number: number, open: OpenExchange, response: Uint8Array | null, answer: Deferred<SaslReply>): void {
    const step = open.exchange.next(response === null ? undefined : Buffer.from(response))
    if (!(step instanceof Promise)) {
      this.#took(step, number, open, answer)
      return
    }
    step.then(
      this.#context.bind((result: SaslStep) => this.#took(result, number, open, answer)),
      this.#context.bind((error: Error) => {
        const facts = { event: 'auth.error', mechanism: open.mechanism, error: error.message }
        this.#context.log.error(facts, 'login could not be checked')
        answer.resolve({ kind: 'failure', reason: 'internal', user: '' })
      }),
    )
  }

  #took(step: SaslStep, number: number, open: OpenExchange, answer: Deferred<SaslReply>): void {
    const { asker, mechanism } = open
    if (step.kind === 'challenge') {
      this.#exchanges.put(number, open)
      this.#sweepLater()
      answer.resolve({ kind: 'challenge', exchange: number, data: step.data })
      return
    }
    const user = step.kind === 'failure' ? step.user : step.identity.user
    const identity = step.kind === 'failure' ? { user, authorization: '' } : this.#whom(step.identity, open)
    const attempt = this.#attempt(identity, asker, (result) =>
      answer.resolve(
        result.ok
          ? { kind: 'success', account: result.account }
          : { kind: 'failure', reason: result.reason, user: user.slice(0, maxNameLength) },
      ),
    )
    switch (step.kind) {
      case 'password':
        this.#verify({ ...attempt, credentials: `${user}\0${step.password}` }, step.password)
        return
      case 'success':
        this.#accept(attempt)
        return
      case 'failure':
        if (step.reason === 'credentials') {
          this.#refuse(attempt, step.detail)
          return
        }
        if (step.reason === 'internal') {
          const facts = { event: 'auth.error', mechanism, user, ...asker, error: step.detail }
          this.#context.log.error(facts, 'login could not be checked')
        }
        answer.resolve({ kind: 'failure', reason: step.reason, user: user.slice(0, maxNameLength) })
    }
  }

  /** Who an exchange has shown the client to be, and as whom it logs in. */
  #whom(identity: Identity, { certificateName }: OpenExchange): Identity {
    const { auth, tls } = this.#config
    if (tls.client_cert.username && certificateName !== '') return { ...identity, user: certificateName }
    return identity.authorization === '' ? splitMaster(identity.user, auth.master_separator) : identity
  }

  #saslHost({ bindings, certificateName }: SaslFacts): SaslHost {
    const { auth, hostname } = this.#config
    const known = Object.entries(bindings).map(([name, data]) => [name, Buffer.from(data)] as const)
    return {
      hostname,
      isName: (user) =>
        Object.values(splitMaster(user, auth.master_separator)).every(
          (name) => name === '' || loginName(name, auth) !== undefined,
        ),
      secretOf: (user) => this.#secretOf(user),
      saltFor: (user) => this.#salts.for(this.#loginName(user) ?? user),
      bindings: new Map(known),
      certificateName,
      offersBinding: known.length > 0 && auth.mechanisms.some((name) => needsBinding(name.toUpperCase())),
      checkToken: (token) => this.#tokens.check(token),
      tokenHints: { scope: auth.oauth2_scope, openidConfiguration: auth.oauth2_openid_configuration_url },
      nonce: () => randomBytes(18).toString('base64url'),
    }
  }

  #secretOf(name: string): Secret | undefined {
    return this.#find(name)?.password?.secret
  }

  // --- Users

  #loginName(name: string): string | undefined {
    return name.length > maxNameLength ? undefined : loginName(name, this.#config.auth)
  }

  #candidates(written: string): readonly Candidate[] {
    const name = this.#loginName(written)
    if (name === undefined) return []
    this.#refresh()
    const found = this.#users.candidates(name)
    return found.length > 0 || !this.#lookNow() ? found : this.#users.candidates(name)
  }

  #find(written: string): Candidate | undefined {
    return this.#candidates(written)[0]
  }

  #accountOf(address: string): Account | 'invalid' | undefined {
    if (address.length > maxNameLength) return undefined
    for (const name of addressCandidates(address, this.#config.auth.recipient_delimiter)) {
      const account = this.#users.recipient(name)
      if (account !== undefined) return account
    }
    // RFC 5321 section 4.5.1: mail for the postmaster is taken, by whomever.
    if (!/^postmaster(@|$)/i.test(address)) return undefined
    const { postmaster } = this.#config.auth
    return postmaster === '' ? this.#users.accounts[0] : this.#users.recipient(postmaster)
  }

  // --- Answers

  /** The client is who it says; may it log in? */
  #accept(attempt: Attempt, user: Candidate | undefined = this.#find(attempt.name)): void {
    const { name, authorization, asker, reply } = attempt
    const { remote } = asker
    const isOther = authorization !== '' && this.#loginName(authorization) !== this.#loginName(name)
    const wanted = isOther ? this.#find(authorization) : user
    if (this.#isBanned(attempt)) this.#refuse(attempt, 'banned')
    else if (user === undefined || wanted === undefined) this.#refuse(attempt, 'unknown user')
    else if (isOther && !user.isMaster) this.#refuse(attempt, 'may not log in for others')
    else if (user.isDisabled || wanted.isDisabled) this.#refuse(attempt, 'disabled')
    else if (!isAllowedFrom(remote, user.allowedNetworks)) this.#refuse(attempt, 'not from there')
    else if (wanted.account === undefined) {
      const facts = { event: 'auth.error', user: name, error: 'no mailbox, or an id that users may not have' }
      this.#context.log.error(
        facts,
        'user without a place (see auth.userdb, auth.valid_uids, auth.valid_gids)',
      )
      this.#postpone(attempt)
    } else {
      this.#penalties.succeeded(remote)
      reply({ ok: true, account: wanted.account })
    }
  }

  #isBanned({ asker }: Attempt): boolean {
    return this.#bans.has(asker.remote, this.#context.clock.monotonic(), this.#config.auth)
  }

  /** `password`: the one that was tried, where it was sent. */
  #refuse({ name, asker, askedAt, credentials, reply }: Attempt, reason: string, password?: string): void {
    const { auth_verbose, auth_verbose_passwords } = this.#config.log
    const { remote } = asker
    if (auth_verbose) {
      const shown = shownPassword(password, auth_verbose_passwords)
      const facts = { event: 'auth.failed', user: name.slice(0, maxNameLength), ...asker, reason }
      this.#context.log.info({ ...facts, ...(shown !== undefined && { password: shown }) }, 'login refused')
    }
    const now = this.#context.clock.monotonic()
    const { auth } = this.#config
    if (!this.#trusted.has(remote)) {
      if (auth.penalty.enabled) this.#penalties.failed(remote, credentials, now, auth.penalty.expire)
      if (this.#bans.failed(remote, credentials, now, auth)) {
        const facts = { event: 'auth.banned', ...asker, forSeconds: auth.ban_time / 1000 }
        this.#context.log.warn(facts, 'too many wrong logins from there')
      }
    }
    const isUndelayed = this.#find(name)?.isUndelayed === true
    this.#at(isUndelayed ? askedAt : askedAt + auth.failure_delay, () => reply(refused))
  }

  /** It cannot be checked now. */
  #postpone({ askedAt, reply }: Attempt): void {
    const delay = this.#config.auth.internal_failure_delay
    this.#at(askedAt + delay * (1 + Math.random() / 2), () => reply(notNow))
  }

  /** Begins an attempt when the address has waited long enough. */
  #whenAllowed({ remote }: Asker, begin: () => void): void {
    const now = this.#context.clock.monotonic()
    this.#at(now + this.#penalties.wait(remote, now, this.#config.auth.penalty.max), begin)
  }

  #at(due: number, run: () => void): void {
    if (due <= this.#context.clock.monotonic()) {
      run()
      return
    }
    this.#delayed.add(due, run)
    this.#setTimer()
  }

  #setTimer(): void {
    const due = this.#delayed.nextDue
    if (due === undefined || due >= this.#releaseAt) return
    if (this.#releaseAt !== Number.POSITIVE_INFINITY) this.#context.cancelTimer(this.#timer)
    this.#releaseAt = due
    const delayMs = Math.max(1, Math.ceil(due - this.#context.clock.monotonic()))
    this.#timer = this.#context.sendAfter(delayMs, 'release')
  }

  #sweepLater(): void {
    if (this.#isSweeping) return
    this.#isSweeping = true
    this.#context.sendAfter(sweepMs, 'sweep')
  }

  // --- The databases

  #refresh(): void {
    const now = this.#context.clock.monotonic()
    if (now - this.#lookedAt >= lookAgainMs) this.#lookNow()
  }

  /** Whether the file was read anew. Before a refusal it is always looked at: a user made a moment ago is let in. */
  #lookNow(): boolean {
    this.#lookedAt = this.#context.clock.monotonic()
    const { log } = this.#context
    let isNew = false
    for (const { name: path, found } of this.#users.refresh()) {
      if (found.kind === 'failed')
        log.error({ event: 'auth.passwd_file', path, problem: found.problem }, 'passwd-file')
      if (found.kind !== 'read') continue
      log.debug({ event: 'auth.users', path, users: found.users }, 'users read')
      for (const problem of found.problems)
        log.warn({ event: 'auth.passwd_file', path, problem }, 'passwd-file')
      isNew = true
    }
    return isNew
  }
}

const knownPasswordsOf = (config: Config): KnownPasswords =>
  new KnownPasswords({
    maxEntries: Math.floor(config.auth.cache.size / knownPasswordOctets),
    ttlMs: config.auth.cache.ttl,
    negativeTtlMs: config.auth.cache.negative_ttl,
  })

const saltsOf = (config: Config): Salts => new Salts(join(config.data_dir, 'auth-secret'))

/** As `log.auth_verbose_passwords` wants it: `sha1` or `plain`, cut off after `:n` characters. */
function shownPassword(password: string | undefined, how: string): string | undefined {
  const [kind, length] = how.split(':')
  if (password === undefined || kind === 'no') return undefined
  const shown = kind === 'sha1' ? createHash('sha1').update(password).digest('hex') : password
  return length === undefined ? shown : shown.slice(0, Number(length))
}

const isAllowedFrom = (remote: string, networks: readonly string[] | undefined): boolean =>
  networks === undefined || new Networks(networks).has(remote)

/** Registered as `auth`; one for the whole service. */
export const authActor = actor<AuthMessages, AuthArgs | undefined>({
  name: 'auth',
  module: import.meta.url,
  init(context, args) {
    const config = context.setting<Config>('config')
    if (config === undefined) throw new PasswdFileError('there is no configuration')
    return new Auth(context, config, args)
  },
})

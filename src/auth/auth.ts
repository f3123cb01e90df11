/**
 * Answers who may log in and who receives mail. Owns what is known of the passwd-file; never logs a password.
 *
 * A check of a slow hash runs on libuv's threads while the actor goes on; few run at once, because each takes
 * memory, and a bounded number waits. A refusal is answered `auth.failure_delay` after it was asked, whatever
 * its reason and its cost, so neither the answer nor its time tells whether there is such a user.
 */
import { type ActorContext, actor, type Contract, Deferred, type HandlerResult } from '../actors/index.ts'
import type { Config } from '../config/settings.ts'
import type { Account, AuthContract, VerifyResult } from './contract.ts'
import { PasswdFileError } from './errors.ts'
import { KnownPasswords } from './known-passwords.ts'
import { addressCandidates, type User, Users } from './users.ts'

/** The passwd-file is looked at no more often than this. */
const lookAgainMs = 1_000
/** Slow checks at once: four times 19 MiB, and four of libuv's threads at most. */
const maxChecks = 4
/** Checks that wait for their turn; beyond it the answer is "not now". */
const maxWaitingChecks = 1_000
/** Refusals that wait for their time; beyond it the oldest is answered early. */
const maxRefusals = 10_000
/** Longest name that is looked for or logged. */
const maxNameLength = 512

type AuthMessages = AuthContract & Contract<{ release(): void }>

interface Refusal {
  readonly deferred: Deferred<VerifyResult>
  readonly due: number
}

interface Check {
  readonly run: () => Promise<boolean>
  readonly done: (fits: boolean | undefined) => void
}

const refused: VerifyResult = { ok: false, reason: 'credentials' }
const notNow: VerifyResult = { ok: false, reason: 'internal' }

class Auth {
  readonly #context: ActorContext<AuthMessages>
  #config: Config
  #users: Users
  #known: KnownPasswords
  #lookedAt = Number.NEGATIVE_INFINITY
  #refusals: Refusal[] = []
  #isTimerSet = false
  #running = 0
  readonly #waiting: Check[] = []
  /** Checks under way by digest, so that ten connections of one client cost one check. */
  readonly #underWay = new Map<string, ((fits: boolean | undefined) => void)[]>()

  constructor(context: ActorContext<AuthMessages>, config: Config) {
    this.#context = context
    this.#config = config
    this.#users = usersOf(config)
    this.#known = knownPasswordsOf(config)
    this.#refresh()
  }

  verify(name: string, password: string, remoteAddress: string): HandlerResult<VerifyResult> {
    const now = this.#context.clock.monotonic()
    const user = this.#find(name)
    if (!this.#users.isKnown) return notNow
    const stored = user === undefined ? this.#users.decoy : user.password
    if (stored === undefined) {
      const reason = user === undefined ? 'unknown user' : 'no usable password'
      return this.#refuse(name, remoteAddress, reason, now)
    }
    if (!stored.isSlow) {
      const fits = stored.verify(password)
      if (fits === true && user !== undefined) return { ok: true, account: user.account }
      // The password may have been changed just now: then look at the file as it is.
      if (user !== undefined && this.#lookNow()) return this.verify(name, password, remoteAddress)
      return this.#refuse(name, remoteAddress, reasonFor(user), now)
    }
    const digest = this.#known.digest(name.toLowerCase(), password)
    if (user !== undefined && this.#known.has(user.account.user, digest, user.field, now)) {
      return { ok: true, account: user.account }
    }
    const reply = new Deferred<VerifyResult>()
    const isTaken = this.#check(
      digest.toString('base64'),
      async () => await stored.verify(password),
      (fits) => {
        if (fits === undefined) reply.resolve(notNow)
        else if (fits && user !== undefined) {
          this.#known.add(user.account.user, digest, user.field, this.#context.clock.monotonic())
          reply.resolve({ ok: true, account: user.account })
        } else if (user !== undefined && this.#lookNow()) {
          this.#passOn(this.verify(name, password, remoteAddress), reply)
        } else this.#refuse(name, remoteAddress, reasonFor(user), now, reply)
      },
    )
    if (isTaken) return reply
    this.#context.log.warn(
      { event: 'auth.overloaded', waiting: this.#waiting.length },
      'too many logins at once',
    )
    return notNow
  }

  account(address: string): HandlerResult<Account | null> {
    this.#refresh()
    const account = this.#accountOf(address) ?? (this.#lookNow() ? this.#accountOf(address) : null)
    if (account === null && !this.#users.isKnown) {
      const unknown = new Deferred<Account | null>()
      unknown.reject(new PasswdFileError('the users are not known: the passwd-file cannot be read'))
      return unknown
    }
    return account
  }

  reload(): void {
    const config = this.#context.setting<Config>('config') ?? this.#config
    if (config !== this.#config) {
      this.#config = config
      this.#users = usersOf(config)
      this.#known = knownPasswordsOf(config)
    }
    this.#lookNow()
  }

  #find(name: string): User | undefined {
    if (name.length > maxNameLength) return undefined
    this.#refresh()
    return this.#users.find(name) ?? (this.#lookNow() ? this.#users.find(name) : undefined)
  }

  #accountOf(address: string): Account | null {
    if (address.length > maxNameLength) return null
    for (const name of addressCandidates(address, this.#config.auth.recipient_delimiter)) {
      const user = this.#users.find(name)
      if (user !== undefined) return user.account
    }
    // RFC 5321 section 4.5.1: mail for the postmaster is taken, by whomever.
    if (/^postmaster(@|$)/i.test(address)) {
      const { postmaster } = this.#config.auth
      return (postmaster === '' ? this.#users.first : this.#users.find(postmaster))?.account ?? null
    }
    return null
  }

  #passOn(result: HandlerResult<VerifyResult>, reply: Deferred<VerifyResult>): void {
    if (result instanceof Deferred) result.connect((_error, value) => reply.resolve(value ?? notNow))
    else void Promise.resolve(result).then(this.#context.bind((value: VerifyResult) => reply.resolve(value)))
  }

  /** Answers the refusals whose time has come. */
  release(): void {
    this.#isTimerSet = false
    const now = this.#context.clock.monotonic()
    const count = this.#refusals.findIndex(({ due }) => due > now)
    for (const { deferred } of this.#refusals.splice(0, count < 0 ? this.#refusals.length : count)) {
      deferred.resolve(refused)
    }
    this.#setTimer(now)
  }

  terminate(): void {
    // Nobody is left without an answer, and a guess that waits learns nothing new by it.
    for (const { deferred } of this.#refusals.splice(0)) deferred.resolve(refused)
  }

  #refuse(
    name: string,
    remote: string,
    reason: string,
    askedAt: number,
    deferred = new Deferred<VerifyResult>(),
  ): Deferred<VerifyResult> {
    const user = name.slice(0, maxNameLength)
    this.#context.log.info({ event: 'auth.failed', user, remote, reason }, 'login refused')
    const now = this.#context.clock.monotonic()
    const due = askedAt + this.#config.auth.failure_delay
    if (due <= now) {
      deferred.resolve(refused)
      return deferred
    }
    // Mostly in order already: only a slow check comes late, and then by little.
    let at = this.#refusals.length
    while (at > 0 && (this.#refusals[at - 1]?.due ?? 0) > due) at--
    this.#refusals.splice(at, 0, { deferred, due })
    if (this.#refusals.length > maxRefusals) this.#refusals.shift()?.deferred.resolve(refused)
    this.#setTimer(now)
    return deferred
  }

  #setTimer(now: number): void {
    const [first] = this.#refusals
    if (this.#isTimerSet || first === undefined) return
    this.#isTimerSet = true
    this.#context.sendAfter(Math.max(1, Math.ceil(first.due - now)), 'release')
  }

  /** Runs a slow check when there is room for it; false: too many wait. */
  #check(key: string, run: Check['run'], done: Check['done']): boolean {
    const others = this.#underWay.get(key)
    if (others !== undefined) {
      others.push(done)
      return true
    }
    if (this.#waiting.length >= maxWaitingChecks) return false
    const askers = [done]
    this.#underWay.set(key, askers)
    const check: Check = {
      run,
      done: (fits) => {
        this.#underWay.delete(key)
        for (const asker of askers) asker(fits)
      },
    }
    if (this.#running < maxChecks) this.#start(check)
    else this.#waiting.push(check)
    return true
  }

  #start({ run, done }: Check): void {
    this.#running++
    const finished = this.#context.bind((fits: boolean | undefined) => {
      this.#running--
      done(fits)
      const next = this.#waiting.shift()
      if (next !== undefined) this.#start(next)
    })
    run().then(
      (fits) => finished(fits),
      this.#context.bind((error: Error) => {
        this.#context.log.error(
          { event: 'auth.error', error: error.message },
          'password could not be checked',
        )
        finished(undefined)
      }),
    )
  }

  #refresh(): void {
    const now = this.#context.clock.monotonic()
    if (now - this.#lookedAt >= lookAgainMs) this.#lookNow()
  }

  /** Whether the file was read anew. Before a refusal it is always looked at: a user made a moment ago is let in. */
  #lookNow(): boolean {
    this.#lookedAt = this.#context.clock.monotonic()
    const found = this.#users.refresh()
    const { log } = this.#context
    const path = this.#config.auth.passwd_file
    if (found.kind === 'failed')
      log.error({ event: 'auth.passwd_file', path, problem: found.problem }, 'passwd-file')
    if (found.kind !== 'read') return false
    log.debug({ event: 'auth.users', path, users: found.users }, 'users read')
    for (const problem of found.problems)
      log.warn({ event: 'auth.passwd_file', path, problem }, 'passwd-file')
    return true
  }
}

const usersOf = (config: Config): Users =>
  new Users({ path: config.auth.passwd_file, dataDir: config.data_dir, mailPath: config.mail.path })

const knownPasswordsOf = (config: Config): KnownPasswords =>
  new KnownPasswords({ maxEntries: config.auth.cache_size, ttlMs: config.auth.cache_ttl })

function reasonFor(user: User | undefined): string {
  return user === undefined ? 'unknown user' : 'wrong password'
}

/** Registered as `auth`; one for the whole service. */
export const authActor = actor<AuthMessages>({
  name: 'auth',
  module: import.meta.url,
  init(context) {
    const config = context.setting<Config>('config')
    if (config === undefined) throw new PasswdFileError('there is no configuration')
    return new Auth(context, config)
  },
})

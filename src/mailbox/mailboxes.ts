/**
 * Finds the actor of a mailbox or starts it, and passes requests on. It never waits for a mailbox itself, so one
 * that is slow or locked holds up nobody else's.
 */
import {
  type ActorContext,
  type ActorRef,
  type AnyRef,
  actor,
  Deferred,
  type Down,
  MailactorsError,
  type StartChildResult,
  type SupervisorContract,
} from '../actors/index.ts'
import type {
  LocateRequest,
  LocateResult,
  MailboxContract,
  MailboxesContract,
  MailboxRefusal,
  OpenOptions,
  OpenResult,
  PagesResult,
  RebuildResult,
  UpdateRequest,
  UpdateResult,
} from './contract.ts'
import { mailboxActor } from './mailbox-actor.ts'
import { placeOf } from './place.ts'

/** Longer than the wait for another program's lock (122 s). */
const requestTimeoutMs = 150_000

/**
 * New mail gets its UID after so long, together with what came to the same mailbox meanwhile: a delivery does not wait
 * for it. So many mailboxes look at once, and no more than the limit wait for their turn: with more deliveries than
 * that, it is left to the next session, and the storage thread to those that are there.
 */
const freshMs = 100
const freshTurn = 4
const freshLimit = 400

interface Entry {
  readonly started: Promise<ActorRef<MailboxContract>>
  ref: ActorRef<MailboxContract> | undefined
}

class Mailboxes {
  readonly #context: ActorContext<MailboxesContract>
  readonly #entries = new Map<string, Entry>()
  /** Which mailbox a monitored actor is. */
  readonly #paths = new Map<number, string>()
  #started = 0
  /** Mailboxes that got mail and have not looked at it. */
  readonly #fresh = new Set<string>()

  constructor(context: ActorContext<MailboxesContract>) {
    this.#context = context
  }

  open(user: string, maildir: string, options: OpenOptions): Deferred<OpenResult> {
    return this.#pass<OpenResult>(
      maildir,
      (mailbox) => mailbox.askWith({ timeoutMs: requestTimeoutMs }, 'open', user, options),
      refusal,
    )
  }

  update(maildir: string, request: UpdateRequest): Deferred<UpdateResult> {
    return this.#pass<UpdateResult>(
      maildir,
      (mailbox) => mailbox.askWith({ timeoutMs: requestTimeoutMs }, 'update', request),
      refusal,
    )
  }

  locate(maildir: string, request: LocateRequest): Deferred<LocateResult> {
    return this.#pass<LocateResult>(
      maildir,
      (mailbox) => mailbox.askWith({ timeoutMs: requestTimeoutMs }, 'locate', request),
      refusal,
    )
  }

  pages(maildir: string, generation: number, from: number, withNames: boolean): Deferred<PagesResult> {
    return this.#pass<PagesResult>(
      maildir,
      (mailbox) => mailbox.askWith({ timeoutMs: requestTimeoutMs }, 'pages', generation, from, withNames),
      () => null,
    )
  }

  left(maildir: string, home: string): void {
    this.#find(maildir).then(
      (mailbox) => mailbox.tell('left', home),
      () => {
        // The next session that ends asks again.
      },
    )
  }

  rebuild(maildir: string): Deferred<RebuildResult> {
    return this.#pass<RebuildResult>(
      maildir,
      (mailbox) => mailbox.askWith({ timeoutMs: requestTimeoutMs }, 'rebuild'),
      refusal,
    )
  }

  arrived(maildir: string): void {
    if (this.#fresh.size >= freshLimit) return
    if (this.#fresh.size === 0) this.#context.sendAfter(freshMs, 'takeIn')
    this.#fresh.add(maildir)
  }

  /** To itself: some mailboxes look at what was delivered. */
  takeIn(): void {
    for (const maildir of [...this.#fresh].slice(0, freshTurn)) {
      this.#fresh.delete(maildir)
      this.#find(maildir).then(
        (mailbox) => mailbox.tell('takeIn'),
        () => {
          // The next session looks.
        },
      )
    }
    if (this.#fresh.size > 0) this.#context.sendAfter(freshMs, 'takeIn')
  }

  list(): Deferred<readonly { maildir: string; mails: number }[]> {
    const done = new Deferred<readonly { maildir: string; mails: number }[]>()
    const running = [...this.#entries].filter(([, entry]) => entry.ref !== undefined)
    const counts = running.map(async ([name, entry]) => {
      const mails = await entry.ref!.ask('count').catch(() => 0)
      return { maildir: placeOf(name).maildir, mails }
    })
    Promise.all(counts).then((rows) => done.resolve(rows))
    return done
  }

  handleDown({ ref }: Down): void {
    const maildir = this.#paths.get(ref.id)
    this.#paths.delete(ref.id)
    if (maildir !== undefined && this.#entries.get(maildir)?.ref?.id === ref.id) this.#entries.delete(maildir)
  }

  /**
   * Asks the mailbox. If it was just leaving (idle) when the request came, nothing was done and the request goes
   * to a new one; a request that it may have begun is not repeated.
   */
  #pass<R>(
    maildir: string,
    ask: (mailbox: ActorRef<MailboxContract>) => Promise<R>,
    failed: (error: MailactorsError) => R,
  ): Deferred<R> {
    const answer = new Deferred<R>()
    const attempt = (again: boolean): void => {
      const found = this.#find(maildir)
      const asked = this.#entries.get(maildir)
      found.then(ask).then(
        (result) => answer.resolve(result),
        (error: unknown) => {
          if (!(error instanceof MailactorsError)) answer.reject(error)
          else if (again && wasLeaving(error)) {
            // That it has ended may not have reached us yet: asked again, it would be the same one.
            if (this.#entries.get(maildir) === asked) this.#entries.delete(maildir)
            attempt(false)
          } else answer.resolve(failed(error))
        },
      )
    }
    attempt(true)
    return answer
  }

  #find(maildir: string): Promise<ActorRef<MailboxContract>> {
    const known = this.#entries.get(maildir)
    if (known !== undefined) return known.started
    const supervisor = this.#context.whereis<SupervisorContract>('mailbox-supervisor')
    if (supervisor === undefined) return Promise.reject(new MailboxStartError('no mailbox supervisor'))
    const id = `${maildir} ${++this.#started}`
    const result = supervisor.ask('startChild', {
      id,
      actor: mailboxActor,
      args: maildir,
      restart: 'temporary',
      // Its last rewrite of the uid list.
      shutdown: 10_000,
    })
    const entry: Entry = {
      ref: undefined,
      started: result.then(
        (outcome: StartChildResult) => {
          if (!outcome.ok) {
            this.#entries.delete(maildir)
            throw new MailboxStartError(outcome.reason?.message ?? outcome.error, { path: maildir })
          }
          const ref = outcome.ref as AnyRef as ActorRef<MailboxContract>
          entry.ref = ref
          this.#paths.set(ref.id, maildir)
          this.#context.monitor(ref)
          return ref
        },
        (error: unknown) => {
          this.#entries.delete(maildir)
          throw error
        },
      ),
    }
    this.#entries.set(maildir, entry)
    return entry.started
  }
}

/** The actor of a mailbox could not be started. */
class MailboxStartError extends MailactorsError {
  readonly code = 'MA_MAILBOX_START'
}

/** The mailbox ended by itself, or was gone: it had not begun with the request. */
function wasLeaving(error: MailactorsError): boolean {
  if (error.code === 'MA_NO_ACTOR') return true
  const { exitReason } = error as { exitReason?: { kind: string } }
  return error.code === 'MA_DOWN' && exitReason?.kind === 'normal'
}

const refusal = (error: MailactorsError): MailboxRefusal => ({
  ok: false,
  temporary: true,
  reason: error.message,
})

export const mailboxesActor = actor<MailboxesContract>({
  name: 'mailboxes',
  module: import.meta.url,
  init: (context) => new Mailboxes(context),
})

/**
 * One POP3 session of a mailbox at a time (`pop3.lock_session`, RFC 1939 section 4). Within this service the accounting
 * actor says who has it; other programs see `dovecot-pop3-session.lock` in the Maildir, or in `mail.index_path`, as Dovecot writes it.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { AccountingContract } from '../../accounting/contract.ts'
import type { ActorContext, AnyContract } from '../../actors/index.ts'
import { type Dotlock, takeDotlock } from '../../mailbox/dotlock.ts'

export interface SessionLockOptions {
  readonly maildir: string
  /** Where the file is. */
  readonly folder: string
  readonly waitMs: number
  readonly staleMs: number
  /** See `mail.dotlock_excl`. */
  readonly exclusive: boolean
}

/** A lock file is touched so often; much less than the time after which others call it stale. */
export const touchMs = 60_000

export class SessionLock<C extends AnyContract> {
  readonly #context: ActorContext<C>
  readonly #maildir: string
  readonly #file: Dotlock

  private constructor(context: ActorContext<C>, maildir: string, file: Dotlock) {
    this.#context = context
    this.#maildir = maildir
    this.#file = file
  }

  /**
   * Waits for the lock; undefined: somebody else kept it for `waitMs`.
   * @throws the file system's error when the lock file cannot be made.
   */
  static async take<C extends AnyContract>(
    context: ActorContext<C>,
    { maildir, folder, waitMs, staleMs, exclusive }: SessionLockOptions,
  ): Promise<SessionLock<C> | undefined> {
    const accounting = context.whereis<AccountingContract>('accounting')
    if (accounting === undefined) throw new Error('the accounting is not running')
    const deadline = performance.now() + waitMs
    const timeoutMs = waitMs + 5_000
    if (!(await accounting.askWith({ timeoutMs }, 'claim', context.self, maildir, waitMs))) return undefined
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 })
      const file = await takeDotlock(join(folder, 'dovecot-pop3-session.lock'), {
        pid: process.pid,
        waitMs: Math.max(0, deadline - performance.now()),
        staleMs,
        exclusive,
      })
      if (file !== undefined) return new SessionLock(context, maildir, file)
      accounting.tell('release', context.self, maildir)
      return undefined
    } catch (error) {
      accounting.tell('release', context.self, maildir)
      throw error
    }
  }

  /** Shows others that the lock is in use; false: it is not ours any more. */
  touch(): boolean {
    return this.#file.touch()
  }

  release(): void {
    this.#file.release()
    this.#context
      .whereis<AccountingContract>('accounting')
      ?.tell('release', this.#context.self, this.#maildir)
  }
}

/**
 * Group commit: collects new mails and results, and writes all of them as one transaction with one flush. New
 * mails are refused when the disk does not take them; results are kept and written again later, because what
 * happened cannot be undone.
 */
import { Deferred } from '../actors/index.ts'
import type { Attempt } from './attempt.ts'
import type { EnqueueResult, NewMail } from './contract.ts'
import { storeFailure } from './errors.ts'
import { type WriteContext, type Written, writeAttempts } from './results.ts'

/** Work of one commit at most: bounds how long the thread is busy and how long the first one waits. */
const mailsPerCommit = 1_000
const resultsPerCommit = 2_000

/** A mail that waits for the commit. */
export interface PendingMail {
  readonly mail: NewMail
  /** Its content file, below `content/`. */
  readonly file: string | undefined
  readonly answer: Deferred<EnqueueResult>
}

export interface StoredPending extends PendingMail {
  readonly id: number
  /** What becomes of it was written with it: it does not come into memory. */
  readonly isSettled: boolean
}

export interface CommitContext extends WriteContext {
  /** Results of a new mail that is not to be delivered now, for all its recipients; empty: it takes its turn. */
  settleNew(mail: NewMail, id: number, file: string | undefined): readonly Attempt[]
}

export type CommitOutcome =
  | { readonly ok: true; readonly mails: readonly StoredPending[]; readonly written: Written }
  /** `again`: results wait for another try. */
  | { readonly ok: false; readonly error: unknown; readonly failure: 'full' | 'io'; readonly again: boolean }

export class Committer {
  #mails: PendingMail[] = []
  #attempts: Attempt[] = []

  get isEmpty(): boolean {
    return this.#mails.length === 0 && this.#attempts.length === 0
  }

  get pendingMails(): number {
    return this.#mails.length
  }

  addMail(mail: NewMail, file: string | undefined): Deferred<EnqueueResult> {
    const answer = new Deferred<EnqueueResult>()
    this.#mails.push({ mail, file, answer })
    return answer
  }

  addAttempt(attempt: Attempt): void {
    this.#attempts.push(attempt)
  }

  /**
   * Writes what waits. Mails that were refused are answered here; those that are stored are answered by the
   * caller.
   * @throws what is neither a full disk nor an I/O error: a damaged database, or a mistake.
   */
  commit(context: CommitContext): CommitOutcome {
    const mails = this.#takeMails()
    const attempts = this.#takeAttempts()
    const stored: StoredPending[] = []
    try {
      const written = context.store.transaction(() => {
        const ofNew: Attempt[] = []
        for (const pending of mails) {
          const id = insert(pending, context)
          if (id === undefined) continue
          const settled = context.settleNew(pending.mail, id, pending.file)
          ofNew.push(...settled)
          stored.push({ ...pending, id, isSettled: settled.length > 0 })
        }
        return writeAttempts(ofNew.length === 0 ? attempts : [...attempts, ...ofNew], context)
      })
      return { ok: true, mails: stored, written }
    } catch (error) {
      const failure = storeFailure(error)
      this.#attempts = [...attempts, ...this.#attempts]
      if (failure !== 'full' && failure !== 'io') throw error
      for (const { answer } of mails) {
        answer.resolve(
          temporary(
            failure === 'full' ? 'not enough space for the mail queue' : 'the mail queue cannot be written',
          ),
        )
      }
      return { ok: false, error, failure, again: this.#attempts.length > 0 }
    }
  }

  #takeMails(): PendingMail[] {
    if (this.#mails.length <= mailsPerCommit) {
      const all = this.#mails
      this.#mails = []
      return all
    }
    return this.#mails.splice(0, mailsPerCommit)
  }

  #takeAttempts(): Attempt[] {
    let results = 0
    let count = 0
    while (count < this.#attempts.length && results < resultsPerCommit) {
      results += this.#attempts[count]!.recipients.length
      count += 1
    }
    if (count < this.#attempts.length) return this.#attempts.splice(0, count)
    const all = this.#attempts
    this.#attempts = []
    return all
  }
}

/** A refusal that may be tried again. */
export const temporary = (reason: string): EnqueueResult => ({
  status: 'refused',
  temporary: true,
  dsn: '4.3.1',
  reason,
})

function insert({ mail, file, answer }: PendingMail, context: WriteContext): number | undefined {
  try {
    return context.store.insert(mail, file)
  } catch (error) {
    if (storeFailure(error) !== 'duplicate') throw error
    answer.resolve({
      status: 'refused',
      temporary: true,
      dsn: '4.3.0',
      reason: 'a mail with this queue id is in the queue already',
    })
    return undefined
  }
}

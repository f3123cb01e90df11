/** Who may log in and who receives mail here. One actor, registered as `auth`, reads the passwd-file. */
import type { Contract } from '../actors/index.ts'

/** A local user and where the mail is. */
export interface Account {
  /** Name in the passwd-file. */
  readonly user: string
  /** Absolute path of the home, with `%` variables filled in. */
  readonly home: string
  /** Absolute path of the Maildir (INBOX). */
  readonly maildir: string
  readonly uid?: number
  readonly gid?: number
}

export type VerifyResult =
  | { readonly ok: true; readonly account: Account }
  /** `credentials`: unknown user or wrong password, never told apart. `internal`: could not be checked now. */
  | { readonly ok: false; readonly reason: 'credentials' | 'internal' }

export type AuthContract = Contract<{
  /** Checks a password. A refusal is answered after `auth.failure_delay`. Never logs the password. */
  verify(user: string, password: string, remoteAddress: string): VerifyResult
  /**
   * The account that gets mail for a local address (`local@domain` or a bare user name); null: no such user.
   * Looks for the whole address first, then for the local part; case does not matter.
   */
  account(address: string): Account | null
  /** Reads the passwd-file again. */
  reload(): void
}>

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
  /** Folder of its uid list, keywords and quota file; undefined: the Maildir. */
  readonly control?: string
  /** Folder of the lock file of its sessions; undefined: the Maildir. */
  readonly index?: string
  readonly uid?: number
  readonly gid?: number
  /** Limits of its own, in octets and mails; 0: none. Where one is not given, `quota.*` says it. */
  readonly quota?: { readonly octets?: number; readonly mails?: number }
}

export type VerifyResult =
  | { readonly ok: true; readonly account: Account }
  /** `credentials`: unknown user or wrong password, never told apart. `internal`: could not be checked now. */
  | { readonly ok: false; readonly reason: 'credentials' | 'internal' }

/** Who asks, for limits and log lines. */
export interface Asker {
  /** Address of the client. */
  readonly remote: string
  /** Id of the session. */
  readonly session: string
}

/** What an exchange has to know of the connection. */
export interface SaslFacts extends Asker {
  /** Channel bindings by name (`tls-exporter`, `tls-unique`); empty without TLS. */
  readonly bindings: { readonly [name: string]: Uint8Array }
  /** Common name of a client certificate that was verified; empty: there is none. */
  readonly certificateName: string
}

export type SaslReply =
  /** Octets for the client; its answer goes to `saslNext` with this number. */
  | { readonly kind: 'challenge'; readonly exchange: number; readonly data: Uint8Array }
  | { readonly kind: 'success'; readonly account: Account }
  /** `malformed`: not what this mechanism says. Otherwise as in `VerifyResult`. `user`: who it claimed to be, unchecked. */
  | {
      readonly kind: 'failure'
      readonly reason: 'credentials' | 'internal' | 'malformed'
      readonly user: string
    }

export type AuthContract = Contract<{
  /** Checks a password. A refusal is answered after `auth.failure_delay`. Never logs the password. */
  verify(user: string, password: string, asker: Asker): VerifyResult
  /**
   * Begins a SASL exchange. `initial` is the client's initial response, null without one. Exchanges are forgotten after two
   * and a half minutes, and when there are too many. Refusals are delayed as in `verify`.
   */
  saslStart(mechanism: string, initial: Uint8Array | null, facts: SaslFacts): SaslReply
  /** Goes on with the client's answer to a challenge. An exchange that is not there any more is `internal`. */
  saslNext(exchange: number, response: Uint8Array): SaslReply
  /** The client gave up, or is gone. */
  saslCancel(exchange: number): void
  /** Checks the digest of POP3's APOP (RFC 1939 section 7) against the stamp of the greeting. */
  verifyApop(user: string, stamp: string, digest: string, asker: Asker): VerifyResult
  /**
   * The account that gets mail for a local address (`local@domain` or a bare user name); null: no such user.
   * Looks for the whole address first, then for the local part; case does not matter.
   */
  account(address: string): Account | null
  /** Reads the passwd-file again. */
  reload(): void
}>

/** Settings of stored mail: where it is, how it is written, how much of it there may be. */
import { boolean, choice, duration, integer, list, type Settings, size, string } from '../config/schema.ts'

/** Table `[mail]`. */
export const mailSettings = {
  path: string({
    default: '%h/Maildir',
    doc: 'Where a user’s Maildir is: `%u` user, `%n` local part, `%d` domain, `%h` home. A user without a home has DATA_DIR/mail/%u.',
    check: (value) => (value === '' ? 'must not be empty' : undefined),
  }),
  control_path: string({
    default: '',
    doc: 'Where the files are that describe a user’s Maildir: `.INBOX/dovecot-uidlist` and `.INBOX/dovecot-keywords`, `dovecot-uidvalidity`, `maildirsize`, as Dovecot has it. The variables are those of `mail.path`. Empty: in the Maildir. Changing it without moving the files changes all UIDLs.',
  }),
  index_path: string({
    default: '',
    doc: 'Where a user’s `dovecot-pop3-session.lock` is (`pop3.lock_session`), so that a Dovecot with the same index path heeds it. The variables are those of `mail.path`. Empty: in the Maildir. Our own index is in the data directory, whatever this says.',
  }),
  local_domains: list({
    default: ['localhost'],
    doc: 'Domains whose mail is stored here. The hostname is always one of them.',
  }),
  save_crlf: boolean({
    default: false,
    doc: 'Store lines with CRLF as they came, instead of LF. RETR is then cheaper; some local programs expect LF.',
  }),
  fsync: choice(['optimized', 'always', 'never'], {
    default: 'optimized',
    doc: 'When stored mail is flushed: `optimized` before a delivery is acknowledged and before a UID is shown, `always` also for flags, `never` trusts the machine not to crash.',
  }),
  max_lock_timeout: duration({
    default: 0,
    min: 0,
    doc: 'Longest wait for a lock file of another program in the Maildir; 0 is the lock’s own limit (two minutes).',
  }),
  dotlock_excl: boolean({
    default: true,
    doc: 'Make lock files with O_EXCL. Without it they come into being by link(), as NFS before version 3 needs it.',
  }),
  autoexpunge: duration({
    default: 0,
    min: 0,
    doc: 'After a session of its user has ended, mails that were received longer ago than this are removed. 0: none.',
  }),
  autoexpunge_max_mails: integer({
    default: 0,
    min: 0,
    doc: 'After a session of its user has ended, a mailbox with more mails than this loses its oldest ones. 0: no limit.',
  }),
}

/** Table `[maildir]`. */
export const maildirSettings = {
  broken_filename_sizes: boolean({
    default: false,
    doc: 'Do not believe the `S=` size in file names (needed after tools that compress mails in place).',
  }),
  copy_with_hardlinks: boolean({
    default: true,
    doc: 'Mail that several users get in the same form is one file with a name in the Maildir of each, where their owner and file system are the same.',
  }),
  empty_new: boolean({
    default: false,
    doc: 'Move mails from `new/` to `cur/` even with `pop3.no_flag_updates`.',
  }),
  very_dirty_syncs: boolean({
    default: false,
    doc: 'Believe that no other program changes `cur/`: it is not read again after changes of our own. Mails that another program put there are seen late.',
  }),
  uidlist_lock_stale: duration({
    default: 120_000,
    min: 10_000,
    doc: 'A `dovecot-uidlist.lock` of another host that did not change for so long was left behind and is removed.',
  }),
  tmp_scan_interval: duration({
    default: 7 * 86_400_000,
    min: 0,
    doc: 'How often `tmp/` is searched for files that a crash left behind (older than 36 hours). 0: at each opening.',
  }),
}

/** Table `[mailbox]`. */
export const mailboxSettings = {
  idle_close: duration({
    default: 60_000,
    // Less, and it might be gone before the request comes for which it was started.
    min: 100,
    max: 86_400_000,
    doc: 'How long what is known of a mailbox stays in memory after its last session.',
  }),
  allow_readonly: boolean({
    default: false,
    doc: 'Serve a Maildir that cannot be written. Its UIDLs then last no longer than the service, so clients may download mail again.',
  }),
}

/** Table `[quota]`. */
export const quotaSettings = {
  storage_size: size({
    default: 0,
    min: 0,
    doc: 'Octets one user’s Maildir may hold, all folders together. 0: no limit. A user’s `userdb_quota_rule` or `userdb_quota_storage_size` in the passwd-file comes first.',
  }),
  message_count: integer({
    default: 0,
    min: 0,
    doc: 'Mails one user’s Maildir may hold. 0: no limit. A user’s `userdb_quota_rule` or `userdb_quota_message_count` comes first.',
  }),
  storage_grace: size({
    default: 10 * 1024 * 1024,
    min: 0,
    doc: 'The last mail may exceed `storage_size` by so much, so that a mailbox that is nearly full still takes it.',
  }),
  message: string({
    default: 'Quota exceeded (mailbox for user is full)',
    doc: 'What a sender is told when a mailbox is full.',
    check: (value) =>
      /^[\x20-\x7e]{1,400}$/.test(value) ? undefined : 'must be 1 to 400 printable ASCII characters',
  }),
  full_tempfail: boolean({
    default: false,
    doc: 'A full mailbox is a temporary failure: the sender tries again, instead of getting the mail back.',
  }),
}

/** What a mailbox needs of the configuration. */
export interface MailboxSettings {
  readonly mail: Settings<typeof mailSettings>
  readonly maildir: Settings<typeof maildirSettings>
  readonly mailbox: Settings<typeof mailboxSettings>
}

export type QuotaSettings = Settings<typeof quotaSettings>

/** Settings of stored mail: where it is and how it is written. */
import { boolean, choice, duration, list, type Settings, string } from '../config/schema.ts'

/** Table `[mail]`. */
export const mailSettings = {
  path: string({
    default: '%h/Maildir',
    doc: 'Where a user’s Maildir is: `%u` user, `%n` local part, `%d` domain, `%h` home. A user without a home has DATA_DIR/mail/%u.',
    check: (value) => (value === '' ? 'must not be empty' : undefined),
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
  broken_filename_sizes: boolean({
    default: false,
    doc: 'Do not believe the `S=` size in file names (needed after tools that compress mails in place).',
  }),
  tmp_scan_interval: duration({
    default: 7 * 86_400_000,
    min: 0,
    doc: 'How often `tmp/` is searched for files that a crash left behind (older than 36 hours). 0: at each opening.',
  }),
  idle_close: duration({
    default: 60_000,
    min: 0,
    max: 86_400_000,
    doc: 'How long what is known of a mailbox stays in memory after its last session.',
  }),
  allow_readonly: boolean({
    default: false,
    doc: 'Serve a Maildir that cannot be written. Its UIDLs then last no longer than the service, so clients may download mail again.',
  }),
}

export type MailSettings = Settings<typeof mailSettings>

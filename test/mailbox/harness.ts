/** A Maildir in a temporary directory, and mailboxes on it as their actor makes them. */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { onTestFinished } from 'vitest'
import type { Logger } from '../../src/actors/index.ts'
import { defaults } from '../../src/config/schema.ts'
import { mailboxSettings, maildirSettings, mailSettings } from '../../src/mailbox/config.ts'
import { createMaildir, deliver } from '../../src/mailbox/deliver.ts'
import { IndexStore } from '../../src/mailbox/index-store.ts'
import { Mailbox, type MailboxOptions } from '../../src/mailbox/mailbox.ts'
import type { MailboxIndex } from '../../src/mailbox/register.ts'

export { flags, identities, keys, look, names, sizes, uids } from './columns.ts'

export const m1 = 'From: a\nSubject: one\n\nhello\n'
export const m2 = 'Subject: two\n\n.\n..\n.x\nend\n'
export const m3 = 'Subject: three\n\nno newline at end'
export const guid = '0123456789abcdef0123456789abcdef'

/** Keeps what was logged as a warning or worse. */
export class Logged implements Logger {
  readonly lines: { readonly level: string; readonly event?: unknown; readonly [key: string]: unknown }[] = []
  trace(): void {}
  debug(): void {}
  info(): void {}
  warn(facts: unknown): void {
    this.lines.push({ level: 'warn', ...(facts as object) })
  }
  error(facts: unknown): void {
    this.lines.push({ level: 'error', ...(facts as object) })
  }
  fatal(facts: unknown): void {
    this.lines.push({ level: 'fatal', ...(facts as object) })
  }
  isLevelEnabled(): boolean {
    return true
  }
}

export type Overrides = Partial<Omit<MailboxOptions, 'settings' | 'maildir'>> & {
  readonly mail?: Partial<MailboxOptions['settings']['mail']>
  readonly maildir?: Partial<MailboxOptions['settings']['maildir']>
  readonly mailbox?: Partial<MailboxOptions['settings']['mailbox']>
}

export class Home {
  readonly root = mkdtempSync(join(tmpdir(), 'mailbox-'))
  readonly maildir = join(this.root, 'Maildir')
  readonly log = new Logged()
  #store = IndexStore.open(join(this.root, 'index.db'))

  /** One that goes with the test. */
  constructor() {
    onTestFinished(() => {
      this.#store.close()
      rmSync(this.root, { recursive: true, force: true })
    })
  }

  get store(): IndexStore {
    return this.#store
  }

  /** As a new process: the index is read from the disk again. `lost`: it was deleted; `copyOf`: it is that of another. */
  restart({ lost = false, copyOf }: { lost?: boolean; copyOf?: Home } = {}): void {
    this.#store.close()
    if (copyOf !== undefined) {
      copyOf.#store.close()
      for (const end of ['', '-wal', '-shm']) rmSync(join(this.root, `index.db${end}`), { force: true })
      cpSync(join(copyOf.root, 'index.db'), join(this.root, 'index.db'))
      copyOf.#store = IndexStore.open(join(copyOf.root, 'index.db'))
      const db = new DatabaseSync(join(this.root, 'index.db'))
      db.prepare('UPDATE mailbox SET maildir = ?').run(this.maildir)
      db.close()
    }
    if (lost)
      for (const end of ['', '-wal', '-shm']) rmSync(join(this.root, `index.db${end}`), { force: true })
    this.#store = IndexStore.open(join(this.root, 'index.db'))
  }

  get index(): MailboxIndex {
    return {
      load: async (path) => this.#store.load(path) ?? null,
      save: async (write) => this.#store.write([write]),
    }
  }

  /** On the Maildir of this home, unless another is given. */
  mailbox({ mail, maildir, mailbox, ...others }: Overrides = {}, directory = this.maildir): Mailbox {
    const settings = {
      mail: { ...defaults(mailSettings), ...mail },
      maildir: { ...defaults(maildirSettings), ...maildir },
      mailbox: { ...defaults(mailboxSettings), ...mailbox },
    }
    return new Mailbox({
      maildir: directory,
      hostname: 'h',
      index: this.index,
      log: this.log,
      ...others,
      settings,
    })
  }

  /** Fixture MB1 of the POP3 cases: three mails, one seen, one still in new/. */
  mb1(): this {
    this.write('cur/1700000001.M1P1.h:2,', m1)
    this.write('cur/1700000002.M2P1.h:2,S', m2)
    this.write('new/1700000003.M3P1.h', m3)
    return this.list('1 :1700000001.M1P1.h', '2 :1700000002.M2P1.h', '3 :1700000003.M3P1.h')
  }

  /** A file of the Maildir. */
  write(name: string, text: string | Uint8Array = m1): void {
    createMaildir(this.maildir)
    writeFileSync(join(this.maildir, name), text)
  }

  /** A uid list with these records. */
  list(...records: readonly string[]): this {
    this.write('dovecot-uidlist', `3 V1700000000 N4 G${guid}\n${records.join('\n')}\n`)
    return this
  }

  get uidList(): string {
    return readFileSync(join(this.maildir, 'dovecot-uidlist'), 'latin1')
  }

  path(name: string): string {
    return join(this.maildir, name)
  }

  files(folder: 'cur' | 'new' | 'tmp'): string[] {
    return readdirSync(join(this.maildir, folder)).sort()
  }

  send(text: string) {
    return deliver(this.maildir, { bytes: Buffer.from(text) }, { hostname: 'h' })
  }
}

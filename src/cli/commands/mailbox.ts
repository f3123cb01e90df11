import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type Command, Option } from 'commander'
import { silentLog } from '../../actors/index.ts'
import type { Account } from '../../auth/contract.ts'
import { UserDatabases } from '../../auth/user-databases.ts'
import type { Config } from '../../config/settings.ts'
import { MailboxError } from '../../mailbox/errors.ts'
import { IndexStore } from '../../mailbox/index-store.ts'
import { inspectMaildir, type MaildirReport } from '../../mailbox/inspect.ts'
import { Mailbox, type MailboxOptions, rebuilt } from '../../mailbox/mailbox.ts'
import { placeName } from '../../mailbox/place.ts'
import { checkUidlFormat } from '../../protocols/pop3/uidl-format.ts'
import { ControlClient } from '../control-client.ts'
import { claimDataDir } from '../data-dir.ts'
import { CommandFailure, exitCodes, systemFailure } from '../exit.ts'
import { octetsText, tableText } from '../format.ts'
import {
  compareUidls,
  type Former,
  type FormerServer,
  formerServers,
  formerUidls,
  keepUidls,
  maildropOptions,
  openDrop,
} from '../mailboxes/uidls.ts'
import { type ConfigOptions, loadOrFail, withConfigOptions, withJson } from '../options.ts'
import { printJson, type Terminal } from '../terminal.ts'

interface Options extends ConfigOptions {
  readonly json?: boolean
}

interface VerifyOptions extends Options {
  readonly sizes?: boolean
}

interface ImportOptions extends Options {
  readonly dryRun?: boolean
  readonly from: FormerServer
  readonly uidlFormat: string
  readonly reuseXuidl?: boolean
  readonly renameDuplicates?: boolean
}

/** `mailactors mailbox list|verify|rebuild|import`: Maildirs and what is kept of them. */
export function addMailboxCommand(program: Command, terminal: Terminal): void {
  const mailbox = program.command('mailbox').description('mailboxes: what is in them, and taking them over')
  const named = (name: string, description: string, users: string, isDefault = false) =>
    withJson(
      withConfigOptions(
        mailbox.command(name, { isDefault }).description(description).argument(users, 'user names'),
      ),
    )

  named('list', 'mails, sizes, UIDs and quota; without names: of all users', '[user...]', true).action(
    async (names: string[], options: Options) => {
      const { config } = loadOrFail(terminal, options)
      const rows = []
      for (const account of accounts(config, names)) {
        rows.push({ user: account.user, maildir: account.maildir, ...(await inspect(account)) })
      }
      if (options.json) printJson(terminal, rows)
      else terminal.print(listing(rows))
    },
  )

  named(
    'verify',
    'look for what is wrong with a Maildir, its UID list and the index; changes nothing',
    '[user...]',
  )
    .option('--sizes', 'also read every mail and compare its size')
    .action(async (names: string[], options: VerifyOptions) => {
      const { config } = loadOrFail(terminal, options)
      await verify(terminal, config, accounts(config, names), options)
    })

  named('rebuild', 'forget the index of a mailbox and make it anew; no UIDL changes', '<user...>').action(
    async (names: string[], options: Options) => {
      const { config } = loadOrFail(terminal, options)
      const rows = await rebuild(config, accounts(config, names))
      if (options.json) printJson(terminal, rows)
      else for (const { user, mails } of rows) terminal.print(`${user}: ${counted(mails, 'message')}\n`)
    },
  )

  named('import', 'keep the UIDLs that another server gave, so that nobody downloads mail again', '[user...]')
    .option('-n, --dry-run', 'only say how many messages would be downloaded again')
    .addOption(
      new Option('--from <server>', 'who served it: its uid list, courierpop3dsizelist, or X-UID fields')
        .choices(formerServers)
        .default('dovecot'),
    )
    .option('--uidl-format <format>', 'how that server made UIDLs: its pop3_uidl_format', '%08Xu%08Xv')
    .option('--reuse-xuidl', 'it used X-UIDL fields (pop3_reuse_xuidl)')
    .option('--rename-duplicates', 'it renamed duplicates (pop3_uidl_duplicates)')
    .action(async (names: string[], options: ImportOptions) => {
      const { config } = loadOrFail(terminal, options)
      await importUidls(terminal, config, accounts(config, names), options)
    })
}

/** Those named, or all. */
function accounts(config: Config, names: readonly string[]): readonly Account[] {
  const { passwd_file } = config.auth
  const users = new UserDatabases(config)
  for (const { found } of users.refresh()) {
    if (found.kind === 'failed') throw new CommandFailure(exitCodes.noInput, `passwd-file: ${found.problem}`)
  }
  if (names.length === 0) return users.accounts
  return names.map((name) => {
    const found = users.recipient(name)
    if (found !== undefined && found !== 'invalid') return found
    throw new CommandFailure(
      exitCodes.noInput,
      `user ${name}: not in ${passwd_file} (see mailactors user list)`,
    )
  })
}

const indexFile = (config: Config): string => join(config.data_dir, 'index', 'index.db')

type Row = MaildirReport & { readonly user: string; readonly maildir: string }

const noMails: MaildirReport = {
  mails: 0,
  fresh: 0,
  octets: 0,
  unsized: 0,
  unlisted: 0,
  uidValidity: null,
  nextUid: null,
  keywords: [],
  quota: null,
  problems: [],
}

/** @throws CommandFailure */
async function inspect(
  account: Account,
  options: Parameters<typeof inspectMaildir>[1] = {},
): Promise<MaildirReport> {
  try {
    return await inspectMaildir(account, options)
  } catch (error) {
    // The first mail or login makes it. One that the index knows was there.
    const isGone = (error as NodeJS.ErrnoException).code === 'ENOENT' && !existsSync(account.maildir)
    if (isGone && !options.index) return noMails
    throw failure(account, error)
  }
}

function listing(rows: readonly Row[]): string {
  if (rows.length === 0) return 'No users. Add one: mailactors user add NAME\n'
  const titles = ['USER', 'MAILS', 'NEW', 'SIZE', 'UIDVALIDITY', 'NEXT UID', 'QUOTA', 'MAILDIR']
  return tableText(
    titles.map((title) => ({ title })),
    rows.map((row) => [
      row.user,
      `${row.mails}`,
      `${row.fresh}`,
      `${octetsText(row.octets)}${row.unsized > 0 ? ` + ${row.unsized} unread` : ''}`,
      `${row.uidValidity ?? '-'}`,
      `${row.nextUid ?? '-'}`,
      quotaText(row),
      row.maildir,
    ]),
  )
}

function quotaText({ quota }: Row): string {
  if (quota === null) return '-'
  const octets = quota.octets === 0 ? '' : ` of ${octetsText(quota.octets)}`
  const mails = quota.mails === 0 ? '' : `, ${quota.usedMails} of ${quota.mails} mails`
  return `${octetsText(quota.usedOctets)}${octets}${mails}`
}

async function verify(
  terminal: Terminal,
  config: Config,
  all: readonly Account[],
  options: VerifyOptions,
): Promise<void> {
  const rows: (Row & { readonly index: boolean })[] = []
  for (const account of all) {
    const index = IndexStore.peek(indexFile(config), account.maildir) ?? null
    const report = await inspect(account, { index, readMails: options.sizes === true })
    rows.push({ user: account.user, maildir: account.maildir, index: index !== null, ...report })
  }
  if (options.json) printJson(terminal, rows)
  else {
    for (const { user, mails, problems, unlisted } of rows) {
      const waiting = unlisted === 0 ? '' : `, ${unlisted} without a UID yet`
      const state = problems.length === 0 ? 'nothing wrong' : counted(problems.length, 'problem')
      terminal.print(`${user}: ${counted(mails, 'message')}${waiting}, ${state}\n`)
      for (const problem of problems) terminal.print(`  ${problem}\n`)
    }
  }
  const wrong = rows.filter(({ problems }) => problems.length > 0)
  if (wrong.length === 0) return
  throw new CommandFailure(
    exitCodes.badData,
    `mailbox verify: something is wrong with ${counted(wrong.length, 'mailbox', 'mailboxes')} (see above)`,
  )
}

async function rebuild(
  config: Config,
  all: readonly Account[],
): Promise<{ readonly user: string; readonly mails: number }[]> {
  const client = new ControlClient(config.data_dir)
  const rows: { user: string; mails: number }[] = []
  if (await client.isRunning()) {
    for (const account of all) {
      const { user } = account
      const place = placeName(account)
      const answer = (await client.request('mailbox.rebuild', { maildir: place })) as { mails: number }
      rows.push({ user, mails: answer.mails })
    }
    return rows
  }
  const lock = claimDataDir(config.data_dir)
  try {
    const store = IndexStore.open(indexFile(config))
    for (const account of all) {
      const index = {
        load: async (maildir: string) => store.load(maildir) ?? null,
        save: async (write: Parameters<IndexStore['write']>[0][number]) => store.write([write]),
      }
      const options = { ...mailboxOptions(config, account), index }
      try {
        rows.push({ user: account.user, mails: (await rebuilt(new Mailbox(options), options)).count })
      } catch (error) {
        throw failure(account, error)
      }
    }
    store.close()
    return rows
  } finally {
    lock.release()
  }
}

async function importUidls(
  terminal: Terminal,
  config: Config,
  all: readonly Account[],
  options: ImportOptions,
): Promise<void> {
  const problem = checkUidlFormat(options.uidlFormat)
  if (problem !== undefined) throw new CommandFailure(exitCodes.usage, `--uidl-format: ${problem}`)
  const former: Former = {
    server: options.from,
    uidlFormat: options.uidlFormat,
    reuseXuidl: options.reuseXuidl === true,
    renameDuplicates: options.renameDuplicates === true,
  }
  const rows = []
  for (const account of all) {
    try {
      rows.push(await importOne(config, account, former, options.dryRun === true))
    } catch (error) {
      throw failure(account, error)
    }
  }
  if (options.json) printJson(terminal, rows)
  else for (const row of rows) terminal.print(`${importText(row, options.dryRun === true)}\n`)
  if (options.dryRun === true) return
  const unknown = rows.filter(({ known }) => !known)
  const left = rows.filter(({ known, again }) => known && again > 0)
  if (unknown.length > 0) {
    throw new CommandFailure(
      exitCodes.noInput,
      unknown.map(({ user }) => `user ${user}: ${options.from} has left no UIDs here (see --from)`),
    )
  }
  if (left.length === 0) return
  throw new CommandFailure(
    exitCodes.badData,
    left.map(
      ({ user, again }) =>
        `user ${user}: ${counted(again, 'UIDL')} cannot be kept (not 1 to 70 printable characters)`,
    ),
  )
}

interface Imported {
  readonly user: string
  readonly messages: number
  /** Messages that would be, or will be, downloaded again. */
  readonly again: number
  readonly kept: number
  /** Whether the former server has left anything to go by. */
  readonly known: boolean
}

async function importOne(
  config: Config,
  account: Account,
  former: Former,
  dryRun: boolean,
): Promise<Imported> {
  const options = mailboxOptions(config, account)
  const looking = new Mailbox({ ...options, readOnly: true })
  const before = await formerUidls(looking, account, former)
  const shown = await openDrop(looking, account, maildropOptions(config))
  const { user } = account
  // Without its list Dovecot's UIDs cannot be had any more: everything is new to clients.
  const known = before !== undefined && (former.server !== 'dovecot' || looking.hasList)
  if (before === undefined || !known)
    return { user, messages: shown.bases.length, again: shown.bases.length, kept: 0, known: false }
  const { messages, changed } = compareUidls(shown, before)
  if (dryRun || changed.length === 0) return { user, messages, again: changed.length, kept: 0, known }
  const writing = new Mailbox(options)
  // The list that was missing may have come into being: UIDs are those of the real one from here on.
  const comparison = compareUidls(await openDrop(writing, account, maildropOptions(config)), before)
  await keepUidls(writing, comparison)
  const after = compareUidls(await openDrop(writing, account, maildropOptions(config)), before)
  await writing.close()
  const again = after.changed.length
  return { user, messages, again, kept: comparison.changed.length - again, known }
}

function importText({ user, messages, again, kept, known }: Imported, dryRun: boolean): string {
  const mark = known ? '' : ' (the former server has left no UIDs here)'
  if (dryRun || kept === 0)
    return `${user}: ${again} of ${counted(messages, 'message')} would be downloaded again${mark}`
  return `${user}: ${kept} of ${counted(messages, 'UIDL')} kept as they were`
}

/** A mailbox beside the service: its lock file keeps both from giving UIDs at once. The index is only read. */
function mailboxOptions(config: Config, { maildir, control }: Account): MailboxOptions {
  return {
    maildir,
    control,
    hostname: config.hostname,
    settings: config,
    log: silentLog,
    index: {
      load: async () => {
        const stored = IndexStore.peek(indexFile(config), maildir)
        // What a QUIT wanted removed is the service's to finish.
        return stored === undefined ? null : { ...stored, intents: [] }
      },
      save: async () => {},
    },
  }
}

function failure({ user, maildir }: Account, error: unknown): CommandFailure {
  if (error instanceof MailboxError) {
    const exitCode =
      error.code === 'MA_MAILBOX_PERMISSION'
        ? exitCodes.noPermission
        : error.code === 'MA_MAILBOX_CORRUPT'
          ? exitCodes.badData
          : exitCodes.temporary
    return new CommandFailure(exitCode, `user ${user}: ${error.message} (${maildir})`)
  }
  const { code } = error as { code?: unknown }
  if (typeof code !== 'string') throw error
  const { why, exitCode } = systemFailure(error)
  return new CommandFailure(
    exitCode,
    `user ${user}: ${maildir}: ${why} (check mail.path and the owner of the Maildir)`,
  )
}

const counted = (count: number, one: string, many = `${one}s`): string =>
  `${count} ${count === 1 ? one : many}`

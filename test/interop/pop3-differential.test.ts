/**
 * Random sessions on copies of one Maildir, here and in a real Dovecot: the same replies, line by line, and afterwards
 * the same files with the same flags and UIDs. What is different on purpose is left out of the scripts or of the comparison.
 *
 * `SEED=random DIFFERENTIAL_ROUNDS=500` runs a campaign; each round has a seed of its own, from the given one on.
 */
import { cpSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { Random } from '../../src/testing/random.ts'
import { startService, tempDir } from '../support/fixtures.ts'
import { startDovecot } from '../support/peers.ts'
import {
  giveAway,
  maildirState,
  makeMaildir,
  makeScript,
  runScript,
  type Script,
  withoutDelivered,
} from '../support/pop3-sessions.ts'
import { because } from '../support/privileges.ts'
import { chosenSeed } from '../support/seed.ts'
import { until } from '../support/until.ts'

const rounds = Number(process.env.DIFFERENTIAL_ROUNDS ?? 16)
const firstSeed = chosenSeed()
/** Rounds at the same time: most of one is waiting. */
const lanes = 4
/** The same settings for both; the default counts most. */
const variants = [
  { name: 'as they come', theirs: '', ours: '', share: 1 },
  {
    name: 'LAST, no flags',
    theirs: 'pop3_enable_last = yes\npop3_no_flag_updates = yes',
    ours: 'enable_last = true\nno_flag_updates = true\n',
    share: 0.3,
  },
  {
    name: 'LAST with flags, workarounds',
    theirs: 'pop3_enable_last = yes\npop3_client_workarounds = outlook-no-nuls oe-ns-eoh',
    ours: 'enable_last = true\nclient_workarounds = ["outlook-no-nuls", "oe-ns-eoh"]\n',
    share: 0.3,
  },
  {
    name: 'UIDLs of file names, saved',
    theirs: 'pop3_uidl_format = %f\npop3_save_uidl = yes',
    ours: 'uidl_format = "%f"\nsave_uidl = true\n',
    share: 0.3,
  },
  {
    name: 'GUIDs, sizes without reading',
    theirs: 'pop3_uidl_format = %g\npop3_fast_size_lookups = yes',
    ours: 'uidl_format = "%g"\nfast_size_lookups = true\n',
    share: 0.3,
  },
  {
    name: 'X-UIDL fields, doubles renamed',
    theirs: 'pop3_reuse_xuidl = yes\npop3_uidl_duplicates = rename',
    ours: 'reuse_xuidl = true\nuidl_duplicates = "rename"\n',
    share: 0.3,
    // Dovecot reads the fields when it is asked for UIDLs, ours at the opening: those of mails that are gone by then are lost,
    // and for those that have another name by then it takes in new mail.
    keepsMails: true,
  },
  {
    name: 'one session at a time, UIDLs the other way round',
    theirs: 'pop3_lock_session = yes\npop3_uidl_format = %v.%Xu\npop3_uidl_duplicates = rename',
    ours: 'lock_session = true\nuidl_format = "%v.%Xu"\nuidl_duplicates = "rename"\n',
    share: 0.3,
  },
  {
    name: 'a flag instead of removal',
    theirs: 'pop3_delete_type = flag\npop3_deleted_flag = Pop3Deleted',
    ours: 'delete_type = "flag"\ndeleted_flag = "Pop3Deleted"\n',
    share: 0.3,
  },
]

/** The two servers, and where each has its copies of the mailboxes. */
interface Pair {
  readonly ours: { readonly port: number; readonly root: string }
  readonly theirs: { readonly port: number; readonly root: string }
  /** No other program removes or renames mails. */
  readonly keepsMails: boolean
}

/** Two sessions on a mailbox of user `d<round>`. Throws where the servers differ. */
async function play({ ours, theirs, keepsMails }: Pair, round: number): Promise<void> {
  const seed = firstSeed + round
  const random = new Random(seed)
  const user = `d${round}`
  const here = { port: ours.port, user, maildir: join(ours.root, user) }
  const there = { port: theirs.port, user, maildir: join(theirs.root, user) }
  mkdirSync(here.maildir)
  makeMaildir(here.maildir, random)
  cpSync(here.maildir, there.maildir, { recursive: true, preserveTimestamps: true })
  giveAway(there.maildir)
  let wasClean = true
  for (let session = 0; session < 2; session++) {
    const made = makeScript(random)
    // Marks that Dovecot still has to write would win over flags that another program changes meanwhile.
    const actions = made.actions.filter(
      ({ kind }) => (wasClean || kind !== 'flag') && (!keepsMails || (kind !== 'remove' && kind !== 'flag')),
    )
    const script: Script = { ...made, actions }
    const place = `seed ${seed}, session ${session}: ${JSON.stringify(script)}`
    const [said, expected] = await Promise.all([runScript(here, script), runScript(there, script)])
    expect(said, place).toEqual(expected)
    // Without QUIT Dovecot writes marks into names when somebody opens the mailbox next; ours does it at once.
    // Then it looks for these mails under their former names, and takes in new ones with that, before QUIT.
    const isClean = said.some((line) => line.startsWith('"QUIT" +OK'))
    const mayBeEarly = !wasClean && !isClean
    const compared = ({ maildir }: typeof here) => {
      const state = maildirState(maildir)
      const { files, uids } = mayBeEarly ? withoutDelivered(state) : state
      const names = isClean ? files : files.map((name) => name.replace(/(:2,[A-R]*)S/, '$1'))
      return JSON.stringify({ files: names, uids })
    }
    await until(`the same files (${place})`, () => compared(here) === compared(there), {
      deadlineMs: 30_000,
      describe: () => `${compared(here)} ${compared(there)}`,
    })
    wasClean = isClean
  }
}

const missing = whyMissing(['dovecot'], { root: true })
test.skipIf(missing !== undefined).each(variants)(
  `random sessions are as with Dovecot: $name${because(missing)}`,
  { timeout: 60_000 + rounds * 3_000 },
  async ({ theirs: settings, ours: pop3, share, keepsMails = false }) => {
    const many = Math.ceil(rounds * share)
    const root = tempDir()
    const users = Object.fromEntries(Array.from({ length: many }, (_, round) => [`d${round}`, 'secret']))
    const tables = `[mail]\npath = "${root}/%u"\n[pop3]\n${pop3}`
    const [dovecot, service] = await Promise.all([
      startDovecot({ SETTINGS: settings }),
      startService({ listeners: ['pop3'], users, tables }),
    ])
    const pair = {
      ours: { port: service.ports.pop3, root },
      theirs: { port: dovecot.port, root: join(dovecot.dir, 'mail') },
      keepsMails,
    }
    const failures: Error[] = []
    let next = 0
    const lane = async (): Promise<void> => {
      while (next < many) await play(pair, next++).catch((error: Error) => failures.push(error))
    }
    await Promise.all(Array.from({ length: lanes }, lane))
    for (const { message } of failures.slice(1)) console.error(message)
    if (failures.length > 0) throw failures[0]
  },
)

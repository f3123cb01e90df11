/**
 * Random sessions on copies of one Maildir, here and in a real Dovecot: the same replies, line by line, and afterwards
 * the same files with the same flags and UIDs. What is different on purpose is left out of the scripts or of the comparison.
 *
 * `SEED=random DIFFERENTIAL_ROUNDS=500` runs a campaign; each round has a seed of its own, from the given one on.
 */
import { chownSync, cpSync, mkdirSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { Random } from '../../src/testing/random.ts'
import { startService, tempDir } from '../support/fixtures.ts'
import { startDovecot } from '../support/peers.ts'
import {
  maildirState,
  makeMaildir,
  makeScript,
  runScript,
  withoutDelivered,
} from '../support/pop3-sessions.ts'
import { because } from '../support/privileges.ts'
import { chosenSeed } from '../support/seed.ts'
import { until } from '../support/until.ts'

const rounds = Number(process.env.DIFFERENTIAL_ROUNDS ?? 20)
const firstSeed = chosenSeed()
/** nobody: Dovecot refuses to touch mail as root. */
const owner = 65_534

function giveAway(path: string): void {
  chownSync(path, owner, owner)
  if (statSync(path).isDirectory()) for (const name of readdirSync(path)) giveAway(join(path, name))
}

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
]

const missing = whyMissing(['dovecot'], { root: true })
test.skipIf(missing !== undefined).each(variants)(
  `random sessions are as with Dovecot: $name${because(missing)}`,
  { timeout: 60_000 + rounds * 3_000 },
  async ({ theirs: settings, ours: pop3, share }) => {
    const many = Math.ceil(rounds * share)
    const root = tempDir()
    const users = Object.fromEntries(Array.from({ length: many }, (_, round) => [`d${round}`, 'secret']))
    const dovecot = await startDovecot({ SETTINGS: settings })
    const service = await startService({
      listeners: ['pop3'],
      users,
      tables: `[mail]\npath = "${root}/%u"\n[pop3]\n${pop3}`,
    })
    for (let round = 0; round < many; round++) {
      const seed = firstSeed + round
      const random = new Random(seed)
      const user = `d${round}`
      const ours = join(root, user)
      const theirs = join(dovecot.dir, 'mail', user)
      mkdirSync(ours)
      makeMaildir(ours, random)
      cpSync(ours, theirs, { recursive: true, preserveTimestamps: true })
      giveAway(theirs)
      const first = makeScript(random)
      const second = makeScript(random)
      // Marks that Dovecot still has to write would win over flags that another program changes meanwhile.
      const isClean = first.end === 'quit'
      const scripts = [
        first,
        isClean ? second : { ...second, actions: second.actions.filter(({ kind }) => kind !== 'flag') },
      ]
      for (const [session, script] of scripts.entries()) {
        const place = `seed ${seed}, session ${session}: ${JSON.stringify(script)}`
        const here = await runScript({ port: service.ports.pop3, user, maildir: ours }, script)
        const there = await runScript({ port: dovecot.port, user, maildir: theirs }, script)
        expect(here, place).toEqual(there)
        // Without QUIT Dovecot writes marks into names when somebody opens the mailbox next; ours does it at once.
        // Then it looks for these mails under their former names, and takes in new ones with that, before QUIT.
        const mayBeEarly = session === 1 && !isClean && script.end !== 'quit'
        const compared = (path: string) => {
          const state = maildirState(path)
          const { files, uids } = mayBeEarly ? withoutDelivered(state) : state
          const names =
            script.end === 'quit' ? files : files.map((name) => name.replace(/(:2,[A-R]*)S/, '$1'))
          return JSON.stringify({ files: names, uids })
        }
        await until(`the same files (${place})`, () => compared(ours) === compared(theirs), {
          deadlineMs: 30_000,
          describe: () => `${compared(ours)} ${compared(theirs)}`,
        })
      }
    }
  },
)

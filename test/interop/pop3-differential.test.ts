/**
 * Random sessions on copies of one Maildir, here and in a real Dovecot: the same replies, line by line, and afterwards
 * the same files with the same flags and UIDs. What is different on purpose is left out of the scripts or of the comparison.
 *
 * `DIFFERENTIAL_ROUNDS=5000 DIFFERENTIAL_SEED=1` runs a campaign.
 */
import { chownSync, cpSync, mkdirSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { startService, tempDir } from '../support/fixtures.ts'
import { startDovecot } from '../support/peers.ts'
import { maildirState, makeMaildir, makeScript, randomNumbers, runScript } from '../support/pop3-sessions.ts'
import { because } from '../support/privileges.ts'
import { until } from '../support/until.ts'

const rounds = Number(process.env.DIFFERENTIAL_ROUNDS ?? 60)
const firstSeed = Number(process.env.DIFFERENTIAL_SEED ?? Math.trunc(Math.random() * 1e9))
/** nobody: Dovecot refuses to touch mail as root. */
const owner = 65_534

function giveAway(path: string): void {
  chownSync(path, owner, owner)
  if (statSync(path).isDirectory()) for (const name of readdirSync(path)) giveAway(join(path, name))
}

const missing = whyMissing(['dovecot'], { root: true })
test.skipIf(missing !== undefined)(
  `${rounds} random sessions are as with Dovecot${because(missing)}`,
  { timeout: 30_000 + rounds * 2_000 },
  async () => {
    const root = tempDir()
    const users = Object.fromEntries(Array.from({ length: rounds }, (_, round) => [`d${round}`, 'secret']))
    const dovecot = await startDovecot()
    const service = await startService({
      listeners: ['pop3'],
      users,
      tables: `[mail]\npath = "${root}/%u"\n`,
    })
    for (let round = 0; round < rounds; round++) {
      const seed = firstSeed + round
      const random = randomNumbers(seed)
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
        const compared = (path: string) => {
          const { files, uids } = maildirState(path)
          const names =
            script.end === 'quit' ? files : files.map((name) => name.replace(/(:2,[A-R]*)S/, '$1'))
          return JSON.stringify({ files: names, uids })
        }
        await until(`the same files (${place})`, () => compared(ours) === compared(theirs), {
          deadlineMs: 8_000,
          describe: () => `${compared(ours)} ${compared(theirs)}`,
        })
      }
    }
  },
)

/**
 * Random Maildirs, served here and by a real Dovecot: the same answers, and afterwards the same files, file by file, with
 * the same lists of UIDs and keywords. Then mail comes, and both go on. What is different on purpose is not made:
 * file names that are no UIDLs where they would be shown, sizes in names that are wrong, names that begin with a colon, and
 * a mail in `new/` whose very name another one has in `cur/` (Dovecot loses that one).
 *
 * `SEED=random DIFFERENTIAL_ROUNDS=500` runs a campaign; each round has a seed of its own, from the given one on.
 */
import { cpSync, lchownSync, lstatSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { Random } from '../../src/testing/random.ts'
import { Pop3Client } from '../support/clients.ts'
import { startService, tempDir } from '../support/fixtures.ts'
import { maildirText, makeMaildir } from '../support/maildirs.ts'
import { startDovecot } from '../support/peers.ts'
import { because } from '../support/privileges.ts'
import { chosenSeed } from '../support/seed.ts'
import { until } from '../support/until.ts'

const rounds = Number(process.env.DIFFERENTIAL_ROUNDS ?? 6)
const firstSeed = chosenSeed()
/** Rounds at the same time: most of one is waiting. */
const lanes = 4
/** nobody: Dovecot refuses to touch mail as root. */
const owner = 65_534

const variants = [
  { name: 'as they come', theirs: '', ours: '' },
  {
    name: 'a keyword instead of removal, X-UIDL',
    theirs:
      'pop3_delete_type = flag\npop3_deleted_flag = Pop3Deleted\npop3_reuse_xuidl = yes\npop3_save_uidl = yes',
    ours: 'delete_type = "flag"\ndeleted_flag = "Pop3Deleted"\nreuse_xuidl = true\nsave_uidl = true\n',
  },
  {
    name: 'nothing moved',
    theirs: 'pop3_no_flag_updates = yes',
    ours: 'no_flag_updates = true\n',
    // Of a mail in cur/ and one in new/ with its name Dovecot shows one only.
    twins: false,
  },
]

function giveAway(path: string): void {
  const octets = Buffer.from(path, 'latin1')
  lchownSync(octets, owner, owner)
  if (!lstatSync(octets).isDirectory()) return
  for (const name of readdirSync(octets, 'latin1')) giveAway(join(path, name))
}

/** What a session with random commands is told. */
async function session(port: number, user: string, seed: number): Promise<string[]> {
  const random = new Random(seed)
  const client = await Pop3Client.login(port, user)
  const stat = await client.ok('STAT')
  const count = Number(stat.split(' ')[1])
  const said = [stat, ...(await client.multi('UIDL')), ...(await client.multi('LIST'))]
  for (let step = count === 0 ? 0 : random.below(5); step > 0; step--) {
    const line = `${random.pick(['RETR', 'DELE', 'TOP'])} ${1 + random.below(count)}`
    const answer = await client.command(line.startsWith('TOP') ? `${line} 1` : line)
    said.push(line, answer.slice(0, 4))
    if (line.startsWith('DELE') || !answer.startsWith('+OK')) continue
    for (let next = await client.line(); next !== '.'; next = await client.line()) said.push(next)
  }
  await client.ok('QUIT')
  client.close()
  return said
}

const missing = whyMissing(['dovecot'], { root: true })
test.skipIf(missing !== undefined).each(variants)(
  `random Maildirs become the same as with Dovecot: $name${because(missing)}`,
  { timeout: 60_000 + rounds * 5_000 },
  async ({ theirs: settings, ours: pop3, twins = true }) => {
    const root = tempDir()
    const users = Object.fromEntries(Array.from({ length: rounds }, (_, round) => [`d${round}`, 'secret']))
    const tables = `[mail]\npath = "${root}/%u"\n[pop3]\n${pop3}`
    const [dovecot, service] = await Promise.all([
      startDovecot({ SETTINGS: settings }),
      startService({ listeners: ['pop3'], users, tables }),
    ])
    const play = async (round: number): Promise<void> => {
      const random = new Random(firstSeed + round)
      const user = `d${round}`
      const here = join(root, user)
      const there = join(dovecot.dir, 'mail', user)
      mkdirSync(here)
      makeMaildir(here, random, { twins })
      cpSync(here, there, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true })
      for (let number = 0; number < 3; number++) {
        for (const path of [here, there]) {
          if (number > 0)
            writeFileSync(join(path, 'new', `170000021${number}.M1P1.h`), `Subject: ${number}\n\nx\n`)
          giveAway(path)
        }
        const place = `seed ${firstSeed + round}, session ${number}`
        const script = random.below(1e9)
        const said = await session(service.ports.pop3, user, script)
        expect(said, place).toEqual(await session(dovecot.port, user, script))
        const difference = () => {
          const ours = maildirText(here)
          const theirs = maildirText(there)
          return ours === theirs ? undefined : `${place}\nhere:\n${ours}\n\nthere:\n${theirs}`
        }
        await until('the same files', () => difference() === undefined, {
          describe: () => difference() ?? '',
        })
      }
    }
    const failures: Error[] = []
    let next = 0
    const lane = async (): Promise<void> => {
      while (next < rounds) await play(next++).catch((error: Error) => failures.push(error))
    }
    await Promise.all(Array.from({ length: lanes }, lane))
    for (const { message } of failures.slice(1)) console.error(message)
    if (failures.length > 0) throw failures[0]
  },
)

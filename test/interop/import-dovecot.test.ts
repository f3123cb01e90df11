/**
 * What `mailbox import` says about Maildirs that a real Dovecot has served, with other settings than ours: the number of a dry
 * run is the number of mails that really get another UIDL, and after the import there are none.
 */
import { lchownSync, lstatSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { Random } from '../../src/testing/random.ts'
import { Pop3Client } from '../support/clients.ts'
import { prepareService } from '../support/fixtures.ts'
import { makeMaildir } from '../support/maildirs.ts'
import { startDovecot } from '../support/peers.ts'
import { because } from '../support/privileges.ts'
import { chosenSeed } from '../support/seed.ts'

const rounds = Number(process.env.IMPORT_ROUNDS ?? 4)
const firstSeed = chosenSeed()
/** The first one alone, unless there is a campaign: each starts a service twice. */
const shown = process.env.IMPORT_ROUNDS === undefined ? 1 : 2
/** nobody: Dovecot refuses to touch mail as root. */
const owner = 65_534

const variants = [
  {
    name: 'X-UIDL fields, duplicates renamed',
    theirs: 'pop3_reuse_xuidl = yes\npop3_uidl_duplicates = rename',
    ours: 'uidl_format = "%u-%v"\n',
    options: ['--reuse-xuidl', '--rename-duplicates'],
  },
  { name: '%f', theirs: 'pop3_uidl_format = %f', ours: '', options: ['--uidl-format', '%f'] },
]

function giveAway(path: string): void {
  const octets = Buffer.from(path, 'latin1')
  lchownSync(octets, owner, owner)
  if (!lstatSync(octets).isDirectory()) return
  for (const name of readdirSync(octets, 'latin1')) giveAway(join(path, name))
}

async function uidls(port: number, user: string): Promise<string[]> {
  const client = await Pop3Client.login(port, user)
  const found = await client.multi('UIDL')
  await client.ok('QUIT')
  client.close()
  return found
}

const missing = whyMissing(['dovecot'], { root: true })
test.skipIf(missing !== undefined).each(variants.slice(0, shown))(
  `taken over from a Dovecot with $name: what import says is so${because(missing)}`,
  { timeout: 90_000 + rounds * 5_000 },
  async ({ theirs, ours, options }) => {
    const dovecot = await startDovecot({ SETTINGS: theirs })
    const root = join(dovecot.dir, 'mail')
    const names = Array.from({ length: rounds }, (_, round) => `d${round}`)
    const service = await prepareService({
      listeners: ['pop3'],
      users: Object.fromEntries(names.map((name) => [name, 'secret'])),
      tables: `[mail]\npath = "${root}/%u"\n[pop3]\nno_flag_updates = true\n${ours}`,
    })
    const before = new Map<string, string[]>()
    for (const [round, name] of names.entries()) {
      const maildir = join(root, name)
      mkdirSync(maildir)
      makeMaildir(maildir, new Random(firstSeed + round), { plain: true })
      giveAway(maildir)
      before.set(name, await uidls(dovecot.port, name))
    }
    const run = async (...more: readonly string[]) => {
      const args = ['mailbox', 'import', '--json', ...options, ...more, '-c', service.configFile]
      const { code, stdout, stderr } = await service.command(args)
      expect(code, stderr).toBe(0)
      return JSON.parse(stdout) as { user: string; messages: number; again: number; kept: number }[]
    }
    /** Mails that a client would download again. */
    const changed = async (): Promise<[string, number, number][]> => {
      await service.run()
      const rows: [string, number, number][] = []
      for (const name of names) {
        const now = await uidls(service.ports.pop3, name)
        rows.push([name, now.length, now.filter((line) => !before.get(name)!.includes(line)).length])
      }
      await service.stop()
      return rows
    }
    const said = await run('--dry-run')
    const wrong = await changed()
    expect(said.map(({ user, messages, again }) => [user, messages, again])).toEqual(wrong)
    const kept = await run()
    expect(kept.map(({ user, kept: count }) => [user, count])).toEqual(
      wrong.map(([name, , again]) => [name, again]),
    )
    expect(await changed()).toEqual(wrong.map(([name, messages]) => [name, messages, 0]))
    for (const name of names) expect(await uidls(dovecot.port, name), name).toEqual(before.get(name))
  },
)

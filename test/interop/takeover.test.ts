/**
 * A Maildir that others have filled, served by Dovecot and by us in turn and at the same time, at random: whoever shows a
 * mail shows it with the same UIDL and size, what one removes is gone for both, and what is delivered to one both have.
 *
 * `SEED=random TAKEOVER_ROUNDS=50` runs a campaign; each round has a seed of its own, from the given one on.
 */
import { lchownSync, lstatSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { Random } from '../../src/testing/random.ts'
import { Pop3Client, SmtpClient } from '../support/clients.ts'
import { prepareService } from '../support/fixtures.ts'
import { makeMaildir } from '../support/maildirs.ts'
import { startDovecot } from '../support/peers.ts'
import { because } from '../support/privileges.ts'
import { chosenSeed } from '../support/seed.ts'
import { until } from '../support/until.ts'

const rounds = Number(process.env.TAKEOVER_ROUNDS ?? 1)
const firstSeed = chosenSeed()
/** nobody: Dovecot refuses to touch mail as root. */
const owner = 65_534

const variants = [
  { name: 'the default format', theirs: '', ours: '' },
  { name: '%g', theirs: 'pop3_uidl_format = %g', ours: 'uidl_format = "%g"\n' },
  {
    name: 'saved ones',
    theirs: 'pop3_uidl_format = %v.%u\npop3_save_uidl = yes',
    ours: 'uidl_format = "%v.%u"\nsave_uidl = true\n',
  },
]

function giveAway(path: string): void {
  const octets = Buffer.from(path, 'latin1')
  lchownSync(octets, owner, owner)
  if (!lstatSync(octets).isDirectory()) return
  for (const name of readdirSync(octets, 'latin1')) giveAway(join(path, name))
}

class Visit {
  readonly client: Pop3Client
  /** UIDL to size, in the order of numbers. */
  readonly mails: ReadonlyMap<string, string>
  readonly removed: string[] = []

  private constructor(client: Pop3Client, mails: ReadonlyMap<string, string>) {
    this.client = client
    this.mails = mails
  }

  static async begin(port: number, user: string): Promise<Visit> {
    const client = await Pop3Client.login(port, user)
    const value = (line: string) => line.slice(line.indexOf(' ') + 1)
    const sizes = (await client.multi('LIST')).map(value)
    const uidls = (await client.multi('UIDL')).map(value)
    expect(new Set(uidls).size, 'each UIDL once').toBe(uidls.length)
    return new Visit(client, new Map(uidls.map((uidl, i) => [uidl, sizes[i]!])))
  }

  /** What is in a mail; undefined: it is gone. */
  async read(number: number): Promise<string | undefined> {
    const answer = await this.client.command(`RETR ${number}`)
    if (!answer.startsWith('+OK')) return undefined
    const lines: string[] = []
    for (let line = await this.client.line(); line !== '.'; line = await this.client.line()) lines.push(line)
    return lines.join('\n')
  }

  /** Reads and marks at random; `known` has what was read under each UIDL before. */
  async work(random: Random, known: Map<string, string>, story: string): Promise<void> {
    const uidls = [...this.mails.keys()]
    for (let i = uidls.length === 0 ? 0 : random.below(4); i > 0; i--) {
      const at = random.below(uidls.length)
      const uidl = uidls[at]!
      if (this.removed.includes(uidl)) continue
      if (random.chance(0.4)) {
        await this.client.ok(`DELE ${at + 1}`)
        this.removed.push(uidl)
        continue
      }
      const text = await this.read(at + 1)
      if (text === undefined) continue
      expect(text, `${story}: ${uidl} is the mail it was`).toBe(known.get(uidl) ?? text)
      known.set(uidl, text)
    }
  }

  /** Which UIDLs are gone for good. */
  async end(random: Random): Promise<readonly string[]> {
    const quits = random.chance(0.85)
    if (quits) await this.client.ok('QUIT')
    this.client.close()
    return quits ? this.removed : []
  }
}

async function deliver(target: number | string, user: string, number: number): Promise<void> {
  const client = await SmtpClient.connect(target)
  await client.expect(250, 'LHLO c')
  const content = `Subject: delivered ${number}\r\n\r\n${'.line\r\n'.repeat(number % 5)}x`
  expect((await client.send({ from: 'a@b.test', to: [`${user}`], content })).code).toBe(250)
  client.close()
}

/** Octets and mails by `maildirsize`, and by what there is. */
function counted(maildir: string): { said: string; true: string } {
  const lines = readFileSync(join(maildir, 'maildirsize'), 'latin1').split('\n').slice(1, -1)
  const sums = [0, 1].map((i) => lines.reduce((sum, line) => sum + Number(line.trim().split(/ +/)[i]), 0))
  let octets = 0
  let mails = 0
  for (const folder of ['new', 'cur']) {
    for (const name of readdirSync(join(maildir, folder), 'latin1')) {
      if (name.startsWith('.')) continue
      const size = /,S=([0-9]+)(?=[,:]|$)/.exec(name)?.[1]
      octets +=
        size === undefined ? lstatSync(Buffer.from(join(maildir, folder, name), 'latin1')).size : Number(size)
      mails++
    }
  }
  return { said: sums.join(' '), true: `${octets} ${mails}` }
}

const missing = whyMissing(['dovecot'], { root: true })
test.skipIf(missing !== undefined).each(variants)(
  `there and back at random, UIDLs of $name${because(missing)}`,
  { timeout: 60_000 + rounds * 20_000 },
  async ({ theirs: settings, ours: pop3 }) => {
    const quota = 'mail_plugins = quota\nplugin {\n  quota = maildir:User quota\n}'
    const dovecot = await startDovecot({ SETTINGS: `${quota}\n${settings}` })
    const users = Object.fromEntries(Array.from({ length: rounds }, (_, round) => [`d${round}`, 'secret']))
    const root = join(dovecot.dir, 'mail')
    const service = await prepareService({
      listeners: ['pop3', 'lmtp'],
      users,
      tables: `[mail]\npath = "${root}/%u"\n[pop3]\n${pop3}`,
    })
    await service.run()
    const ports = [service.ports.pop3, dovecot.port]
    const play = async (round: number): Promise<void> => {
      const random = new Random(firstSeed + round)
      const user = `d${round}`
      const maildir = join(root, user)
      mkdirSync(maildir)
      makeMaildir(maildir, random, { plain: true })
      giveAway(maildir)
      const steps: string[] = []
      const story = () => `seed ${firstSeed + round}: ${steps.join('; ')}`
      const known = new Map<string, string>()
      let delivered = 0
      // Dovecot was there first, and has counted.
      await deliver(dovecot.lmtpPort, user, ++delivered)
      const first = await Visit.begin(dovecot.port, user)
      let before = [...first.mails]
      await first.client.ok('QUIT')
      for (let step = 0; step < 10; step++) {
        const came = random.below(3)
        for (let i = came; i > 0; i--) {
          const toUs = random.chance(0.5)
          await deliver(toUs ? service.lmtpSocket : dovecot.lmtpPort, user, ++delivered)
          steps.push(`delivered to ${toUs ? 'us' : 'Dovecot'}`)
        }
        const both = random.chance(0.4)
        const chosen = both ? [...ports] : [random.pick(ports)]
        if (random.chance(0.5)) chosen.reverse()
        steps.push(chosen.map((port) => (port === dovecot.port ? 'Dovecot' : 'we')).join(' and '))
        const visits: Visit[] = []
        for (const port of chosen) {
          const visit = await Visit.begin(port, user)
          // All that was there, and behind it what came.
          const shown = [...visit.mails]
          expect(shown.slice(0, before.length), story()).toEqual(before)
          expect(shown.length, story()).toBe(before.length + came)
          visits.push(visit)
        }
        // In turn, as if the client typed here and there.
        for (let turn = 0; turn < 2; turn++)
          for (const visit of visits) await visit.work(random, known, story())
        const gone = new Set<string>()
        for (const visit of visits) {
          const removed = await visit.end(random)
          for (const uidl of removed) gone.add(uidl)
          steps.push(`${removed.length} removed`)
        }
        before = [...visits[0]!.mails].filter(([uidl]) => !gone.has(uidl))
      }
      await until(
        `what is there is counted (${story()})`,
        () => counted(maildir).said === counted(maildir).true,
        {
          describe: () => JSON.stringify(counted(maildir)),
        },
      )
    }
    for (let round = 0; round < rounds; round++) await play(round)
    const complaints = readFileSync(join(dovecot.dir, 'log'), 'utf8').match(
      /^.*(?:Error|Warning|Panic|Fatal):.*$/gm,
    )
    expect(complaints ?? []).toEqual([])
  },
)

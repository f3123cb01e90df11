/**
 * P221 with a Dovecot after it: killed before each Nth change of the disk, the Maildir is opened by a real Dovecot, which
 * shows every mail that a client has seen under the UID it was seen with, and none that was removed. `CRASH_EVERY=1` kills at
 * each change; by default at some.
 */
import { execFile } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
} from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { Home, look, m1, m2, m3 } from '../mailbox/harness.ts'
import { Pop3Client } from '../support/clients.ts'
import { tempDir } from '../support/fixtures.ts'
import { startDovecot } from '../support/peers.ts'
import { because } from '../support/privileges.ts'

const missing = whyMissing(['dovecot'], { root: true })
const every = Number(process.env.CRASH_EVERY ?? 13)
const owner = 65_534
const victim = new URL('../mailbox/crash-victim.ts', import.meta.url).pathname

/** What it printed, and whether it came to its end. */
function run(root: string, step: number): Promise<{ readonly lines: string[]; readonly ended: boolean }> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [victim, root, `${step}`], (error, stdout, stderr) => {
      const killed = error !== null && (error as { signal?: string }).signal === 'SIGKILL'
      if (error !== null && !killed) reject(new Error(stderr))
      else resolve({ lines: stdout.split('\n').slice(0, -1), ended: !killed })
    })
  })
}

function giveAway(path: string): void {
  lchownSync(path, owner, owner)
  if (lstatSync(path).isDirectory()) for (const name of readdirSync(path)) giveAway(join(path, name))
}

/** UIDs and the first line of each mail, as a client sees them. */
async function shown(port: number, user: string): Promise<Map<string, number>> {
  const client = await Pop3Client.login(port, user)
  const uids = (await client.multi('UIDL')).map((line) => {
    const [, uidl = ''] = line.split(' ')
    // The victim has saved this one.
    return uidl === 'kept' ? 5 : Number.parseInt(uidl.slice(0, 8), 16)
  })
  const found = new Map<string, number>()
  for (const [i, uid] of uids.entries()) found.set((await client.multi(`TOP ${i + 1} 0`)).join(), uid)
  await client.ok('QUIT')
  client.close()
  expect(found.size).toBe(uids.length)
  return found
}

test.skipIf(missing !== undefined)(
  `P221 killed, and Dovecot goes on: no UID changes, nothing unmarked is lost${because(missing)}`,
  { timeout: 600_000 },
  async () => {
    const dovecot = await startDovecot()
    const model = new Home()
    model.mb1()
    model.write('cur/1700000004.M4P1.h:2,', `X: 4\n${m1}`)
    await model.mailbox().open(look)
    model.write('new/1700000005.M5P1.h', `X: 5\n${m2}`)
    model.write('new/1700000006.M6P1.h', `X: 6\n${m3}`)
    const subjects = new Map(
      readdirSync(join(model.maildir, 'cur'))
        .concat(readdirSync(join(model.maildir, 'new')))
        .map((name) => {
          const folder = readdirSync(join(model.maildir, 'cur')).includes(name) ? 'cur' : 'new'
          const text = readFileSync(join(model.maildir, folder, name), 'latin1')
          return [
            name.split(':')[0]!,
            `${text.slice(0, text.indexOf('\n\n')).replaceAll('\n', ',')},`,
          ] as const
        }),
    )
    const marked = ['1700000002.M2P1.h', '1700000004.M4P1.h']
    const roots = tempDir()
    chmodSync(roots, 0o755)
    let isOver = false
    let step = 1
    const next = async (): Promise<void> => {
      while (!isOver) {
        const number = step
        step += every
        const home = new Home()
        cpSync(model.maildir, home.maildir, { recursive: true })
        home.restart({ copyOf: model })
        const { lines, ended } = await run(home.root, number)
        if (ended) isOver = true
        const user = `k${number}`
        const maildir = join(dovecot.dir, 'mail', user)
        mkdirSync(maildir)
        for (const name of readdirSync(home.maildir))
          renameSync(join(home.maildir, name), join(maildir, name))
        // Killed before it wrote who it is: Dovecot waits two minutes for such a lock of anybody.
        const lock = join(maildir, 'dovecot-uidlist.lock')
        if (existsSync(lock) && statSync(lock).size === 0) unlinkSync(lock)
        giveAway(maildir)
        const story = `step ${number}`
        const seen = await shown(dovecot.port, user)
        const told = lines.filter((line) => line.includes(' ') && !line.startsWith('steps'))
        const isDone = lines.includes('done')
        for (const [base, subject] of subjects) {
          const uid = seen.get(subject)
          if (marked.includes(base)) {
            if (isDone) expect(uid, `${story}: ${base}`).toBeUndefined()
            continue
          }
          expect(uid, `${story}: ${base} is there`).toBeDefined()
          const line = told.find((one) => one.startsWith(`${base} `))
          if (line !== undefined) expect(`${uid}`, `${story}: ${base}`).toBe(line.split(' ')[1])
        }
        if (lines.includes('delivered')) expect(seen.size, story).toBe(5)
      }
    }
    await Promise.all([next(), next()])
    const complaints = readFileSync(join(dovecot.dir, 'log'), 'utf8').match(/^.*(?:Error|Panic|Fatal):.*$/gm)
    expect(complaints ?? []).toEqual([])
  },
)

/**
 * P221: kill -9 at each change that an opening, an UPDATE and a delivery make to the disk, one process each. Whatever was
 * the last that got through: no mail that was not marked is gone, no UID that a client has seen changes, and what is
 * gone stays gone. The same when the index is lost on top of it.
 */
import { execFile } from 'node:child_process'
import { cpSync, readFileSync, rmSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Home, identities, look, m1, m2, m3 } from './harness.ts'

const victim = new URL('crash-victim.ts', import.meta.url).pathname

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

/** A mailbox that was served before, with two mails that nobody has seen yet. */
async function served(): Promise<Home> {
  const home = new Home()
  home.mb1()
  home.write('cur/1700000004.M4P1.h:2,', m1)
  await home.mailbox().open(look)
  home.write('new/1700000005.M5P1.h', m2)
  home.write('new/1700000006.M6P1.h', m3)
  return home
}

/** The lock of a dead process is believed to be one after two seconds, after ten when it died before it wrote its pid. */
function ageLock(home: Home): void {
  const past = Date.now() / 1000 - 15
  try {
    utimesSync(home.path('dovecot-uidlist.lock'), past, past)
  } catch {
    // It did not hold it.
  }
}

async function check(home: Home, lines: readonly string[], story: string): Promise<void> {
  const base = (line: string) => line.split(' ')[0]!
  const seen = lines.filter((line) => line.includes(' ') && !line.startsWith('steps'))
  const marked = ['1700000002.M2P1.h', '1700000004.M4P1.h']
  const first = identities(await home.mailbox().open(look))
  const shown = new Map(first.map((line) => [base(line), line]))
  for (const line of seen) {
    if (shown.has(base(line))) expect(shown.get(base(line)), story).toBe(line)
    else expect(marked, `${story}: ${line} is gone`).toContain(base(line))
  }
  for (const number of [1, 3, 5, 6])
    expect(shown.has(`170000000${number}.M${number}P1.h`), `${story}: ${number}`).toBe(true)
  if (lines.includes('done')) for (const name of marked) expect(shown.has(name), story).toBe(false)
  if (lines.includes('delivered')) expect(first, story).toHaveLength(5)
  // What was finished is finished.
  const box = home.mailbox()
  expect(identities(await box.open(look)), story).toEqual(first)
  await box.close()
  expect(home.store.load(home.maildir)?.intents ?? [], story).toEqual([])
  expect(home.files('tmp'), story).toHaveLength(lines.includes('delivered') ? 0 : home.files('tmp').length)
}

test('P221 killed at any step: nothing unmarked is lost, no UID changes, nothing comes back', {
  timeout: 120_000,
}, async () => {
  const model = await served()
  let step = 0
  let isOver = false
  const next = async () => {
    while (!isOver) {
      const number = ++step
      const home = new Home()
      cpSync(model.maildir, home.maildir, { recursive: true })
      home.restart({ copyOf: model })
      const { lines, ended } = await run(home.root, number)
      home.restart()
      ageLock(home)
      if (ended) {
        isOver = true
        expect(lines.at(-1)).toMatch(/^steps/)
      }
      const lost = new Home()
      cpSync(home.maildir, lost.maildir, { recursive: true, preserveTimestamps: true })
      await check(home, lines, `step ${number}`)
      await check(lost, lines, `step ${number}, index lost`)
      for (const each of [home, lost]) rmSync(each.maildir, { recursive: true })
    }
  }
  await Promise.all([next(), next(), next()])
  expect(step).toBeGreaterThan(40)
})

test('the steps are all there are: the source writes to the disk by no other calls', () => {
  const source = [
    'dotlock',
    'keywords',
    'uidlist-file',
    'maildir',
    'deliver',
    'quota-file',
    'ownership',
    'mend',
    'right-names',
    'uid-validity',
  ]
    .map((name) => readFileSync(join(import.meta.dirname, `../../src/mailbox/${name}.ts`), 'utf8'))
    .join('\n')
  const used = new Set(
    source.match(
      /\b(?:write|rename|unlink|rm|rmdir|mkdir|link|symlink|truncate|ftruncate|copyFile|append|chmod|fchmod|chown|fchown|utimes|futimes|fsync|fdatasync)(?:File)?(?:Sync)?(?=\()/g,
    ),
  )
  const known = ['renameSync', 'unlinkSync', 'rmdirSync', 'mkdirSync', 'fsync', 'fsyncSync', 'writeSync']
  // Marks of time and ownership lose nothing.
  const harmless = ['utimesSync', 'fchmodSync', 'fchownSync', 'chownSync']
  // A lock file without O_EXCL, or one more name of a mail: it is there or it is not.
  harmless.push('linkSync')
  const ours = ['rename', 'unlink', 'write', 'copyFile']
  expect([...used].filter((name) => ![...known, ...harmless, ...ours].includes(name))).toEqual([])
})

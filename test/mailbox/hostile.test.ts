/** Maildirs of somebody who means ill, or whose tools have gone mad: nothing hangs, nothing is written elsewhere. */
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { inspectMaildir } from '../../src/mailbox/inspect.ts'
import { Pop3Server } from '../protocols/pop3/harness.ts'
import { Home, identities, look, m1, uids } from './harness.ts'

let server: Pop3Server
afterEach(() => server?.stop())

const fifo = (path: string) => execFileSync('mkfifo', [path])

test('a FIFO among the mails holds up nobody', async () => {
  server = await Pop3Server.start({ users: ['eve:{PLAIN}secret'] })
  server.put('cur/1.x:2,', m1)
  mkdirSync(join(server.maildir('eve'), 'cur'), { recursive: true })
  fifo(join(server.maildir('eve'), 'cur/1.x,S=28:2,'))
  const refused = await server.connect()
  refused.send('USER eve\r\nPASS secret\r\n')
  expect((await refused.lines(3))[2]).toMatch(/^-ERR \[SYS\/TEMP\]/)
  fifo(join(server.maildir(), 'cur/2.x,S=28,W=32:2,'))
  const client = await server.login()
  expect(await client.ask('STAT')).toBe('+OK 2 64')
  expect(await client.ask('RETR 2')).toMatch(/^-ERR \[SYS\//)
  expect((await client.list('RETR 1')).status).toBe('+OK 32 octets')
  const report = await inspectMaildir({ maildir: server.maildir() })
  expect(report.mails).toBe(2)
})

test.each([
  'dovecot-uidlist',
  'dovecot-keywords',
  'dovecot-uidvalidity',
  'maildirsize',
  'dovecot-uidlist.tmp',
])('a FIFO in place of %s is an error at most', async (name) => {
  const home = new Home()
  home.write('cur/1.x:2,')
  fifo(home.path(name))
  const box = home.mailbox()
  const outcome = await box.open({ ...look, deletedFlag: 'gone' }).then(
    (snapshot) => snapshot.count,
    (error: { code: string }) => error.code,
  )
  expect([1, 'MA_MAILBOX_IO']).toContain(outcome)
})

test.each(['dovecot-uidlist.tmp', 'dovecot-uidvalidity.tmp'])(
  'what %s points to is not written to',
  async (name) => {
    const home = new Home()
    home.mb1()
    const target = join(home.root, 'precious')
    writeFileSync(target, 'precious')
    symlinkSync(target, home.path(name))
    writeFileSync(home.path('dovecot-uidlist'), 'x\n')
    expect((await home.mailbox().open(look)).count).toBe(3)
    expect(readFileSync(target, 'utf8')).toBe('precious')
    expect(home.uidList).toMatch(/^3 V/)
  },
)

test('M33 when UIDs are used up, all mails get new ones under a new validity', async () => {
  const home = new Home()
  for (const name of ['1.x', '2.x', '3.x']) home.write(`cur/${name}:2,`)
  home.write('dovecot-uidlist', `3 V1700000000 N4294967295\n7 Pkept :2.x\n4294967294 :1.x\n`)
  const snapshot = await home.mailbox().open(look)
  expect(uids(snapshot)).toEqual([1, 2, 3])
  expect(snapshot.uidValidity).toBeGreaterThan(1_700_000_000)
  expect(home.uidList).toContain('\n1 Pkept :2.x\n2 :1.x\n3 :3.x\n')
  home.restart({ lost: true })
  expect(identities(await home.mailbox().open(look))).toEqual(identities(snapshot))
  expect(home.log.lines).toContainEqual(
    expect.objectContaining({ event: 'mailbox.uidvalidity', level: 'error' }),
  )
})

test('a clock that jumps back, or far ahead, changes no UID and loses no mail', async () => {
  const home = new Home()
  home.mb1()
  let now = Date.now()
  const box = home.mailbox({ now: () => now })
  const before = identities(await box.open(look))
  for (const jump of [-86_400_000, 365 * 86_400_000, -400 * 86_400_000]) {
    now += jump
    await home.send(m1)
    const after = identities(await box.open(look))
    expect(after.slice(0, before.length)).toEqual(before)
    before.push(after.at(-1)!)
    expect(after).toEqual(before)
  }
})

test('a mail that nobody may read is refused, the others are served', async () => {
  if (process.geteuid?.() === 0) return
  server = await Pop3Server.start()
  server.put('cur/1.x,S=28,W=32:2,', m1)
  server.put('cur/2.x:2,', m1)
  chmodSync(join(server.maildir(), 'cur/1.x,S=28,W=32:2,'), 0)
  const client = await server.login()
  expect(await client.ask('RETR 1')).toMatch(/^-ERR \[SYS\/PERM\]/)
  expect((await client.list('RETR 2')).status).toBe('+OK 32 octets')
})

/**
 * Cases of section 7, Maildir and uid list, as sessions see them. Elsewhere: P260 with a real Dovecot
 * (`test/interop/dovecot-mailbox.test.ts`); P262, P264 to P267, P270 to P272, P277, P280 in `mailbox.test.ts`; P275,
 * P276 and P287 in `session.test.ts` of POP3, P286 with the session; P284 in `quota.test.ts`.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, linkSync, mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { m1, Pop3Server } from '../protocols/pop3/harness.ts'
import { because, whyNotMount } from '../support/privileges.ts'
import { Home, look, names } from './harness.ts'

/** For machines that have much to do. */
const patient = { timeout: 30_000 }

let server: Pop3Server
afterEach(() => server?.stop())

const path = (name: string) => join(server.maildir(), name)
const file = (name: string) => readFileSync(path(name), 'latin1')

async function session(...commands: readonly string[]): Promise<string[]> {
  const client = await server.login()
  const { lines } = await client.list('UIDL')
  for (const command of commands) {
    if (command.startsWith('RETR')) await client.list(command)
    else await client.ask(command)
  }
  expect(await client.ask('QUIT')).toMatch(/^\+OK/)
  return lines
}

test('P261 without a list UIDs follow the names, the same after a restart', async () => {
  server = await Pop3Server.start()
  for (const name of ['20.M5P1.h', '20.M10P1.h', '3.x', '20.zzz']) server.put(`new/${name}`, m1)
  const first = await session()
  expect(file('dovecot-uidlist').match(/:\S+/g)).toEqual([':3.x', ':20.M5P1.h', ':20.M10P1.h', ':20.zzz'])
  expect(await session()).toEqual(first)
})

test('P262 a list of version 1 keeps its UIDs and becomes version 3', async () => {
  server = await Pop3Server.start()
  server.mb1()
  server.put('dovecot-uidlist', '1 1700000000 4\n1 1700000001.M1P1.h\n2 1700000002.M2P1.h:2,S\n')
  expect(await session()).toEqual(['1 000000016553f100', '2 000000026553f100', '3 000000046553f100'])
  expect(file('dovecot-uidlist')).toMatch(/^3 V1700000000 N5 G[0-9a-f]{32}\n1 :1700000001/)
})

test('P265 UIDs out of order: rebuilt, with the UIDs of the index', async () => {
  server = await Pop3Server.start()
  server.mb1()
  const before = await session()
  server.put('dovecot-uidlist', file('dovecot-uidlist').replace('\n1 ', '\n9 '))
  expect(await session()).toEqual(before)
  expect(file('dovecot-uidlist')).toContain('\n1 ')
})

test('P266 unknown keys survive removals that rewrite the list', async () => {
  server = await Pop3Server.start({ set: ['mailbox.idle_close=100ms'] })
  const records = Array.from(
    { length: 100 },
    (_, i) => `${i + 1} Zfoo${i} :17000${String(i).padStart(5, '0')}.h`,
  )
  records.forEach((_, i) => {
    server.put(`cur/17000${String(i).padStart(5, '0')}.h:2,`, m1)
  })
  server.put(
    'dovecot-uidlist',
    `3 V1700000000 N101 G0123456789abcdef0123456789abcdef Xbar\n${records.join('\n')}\n`,
  )
  await session(...Array.from({ length: 60 }, (_, i) => `DELE ${i + 1}`))
  server.put('new/1800000000.x', m1)
  await session()
  await expect.poll(() => file('dovecot-uidlist').split('\n').length, patient).toBe(43)
  expect(file('dovecot-uidlist')).toMatch(/^3 V1700000000 N10[12] G\S+ Xbar\n61 Zfoo60 /)
})

test('P267 a removed mail that comes back is a new one', async () => {
  server = await Pop3Server.start()
  server.mb1()
  await session('DELE 1')
  server.put('cur/1700000001.M1P1.h:2,', m1)
  expect(await session()).toEqual(['1 000000026553f100', '2 000000036553f100', '3 000000046553f100'])
  expect(await session()).toHaveLength(3)
})

test('P269 what should not be in cur/ is mended, and the session goes on', async () => {
  server = await Pop3Server.start()
  server.mb1()
  server.put('cur/:2,S', m1)
  server.put('cur/bad\nname', m1)
  mkdirSync(path('cur/empty'))
  mkdirSync(path('cur/full'))
  writeFileSync(path('cur/full/file'), 'x')
  server.put('cur/1700000001.M1P1.h:2,F', 'Subject: the same name\n\n')
  await session()
  expect(await session()).toHaveLength(5)
  expect(existsSync(path('cur/empty'))).toBe(false)
  expect(file('extra-full/file')).toBe('x')
  expect(existsSync(path('cur/bad\nname'))).toBe(true)
  expect(server.files().filter((name) => name.startsWith('1700000001.M1P1.h'))).toHaveLength(1)
})

test('M7 two links of one file: one of them goes when it is old enough, and no mail is shown twice', async () => {
  const home = new Home()
  home.write('cur/1.x:2,')
  linkSync(home.path('cur/1.x:2,'), home.path('cur/1.x:2,S'))
  expect((await home.mailbox().open(look)).count).toBe(1)
  expect(home.files('cur')).toHaveLength(2)
})

test('P274 sizes that were found out are not looked for again, and are in the list', async () => {
  server = await Pop3Server.start({ set: ['mailbox.idle_close=100ms'] })
  for (let i = 0; i < 200; i++) server.put(`cur/17000${String(i).padStart(5, '0')}.h:2,`, m1)
  await session()
  await expect.poll(() => file('dovecot-uidlist').match(/ W32 /g)?.length, patient).toBe(200)
  // Who opened them now would get another size.
  for (let i = 0; i < 200; i++) server.put(`cur/17000${String(i).padStart(5, '0')}.h:2,`, '')
  const client = await server.login()
  expect(await client.ask('STAT')).toBe('+OK 200 6400')
})

test('P279 other flags, and what is behind a second comma, are kept', async () => {
  server = await Pop3Server.start()
  server.put('cur/1.x:2,PXa,extra', m1)
  await session('RETR 1')
  expect(server.files()).toEqual(['1.x:2,PSXa,extra'])
})

const noMount = whyNotMount()
test.skipIf(noMount !== undefined)(
  `P281 a Maildir that cannot be written is refused, or served when that is allowed${because(noMount)}`,
  async () => {
    for (const allowed of [false, true]) {
      server = await Pop3Server.start({ set: [`mailbox.allow_readonly=${allowed}`] })
      mkdirSync(server.maildir(), { recursive: true })
      execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', server.maildir()])
      try {
        server.mb1()
        execFileSync('mount', ['-o', 'remount,ro', server.maildir()])
        const client = await server.connect()
        client.send('USER alice\r\nPASS secret\r\n')
        const [, , login] = await client.lines(3)
        if (allowed) {
          expect(await client.ask('STAT')).toBe('+OK 3 99')
          expect((await client.list('UIDL')).lines[2]).toBe('3 000000036553f100')
          await client.list('RETR 1')
          expect(await client.ask('DELE 1')).toMatch(/^\+OK/)
          expect(await client.ask('QUIT')).toMatch(/^\+OK/)
        } else expect(login).toMatch(/^-ERR \[SYS\/PERM\]/)
        expect(server.files()).toHaveLength(3)
      } finally {
        execFileSync('umount', ['-l', server.maildir()])
        await server.stop()
      }
    }
  },
)

test('P282 with all keyword letters taken, the deleted flag is kept in the index', async () => {
  server = await Pop3Server.start({ set: ['pop3.deleted_flag=$POP3Deleted'] })
  server.mb1()
  const keywords = Array.from({ length: 26 }, (_, i) => `${i} word${i}\n`).join('')
  server.put('dovecot-keywords', keywords)
  await session('DELE 1')
  expect(await session()).toEqual(['1 000000026553f100', '2 000000036553f100'])
  expect(file('dovecot-keywords')).toBe(keywords)
  expect(server.files()).toHaveLength(3)
})

test('P285 old mails go after the session has ended, oldest first', async () => {
  server = await Pop3Server.start({ set: ['mail.autoexpunge=1d', 'mail.autoexpunge_max_mails=3'] })
  const now = Date.now() / 1000
  for (let i = 1; i <= 6; i++) {
    server.put(`cur/${i}.x:2,`, m1)
    // Two are old; the limit of three takes a third one.
    utimesSync(path(`cur/${i}.x:2,`), now, now - (i <= 2 ? 2 * 86_400 : 60))
  }
  expect(await session()).toHaveLength(6)
  await expect.poll(() => server.files(), patient).toEqual(['4.x:2,', '5.x:2,', '6.x:2,'])
})

test('M20 what others left in tmp/ goes after 36 hours, whatever it is called', async () => {
  const home = new Home()
  home.write('tmp/old')
  mkdirSync(home.path('tmp/folder'))
  await home.mailbox({ now: () => Date.now() + 37 * 3_600_000 }).open(look)
  expect(home.files('tmp')).toEqual(['folder'])
})

test('M4 a mail in new/ may have flags already', async () => {
  const home = new Home()
  home.write('new/1.x:2,S')
  expect(names(await home.mailbox().open(look))).toEqual(['1.x:2,S'])
})

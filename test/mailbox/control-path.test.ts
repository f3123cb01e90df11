/** Settings of where files are, how locks are made, and when new mail is looked at: S55, S57, M40, D5. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { takeDotlock } from '../../src/mailbox/dotlock.ts'
import { newUidValidity } from '../../src/mailbox/uid-validity.ts'
import { Pop3Server } from '../protocols/pop3/harness.ts'
import { Home, look, m1, names, uids } from './harness.ts'

let server: Pop3Server
afterEach(() => server?.stop())

describe('S55', () => {
  const elsewhere = ['mail.control_path=control/%u', 'mail.index_path=index/%n']

  test('uid list, keywords and validity are in mail.control_path, the session lock in mail.index_path', async () => {
    server = await Pop3Server.start({
      set: [...elsewhere, 'pop3.lock_session=true', 'pop3.deleted_flag=$Gone'],
    })
    server.put('cur/1.x:2,', m1)
    server.put('cur/2.x:2,', m1)
    const client = await server.login()
    const { lines } = await client.list('UIDL')
    expect(readdirSync(join(server.root, 'index/alice'))).toEqual(['dovecot-pop3-session.lock'])
    await client.ask('DELE 1')
    expect(await client.ask('QUIT')).toMatch(/^\+OK/)
    const control = join(server.root, 'control/alice')
    expect(readdirSync(join(control, '.INBOX')).sort()).toEqual(['dovecot-keywords', 'dovecot-uidlist'])
    expect(readdirSync(control)).toEqual(expect.arrayContaining(['.INBOX', 'dovecot-uidvalidity']))
    expect(readdirSync(server.maildir()).sort()).toEqual(['cur', 'new', 'tmp'])
    const again = await server.login()
    expect((await again.list('UIDL')).lines).toEqual([lines[1]!.replace(/^2/, '1')])
  })

  test('userdb_mail of a user says it as Dovecot writes it', async () => {
    server = await Pop3Server.start({
      users: ['zoe:{PLAIN}secret::::::userdb_mail=maildir:own/%u:CONTROL=kept/%u'],
    })
    const client = await server.login('zoe')
    expect(await client.ask('STAT')).toBe('+OK 0 0')
    expect(existsSync(join(server.root, 'kept/zoe/.INBOX/dovecot-uidlist'))).toBe(true)
    expect(readdirSync(join(server.root, 'own/zoe')).sort()).toEqual(['cur', 'new', 'tmp'])
  })
})

test('S57 a lock without O_EXCL: one has it, the file says who, nothing else is left', async () => {
  const home = new Home()
  mkdirSync(home.maildir)
  const path = home.path('a.lock')
  const options = { pid: process.pid, waitMs: 0, staleMs: 60_000, exclusive: false }
  const lock = (await takeDotlock(path, options))!
  expect(readFileSync(path, 'latin1')).toBe(`${process.pid}:${hostname()}`)
  expect(await takeDotlock(path, options)).toBeUndefined()
  expect(await takeDotlock(path, { ...options, exclusive: true })).toBeUndefined()
  expect(readdirSync(home.maildir)).toEqual(['a.lock'])
  expect(lock.touch()).toBe(true)
  lock.release()
  expect(readdirSync(home.maildir)).toEqual([])
})

describe('M40 the next uid validity', () => {
  const now = 0x6553f100
  const start = (...files: readonly string[]) => {
    const home = new Home()
    mkdirSync(home.maildir)
    for (const file of files) {
      const [name = '', content = ''] = file.split('=')
      writeFileSync(home.path(`dovecot-uidvalidity${name}`), content)
    }
    return home
  }
  const left = (home: Home) => readdirSync(home.maildir).sort()

  test.each([
    { what: 'nothing on record: the time', files: [], next: now },
    { what: 'one more than the last', files: ['=00000010', '.00000010'], next: 0x11 },
    { what: 'another program was quicker', files: ['=00000010', '.00000012'], next: 0x13 },
    { what: 'the marker is lost', files: ['=00000010'], next: 0x11 },
    { what: 'the file is lost', files: ['.00000010', '.0000000a'], next: 0x11 },
    { what: 'the file makes no sense', files: ['=garbage', '.00000010'], next: 0x11 },
    { what: 'the last one there is', files: ['=ffffffff', '.ffffffff'], next: now },
  ])('$what', ({ files, next }) => {
    const home = start(...files)
    expect(newUidValidity(home.maildir, now)).toBe(next)
    const hex = next.toString(16).padStart(8, '0')
    expect(readFileSync(home.path('dovecot-uidvalidity'), 'latin1')).toBe(hex)
    expect(left(home)).toEqual(['dovecot-uidvalidity', `dovecot-uidvalidity.${hex}`])
    expect(newUidValidity(home.maildir, now)).toBe(next + 1)
  })
})

describe('mail that is delivered', () => {
  test('D5 has its UID before anybody opens the mailbox, and a session moves it to cur/ all the same', async () => {
    const home = new Home()
    home.mb1()
    const box = home.mailbox()
    await box.open(look)
    await home.send(m1)
    await box.takeIn()
    expect(home.uidList).toMatch(/\n4 :.*,S=28,W=32\n$/)
    expect(home.files('new')).toHaveLength(1)
    const later = home.mailbox({ now: () => Date.now() + 5_000 })
    await later.takeIn()
    const snapshot = await later.open(look)
    expect(uids(snapshot)).toEqual([1, 2, 3, 4])
    expect(names(snapshot)[3]).toMatch(/:2,$/)
    expect(home.files('new')).toEqual([])
  })

  test('D5 with the list locked by another program it is left alone, at once', async () => {
    const home = new Home()
    home.mb1()
    const box = home.mailbox()
    await box.open(look)
    await home.send(m1)
    home.write('dovecot-uidlist.lock', '1:elsewhere')
    const list = home.uidList
    await box.takeIn()
    expect(home.uidList).toBe(list)
  })
})

test('R87 old mails stay while another program has dovecot.autoexpunge.lock', async () => {
  const home = new Home()
  home.mb1()
  const box = home.mailbox({ mail: { autoexpunge_max_mails: 1 } })
  await box.open(look)
  const lock = join(home.root, 'dovecot.autoexpunge.lock')
  writeFileSync(lock, '')
  expect(await box.autoexpunge(home.root)).toBe(0)
  writeFileSync(lock, `99999999:h`)
  expect(await box.autoexpunge(home.root)).toBe(0)
  expect(await box.autoexpunge(join(home.root, 'nowhere'))).toBe(2)
  expect(readdirSync(home.root)).toContain('dovecot.autoexpunge.lock')
})

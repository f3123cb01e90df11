import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { hostname } from 'node:os'
import { basename, join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { createMaildir } from '../../src/mailbox/deliver.ts'
import { IndexStore } from '../../src/mailbox/index-store.ts'
import { type MaildirFiles, maildirFiles } from '../../src/mailbox/maildir.ts'
import type { MailboxIndex } from '../../src/mailbox/register.ts'
import { sizeBytes, uidBytes } from '../../src/mailbox/snapshot.ts'
import { flags, guid, Home, identities, keys, look, m1, m2, m3, names, sizes, uids } from './harness.ts'

let home: Home
beforeEach(() => {
  home = new Home()
})

describe('opening', () => {
  test('P006 mails in new/ move to cur/ and keep the UIDs of the list', async () => {
    home.mb1()
    const snapshot = await home.mailbox().open(look)
    expect(snapshot.uidValidity).toBe(1700000000)
    expect(uids(snapshot)).toEqual([1, 2, 3])
    expect(flags(snapshot)).toEqual([0, 1, 0])
    expect(home.files('new')).toEqual([])
    expect(home.files('cur')).toContain('1700000003.M3P1.h:2,')
  })

  test('C58 with keepNew they stay where they are', async () => {
    home.mb1()
    const snapshot = await home.mailbox().open({ ...look, keepNew: true })
    expect(flags(snapshot)).toEqual([0, 1, 2])
    expect(home.files('new')).toEqual(['1700000003.M3P1.h'])
  })

  test('P040 a missing Maildir is made, with a uid list', async () => {
    const snapshot = await home.mailbox().open(look)
    expect(snapshot.count).toBe(0)
    expect(readdirSync(home.maildir)).toEqual(
      expect.arrayContaining(['cur', 'new', 'tmp', 'dovecot-uidlist']),
    )
  })

  test('P261 without a list UIDs follow the time in the names, and stay', async () => {
    createMaildir(home.maildir)
    for (const name of ['20.M5P1.h', '20.M10P1.h', '3.x', '20.zzz'])
      writeFileSync(join(home.maildir, 'new', name), m1)
    const first = await home.mailbox().open(look)
    expect(names(first)).toEqual(['3.x:2,', '20.M5P1.h:2,', '20.M10P1.h:2,', '20.zzz:2,'])
    expect(identities(await home.mailbox().open(look))).toEqual(identities(first))
  })

  test('P270 500 new files are all there', async () => {
    createMaildir(home.maildir)
    for (let i = 0; i < 500; i++) writeFileSync(join(home.maildir, `new/17${i}.h`), m1)
    expect((await home.mailbox().open(look)).count).toBe(500)
    expect(home.files('cur')).toHaveLength(500)
  })

  test('P272 sizes come from the names; a mail without stays unknown until somebody read it', async () => {
    createMaildir(home.maildir)
    writeFileSync(join(home.maildir, 'cur/1.a,S=28,W=32:2,'), m1)
    writeFileSync(join(home.maildir, 'cur/2.b:2,'), m1)
    expect(sizes(await home.mailbox().open(look))).toEqual([32, -1])
  })

  test('P262 a version 1 list keeps its UIDs and becomes version 3', async () => {
    home.mb1()
    writeFileSync(
      home.path('dovecot-uidlist'),
      '1 1700000000 7\n2 1700000001.M1P1.h:2,\n5 1700000002.M2P1.h\n',
    )
    const snapshot = await home.mailbox().open(look)
    expect(uids(snapshot)).toEqual([2, 5, 7])
    expect(readFileSync(home.path('dovecot-uidlist'), 'latin1')).toMatch(
      /^3 V1700000000 N8 G[0-9a-f]{32}\n2 :1700000001.M1P1.h\n/,
    )
  })

  test('P266 unknown keys survive a rewrite', async () => {
    home.mb1()
    writeFileSync(
      home.path('dovecot-uidlist'),
      `3 V1700000000 N4 G${guid} Xbar\n2 Zfoo :1700000002.M2P1.h\n3 :1700000003.M3P1.h`,
    )
    await home.mailbox().open(look)
    const text = readFileSync(home.path('dovecot-uidlist'), 'latin1')
    expect(text).toContain(' Xbar\n')
    expect(text).toContain('2 Zfoo :1700000002.M2P1.h\n')
  })

  test('P230 mails with an order number of an earlier server come first, and fixed UIDLs are shown', async () => {
    home.mb1()
    const lines = '1 O3 :1700000001.M1P1.h\n2 :1700000002.M2P1.h\n3 O1 Pold-uidl-3 :1700000003.M3P1.h\n'
    writeFileSync(home.path('dovecot-uidlist'), `3 V1700000000 N4 G${guid}\n${lines}`)
    const snapshot = await home.mailbox().open(look)
    expect(uids(snapshot)).toEqual([3, 1, 2])
    expect(keys(snapshot)).toEqual(['O1 Pold-uidl-3', 'O3', ''])
  })

  test('P269 folders and dot files in cur/ are no mails', async () => {
    home.mb1()
    mkdirSync(join(home.maildir, 'cur/folder'))
    writeFileSync(join(home.maildir, 'cur/.hidden'), '')
    expect((await home.mailbox().open(look)).count).toBe(3)
  })

  test('P280 what a crash left in tmp/ goes after 36 hours', async () => {
    home.mb1()
    writeFileSync(join(home.maildir, 'tmp/old'), '')
    const later = Date.now() + 37 * 3_600_000
    await home.mailbox({ now: () => later - 2 * 3_600_000 }).open(look)
    expect(readdirSync(join(home.maildir, 'tmp'))).toEqual(['old'])
    writeFileSync(join(home.maildir, 'new/x'), m1)
    await home.mailbox({ now: () => later, maildir: { tmp_scan_interval: 0 } }).open(look)
    expect(readdirSync(join(home.maildir, 'tmp'))).toEqual([])
  })

  test('names with octets that are not UTF-8 are served', async () => {
    createMaildir(home.maildir)
    const path = Buffer.concat([Buffer.from(join(home.maildir, 'new/1.')), Buffer.from([0xff, 0xfe])])
    writeFileSync(path, m1)
    const box = home.mailbox()
    const snapshot = await box.open(look)
    expect(names(snapshot)).toEqual(['1.\xff\xfe:2,'])
    await box.update({ uidValidity: snapshot.uidValidity, expunge: uidBytes([1]) })
    expect(home.files('cur')).toEqual([])
  })
})

describe('UIDs stay', () => {
  test('P142 after a restart', async () => {
    home.mb1()
    const before = identities(await home.mailbox().open(look))
    home.restart()
    expect(identities(await home.mailbox().open(look))).toEqual(before)
  })

  test('when the index is deleted', async () => {
    for (const text of [m1, m2, m3]) await home.send(text)
    const box = home.mailbox()
    const before = await box.open(look)
    await box.update({ uidValidity: before.uidValidity, expunge: uidBytes([3]) })
    await box.close()
    home.restart({ lost: true })
    await home.send(m1)
    const after = await home.mailbox().open(look)
    expect(identities(after).slice(0, 2)).toEqual(identities(before).slice(0, 2))
    expect(uids(after)).toEqual([1, 2, 4])
  })

  test('when the list is deleted: the index has them', async () => {
    home.mb1()
    const box = home.mailbox()
    const before = identities(await box.open(look))
    await box.close()
    unlinkSync(home.path('dovecot-uidlist'))
    expect(identities(await home.mailbox().open(look))).toEqual(before)
    expect(readFileSync(home.path('dovecot-uidlist'), 'latin1')).toContain(' :1700000001.M1P1.h\n')
  })

  test('P264 when both are deleted there is a new, higher validity', async () => {
    await home.send(m1)
    const before = await home.mailbox().open(look)
    home.restart({ lost: true })
    unlinkSync(home.path('dovecot-uidlist'))
    expect((await home.mailbox().open(look)).uidValidity).toBeGreaterThan(before.uidValidity)
  })

  test('a damaged index row is made anew', async () => {
    home.mb1()
    const box = home.mailbox()
    const before = identities(await box.open(look))
    await box.save()
    home.store.write([{ maildir: home.maildir, pages: [{ number: 0, bytes: Buffer.from('junk') }] }])
    expect(identities(await home.mailbox().open(look))).toEqual(before)
  })

  test('a file that is no database is set aside', async () => {
    writeFileSync(join(home.root, 'other.db'), 'this is not a database, however long it is '.repeat(100))
    const troubles: string[] = []
    const store = IndexStore.open(join(home.root, 'other.db'), { onTrouble: (what) => troubles.push(what) })
    expect(troubles).toEqual(['index set aside, made anew'])
    expect(existsSync(join(home.root, 'other.db.broken'))).toBe(true)
    expect(store.load(home.maildir)).toBeUndefined()
    store.close()
  })

  test('an index made by a later version is set aside', async () => {
    const { DatabaseSync } = await import('node:sqlite')
    const db = new DatabaseSync(join(home.root, 'other.db'))
    db.exec('PRAGMA user_version = 99')
    db.close()
    const troubles: string[] = []
    IndexStore.open(join(home.root, 'other.db'), { onTrouble: (_, why) => troubles.push(why) }).close()
    expect(troubles).toEqual([expect.stringContaining('99')])
  })

  test('P267 a removed mail that comes back is a new mail', async () => {
    home.mb1()
    const box = home.mailbox()
    const { uidValidity } = await box.open(look)
    await box.update({ uidValidity, expunge: uidBytes([1]) })
    expect(uids(await box.open(look))).toEqual([2, 3])
    writeFileSync(join(home.maildir, 'cur/1700000001.M1P1.h:2,'), m1)
    expect(uids(await box.open(look))).toEqual([2, 3, 4])
    await box.close()
    home.restart({ lost: true })
    expect(uids(await home.mailbox().open(look))).toEqual([2, 3, 4])
  })

  test('M41 UIDs that another program assigned meanwhile are taken over', async () => {
    home.mb1()
    const box = home.mailbox()
    await box.open(look)
    writeFileSync(join(home.maildir, 'cur/1700000009.x:2,'), m1)
    writeFileSync(join(home.maildir, 'cur/1700000008.y:2,'), m1)
    const text = readFileSync(home.path('dovecot-uidlist'), 'latin1')
    writeFileSync(home.path('dovecot-uidlist'), `${text}4 W32 :1700000009.x\n`)
    const snapshot = await box.open(look)
    expect(uids(snapshot)).toEqual([1, 2, 3, 4, 5])
    expect(names(snapshot).slice(3)).toEqual(['1700000009.x:2,', '1700000008.y:2,'])
    expect(sizes(snapshot).slice(3)).toEqual([32, -1])
  })

  test('M38 a changed validity is taken over from the list', async () => {
    home.mb1()
    const box = home.mailbox()
    await box.open(look)
    writeFileSync(home.path('dovecot-uidlist'), `3 V1800000000 N9 G${guid}\n7 :1700000001.M1P1.h\n`)
    const snapshot = await box.open(look)
    expect(snapshot.uidValidity).toBe(1800000000)
    expect(uids(snapshot)).toEqual([7, 9, 10])
    expect(names(snapshot)[0]).toBe('1700000001.M1P1.h:2,')
  })

  test('P265 a damaged list is rebuilt from the index with the same UIDs', async () => {
    home.mb1()
    const box = home.mailbox()
    const before = identities(await box.open(look))
    writeFileSync(home.path('dovecot-uidlist'), '3 V1 N9\n5 :b\n4 :a\n')
    expect(identities(await box.open(look))).toEqual(before)
  })

  test.each([
    {
      what: 'a line of NULs',
      damage: (list: string) => list.replace('2 :1700000002.M2P1.h', '\0'.repeat(20)),
      kept: [1, 3],
    },
    { what: 'a UID twice', damage: (list: string) => list.replace('\n3 :', '\n2 :'), kept: [1, 2] },
    { what: 'lines of another file', damage: (list: string) => `${list}junk\n9 x\n`, kept: [1, 2, 3] },
  ])(
    'P265 a list damaged by $what, without an index: what makes sense keeps its UIDs',
    async ({ damage, kept }) => {
      home.mb1()
      writeFileSync(home.path('dovecot-uidlist'), damage(home.uidList))
      const snapshot = await home.mailbox().open(look)
      expect(snapshot.uidValidity).toBe(1_700_000_000)
      expect(uids(snapshot).filter((uid) => uid < 4)).toEqual(kept)
      expect(snapshot.count).toBe(3)
      expect(home.uidList).toMatch(/^3 V1700000000 N[0-9]+ G/)
    },
  )

  test('a list whose header makes no sense, without an index: a new validity', async () => {
    home.mb1()
    writeFileSync(home.path('dovecot-uidlist'), `\0\0\0${home.uidList}`)
    const { uidValidity, count } = await home.mailbox().open(look)
    expect(count).toBe(3)
    expect(uidValidity).toBeGreaterThan(1_700_000_000)
  })
})

describe('changes by others', () => {
  test('P277 a mail that arrives in the same instant as the last look is seen', async () => {
    home.mb1()
    const box = home.mailbox()
    await box.open(look)
    const at = new Date()
    utimesSync(join(home.maildir, 'new'), at, at)
    await box.open(look)
    writeFileSync(join(home.maildir, 'new/1800000000.z'), m1)
    utimesSync(join(home.maildir, 'new'), at, at)
    expect((await box.open(look)).count).toBe(4)
  })

  test('an unchanged mailbox is not read again', async () => {
    home.mb1()
    const old = new Date(Date.now() - 60_000)
    const box = home.mailbox()
    await box.open(look)
    for (const folder of ['cur', 'new']) utimesSync(join(home.maildir, folder), old, old)
    await box.open(look)
    // Put there without changing the folder's time: only who reads the folder would see it.
    writeFileSync(join(home.maildir, 'new/1800000000.z'), m1)
    utimesSync(join(home.maildir, 'new'), old, old)
    expect((await box.open(look)).count).toBe(3)
    await box.takeIn()
    expect((await box.open(look)).count).toBe(4)
  })

  test('P213 a mail renamed by another program is found, and keeps its flags', async () => {
    home.mb1()
    const box = home.mailbox()
    const { uidValidity, generation } = await box.open(look)
    renameSync(
      join(home.maildir, 'cur/1700000001.M1P1.h:2,'),
      join(home.maildir, 'cur/1700000001.M1P1.h:2,F'),
    )
    const found = await box.locate({ uid: 1, generation, keepNew: true })
    expect(found).toEqual({ place: { name: '1700000001.M1P1.h:2,F', inNew: false }, gone: uidBytes([]) })
    renameSync(
      join(home.maildir, 'cur/1700000001.M1P1.h:2,F'),
      join(home.maildir, 'cur/1700000001.M1P1.h:2,FR'),
    )
    await box.update({ uidValidity, seen: uidBytes([1]) })
    expect(home.files('cur')).toContain('1700000001.M1P1.h:2,FRS')
    renameSync(
      join(home.maildir, 'cur/1700000001.M1P1.h:2,FRS'),
      join(home.maildir, 'cur/1700000001.M1P1.h:2,S'),
    )
    expect(await box.update({ uidValidity, expunge: uidBytes([1]) })).toBe(0)
    expect(home.files('cur').some((name) => name.startsWith('1700000001'))).toBe(false)
  })

  test('S60 very_dirty_syncs: cur/ is not read again after our own changes', async () => {
    home.mb1()
    const box = home.mailbox({ maildir: { very_dirty_syncs: true } })
    const { uidValidity } = await box.open(look)
    await box.update({ uidValidity, seen: uidBytes([1]) })
    const { mtime } = statSync(home.path('cur'))
    home.write('cur/1800000000.z:2,')
    // As if it had come before our own change.
    utimesSync(home.path('cur'), mtime, mtime)
    await box.update({ uidValidity, expunge: uidBytes([2]) })
    expect(uids(await box.open(look))).toEqual([1, 3])
    home.write('new/1900000000.z')
    expect(uids(await box.open(look))).toEqual([1, 3, 4])
    // Late, and not never.
    expect(uids(await home.mailbox().open(look))).toHaveLength(4)
  })

  test('S62 empty_new moves mails although flags are not to be changed', async () => {
    home.mb1()
    await home.mailbox({ maildir: { empty_new: true } }).open({ ...look, keepNew: true })
    expect(home.files('new')).toEqual([])
  })

  test('S64 a lock of another host that did not change for long is taken over', async () => {
    home.mb1()
    writeFileSync(home.path('dovecot-uidlist.lock'), '1:otherhost')
    const past = new Date(Date.now() - 11_000)
    utimesSync(home.path('dovecot-uidlist.lock'), past, past)
    const box = home.mailbox({ maildir: { uidlist_lock_stale: 10_000 }, mail: { max_lock_timeout: 5_000 } })
    expect((await box.open(look)).count).toBe(3)
    expect(existsSync(home.path('dovecot-uidlist.lock'))).toBe(false)
  })

  test('P212 a mail removed by another program counts as removed, and no other goes in its place', async () => {
    home.mb1()
    const box = home.mailbox()
    const { uidValidity } = await box.open(look)
    unlinkSync(join(home.maildir, 'cur/1700000001.M1P1.h:2,'))
    writeFileSync(join(home.maildir, 'new/1800000000.z'), m1)
    expect(await box.update({ uidValidity, expunge: uidBytes([1]), seen: uidBytes([1]) })).toBe(0)
    expect(home.files('new')).toEqual(['1800000000.z'])
    expect(uids(await box.open(look))).toEqual([2, 3, 4])
  })

  test('P217 while another program keeps the list locked, known mails are shown and nothing is assigned', async () => {
    home.mb1()
    const box = home.mailbox({ mail: { max_lock_timeout: 50 } })
    await box.open(look)
    const before = readFileSync(home.path('dovecot-uidlist'), 'latin1')
    writeFileSync(`${home.path('dovecot-uidlist')}.lock`, '1:otherhost')
    await home.send(m1)
    expect(uids(await box.open(look))).toEqual([1, 2, 3])
    expect(readFileSync(home.path('dovecot-uidlist'), 'latin1')).toBe(before)
    unlinkSync(`${home.path('dovecot-uidlist')}.lock`)
    expect(uids(await box.open(look))).toEqual([1, 2, 3, 4])
  })

  test('P203 the lock of a dead process is no obstacle', async () => {
    home.mb1()
    writeFileSync(`${home.path('dovecot-uidlist')}.lock`, `999999999:${hostname()}`)
    const past = new Date(Date.now() - 5_000)
    utimesSync(`${home.path('dovecot-uidlist')}.lock`, past, past)
    await home.send(m1)
    expect((await home.mailbox({ mail: { max_lock_timeout: 5_000 } }).open(look)).count).toBe(4)
    expect(existsSync(`${home.path('dovecot-uidlist')}.lock`)).toBe(false)
  })

  test('uids of another validity change nothing', async () => {
    home.mb1()
    const box = home.mailbox()
    await box.open(look)
    await expect(box.update({ uidValidity: 5, expunge: uidBytes([1]) })).rejects.toMatchObject({
      code: 'MA_MAILBOX_IO',
    })
    expect(home.files('cur')).toHaveLength(3)
  })
})

describe('updating', () => {
  test('marks seen, removes, and leaves the others alone', async () => {
    home.mb1()
    const box = home.mailbox()
    const { uidValidity } = await box.open(look)
    expect(await box.update({ uidValidity, expunge: uidBytes([2, 99]), seen: uidBytes([1, 98]) })).toBe(0)
    expect(home.files('cur')).toEqual(['1700000001.M1P1.h:2,S', '1700000003.M3P1.h:2,'])
    expect(home.store.load(home.maildir)?.intents).toEqual([])
  })

  test('P274 learned sizes are known after a restart, from the index and from the list', async () => {
    home.mb1()
    const box = home.mailbox()
    const { uidValidity } = await box.open(look)
    await box.update({ uidValidity, sized: { uids: uidBytes([1, 2, 3]), sizes: sizeBytes([32, 32, 35]) } })
    expect(sizes(await home.mailbox().open(look))).toEqual([32, 32, 35])
    await box.close()
    expect(readFileSync(home.path('dovecot-uidlist'), 'latin1')).toContain('\n3 W35 :1700000003.M3P1.h\n')
    home.restart({ lost: true })
    expect(sizes(await home.mailbox().open(look))).toEqual([32, 32, 35])
  })

  test('C66 a size that was found out beats the one in the name, also without the index', async () => {
    home.write('cur/1.x,S=1,W=2:2,')
    const box = home.mailbox()
    const { uidValidity } = await box.open(look)
    await box.update({ uidValidity, sized: { uids: uidBytes([1]), sizes: sizeBytes([32]) } })
    await box.close()
    expect(home.uidList).toContain('\n1 W32 :1.x,S=1,W=2\n')
    home.restart({ lost: true })
    expect(sizes(await home.mailbox().open(look))).toEqual([32])
  })

  test('P271 a mail that cannot leave new/ is served and removed there', async () => {
    home.mb1()
    const files: MaildirFiles = {
      ...maildirFiles,
      rename() {
        throw Object.assign(new Error('no space'), { code: 'ENOSPC' })
      },
    }
    const box = home.mailbox({ files })
    const snapshot = await box.open(look)
    expect(flags(snapshot)).toEqual([0, 1, 2])
    expect(
      await box.update({ uidValidity: snapshot.uidValidity, seen: uidBytes([1]), expunge: uidBytes([3]) }),
    ).toBe(0)
    expect(home.files('new')).toEqual([])
  })

  test('C55 mails that cannot be removed are counted, and not removed behind the client’s back', async () => {
    home.mb1()
    const files: MaildirFiles = {
      ...maildirFiles,
      unlink(folder, name) {
        if (name.startsWith('1700000002')) throw Object.assign(new Error('busy'), { code: 'EIO' })
        return maildirFiles.unlink(folder, name)
      },
    }
    const box = home.mailbox({ files })
    const { uidValidity } = await box.open(look)
    expect(await box.update({ uidValidity, expunge: uidBytes([1, 2]) })).toBe(1)
    expect(uids(await home.mailbox().open(look))).toEqual([2, 3])
  })

  test('removal works when the index does not', async () => {
    home.mb1()
    const broken: MailboxIndex = {
      load: home.index.load,
      save: async () => {
        throw new Error('disk full')
      },
    }
    const box = home.mailbox({ index: broken })
    const { uidValidity } = await box.open(look)
    expect(await box.update({ uidValidity, expunge: uidBytes([1]) })).toBe(0)
    expect(uids(await home.mailbox().open(look))).toEqual([2, 3])
  })

  test('reading a file of ours: any Maildir reader finds flags and content', async () => {
    const { file } = await home.send('Subject: x\r\n\r\nhello\r\n')
    const box = home.mailbox()
    const { uidValidity } = await box.open(look)
    await box.update({ uidValidity, seen: uidBytes([1]) })
    expect(home.files('cur')).toEqual([`${basename(file)}:2,S`])
    expect(readFileSync(join(home.maildir, 'cur', `${basename(file)}:2,S`), 'latin1')).toBe(
      'Subject: x\n\nhello\n',
    )
  })
})

/**
 * A crash is a step that never ends: the mailbox is left there and a new one opens the same files. Steps are the
 * index commits and the file operations of an UPDATE that marks and removes.
 */
describe('P221 a crash between any two steps of UPDATE', () => {
  class Crash extends Error {}

  /** Runs an UPDATE that stops for ever at its `step`th step; true: it had fewer steps than that. */
  async function crashAt(step: number): Promise<boolean> {
    let steps = 0
    let armed = false
    let crashed = () => {}
    const crash = new Promise<boolean>((resolve) => {
      crashed = () => resolve(false)
    })
    const next = () => {
      if (!armed || ++steps < step) return
      crashed()
      throw new Crash()
    }
    const dying: MailboxIndex = {
      load: home.index.load,
      save: async (write) => {
        try {
          next()
          await home.index.save(write)
          next()
        } catch (error) {
          if (!(error instanceof Crash)) throw error
          // The process is gone: nobody hears whether it worked.
          await new Promise(() => {})
        }
      },
    }
    const files: MaildirFiles = {
      rename(...names) {
        next()
        return maildirFiles.rename(...names)
      },
      unlink(...names) {
        next()
        return maildirFiles.unlink(...names)
      },
    }
    const box = home.mailbox({ index: dying, files })
    const { uidValidity } = await box.open(look)
    armed = true
    const update = box.update({ uidValidity, expunge: uidBytes([2, 3]), seen: uidBytes([1]) }).then(
      () => true,
      (error: unknown) => {
        if (error instanceof Crash) return false
        throw error
      },
    )
    return Promise.race([update, crash])
  }

  test('loses no unmarked mail, changes no UID, brings nothing back', async () => {
    let finished = false
    let step = 0
    while (!finished) {
      step++
      expect(step).toBeLessThan(30)
      home = new Home()
      for (const text of [m1, m2, m3, m1]) await home.send(text)
      const before = identities(await home.mailbox().open(look))
      finished = await crashAt(step)
      const after = await home.mailbox().open(look)
      const kept = identities(after)
      expect(before, `step ${step}`).toEqual(expect.arrayContaining(kept))
      expect(kept, `step ${step}`).toEqual(expect.arrayContaining([before[0], before[3]]))
      const again = await home.mailbox().open(look)
      expect(identities(again), `step ${step}`).toEqual(kept)
      expect(home.store.load(home.maildir)?.intents ?? [], `step ${step}`).toEqual([])
      if (finished) expect(uids(after)).toEqual([1, 4])
    }
    // Seen mark, before and after the intent, two files: the answer is given then.
    expect(step).toBeGreaterThanOrEqual(6)
  })
})

describe('a listing that is the same as before', () => {
  test('is compared all the same when we have changed something in between', async () => {
    const home = new Home()
    home.mb1()
    const box = home.mailbox()
    const { uidValidity } = await box.open(look)
    await box.open(look)
    await home.send(m1)
    expect((await box.open(look)).count).toBe(4)
    unlinkSync(home.path(`cur/${home.files('cur').at(-1)}`))
    expect((await box.open(look)).count).toBe(3)
    await box.update({ uidValidity, seen: uidBytes([1]) })
    renameSync(home.path('cur/1700000001.M1P1.h:2,S'), home.path('cur/1700000001.M1P1.h:2,'))
    expect(names(await box.open(look))[0]).toBe('1700000001.M1P1.h:2,')
  })
})

test('P267 M16 a removed mail that comes back gets a new UID, and the log says so', async () => {
  const home = new Home()
  home.mb1()
  const box = home.mailbox()
  const { uidValidity } = await box.open(look)
  await box.update({ uidValidity, expunge: uidBytes([1]) })
  home.write('cur/1700000001.M1P1.h:2,')
  await home.send(m2)
  expect(uids(await box.open(look))).toEqual([2, 3, 4, 5])
  const warnings = home.log.lines.filter(({ event }) => event === 'mailbox.returned')
  expect(warnings).toMatchObject([{ name: '1700000001.M1P1.h', level: 'warn' }])
})

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Logger } from '../../src/actors/index.ts'
import { defaults } from '../../src/config/schema.ts'
import { mailSettings } from '../../src/mailbox/config.ts'
import type { Snapshot } from '../../src/mailbox/contract.ts'
import { createMaildir, deliver } from '../../src/mailbox/deliver.ts'
import { IndexStore } from '../../src/mailbox/index-store.ts'
import { Mailbox } from '../../src/mailbox/mailbox.ts'
import { type MaildirFiles, maildirFiles } from '../../src/mailbox/maildir.ts'
import type { MailboxIndex } from '../../src/mailbox/register.ts'
import { readSizes, readUids, sizeBytes, uidBytes } from '../../src/mailbox/snapshot.ts'

const m1 = 'From: a\nSubject: one\n\nhello\n'
const m2 = 'Subject: two\n\n.\n..\n.x\nend\n'
const m3 = 'Subject: three\n\nno newline at end'
const guid = '0123456789abcdef0123456789abcdef'

const silent: Logger = {
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error() {},
  fatal() {},
  isLevelEnabled: () => false,
}

let root: string
let maildir: string
let store: IndexStore
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'mailbox-'))
  maildir = join(root, 'Maildir')
  store = IndexStore.open(join(root, 'index.db')).store
})
afterEach(() => {
  store.close()
  rmSync(root, { recursive: true, force: true })
})

const index: MailboxIndex = {
  load: async (path) => store.load(path) ?? null,
  save: async (write) => store.write([write]),
}

function mailbox(options: { files?: MaildirFiles; index?: MailboxIndex; settings?: object } = {}): Mailbox {
  const settings = { ...defaults(mailSettings), ...options.settings }
  return new Mailbox({ maildir, hostname: 'h', index, log: silent, ...options, settings })
}

/** Fixture MB1 of the POP3 cases: three mails, one seen, one still in new/. */
function mb1(): void {
  createMaildir(maildir)
  writeFileSync(join(maildir, 'cur/1700000001.M1P1.h:2,'), m1)
  writeFileSync(join(maildir, 'cur/1700000002.M2P1.h:2,S'), m2)
  writeFileSync(join(maildir, 'new/1700000003.M3P1.h'), m3)
  const lines = ['1 :1700000001.M1P1.h', '2 :1700000002.M2P1.h', '3 :1700000003.M3P1.h']
  writeFileSync(list(), `3 V1700000000 N4 G${guid}\n${lines.join('\n')}\n`)
}

const list = () => join(maildir, 'dovecot-uidlist')
const cur = () => readdirSync(join(maildir, 'cur')).sort()
const fresh = () => readdirSync(join(maildir, 'new')).sort()
const uids = (snapshot: Snapshot) => [...readUids(snapshot.uids)]
const names = (snapshot: Snapshot) => snapshot.names.split('\n').slice(0, -1)
const send = (text: string) => deliver(maildir, { bytes: Buffer.from(text) }, { hostname: 'h' })
/** UIDs by base name: what clients see as UIDLs, with the validity. */
const uidls = (snapshot: Snapshot) =>
  names(snapshot).map((name, i) => `${name.split(':')[0]} ${uids(snapshot)[i]} ${snapshot.uidValidity}`)

describe('opening', () => {
  test('P006 mails in new/ move to cur/ and keep the UIDs of the list', async () => {
    mb1()
    const snapshot = await mailbox().open(false)
    expect(snapshot.uidValidity).toBe(1700000000)
    expect(uids(snapshot)).toEqual([1, 2, 3])
    expect([...snapshot.flags]).toEqual([0, 1, 0])
    expect(fresh()).toEqual([])
    expect(cur()).toContain('1700000003.M3P1.h:2,')
  })

  test('C58 with keepNew they stay where they are', async () => {
    mb1()
    const snapshot = await mailbox().open(true)
    expect([...snapshot.flags]).toEqual([0, 1, 2])
    expect(fresh()).toEqual(['1700000003.M3P1.h'])
  })

  test('P040 a missing Maildir is made, with a uid list', async () => {
    const snapshot = await mailbox().open(false)
    expect(snapshot.count).toBe(0)
    expect(readdirSync(maildir)).toEqual(expect.arrayContaining(['cur', 'new', 'tmp', 'dovecot-uidlist']))
  })

  test('P261 without a list UIDs follow the time in the names, and stay', async () => {
    createMaildir(maildir)
    for (const name of ['20.M5P1.h', '20.M10P1.h', '3.x', '20.zzz'])
      writeFileSync(join(maildir, 'new', name), m1)
    const first = await mailbox().open(false)
    expect(names(first)).toEqual(['3.x:2,', '20.M5P1.h:2,', '20.M10P1.h:2,', '20.zzz:2,'])
    expect(uidls(await mailbox().open(false))).toEqual(uidls(first))
  })

  test('P270 500 new files are all there', async () => {
    createMaildir(maildir)
    for (let i = 0; i < 500; i++) writeFileSync(join(maildir, `new/17${i}.h`), m1)
    expect((await mailbox().open(false)).count).toBe(500)
    expect(cur()).toHaveLength(500)
  })

  test('P272 sizes come from the names; a mail without stays unknown until somebody read it', async () => {
    createMaildir(maildir)
    writeFileSync(join(maildir, 'cur/1.a,S=28,W=32:2,'), m1)
    writeFileSync(join(maildir, 'cur/2.b:2,'), m1)
    expect([...readSizes((await mailbox().open(false)).sizes)]).toEqual([32, -1])
  })

  test('P262 a version 1 list keeps its UIDs and becomes version 3', async () => {
    mb1()
    writeFileSync(list(), '1 1700000000 7\n2 1700000001.M1P1.h:2,\n5 1700000002.M2P1.h\n')
    const snapshot = await mailbox().open(false)
    expect(uids(snapshot)).toEqual([2, 5, 7])
    expect(readFileSync(list(), 'latin1')).toMatch(/^3 V1700000000 N8 G[0-9a-f]{32}\n2 :1700000001.M1P1.h\n/)
  })

  test('P266 unknown keys survive a rewrite', async () => {
    mb1()
    writeFileSync(list(), `3 V1700000000 N4 G${guid} Xbar\n2 Zfoo :1700000002.M2P1.h\n3 :1700000003.M3P1.h`)
    await mailbox().open(false)
    const text = readFileSync(list(), 'latin1')
    expect(text).toContain(' Xbar\n')
    expect(text).toContain('2 Zfoo :1700000002.M2P1.h\n')
  })

  test('P230 mails with an order number of an earlier server come first, and fixed UIDLs are shown', async () => {
    mb1()
    const lines = '1 O3 :1700000001.M1P1.h\n2 :1700000002.M2P1.h\n3 O1 Pold-uidl-3 :1700000003.M3P1.h\n'
    writeFileSync(list(), `3 V1700000000 N4 G${guid}\n${lines}`)
    const snapshot = await mailbox().open(false)
    expect(uids(snapshot)).toEqual([3, 1, 2])
    expect(snapshot.uidls).toBe('old-uidl-3\n\n\n')
  })

  test('P269 folders and dot files in cur/ are no mails', async () => {
    mb1()
    mkdirSync(join(maildir, 'cur/folder'))
    writeFileSync(join(maildir, 'cur/.hidden'), '')
    expect((await mailbox().open(false)).count).toBe(3)
  })

  test('P280 what a crash left in tmp/ goes after 36 hours', async () => {
    mb1()
    writeFileSync(join(maildir, 'tmp/old'), '')
    const later = Date.now() + 37 * 3_600_000
    await new Mailbox({
      maildir,
      hostname: 'h',
      index,
      log: silent,
      settings: defaults(mailSettings),
      now: () => later - 2 * 3_600_000,
    }).open(false)
    expect(readdirSync(join(maildir, 'tmp'))).toEqual(['old'])
    const settings = { ...defaults(mailSettings), tmp_scan_interval: 0 }
    writeFileSync(join(maildir, 'new/x'), m1)
    await new Mailbox({ maildir, hostname: 'h', index, log: silent, settings, now: () => later }).open(false)
    expect(readdirSync(join(maildir, 'tmp'))).toEqual([])
  })

  test('names with octets that are not UTF-8 are served', async () => {
    createMaildir(maildir)
    const path = Buffer.concat([Buffer.from(join(maildir, 'new/1.')), Buffer.from([0xff, 0xfe])])
    writeFileSync(path, m1)
    const box = mailbox()
    const snapshot = await box.open(false)
    expect(names(snapshot)).toEqual(['1.\xff\xfe:2,'])
    await box.update({ uidValidity: snapshot.uidValidity, expunge: uidBytes([1]) })
    expect(cur()).toEqual([])
  })
})

describe('UIDs stay', () => {
  test('P142 after a restart', async () => {
    mb1()
    const before = uidls(await mailbox().open(false))
    store.close()
    store = IndexStore.open(join(root, 'index.db')).store
    expect(uidls(await mailbox().open(false))).toEqual(before)
  })

  test('when the index is deleted', async () => {
    for (const text of [m1, m2, m3]) await send(text)
    const box = mailbox()
    const before = await box.open(false)
    await box.update({ uidValidity: before.uidValidity, expunge: uidBytes([3]) })
    await box.close()
    store.close()
    rmSync(join(root, 'index.db'))
    store = IndexStore.open(join(root, 'index.db')).store
    await send(m1)
    const after = await mailbox().open(false)
    expect(uidls(after).slice(0, 2)).toEqual(uidls(before).slice(0, 2))
    expect(uids(after)).toEqual([1, 2, 4])
  })

  test('when the list is deleted: the index has them', async () => {
    mb1()
    const box = mailbox()
    const before = uidls(await box.open(false))
    await box.close()
    unlinkSync(list())
    expect(uidls(await mailbox().open(false))).toEqual(before)
    expect(readFileSync(list(), 'latin1')).toContain(' :1700000001.M1P1.h\n')
  })

  test('P264 when both are deleted there is a new, higher validity', async () => {
    await send(m1)
    const before = await mailbox().open(false)
    store.close()
    rmSync(join(root, 'index.db'))
    store = IndexStore.open(join(root, 'index.db')).store
    unlinkSync(list())
    expect((await mailbox().open(false)).uidValidity).toBeGreaterThan(before.uidValidity)
  })

  test('a damaged index row is made anew', async () => {
    mb1()
    const box = mailbox()
    const before = uidls(await box.open(false))
    await box.save()
    store.write([{ maildir, packs: [{ number: 0, bytes: Buffer.from('junk') }] }])
    expect(uidls(await mailbox().open(false))).toEqual(before)
  })

  test('a file that is no database is set aside', async () => {
    store.close()
    writeFileSync(join(root, 'index.db'), 'this is not a database, however long it is '.repeat(100))
    const opened = IndexStore.open(join(root, 'index.db'))
    store = opened.store
    expect(opened.replaced).toBeDefined()
    expect(existsSync(join(root, 'index.db.broken'))).toBe(true)
    mb1()
    expect((await mailbox().open(false)).count).toBe(3)
  })

  test('an index made by a later version is set aside', async () => {
    store.close()
    const { DatabaseSync } = await import('node:sqlite')
    const db = new DatabaseSync(join(root, 'index.db'))
    db.exec('PRAGMA user_version = 99')
    db.close()
    const opened = IndexStore.open(join(root, 'index.db'))
    store = opened.store
    expect(opened.replaced).toContain('99')
  })

  test('P267 a removed mail that comes back is a new mail', async () => {
    mb1()
    const box = mailbox()
    const { uidValidity } = await box.open(false)
    await box.update({ uidValidity, expunge: uidBytes([1]) })
    expect(uids(await box.open(false))).toEqual([2, 3])
    writeFileSync(join(maildir, 'cur/1700000001.M1P1.h:2,'), m1)
    expect(uids(await box.open(false))).toEqual([2, 3, 4])
    await box.close()
    store.close()
    rmSync(join(root, 'index.db'))
    store = IndexStore.open(join(root, 'index.db')).store
    expect(uids(await mailbox().open(false))).toEqual([2, 3, 4])
  })

  test('M41 UIDs that another program assigned meanwhile are taken over', async () => {
    mb1()
    const box = mailbox()
    await box.open(false)
    writeFileSync(join(maildir, 'cur/1700000009.x:2,'), m1)
    writeFileSync(join(maildir, 'cur/1700000008.y:2,'), m1)
    const text = readFileSync(list(), 'latin1')
    writeFileSync(list(), `${text}4 W32 :1700000009.x\n`)
    const snapshot = await box.open(false)
    expect(uids(snapshot)).toEqual([1, 2, 3, 4, 5])
    expect(names(snapshot).slice(3)).toEqual(['1700000009.x:2,', '1700000008.y:2,'])
    expect([...readSizes(snapshot.sizes)].slice(3)).toEqual([32, -1])
  })

  test('M38 a changed validity is taken over from the list', async () => {
    mb1()
    const box = mailbox()
    await box.open(false)
    writeFileSync(list(), `3 V1800000000 N9 G${guid}\n7 :1700000001.M1P1.h\n`)
    const snapshot = await box.open(false)
    expect(snapshot.uidValidity).toBe(1800000000)
    expect(uids(snapshot)).toEqual([7, 9, 10])
    expect(names(snapshot)[0]).toBe('1700000001.M1P1.h:2,')
  })

  test('P265 a damaged list is rebuilt from the index with the same UIDs', async () => {
    mb1()
    const box = mailbox()
    const before = uidls(await box.open(false))
    writeFileSync(list(), '3 V1 N9\n5 :b\n4 :a\n')
    expect(uidls(await box.open(false))).toEqual(before)
  })
})

describe('changes by others', () => {
  test('P277 a mail that arrives in the same instant as the last look is seen', async () => {
    mb1()
    const box = mailbox()
    await box.open(false)
    const at = new Date()
    utimesSync(join(maildir, 'new'), at, at)
    await box.open(false)
    writeFileSync(join(maildir, 'new/1800000000.z'), m1)
    utimesSync(join(maildir, 'new'), at, at)
    expect((await box.open(false)).count).toBe(4)
  })

  test('an unchanged mailbox is not read again', async () => {
    mb1()
    const old = new Date(Date.now() - 60_000)
    const box = mailbox()
    await box.open(false)
    for (const folder of ['cur', 'new']) utimesSync(join(maildir, folder), old, old)
    await box.open(false)
    // Put there without changing the folder's time: only who reads the folder would see it.
    writeFileSync(join(maildir, 'cur/1800000000.z:2,'), m1)
    utimesSync(join(maildir, 'cur'), old, old)
    expect((await box.open(false)).count).toBe(3)
    box.arrived()
    expect((await box.open(false)).count).toBe(4)
  })

  test('P213 a mail renamed by another program is found, and keeps its flags', async () => {
    mb1()
    const box = mailbox()
    const { uidValidity } = await box.open(false)
    renameSync(join(maildir, 'cur/1700000001.M1P1.h:2,'), join(maildir, 'cur/1700000001.M1P1.h:2,F'))
    expect(await box.locate(1)).toEqual({ name: '1700000001.M1P1.h:2,F', inNew: false })
    renameSync(join(maildir, 'cur/1700000001.M1P1.h:2,F'), join(maildir, 'cur/1700000001.M1P1.h:2,FR'))
    await box.update({ uidValidity, seen: uidBytes([1]) })
    expect(cur()).toContain('1700000001.M1P1.h:2,FRS')
    renameSync(join(maildir, 'cur/1700000001.M1P1.h:2,FRS'), join(maildir, 'cur/1700000001.M1P1.h:2,S'))
    expect(await box.update({ uidValidity, expunge: uidBytes([1]) })).toBe(0)
    expect(cur().some((name) => name.startsWith('1700000001'))).toBe(false)
  })

  test('P212 a mail removed by another program counts as removed, and no other goes in its place', async () => {
    mb1()
    const box = mailbox()
    const { uidValidity } = await box.open(false)
    unlinkSync(join(maildir, 'cur/1700000001.M1P1.h:2,'))
    writeFileSync(join(maildir, 'new/1800000000.z'), m1)
    expect(await box.update({ uidValidity, expunge: uidBytes([1]), seen: uidBytes([1]) })).toBe(0)
    expect(fresh()).toEqual(['1800000000.z'])
    expect(uids(await box.open(false))).toEqual([2, 3, 4])
  })

  test('P217 while another program keeps the list locked, known mails are shown and nothing is assigned', async () => {
    mb1()
    const box = mailbox({ settings: { max_lock_timeout: 50 } })
    await box.open(false)
    const before = readFileSync(list(), 'latin1')
    writeFileSync(`${list()}.lock`, '1:otherhost')
    await send(m1)
    expect(uids(await box.open(false))).toEqual([1, 2, 3])
    expect(readFileSync(list(), 'latin1')).toBe(before)
    unlinkSync(`${list()}.lock`)
    expect(uids(await box.open(false))).toEqual([1, 2, 3, 4])
  })

  test('P203 the lock of a dead process is no obstacle', async () => {
    mb1()
    writeFileSync(`${list()}.lock`, '999999999:h')
    const past = new Date(Date.now() - 5_000)
    utimesSync(`${list()}.lock`, past, past)
    await send(m1)
    expect((await mailbox({ settings: { max_lock_timeout: 5_000 } }).open(false)).count).toBe(4)
    expect(existsSync(`${list()}.lock`)).toBe(false)
  })

  test('uids of another validity change nothing', async () => {
    mb1()
    const box = mailbox()
    await box.open(false)
    await expect(box.update({ uidValidity: 5, expunge: uidBytes([1]) })).rejects.toMatchObject({
      code: 'MA_MAILBOX_IO',
    })
    expect(cur()).toHaveLength(3)
  })
})

describe('updating', () => {
  test('marks seen, removes, and leaves the others alone', async () => {
    mb1()
    const box = mailbox()
    const { uidValidity } = await box.open(false)
    expect(await box.update({ uidValidity, expunge: uidBytes([2, 99]), seen: uidBytes([1, 98]) })).toBe(0)
    expect(cur()).toEqual(['1700000001.M1P1.h:2,S', '1700000003.M3P1.h:2,'])
    expect(store.load(maildir)?.intents).toEqual([])
  })

  test('P274 learned sizes are known after a restart, from the index and from the list', async () => {
    mb1()
    const box = mailbox()
    const { uidValidity } = await box.open(false)
    await box.update({ uidValidity, sized: { uids: uidBytes([1, 2, 3]), sizes: sizeBytes([32, 32, 35]) } })
    expect([...readSizes((await mailbox().open(false)).sizes)]).toEqual([32, 32, 35])
    await box.close()
    expect(readFileSync(list(), 'latin1')).toContain('\n3 W35 :1700000003.M3P1.h\n')
    store.close()
    rmSync(join(root, 'index.db'))
    store = IndexStore.open(join(root, 'index.db')).store
    expect([...readSizes((await mailbox().open(false)).sizes)]).toEqual([32, 32, 35])
  })

  test('P271 a mail that cannot leave new/ is served and removed there', async () => {
    mb1()
    const files: MaildirFiles = {
      ...maildirFiles,
      rename() {
        throw Object.assign(new Error('no space'), { code: 'ENOSPC' })
      },
    }
    const box = mailbox({ files })
    const snapshot = await box.open(false)
    expect([...snapshot.flags]).toEqual([0, 1, 2])
    expect(
      await box.update({ uidValidity: snapshot.uidValidity, seen: uidBytes([1]), expunge: uidBytes([3]) }),
    ).toBe(0)
    expect(fresh()).toEqual([])
  })

  test('C55 mails that cannot be removed are counted, and not removed behind the client’s back', async () => {
    mb1()
    const files: MaildirFiles = {
      ...maildirFiles,
      unlink(folder, name) {
        if (name.startsWith('1700000002')) throw Object.assign(new Error('busy'), { code: 'EIO' })
        return maildirFiles.unlink(folder, name)
      },
    }
    const box = mailbox({ files })
    const { uidValidity } = await box.open(false)
    expect(await box.update({ uidValidity, expunge: uidBytes([1, 2]) })).toBe(1)
    expect(uids(await mailbox().open(false))).toEqual([2, 3])
  })

  test('removal works when the index does not', async () => {
    mb1()
    const broken: MailboxIndex = {
      load: index.load,
      save: async () => {
        throw new Error('disk full')
      },
    }
    const box = mailbox({ index: broken })
    const { uidValidity } = await box.open(false)
    expect(await box.update({ uidValidity, expunge: uidBytes([1]) })).toBe(0)
    expect(uids(await mailbox().open(false))).toEqual([2, 3])
  })

  test('reading a file of ours: any Maildir reader finds flags and content', async () => {
    const { file } = await send('Subject: x\r\n\r\nhello\r\n')
    const box = mailbox()
    const { uidValidity } = await box.open(false)
    await box.update({ uidValidity, seen: uidBytes([1]) })
    expect(cur()).toEqual([`${basename(file)}:2,S`])
    expect(readFileSync(join(maildir, 'cur', `${basename(file)}:2,S`), 'latin1')).toBe(
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
      load: index.load,
      save: async (write) => {
        try {
          next()
          await index.save(write)
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
    const box = mailbox({ index: dying, files })
    const { uidValidity } = await box.open(false)
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
      rmSync(maildir, { recursive: true, force: true })
      store.close()
      for (const file of readdirSync(root)) rmSync(join(root, file), { recursive: true })
      store = IndexStore.open(join(root, 'index.db')).store
      for (const text of [m1, m2, m3, m1]) await send(text)
      const before = uidls(await mailbox().open(false))
      finished = await crashAt(step)
      const after = await mailbox().open(false)
      const kept = uidls(after)
      expect(before, `step ${step}`).toEqual(expect.arrayContaining(kept))
      expect(kept, `step ${step}`).toEqual(expect.arrayContaining([before[0], before[3]]))
      const again = await mailbox().open(false)
      expect(uidls(again), `step ${step}`).toEqual(kept)
      expect(store.load(maildir)?.intents ?? [], `step ${step}`).toEqual([])
      if (finished) expect(uids(after)).toEqual([1, 4])
    }
    // Seen mark, before and after the intent, two files: the answer is given then.
    expect(step).toBeGreaterThanOrEqual(6)
  })
})

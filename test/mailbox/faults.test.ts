/** A full disk, a damaged index, and what strangers put into a Maildir. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, test } from 'vitest'
import { IndexStore } from '../../src/mailbox/index-store.ts'
import { uidBytes } from '../../src/mailbox/snapshot.ts'
import { Random } from '../../src/testing/random.ts'
import { because, whyNotMount } from '../support/privileges.ts'
import { chosenSeed } from '../support/seed.ts'
import { Home, identities, look, m1, names, sizes, uids } from './harness.ts'

const noMount = whyNotMount()

describe.skipIf(noMount !== undefined)(`a full disk${because(noMount)}`, () => {
  /** Runs on a Maildir with ten mails, on a disk of its own that has no octet left. */
  async function onFullDisk(work: (home: Home) => Promise<void>): Promise<void> {
    const home = new Home()
    mkdirSync(home.maildir)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', home.maildir])
    try {
      for (let i = 0; i < 10; i++) home.write(`cur/170000000${i}.x:2,`, 'x'.repeat(8192))
      await home.mailbox().open(look)
      home.write('new/1800000000.x')
      fill(home.path('tmp/filler'))
      await work(home)
    } finally {
      execFileSync('umount', ['-l', home.maildir])
    }
  }

  function fill(path: string): void {
    for (let octets = 64 * 1024; octets > 0; octets = Math.floor(octets / 2)) {
      try {
        for (;;) writeFileSync(path, 'x'.repeat(octets), { flag: 'a' })
      } catch {
        // Smaller pieces may still fit.
      }
    }
  }

  test('mails that have UIDs are served, new ones wait, and removal makes room', async () => {
    await onFullDisk(async (home) => {
      const box = home.mailbox()
      const before = await box.open(look)
      expect(before.count).toBe(10)
      const { uidValidity } = before
      expect(await box.update({ uidValidity, expunge: uidBytes([1, 2, 3]), seen: uidBytes([4]) })).toBe(0)
      const after = await box.open(look)
      expect(uids(after)).toEqual([4, 5, 6, 7, 8, 9, 10, 11])
      expect(names(after)[0]).toBe('1700000003.x:2,S')
    })
  })

  test('an uid list that must be written anew and cannot be: it stays what it was, and UIDs as they are', async () => {
    await onFullDisk(async (home) => {
      const list = home.uidList
      const before = identities(await home.mailbox().open(look))
      const box = home.mailbox()
      const { uidValidity } = await box.open(look)
      await box.update({ uidValidity, uidls: { uids: uidBytes([1, 2]), values: 'a\nb\n' } })
      await box.close()
      expect(home.uidList).toBe(list)
      expect(home.files('cur')).toHaveLength(10)
      expect(identities(await home.mailbox().open(look))).toEqual(before)
    })
  })

  test('an index that cannot be written is kept in memory', () => {
    const home = new Home()
    mkdirSync(home.maildir)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', home.maildir])
    try {
      fill(home.path('filler'))
      const troubles: string[] = []
      const store = IndexStore.open(home.path('index.db'), { onTrouble: (what) => troubles.push(what) })
      store.write([{ maildir: '/m', state: '{}' }])
      expect(store.load('/m')?.state).toBe('{}')
      store.close()
      expect(troubles).toEqual(['index cannot be used and is kept in memory only'])
    } finally {
      execFileSync('umount', ['-l', home.maildir])
    }
  })
})

describe('a damaged index', () => {
  /** A mailbox of 600 mails whose index was written. */
  async function indexed(): Promise<{ home: Home; before: string[] }> {
    const home = new Home()
    for (let i = 0; i < 600; i++) home.write(`cur/17000${String(i).padStart(5, '0')}.M1P1.h,S=28,W=32:2,`)
    const box = home.mailbox()
    const before = identities(await box.open(look))
    await box.save()
    home.restart()
    return { home, before }
  }
  const file = (home: Home) => join(home.root, 'index.db')

  test('each page of the file in turn is garbage, or the end is missing: no UID changes, and it mends itself', async () => {
    const { home, before } = await indexed()
    home.store.close()
    const intact = readFileSync(file(home))
    const seed = chosenSeed()
    const random = new Random(seed)
    const pages = Math.ceil(intact.length / 4096)
    for (let page = 0; page < pages * 2; page++) {
      for (const end of ['-wal', '-shm']) rmSync(`${file(home)}${end}`, { force: true })
      const damaged = Buffer.from(intact)
      const start = (page % pages) * 4096
      if (page < pages) for (let i = start; i < start + 4096; i++) damaged[i] = random.below(256)
      writeFileSync(file(home), page < pages ? damaged : intact.subarray(0, start + random.below(4096)))
      const story = `seed ${seed}, page ${page}`
      const store = IndexStore.open(file(home))
      const index = {
        load: async (path: string) => store.load(path) ?? null,
        save: async (write: Parameters<IndexStore['write']>[0][number]) => store.write([write]),
      }
      const box = home.mailbox({ index })
      expect(identities(await box.open(look)), story).toEqual(before)
      await box.close()
      await box.save()
      store.close()
      const again = IndexStore.open(file(home))
      expect(
        identities(
          await home
            .mailbox({ index: { ...index, load: async (path) => again.load(path) ?? null } })
            .open(look),
        ),
        story,
      ).toEqual(before)
      again.close()
    }
    home.restart()
  })

  test('rows of another mailbox, or of no sense at all, are not believed', async () => {
    const { home, before } = await indexed()
    const db = new DatabaseSync(file(home))
    for (const damage of [
      'UPDATE page SET mails = zeroblob(100) WHERE number = 1',
      'UPDATE page SET mails = (SELECT mails FROM page WHERE number = 0)',
      'DELETE FROM page WHERE number = 1',
      "UPDATE mailbox SET state = '{}'",
      "UPDATE mailbox SET state = 'null'",
      'UPDATE mailbox SET state = replace(state, \'"nextUid":\', \'"nextUid":-\')',
    ]) {
      db.exec(damage)
      const box = home.mailbox()
      expect(identities(await box.open(look)), damage).toEqual(before)
      await box.save()
    }
    db.close()
  })
})

describe('strange things in a Maildir', () => {
  test('links, empty and huge mails, odd octets, names of any length, other kinds of files', async () => {
    const home = new Home()
    home.write('cur/1.empty:2,', '')
    home.write('cur/2.nul:2,', 'a: b\n\n\0\0\n')
    home.write('cur/3.huge:2,', '')
    truncateSync(home.path('cur/3.huge:2,'), 100 * 1024 * 1024)
    symlinkSync(home.path('cur/1.empty:2,'), home.path('cur/4.link:2,'))
    symlinkSync('/nowhere/at/all', home.path('cur/5.dangling:2,'))
    home.write(`cur/6.${'n'.repeat(240)}:2,S`)
    execFileSync('mkfifo', [home.path('cur/7.fifo:2,')])
    for (const [i, octets] of ['\xff\xfe', '\x01\x7f', ' ', '%s%n', '\\', '"', '*', '\t'].entries()) {
      writeFileSync(Buffer.concat([Buffer.from(home.path(`new/8${i}.`)), Buffer.from(octets, 'latin1')]), m1)
    }
    const first = await home.mailbox().open(look)
    expect(first.count).toBe(15)
    home.restart()
    expect(identities(await home.mailbox().open(look))).toEqual(identities(first))
    home.restart({ lost: true })
    expect(identities(await home.mailbox().open(look))).toEqual(identities(first))
  })

  test('sizes in names that are no sizes are not believed', async () => {
    const home = new Home()
    const odd = ['W=', 'W=-1', 'W=1e9', 'W=12x', `W=${'9'.repeat(20)}`, 'w=5', 'W=5=6', 'XW=7']
    odd.forEach((size, i) => {
      home.write(`cur/${i}.h,${size}:2,`)
    })
    expect(sizes(await home.mailbox().open(look))).toEqual(odd.map(() => -1))
  })

  test('folders that are missing are made, one at a time', async () => {
    for (const folder of ['cur', 'new', 'tmp']) {
      const home = new Home().mb1()
      rmSync(home.path(folder), { recursive: true })
      await home.mailbox().open(look)
      expect(statSync(home.path(folder)).isDirectory()).toBe(true)
    }
  })

  test('a clock that goes back, or far ahead, gives no UID twice and loses nothing', async () => {
    const home = new Home().mb1()
    let now = Date.now()
    const box = home.mailbox({ now: () => now })
    const before = await box.open(look)
    for (const jump of [-86_400_000 * 400, 86_400_000 * 400, -1]) {
      now += jump
      await home.send(m1)
      await box.open(look)
    }
    const after = await box.open(look)
    expect(after.count).toBe(6)
    expect(identities(after).slice(0, 3)).toEqual(identities(before))
    expect(new Set(uids(after)).size).toBe(6)
  })
})

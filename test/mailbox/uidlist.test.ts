import { appendFileSync, renameSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import {
  baseOf,
  compareNames,
  flagsOf,
  isMailName,
  sizeInName,
  withFlag,
} from '../../src/mailbox/maildir-name.ts'
import { uidBytes } from '../../src/mailbox/snapshot.ts'
import { formatHeader, formatRecord, keyOf, parseUidList, withKey } from '../../src/mailbox/uidlist.ts'
import { Home, look, m1, uids } from './harness.ts'

const guid = '0123456789abcdef0123456789abcdef'

describe('reading a uid list', () => {
  test('P260 version 3, with and without keys, with and without flags in names', () => {
    const list = parseUidList(
      `3 V1700000000 N9 G${guid}\n1 :a.b.c\n2 W32 S28 :d.e.f,S=1:2,S\n7 O3 Pold-uidl :x\n`,
    )
    expect(list).toEqual({
      version: 3,
      uidValidity: 1700000000,
      nextUid: 9,
      guid,
      otherKeys: '',
      records: [
        { uid: 1, base: 'a.b.c', keys: '' },
        { uid: 2, base: 'd.e.f,S=1', keys: 'W32 S28' },
        { uid: 7, base: 'x', keys: 'O3 Pold-uidl' },
      ],
    })
  })

  test('P266 unknown header and record keys survive reading and writing', () => {
    const text = `3 V1 N5 G${guid} Xbar Pfmt\n4 Zfoo W9 :n\n`
    const list = parseUidList(text)
    expect(formatHeader(list) + list.records.map(formatRecord).join('')).toBe(text)
  })

  test('a key that is no capital letter is dropped', () => {
    expect(parseUidList(`3 V1 N5 G${guid}\n4 zfoo W9 :n\n`).records).toEqual([
      { uid: 4, base: 'n', keys: 'W9' },
    ])
  })

  test('an append that a crash cut off is not there', () => {
    const list = parseUidList(`3 V1 N2 G${guid}\n2 :a\n3 :trunca`)
    expect(list.records).toHaveLength(1)
    expect(list.nextUid).toBe(3)
  })

  test('the next uid is above the last one', () => {
    expect(parseUidList(`3 V1 N2 G${guid}\n9 :a\n`).nextUid).toBe(10)
  })

  test('lines may end in CRLF, as Dovecot reads them', () => {
    const text = `3 V5 N9 G${guid}\n2 W7 :a\n3 :b\n`
    expect(parseUidList(text.replaceAll('\n', '\r\n'))).toEqual(parseUidList(text))
  })

  test('P262 version 1', () => {
    expect(parseUidList('1 1700000000 4\n1 a.b:2,S\n3 c.d\n')).toEqual({
      version: 1,
      uidValidity: 1700000000,
      nextUid: 4,
      guid: '',
      otherKeys: '',
      records: [
        { uid: 1, base: 'a.b', keys: '' },
        { uid: 3, base: 'c.d', keys: '' },
      ],
    })
  })

  test.each([
    { name: 'empty', text: '' },
    { name: 'version 2', text: '2 1 1\n' },
    { name: 'no validity', text: '3 N4\n' },
    { name: 'validity 0', text: '3 V0 N4\n' },
    { name: 'next uid too large', text: '3 V1 N4294967296\n' },
    { name: 'P265 uids out of order', text: '3 V1 N9\n3 :a\n2 :b\n' },
    { name: 'the same uid twice', text: '3 V1 N9\n3 :a\n3 :b\n' },
    { name: 'uid 0', text: '3 V1 N9\n0 :a\n' },
    { name: 'the largest uid', text: '3 V1 N9\n4294967295 :a\n' },
    { name: 'no file name', text: '3 V1 N9\n3 W1\n' },
    { name: 'a name with a slash', text: '3 V1 N9\n3 :a/b\n' },
    { name: 'version 1 with a uid above the next', text: '1 5 3\n3 a\n' },
    { name: 'binary junk', text: '\0\xff\n\x01\n' },
  ])('$name is corrupt', ({ text }) => {
    expect(() => parseUidList(text)).toThrow(expect.objectContaining({ code: 'MA_MAILBOX_CORRUPT' }))
  })

  test('keys can be looked up and set', () => {
    expect(keyOf('W9 P', 'P')).toBe('')
    expect(keyOf('W9 P', 'O')).toBeUndefined()
    expect(withKey('W9 Zx', 'W', '10')).toBe('Zx W10')
    expect(withKey('', 'W', '10')).toBe('W10')
  })
})

describe('file names', () => {
  test.each([
    { name: '1.M2P3.h,S=28,W=32:2,S', s: 28, w: 32 },
    { name: '1.M2P3.h,W=32', s: -1, w: 32 },
    { name: '1.h,S=x,W=3y:2,', s: -1, w: -1 },
    { name: '1.h,S=', s: -1, w: -1 },
    { name: '1.h', s: -1, w: -1 },
  ])('P272 sizes in $name', ({ name, s, w }) => {
    expect(sizeInName(name, 'S')).toBe(s)
    expect(sizeInName(name, 'W')).toBe(w)
  })

  test.each([
    { name: 'a', on: 'a:2,S', off: 'a' },
    { name: 'a:2,', on: 'a:2,S', off: 'a:2,' },
    { name: 'a:2,FT', on: 'a:2,FST', off: 'a:2,FT' },
    { name: 'a:2,PSXa,extra', on: 'a:2,PSXa,extra', off: 'a:2,PXa,extra' },
  ])('P279 the seen flag of $name', ({ name, on, off }) => {
    expect(withFlag(name, 'S', true)).toBe(on)
    expect(withFlag(name, 'S', false)).toBe(off)
    expect(baseOf(on)).toBe(baseOf(name))
  })

  test('flags end at a second comma', () => {
    expect(flagsOf('a:2,FS,xSy')).toBe('FS')
    expect(flagsOf('a')).toBe('')
  })

  test('M41 names are ordered as Dovecot orders them', () => {
    const ordered = [
      'x',
      '20.P1M4.x',
      '20.M5P1.h\xff',
      '20.M5P1.h,S=5',
      '20.M5P1.h-',
      '20.M5P1.h0',
      '20.M5P1.h',
    ]
    ordered.push('20.M5P1.hA', '20.M5P1.h~', '20.XM9Y', '20.x.M1', '21')
    expect(ordered.toReversed().sort(compareNames)).toEqual(ordered)
  })

  test('P261 new mails are ordered by seconds, microseconds, octets', () => {
    const names = ['10.M5P1.h', '9.M9P1.h', '10.M40P1.h', '10.abc.h', '10.M5P0.h', 'x']
    expect([...names].sort(compareNames)).toEqual([
      'x',
      '9.M9P1.h',
      '10.M5P0.h',
      '10.M5P1.h',
      '10.M40P1.h',
      '10.abc.h',
    ])
  })

  test.each([
    { name: '.hidden', ok: false },
    { name: ':2,S', ok: false },
    { name: 'a\nb', ok: false },
    { name: 'a.b:2,', ok: true },
  ])('P269 $name', ({ name, ok }) => expect(isMailName(name)).toBe(ok))
})

describe('M35 what another program adds to the list', () => {
  const start = async () => {
    const home = new Home()
    home.mb1()
    const box = home.mailbox()
    await box.open(look)
    return { home, box }
  }

  test('is read from where we were, and the mails get the UIDs it says', async () => {
    const { home, box } = await start()
    home.write('cur/1700000004.M4P1.h:2,')
    home.write('cur/1700000005.M5P1.h:2,')
    // As Dovecot does: the header stays, so the next uid is that of the last line.
    appendFileSync(home.path('dovecot-uidlist'), '7 W32 :1700000005.M5P1.h\n9 :1700000004.M4P1.h\n')
    const snapshot = await box.open(look)
    expect(uids(snapshot)).toEqual([1, 2, 3, 7, 9])
    await home.send(m1)
    expect(uids(await box.open(look)).at(-1)).toBe(10)
  })

  test('another file that has got the inode of the list is read as a whole', async () => {
    const { home, box } = await start()
    await box.update({ uidValidity: 1_700_000_000, expunge: uidBytes([1]) })
    await box.open(look)
    home.write('cur/1700000004.M4P1.h:2,')
    home.write('cur/1700000005.M5P1.h:2,')
    const list = home.path('dovecot-uidlist')
    const { ino, size } = statSync(list)
    // A line of the new one ends where the old one did: what follows could have been added.
    const head = `3 V1700000000 N6 G${guid}\n2 :1700000002.M2P1.h\n4 `
    const tail = ':1700000004.M4P1.h\n'
    const text = `${head}${'X'.repeat(size - head.length - tail.length - 1)} ${tail}5 :1700000005.M5P1.h\n`
    renameSync(list, home.path('old'))
    for (let number = 0; number < 50 && (number === 0 || statSync(list).ino !== ino); number++) {
      writeFileSync(home.path('next'), text)
      if (number === 0) unlinkSync(home.path('old'))
      renameSync(home.path('next'), list)
    }
    expect(uids(await box.open(look))).toEqual([2, 3, 4, 5])
  })

  test('UIDs of mails that were not seen yet are kept when the list is written anew, and over a restart', async () => {
    for (const restarts of [false, true]) {
      const { home, box } = await start()
      appendFileSync(home.path('dovecot-uidlist'), '7 :1700000005.M5P1.h\n9 :1700000004.M4P1.h\n')
      await box.takeIn()
      if (restarts) await box.close()
      home.list(
        '1 :1700000001.M1P1.h',
        '3 :1700000003.M3P1.h',
        '7 :1700000005.M5P1.h',
        '9 :1700000004.M4P1.h',
      )
      if (restarts) home.restart()
      home.write('cur/1700000004.M4P1.h:2,')
      home.write('cur/1700000005.M5P1.h:2,')
      expect(uids(await (restarts ? home.mailbox() : box).open(look))).toEqual([1, 2, 3, 7, 9])
    }
  })

  test.each([
    { what: 'a line without its end', added: '7 :x.h' },
    { what: 'a UID we have given', added: '2 :x.h\n' },
    { what: 'a mail we know under another UID', added: '8 :1700000001.M1P1.h\n' },
    { what: 'garbage', added: 'x\n' },
  ])('$what: the list is read as a whole', async ({ what, added }) => {
    const { home, box } = await start()
    appendFileSync(home.path('dovecot-uidlist'), added)
    const expected = what.startsWith('a mail we know') ? [2, 3, 8] : [1, 2, 3]
    expect(uids(await box.open(look))).toEqual(expected)
  })
})

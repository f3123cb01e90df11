/** Two files with one name, folders among the mails, letters that no keyword has: nothing is lost, nothing mistaken. */
import { mkdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { uidBytes } from '../../src/mailbox/snapshot.ts'
import { Home, identities, look, names, uids } from './harness.ts'

const texts = (home: Home, folder: 'cur' | 'new') =>
  home.files(folder).map((name) => readFileSync(home.path(`${folder}/${name}`), 'latin1'))

describe('M7 two files with one base name', () => {
  test('one in new/, the very name of it in cur/: both stay, and the known one keeps its UID', async () => {
    const home = new Home()
    home.write('cur/1.a:2,', 'Subject: known\n\n')
    const box = home.mailbox()
    const [known] = identities(await box.open(look))
    home.write('new/1.a', 'Subject: other\n\n')
    await box.open(look)
    const after = await box.open(look)
    expect(texts(home, 'cur').sort()).toEqual(['Subject: known\n\n', 'Subject: other\n\n'])
    expect(uids(after)).toEqual([1, 2])
    expect(identities(after)[0]).toBe(known)
    expect(names(after)[0]).toBe('1.a:2,')
    expect(readFileSync(home.path(`cur/${names(after)[0]}`), 'latin1')).toBe('Subject: known\n\n')
  })

  test('mails stay in new/: the one whose name is in cur/ too is seen all the same', async () => {
    const home = new Home()
    home.write('cur/1.a:2,S', 'Subject: known\n\n')
    home.write('new/1.a', 'Subject: other\n\n')
    const box = home.mailbox()
    const kept = { ...look, keepNew: true }
    await box.open(kept)
    expect((await box.open(kept)).count).toBe(2)
    expect(home.files('new')).toHaveLength(1)
  })

  test('both in new/: each has a UID and a name', async () => {
    const home = new Home()
    home.write('new/1.a', 'Subject: one\n\n')
    home.write('new/1.a:2,S', 'Subject: two\n\n')
    const box = home.mailbox()
    await box.open(look)
    const after = await box.open(look)
    expect(uids(after)).toEqual([1, 2])
    expect(texts(home, 'cur').sort()).toEqual(['Subject: one\n\n', 'Subject: two\n\n'])
  })

  test('thousands of them are soon told apart', async () => {
    const home = new Home()
    for (let i = 0; i < 3_000; i++) {
      home.write(`cur/${i}.a:2,`, 'x: y\n\n')
      home.write(`cur/${i}.a:2,S`, 'x: z\n\n')
    }
    const box = home.mailbox()
    await box.open(look)
    expect((await box.open(look)).count).toBe(6_000)
  })
})

test('M7 a folder uses up a UID before it goes, as with Dovecot', async () => {
  const home = new Home()
  mkdirSync(home.maildir)
  home.write('cur/1.a:2,')
  mkdirSync(home.path('cur/0folder'))
  expect(uids(await home.mailbox().open(look))).toEqual([2])
  expect(home.files('cur')).toEqual(['1.a:2,'])
})

test('M43 letters that files have get names, so that no keyword is on mails that never had it', async () => {
  const home = new Home()
  home.write('cur/1.a:2,Sa')
  home.write('cur/2.a:2,')
  const box = home.mailbox()
  const { uidValidity } = await box.open(look)
  expect(readFileSync(home.path('dovecot-keywords'), 'latin1')).toBe('0 unknown-0\n')
  await box.update({ uidValidity, flag: { uids: uidBytes([2]), keyword: '$POP3Deleted' } })
  expect(readFileSync(home.path('dovecot-keywords'), 'latin1')).toBe('0 unknown-0\n1 $POP3Deleted\n')
  expect(uids(await box.open({ keepNew: false, deletedFlag: '$POP3Deleted' }))).toEqual([1])
})

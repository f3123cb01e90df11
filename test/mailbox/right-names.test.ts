/** C66: sizes in file names that are wrong are put right, and whatever happens meanwhile the mail stays the same one. */
import { readFileSync, renameSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { uidBytes } from '../../src/mailbox/snapshot.ts'
import { Pop3Server } from '../protocols/pop3/harness.ts'
import { Home, keys, look, m1, names, sizes, uids } from './harness.ts'

let server: Pop3Server
afterEach(() => server?.stop())

async function retrieved(set: readonly string[], name: string): Promise<void> {
  server = await Pop3Server.start({ set })
  server.put(`cur/${name}`, m1)
  const client = await server.login()
  await client.list('RETR 1')
  expect(await client.ask('QUIT')).toMatch(/^\+OK/)
}

describe('P275 C66 after RETR and QUIT', () => {
  test.each([
    { before: '1.x,S=10:2,', after: '1.x,S=28:2,S' },
    { before: '1.x,S=28,W=30:2,F', after: '1.x,S=28,W=32:2,FS' },
    { before: '1.x,S=9,W=9:2,', after: '1.x,S=28,W=32:2,S' },
    { before: '1.x,S=28,W=32:2,', after: '1.x,S=28,W=32:2,S' },
    { before: '1.x,S=none:2,', after: '1.x,S=none:2,S' },
  ])('$before is $after', async ({ before, after }) => {
    await retrieved([], before)
    expect(server.files()).toEqual([after])
    const client = await server.login()
    expect(await client.ask('LIST 1')).toBe('+OK 1 32')
    expect(await client.ask('UIDL 1')).toMatch(/^\+OK 1 00000001/)
  })

  test('a mail that is shorter than its name says is cut off, and right for the next session', async () => {
    server = await Pop3Server.start()
    server.put('cur/1.x,S=28,W=40:2,', m1)
    const client = await server.login()
    client.send('RETR 1\r\n')
    await client.end()
    await expect.poll(() => server.files()).toEqual(['1.x,S=28,W=32:2,S'])
  })

  test('not where names are known to be wrong, nor where they are the UIDLs', async () => {
    for (const setting of ['maildir.broken_filename_sizes=true', 'pop3.uidl_format=%f']) {
      await retrieved([setting], '1.x,S=10:2,')
      expect(server.files()).toEqual(['1.x,S=10:2,S'])
      await server.stop()
    }
  })
})

const wrong = 'cur/1.x,S=10,W=12:2,'

test('UIDL and GUID that were the name stay what they were', async () => {
  const home = new Home()
  home.write(wrong)
  home.list('1 P :1.x,S=10,W=12', '2 Gabc :2.x,S=1')
  home.write('cur/2.x,S=1:2,')
  const box = home.mailbox()
  const { uidValidity } = await box.open(look)
  await box.update({ uidValidity, misnamed: uidBytes([1, 2]) })
  const after = await box.open(look)
  expect(uids(after)).toEqual([1, 2])
  expect(names(after)).toEqual(['1.x,S=28,W=12:2,', '2.x,S=28:2,'])
  expect(keys(after)).toEqual(['P1.x,S=10,W=12 G1.x,S=10,W=12', 'Gabc'])
  expect(home.uidList).toContain('1 P1.x,S=10,W=12 G1.x,S=10,W=12 :1.x,S=28,W=12\n')
})

test('a name that another mail has is not taken', async () => {
  const home = new Home()
  home.write('cur/1.x,S=10:2,')
  home.write('cur/1.x,S=28:2,S', 'Subject: another one\n\nhello\n')
  const box = home.mailbox()
  const { uidValidity } = await box.open(look)
  await box.update({ uidValidity, misnamed: uidBytes([1, 2]) })
  expect(home.files('cur')).toHaveLength(2)
  expect(readFileSync(home.path('cur/1.x,S=28:2,S'), 'utf8')).toContain('another')
})

test('a crash between the new name and the list of it: the same UID, with the index and without', async () => {
  for (const lost of [false, true]) {
    const home = new Home()
    home.write('cur/0.x:2,')
    home.write(wrong)
    home.write('cur/2.x:2,')
    const before = home.mailbox()
    await before.open(look)
    await before.save()
    renameSync(home.path(wrong), home.path('cur/1.x,S=28,W=32:2,'))
    home.restart({ lost })
    const after = await home.mailbox().open(look)
    expect(uids(after)).toEqual([1, 2, 3])
    expect(names(after)[1]).toBe('1.x,S=28,W=32:2,')
    expect(sizes(after)).toHaveLength(3)
  }
})

test('another mail whose name begins the same is another mail', async () => {
  const home = new Home()
  home.write(wrong)
  const box = home.mailbox()
  await box.open(look)
  // Not what the file has, so nobody put it right.
  renameSync(home.path(wrong), home.path('cur/1.x,S=29:2,'))
  expect(uids(await box.open(look))).toEqual([2])
})

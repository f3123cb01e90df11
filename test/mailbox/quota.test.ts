/** `maildirsize`: counted by everybody, believed when it makes sense, and enforced on delivery. */
import {
  appendFileSync,
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { quotaFields } from '../../src/auth/quota-fields.ts'
import { defaults } from '../../src/config/schema.ts'
import { maildirSettings, quotaSettings } from '../../src/mailbox/config.ts'
import { createMaildir, deliver } from '../../src/mailbox/deliver.ts'
import { deliveryQuota } from '../../src/mailbox/quota.ts'
import { addToQuota, readQuota } from '../../src/mailbox/quota-file.ts'
import { uidBytes } from '../../src/mailbox/snapshot.ts'
import { Home, look, m1 } from './harness.ts'

let home: Home
beforeEach(() => {
  home = new Home()
})

const file = () => join(home.maildir, 'maildirsize')
const text = () => readFileSync(file(), 'latin1')

function send(
  text: string,
  quota: Partial<typeof defaultQuota> = {},
  own?: { octets?: number; mails?: number },
) {
  const settings = { quota: { ...defaultQuota, ...quota }, maildir: defaults(maildirSettings) }
  const options = { hostname: 'h', quota: deliveryQuota(settings, own === undefined ? {} : { quota: own }) }
  return deliver(home.maildir, { bytes: Buffer.from(text) }, options)
}
const defaultQuota = defaults(quotaSettings)

describe('Q2 the file', () => {
  test('a removed mail counts with its size, also when another program has renamed it meanwhile', async () => {
    home.write('cur/1.x:2,', m1)
    home.write('maildirsize', `0S\n${m1.length} 1\n`)
    const box = home.mailbox()
    const { uidValidity } = await box.open(look)
    renameSync(home.path('cur/1.x:2,'), home.path('cur/1.x:2,F'))
    await box.update({ uidValidity, expunge: uidBytes([1]) })
    expect(text()).toBe(`0S\n${m1.length} 1\n-${m1.length} -1\n`)
  })

  test('is made by the first delivery under a limit, and then counted on', async () => {
    await send(m1, { storage_size: 1000, message_count: 9 })
    expect(text()).toBe('1000S,9C\n0 0\n28 1\n')
    const box = home.mailbox()
    const { uidValidity } = await box.open(look)
    await box.update({ uidValidity, expunge: uidBytes([1]) })
    expect(text()).toBe('1000S,9C\n0 0\n28 1\n-28 -1\n')
  })

  test('is not made where there is no limit', async () => {
    await send(m1)
    expect(existsSync(file())).toBe(false)
  })

  test('of another program is kept up to date, and its limits hold', async () => {
    createMaildir(home.maildir)
    writeFileSync(file(), '60S\n0 0\n')
    await send(m1, { storage_grace: 0 })
    await send(m1, { storage_grace: 0 })
    await expect(send(m1, { storage_grace: 0 })).rejects.toMatchObject({ code: 'MA_MAILBOX_QUOTA' })
    expect(text()).toBe('60S\n0 0\n28 1\n28 1\n')
  })

  test('counts mails that others removed only once', async () => {
    await send(m1, { storage_size: 1000 })
    const box = home.mailbox()
    const { uidValidity } = await box.open(look)
    for (const name of home.files('cur')) unlinkSync(home.path(`cur/${name}`))
    await box.update({ uidValidity, expunge: uidBytes([1]) })
    expect(text()).toBe('1000S\n0 0\n28 1\n')
  })
})

describe('Q3 counted again', () => {
  const limits = { octets: 1000, mails: 0 }
  const actual = '1000S\n28 1\n'
  test.each([
    { why: 'it is not there', content: undefined },
    { why: 'it is empty', content: '' },
    { why: 'its limits are others', content: '999S\n28 1\n' },
    { why: 'a line is no sum', content: '1000S\n28 1\nx\n' },
    { why: 'it has NUL octets', content: '1000S\n28 1\n\0\0\0\0' },
    { why: 'it is cut off', content: '1000S\n28 1\n5' },
    { why: 'a sum is negative', content: '1000S\n-28 1\n' },
    { why: 'it is long', content: `1000S\n${'1 0\n'.repeat(2000)}` },
    { why: 'it is over the limit and has additions', content: '1000S\n28 1\n2000 1\n' },
  ])('when $why', async ({ content }) => {
    home.write('cur/1.x,S=28:2,')
    if (content !== undefined) writeFileSync(file(), content)
    expect(await readQuota(home, limits)).toMatchObject({ usedOctets: 28, usedMails: 1 })
    expect(text()).toBe(actual)
  })

  test('when it says full and is older than a quarter of an hour', async () => {
    home.write('cur/1.x:2,')
    writeFileSync(file(), '1000S\n2000 1\n')
    expect(await readQuota(home, limits)).toMatchObject({ usedOctets: 2000 })
    const old = new Date(Date.now() - 16 * 60_000)
    utimesSync(file(), old, old)
    expect(await readQuota(home, limits)).toMatchObject({ usedOctets: 28 })
  })

  test('all folders, not tmp/, sizes of names before those of the disk', async () => {
    home.write('cur/1.x,S=100:2,')
    home.write('new/2.x')
    home.write('tmp/3.x')
    createMaildir(join(home.maildir, '.Sent'))
    home.write('.Sent/cur/4.x:2,S')
    expect(await readQuota(home, limits)).toMatchObject({ usedOctets: 156, usedMails: 3 })
    rmSync(file())
    expect(await readQuota(home, limits, { ignoreNames: true })).toMatchObject({ usedOctets: 84 })
  })

  test('P284 a corrupt file is made anew when mails are removed, with the limits it had', async () => {
    await send(m1, { storage_size: 1000 })
    await send(m1, { storage_size: 1000 })
    appendFileSync(file(), 'garbage\n')
    const box = home.mailbox()
    const { uidValidity } = await box.open(look)
    expect(await box.update({ uidValidity, expunge: uidBytes([1]) })).toBe(0)
    expect(text()).toBe('1000S\n28 1\n')
  })

  test('an addition to a file that is gone makes none', async () => {
    createMaildir(home.maildir)
    await addToQuota(home, 28, 1)
    expect(existsSync(file())).toBe(false)
  })
})

describe('Q4 delivery', () => {
  test('exactly the limit is allowed, one octet more is not', async () => {
    await send(m1, { storage_size: 28, storage_grace: 0 })
    await expect(send('x', { storage_size: 28, storage_grace: 0 })).rejects.toMatchObject({
      code: 'MA_MAILBOX_QUOTA',
      temporary: true,
    })
    expect(home.files('tmp')).toEqual([])
    expect(home.files('new')).toHaveLength(1)
  })

  test('the last mail may use the grace, a full mailbox may not', async () => {
    const quota = { storage_size: 30, storage_grace: 30 }
    await send(m1, quota)
    await send(m1, quota)
    await expect(send('x', quota)).rejects.toMatchObject({ code: 'MA_MAILBOX_QUOTA' })
  })

  test('a limit of mails has no grace', async () => {
    await send(m1, { message_count: 1 })
    await expect(send(m1, { message_count: 1 })).rejects.toMatchObject({ code: 'MA_MAILBOX_QUOTA' })
  })

  test('limits of the user come first', async () => {
    await send(m1, { storage_size: 10, storage_grace: 0 }, { octets: 100 })
    expect(text()).toMatch(/^100S\n/)
    await send(m1, { storage_size: 10, storage_grace: 0 }, { octets: 0 })
    expect(text()).toMatch(/^0S\n/)
  })

  test.each([
    [['userdb_quota_rule', '*:storage=2:messages=5'], { octets: 2048, mails: 5 }],
    [['userdb_quota_rule', '*:bytes=77'], { octets: 77 }],
    [['userdb_quota_rule', 'Trash:storage=1G'], undefined],
    [['userdb_quota_storage_size', '1G'], { octets: 1024 ** 3 }],
    [['userdb_quota_message_count', '12'], { mails: 12 }],
    [['userdb_quota_storage_size', 'lots'], undefined],
  ] as const)('%j', ([key, value], expected) => {
    expect(quotaFields(new Map([[key, value]]))).toEqual(expected)
  })
})

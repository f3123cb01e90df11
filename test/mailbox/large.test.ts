/** Mailboxes that do not fit into one message: columns first, file names when they are needed. */
import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { Page } from '../../src/mailbox/contract.ts'
import { createMaildir } from '../../src/mailbox/deliver.ts'
import { inDeliveryOrder } from '../../src/mailbox/delivery-order.ts'
import { MailTable } from '../../src/mailbox/mail-table.ts'
import { compareNames } from '../../src/mailbox/maildir-name.ts'
import type { StoredMail } from '../../src/mailbox/page.ts'
import { uidBytes } from '../../src/mailbox/snapshot.ts'
import { atOnce, inTurns, sorted } from '../../src/mailbox/turns.ts'
import { Random } from '../../src/testing/random.ts'
import { Pop3Server } from '../protocols/pop3/harness.ts'
import { chosenSeed } from '../support/seed.ts'
import { Home, look } from './harness.ts'

const MAILS = 4_500
const text = (number: number) => `Subject: ${number}\n\n${'x'.repeat(number % 50)}\n`
const wireSize = (number: number) => text(number).length + 3

describe('through a session', () => {
  let server: Pop3Server
  afterEach(() => server.stop())

  const name = (number: number) =>
    `17000${String(number).padStart(5, '0')}.M${number}P1.a-rather-long-host-name.example`
  async function start(set: readonly string[] = []): Promise<void> {
    server = await Pop3Server.start({ set })
    createMaildir(server.maildir())
    for (let number = 1; number <= MAILS; number++)
      writeFileSync(join(server.maildir(), `cur/${name(number)}:2,`), text(number))
  }

  test('sizes are found out, listings are whole, any mail can be fetched', { timeout: 120_000 }, async () => {
    await start()
    const client = await server.login()
    let total = 0
    for (let number = 1; number <= MAILS; number++) total += wireSize(number)
    expect(await client.ask('STAT')).toBe(`+OK ${MAILS} ${total}`)
    const { lines } = await client.list('LIST')
    expect(lines).toEqual(Array.from({ length: MAILS }, (_, i) => `${i + 1} ${wireSize(i + 1)}`))
    expect(new Set((await client.list('UIDL')).lines.map((line) => line.split(' ')[1])).size).toBe(MAILS)
    for (const number of [1, MAILS, 2500, 2501, 1, 4097])
      expect((await client.list(`RETR ${number}`)).lines[0]).toBe(`Subject: ${number}`)
    await client.ask('DELE 3000')
    expect(await client.ask('QUIT')).toMatch(/^\+OK/)
    expect(server.files()).toHaveLength(MAILS - 1)
  })

  test('UIDLs of file names, and a session that outlives the state it began with', {
    timeout: 120_000,
  }, async () => {
    await start(['pop3.uidl_format=%f'])
    const client = await server.login()
    const uidl = (await client.list('UIDL')).lines
    expect(uidl.at(-1)).toBe(`${MAILS} ${name(MAILS)}`)
    // More changes than there are states kept.
    for (let i = 0; i < 20; i++) {
      server.put(`new/18000${String(i).padStart(5, '0')}.h`, text(0))
      await server.login()
    }
    renameSync(
      join(server.maildir(), `cur/${name(4400)}:2,`),
      join(server.maildir(), `cur/${name(4400)}:2,F`),
    )
    for (const number of [4400, 10])
      expect((await client.list(`RETR ${number}`)).lines[0]).toBe(`Subject: ${number}`)
  })
})

test('pages are asked for in parts, and together they are the mailbox', async () => {
  const home = new Home()
  createMaildir(home.maildir)
  const write = (name: string) => writeFileSync(home.path(name), '')
  for (let i = 0; i < 3_000; i++)
    write(`cur/17000${String(i).padStart(5, '0')}.M${i}P1.host.example,S=28,W=32:2,`)
  const box = home.mailbox()
  const first = await box.open(look)
  const pages = [...first.pages]
  while (pages.length < 12) pages.push(...box.pages(first.generation, pages.length, pages.length % 2 === 0)!)
  const all = pages.map((bytes) => Page.of(bytes))
  expect(all.flatMap(({ uids }) => [...uids])).toEqual(Array.from({ length: 3_000 }, (_, i) => i + 1))
  // A state that was shown stays what it was, whatever happens to the mailbox.
  await box.update({ uidValidity: first.uidValidity, expunge: uidBytes([1, 2, 2_999]) })
  expect((await box.open(look)).count).toBe(2_997)
  const again = box.pages(first.generation, 0, true)!
  expect(Page.of(again[0]!).names![0]).toMatch(/^1700000000\./)
  expect(box.pages(first.generation + 1_000, 0, true)).toBeNull()
})

test('a table holds what was put into it, whatever was added and removed in between', () => {
  const seed = chosenSeed()
  const random = new Random(seed)
  const table = new MailTable()
  const model = new Map<number, string>()
  const make = (uid: number): StoredMail => {
    const keys = random.chance(0.1) ? `Pu${uid}` : ''
    return { uid, base: `m${uid}`, name: `m${uid}:2,`, inNew: false, virtual: uid, keys }
  }
  for (let step = 0; step < 400; step++) {
    const uid = 1 + random.below(3_000)
    if (random.chance(0.6)) {
      if (!model.has(uid)) table.add(make(uid))
      model.set(uid, model.get(uid) ?? `m${uid}:2,`)
    } else if (random.chance(0.5)) {
      const gone = [...model.keys()].filter(() => random.chance(0.05))
      table.remove(gone)
      for (const each of gone) model.delete(each)
    } else {
      const mail = table.find(uid)
      expect(mail !== undefined, `seed ${seed}`).toBe(model.has(uid))
      if (mail === undefined) continue
      mail.name = `m${uid}:2,S`
      table.changed(mail)
      model.set(uid, mail.name)
    }
    if (random.chance(0.2)) atOnce(table.pack())
  }
  const wanted = [...model].sort(([a], [b]) => a - b)
  expect(
    [...table.mails()].map(({ uid, name }) => [uid, name]),
    `seed ${seed}`,
  ).toEqual(wanted)
  const rows = new Map<number, Uint8Array>()
  for (const { number, bytes } of table.rowsToSave(true)) if (bytes !== null) rows.set(number, bytes)
  const copy = new MailTable()
  expect(copy.load([...rows].sort(([a], [b]) => a - b).map(([, bytes]) => bytes))).toBe(true)
  expect(copy.sum).toBe(table.sum)
  expect([...copy.mails()]).toEqual([...table.mails()])
})

test('sorting in steps is sorting', async () => {
  const random = new Random(7)
  const items = Array.from({ length: 20_000 }, (_, i) => ({ key: random.below(500), i }))
  const byKey = (a: { key: number }, b: { key: number }) => a.key - b.key
  expect(await inTurns(sorted(items, byKey))).toEqual([...items].sort(byKey))
})

test('new mails get their UIDs in the order of their names, whatever the order they are read in', () => {
  const random = new Random(11)
  const names = Array.from({ length: 70_000 }, (_, i) => {
    const seconds = random.below(3) === 0 ? '' : 1_700_000_000 + random.below(40_000)
    return `${seconds}.${random.below(2) === 0 ? `M${random.below(1_000_000)}` : ''}P${i}.h`
  })
  expect(atOnce(inDeliveryOrder(names))).toEqual(names.toSorted(compareNames))
})

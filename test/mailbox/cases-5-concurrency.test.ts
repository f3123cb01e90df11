/**
 * Cases of section 5, concurrency. Elsewhere: P201 to P207 (session lock) and P219 with the POP3 session; P208, P209,
 * P211, P213 in `session.test.ts` there; P221 in `crash.test.ts`.
 */
import { readdirSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { m1, Pop3Server } from '../protocols/pop3/harness.ts'

let server: Pop3Server
afterEach(() => server.stop())

const cur = () => join(server.maildir(), 'cur')
const put = (count: number) => {
  for (let i = 0; i < count; i++) server.put(`cur/17000${String(i).padStart(5, '0')}.M1P1.h:2,`, m1)
}
const uidl = async () => {
  const client = await server.login()
  const { lines } = await client.list('UIDL')
  client.send('QUIT\r\n')
  await client.rest()
  return lines
}

test('P212 a mail that was exchanged for another: the new one stays', async () => {
  server = await Pop3Server.start()
  server.put('cur/1700000001.M1P1.h:2,', m1)
  const client = await server.login()
  unlinkSync(join(cur(), '1700000001.M1P1.h:2,'))
  server.put('new/1700000002.M1P1.h', m1)
  expect(await client.ask('DELE 1')).toMatch(/^\+OK/)
  expect(await client.ask('QUIT')).toMatch(/^\+OK/)
  expect(server.files()).toEqual(['1700000002.M1P1.h:2,'])
})

test('P214 another program changes flags all the time: RETR ends, and nothing is lost', async () => {
  server = await Pop3Server.start()
  put(3)
  const client = await server.login()
  const name = '1700000000.M1P1.h:2,'
  let current = name
  let isOver = false
  const renaming = (async () => {
    for (let i = 0; !isOver; i++) {
      const next = i % 2 === 0 ? `${name}F` : name
      renameSync(join(cur(), current), join(cur(), next))
      current = next
      await new Promise((resolve) => setImmediate(resolve))
    }
  })()
  for (let i = 0; i < 50; i++) {
    const { status } = await client.list('RETR 1')
    expect(status).toMatch(/^(\+OK|-ERR)/)
  }
  isOver = true
  await renaming
  expect(server.files()).toHaveLength(3)
})

test('P216 mails come and go while clients log in: a login fails, or its numbers agree', async () => {
  server = await Pop3Server.start()
  put(30)
  let isOver = false
  let made = 0
  const churning = (async () => {
    while (!isOver) {
      server.put(`new/1800000${String(made++).padStart(3, '0')}.x`, m1)
      const names = readdirSync(cur())
      if (names.length > 20) rmSync(join(cur(), names[made % names.length]!), { force: true })
      await new Promise((resolve) => setImmediate(resolve))
    }
  })()
  for (let i = 0; i < 30; i++) {
    const client = await server.connect()
    client.send('USER alice\r\nPASS secret\r\n')
    const [, , login] = await client.lines(3)
    if (login!.startsWith('-ERR')) {
      expect(login).toMatch(/^-ERR \[SYS\/TEMP\]/)
      continue
    }
    const stat = /^\+OK ([0-9]+) ([0-9]+)$/.exec(await client.ask('STAT'))!
    const { lines } = await client.list('LIST')
    expect(lines).toHaveLength(Number(stat[1]))
    expect(lines.reduce((sum, line) => sum + Number(line.split(' ')[1]), 0)).toBe(Number(stat[2]))
    expect((await client.list('UIDL')).lines).toHaveLength(lines.length)
    client.send('QUIT\r\n')
    await client.rest()
  }
  isOver = true
  await churning
})

test('P217 while another program keeps the uid list locked, old mails are served and no UID is given', async () => {
  server = await Pop3Server.start({ set: ['mail.max_lock_timeout=200ms'] })
  server.mb1()
  const before = await uidl()
  server.put('new/1800000000.x', m1)
  writeFileSync(join(server.maildir(), 'dovecot-uidlist.lock'), '1:otherhost')
  expect(await uidl()).toEqual(before)
  expect(server.files()).toContain('new/1800000000.x')
  unlinkSync(join(server.maildir(), 'dovecot-uidlist.lock'))
  expect(await uidl()).toEqual([...before, '4 000000046553f100'])
})

test('P218 50 sessions remove 50 mails at once: just those go, and UIDs stay', async () => {
  server = await Pop3Server.start({ set: ['limits.max_userip_connections=0'] })
  put(300)
  const before = await uidl()
  const clients = await Promise.all(Array.from({ length: 50 }, () => server.login()))
  const replies = await Promise.all(
    clients.map(async (client, i) => [await client.ask(`DELE ${i * 6 + 1}`), await client.ask('QUIT')]),
  )
  for (const [dele, quit] of replies) expect(`${dele} ${quit}`).toMatch(/^\+OK.*\+OK/)
  const kept = before.filter((_, i) => i % 6 !== 0).map((line) => line.split(' ')[1])
  expect((await uidl()).map((line) => line.split(' ')[1])).toEqual(kept)
})

test('C59 two sessions remove the same mail: both are told that it is gone', async () => {
  server = await Pop3Server.start()
  server.mb1()
  const [a, b] = [await server.login(), await server.login()]
  for (const client of [a, b]) expect(await client.ask('DELE 2')).toMatch(/^\+OK/)
  for (const client of [a, b]) expect(await client.ask('QUIT')).toMatch(/^\+OK/)
  expect(await uidl()).toHaveLength(2)
})

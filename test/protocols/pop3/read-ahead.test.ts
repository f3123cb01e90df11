/** A client that fetches one mail after the other gets the next one from memory, and never anything but what is in its file. */
import {
  appendFileSync,
  renameSync,
  statSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { type Client, Pop3Server, type ServerOptions } from './harness.ts'

let server: Pop3Server
afterEach(() => server?.stop())

const path = (index: number): string => join(server.maildir(), `cur/${1_700_000_000 + index}.h:2,`)
const line = `.a line ${'x'.repeat(491)}\n`
const mail = (index: number, octets = 3_000): string => `Subject: ${index}\n\n${line.repeat(octets / 500)}`
const long = new Date('2020-01-01')

/** Six mails that nobody has read, and a client that has fetched the first two: the third was made ready. */
async function start(options: ServerOptions = {}, octets?: number): Promise<Client> {
  server = await Pop3Server.start(options)
  for (let index = 1; index <= 6; index++) {
    server.put(`cur/${1_700_000_000 + index}.h:2,`, mail(index, octets))
    utimesSync(path(index), long, long)
  }
  const client = await server.login()
  // What has to be read for its size is read before.
  for (let index = 1; index <= 6; index++) utimesSync(path(index), long, long)
  await fetched(client, 1)
  await fetched(client, 2)
  return client
}

async function fetched(client: Client, index: number): Promise<void> {
  const { lines } = await client.list(`RETR ${index}`)
  expect(lines[0]).toBe(`Subject: ${index}`)
}

const wasRead = (index: number): boolean => statSync(path(index)).atimeMs !== long.getTime()

test('the second mail in a row has the third read, not the fourth, and not the second after the first', async (context) => {
  const client = await start()
  context.skip(!wasRead(2), 'this file system keeps no time of access')
  expect([3, 4].map(wasRead)).toEqual([true, false])
  await fetched(client, 5)
  expect(wasRead(6)).toBe(false)
  await fetched(client, 3)
  await fetched(client, 4)
  expect(wasRead(6)).toBe(false)
  await client.ask('QUIT')
  expect(server.events('pop3.logout')).toMatchObject([{ retrCount: 5 }])
  expect(server.files().filter((name) => name.endsWith(':2,S'))).toHaveLength(5)
})

test('all mails of all sizes arrive as they are, one at a time and pipelined, whatever was made ready', async () => {
  server = await Pop3Server.start()
  const texts = [20, 100, 8_000, 9_000, 90_000, 101_000, 130_000, 300_000, 64, 0, 5].map((octets, i) =>
    mail(i, octets),
  )
  for (const [i, text] of texts.entries()) server.put(`cur/${1_700_000_000 + i}.h:2,`, text)
  const answer = (text: string): string => text.replaceAll('\n', '\r\n').replaceAll('\n.', '\n..')
  const numbers = texts.map((_, i) => i + 1)
  for (const depth of [1, 3]) {
    const client = await server.login()
    for (let i = 0; i < numbers.length; i += depth) {
      const batch = numbers.slice(i, i + depth)
      client.send(batch.map((number) => `RETR ${number}\r\n`).join(''))
      for (const number of batch) {
        const lines: string[] = []
        for (let line = await client.line(); line !== '.'; line = await client.line()) lines.push(line)
        expect(lines.shift()).toBe(`+OK ${texts[number - 1]!.replaceAll('\n', '\r\n').length} octets`)
        expect(lines.map((line) => `${line}\r\n`).join('')).toBe(answer(texts[number - 1]!))
      }
    }
    await client.ask('QUIT')
  }
})

test('a mail that was made ready and is removed is gone', async () => {
  const client = await start()
  unlinkSync(path(3))
  expect(await client.ask('RETR 3')).toMatch(/^-ERR/)
  await fetched(client, 4)
})

test('one that was renamed is found, and marked under its new name', async () => {
  const client = await start()
  renameSync(path(3), `${path(3)}F`)
  await fetched(client, 3)
  await client.ask('QUIT')
  expect(server.files()).toContain('1700000003.h:2,FS')
})

test('one that was cut off does not look like a whole mail', async () => {
  const client = await start()
  truncateSync(path(3), 100)
  client.send('RETR 3\r\n')
  expect(await client.rest()).not.toMatch(/\r\n\.\r\n/)
})

test('one that has grown is sent with what was added', async () => {
  const client = await start()
  appendFileSync(path(3), 'more\n')
  expect((await client.list('RETR 3')).lines.at(-1)).toBe('more')
})

test('one whose file was replaced by another of the same size is the new one', async () => {
  const client = await start()
  writeFileSync(join(server.maildir(), 'tmp/other'), mail(7))
  utimesSync(join(server.maildir(), 'tmp/other'), long, long)
  renameSync(join(server.maildir(), 'tmp/other'), path(3))
  expect((await client.list('RETR 3')).lines[0]).toBe('Subject: 7')
})

test('one that the client marks as deleted instead is not sent', async () => {
  const client = await start()
  await client.ask('DELE 3')
  expect(await client.ask('RETR 3')).toMatch(/^-ERR/)
  await client.ask('RSET')
  await fetched(client, 3)
})

test('TOP has its own answer', async () => {
  const client = await start()
  expect((await client.list('TOP 3 1')).lines).toEqual(['Subject: 3', '', `.${line.trim()}`])
  await fetched(client, 3)
})

test('header fields in UTF-8 stay refused', async () => {
  const client = await start({ set: ['pop3.capa.utf8=true'] })
  server.put(`cur/${1_700_000_003}.h:2,`, `Subject: \xc3\xa4\n\n${'x'.repeat(40)}\n`)
  expect(await client.ask('RETR 3')).toMatch(/^-ERR \[UTF8\]/)
})

test('of many clients some wait for the disk, and all are served', async () => {
  await start({ set: ['limits.max_userip_connections=0'] })
  const clients = await Promise.all(Array.from({ length: 20 }, () => server.login()))
  for (let index = 1; index <= 6; index++) await Promise.all(clients.map((each) => fetched(each, index)))
  // Twenty leave with something ready, and the next one still gets all.
  for (const each of clients) each.destroy()
  const last = await server.login()
  for (let index = 1; index <= 6; index++) await fetched(last, index)
})

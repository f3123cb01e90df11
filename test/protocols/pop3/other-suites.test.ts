/**
 * What the suites of other POP3 servers look at, in our own words: Stalwart, Mailpit, GreenMail, hMailServer and Cyrus
 * (Cassandane). Their texts of replies, and what only they have (a subfolder as part of the user name, NOOP before the login),
 * are left out.
 */
import { renameSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { type Client, Pop3Server } from './harness.ts'

let server: Pop3Server
afterEach(() => server?.stop())

const fileOf = (index: number): string => `${1_700_000_000 + index}.h:2,`
const mail = (index: number): string => `Subject: ${index}\n\nfirst\n.\n.dot\nlast\n`

async function start(count: number): Promise<Client> {
  server = await Pop3Server.start({ set: ['auth.mechanisms=plain xoauth2'] })
  for (let index = 1; index <= count; index++) server.put(`cur/${fileOf(index)}`, mail(index))
  return server.login()
}

const stat = async (): Promise<string> => (await server.login()).ask('STAT')
const wrong = /^-ERR /
const right = /^\+OK/

test('Mailpit: 20 of 50 fetched and 25 removed; 25 more are not, after RSET', async () => {
  const first = await start(50)
  for (let index = 1; index <= 20; index++) {
    expect((await first.list(`RETR ${index}`)).lines[0]).toBe(`Subject: ${index}`)
  }
  for (let index = 1; index <= 25; index++) expect(await first.ask(`DELE ${index}`)).toMatch(right)
  await first.ask('QUIT')
  expect(await stat()).toMatch(/^\+OK 25 /)
  const second = await server.login()
  for (let index = 1; index <= 25; index++) expect(await second.ask(`DELE ${index}`)).toMatch(right)
  expect(await second.ask('STAT')).toBe('+OK 0 0')
  expect(await second.ask('RSET')).toMatch(right)
  await second.ask('QUIT')
  expect(await stat()).toMatch(/^\+OK 25 /)
  expect(server.files()).toHaveLength(25)
})

test('Mailpit: commands of a session are refused before the login and taken after it, in both cases', async () => {
  const client = await start(1)
  const stranger = await server.connect()
  await stranger.line()
  for (const command of ['STAT', 'stat', 'NOOP', 'noop', 'RSET', 'rset']) {
    expect(await client.ask(command), command).toMatch(right)
  }
  for (const command of ['LIST', 'list', 'RETR 1', 'retr 1']) {
    expect((await client.list(command)).status, command).toMatch(right)
  }
  for (const command of ['STAT', 'list', 'RETR 1'])
    expect(await stranger.ask(command), command).toMatch(wrong)
})

test('hMailServer: numbers that no mail has', async () => {
  const client = await start(10)
  for (const number of ['0', '-1', '1000']) {
    for (const command of [`DELE ${number}`, `LIST ${number}`, `UIDL ${number}`, `TOP ${number} 0`]) {
      expect(await client.ask(command), command).toMatch(wrong)
    }
  }
  expect(await client.ask('DELE 5')).toMatch(right)
})

test('hMailServer: listings without what is marked, and numbers stay', async () => {
  const client = await start(10)
  await client.ask('DELE 2')
  await client.ask('DELE 4')
  const left = [1, 3, 5, 6, 7, 8, 9, 10]
  for (const command of ['LIST', 'UIDL']) {
    const { lines } = await client.list(command)
    expect(lines.map((line) => Number(line.split(' ')[0]))).toEqual(left)
  }
})

test('hMailServer: a mail that an IMAP client has marked as deleted is still listed', async () => {
  await start(3)
  renameSync(join(server.maildir(), 'cur', fileOf(2)), join(server.maildir(), 'cur', `${fileOf(2)}T`))
  const client = await server.login()
  for (const command of ['LIST', 'UIDL']) expect((await client.list(command)).lines).toHaveLength(3)
})

test('hMailServer: a mail that takes the number of a removed one is not removed in its place', async () => {
  const client = await start(1)
  unlinkSync(join(server.maildir(), 'cur', fileOf(1)))
  server.put(`new/${1_700_000_009}.h`, mail(9))
  expect(await client.ask('DELE 1')).toMatch(right)
  expect(await client.ask('QUIT')).toMatch(right)
  expect(await stat()).toMatch(/^\+OK 1 /)
})

test('Cyrus: TOP looks at its arguments', async () => {
  const client = await start(1)
  for (const command of ['TOP', 'TOP 1', 'TOP 1xyz 2', 'TOP 1 2xyz', 'TOP 1 2 3']) {
    expect(await client.ask(command), command).toMatch(wrong)
  }
  expect((await client.list('TOP 1 1')).lines).toEqual(['Subject: 1', '', 'first'])
})

test.each(['PLAIN', 'XOAUTH2'])(
  'GreenMail: a line end in a user name of %s adds no line to the answer',
  async (mechanism) => {
    await start(0)
    const client = await server.connect()
    await client.line()
    const name = 'nobody\r\n+OK injected'
    const plain = `\0${name}\0secret`
    const bearer = `user=${name}\x01auth=Bearer t\x01\x01`
    const response = Buffer.from(mechanism === 'PLAIN' ? plain : bearer, 'latin1').toString('base64')
    const answer = await client.ask(`AUTH ${mechanism} ${response}`)
    // XOAUTH2 says first what is wrong, in base64, and the client has to answer.
    expect(answer.startsWith('+ ') ? await client.ask('') : answer).toMatch(wrong)
    expect(await client.ask('AUTH FOO')).toMatch(wrong)
    // What would have been added would be the answer to this one.
    expect(await client.ask('USER alice')).toBe('+OK')
    expect(await client.ask('PASS secret')).toMatch(right)
  },
)

test('GreenMail, Stalwart: lines that begin with a dot, in files with LF, by RETR and TOP', async () => {
  const client = await start(1)
  const all = ['Subject: 1', '', 'first', '..', '..dot', 'last']
  const { status, lines } = await client.list('RETR 1')
  expect(lines).toEqual(all)
  // As many octets as were announced, when the dots that were added are taken away.
  const octets = lines.reduce((sum, line) => sum + line.replace(/^\./, '').length + 2, 0)
  expect(status).toBe(`+OK ${octets} octets`)
  expect(await client.ask('LIST 1')).toBe(`+OK 1 ${octets}`)
  for (let count = 0; count <= 6; count++) {
    expect((await client.list(`TOP 1 ${count}`)).lines, `TOP 1 ${count}`).toEqual(all.slice(0, 2 + count))
  }
})

test('Stalwart: DELE in one write, and a mail that is not there', async () => {
  const client = await start(3)
  expect(await client.ask('RETR 4')).toMatch(wrong)
  client.send('DELE 1\r\nDELE 2\r\nDELE 4\r\nQUIT\r\n')
  const answers = (await client.rest()).trim().split('\r\n')
  expect(answers.map((answer) => right.test(answer))).toEqual([true, true, false, true])
  expect(await stat()).toMatch(/^\+OK 1 /)
})

/** What is written about sessions: the logout line, and everything they say. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { afterEach, expect, test } from 'vitest'
import { checkTemplate, fillIn, logoutVariables } from '../../../src/protocols/pop3/template.ts'
import { until } from '../../support/until.ts'
import { Pop3Server } from './harness.ts'

let server: Pop3Server
afterEach(() => server?.stop())

const sum = (...uids: number[]) => {
  const hash = uids.reduce((all, uid) => all ^ crc32(`0000000${uid}6553f100`), 0)
  return `${uids.length}/${(hash >>> 0).toString(16).padStart(8, '0')}`
}

test.each([
  ['P240', ['UIDL', 'RETR 3', 'DELE 3', 'QUIT'], sum(1, 2)],
  ['P241', ['UIDL', 'RETR 1', 'QUIT'], `${sum()} -> ${sum(1, 2, 3)}`],
  ['P242', ['STAT', 'QUIT'], ''],
  ['R67', ['UIDL 2', 'DELE 1', 'QUIT'], `${sum(1, 2, 3)} -> ${sum(2, 3)}`],
])('%s uidl_change of %j', async (_, commands, expected) => {
  server = await Pop3Server.start({ set: ['pop3.logout_format=<%u>'] })
  server.mb1()
  const client = await server.login()
  client.send(commands.map((command) => `${command}\r\n`).join(''))
  await client.rest()
  expect(server.events('pop3.logout')).toMatchObject([{ summary: `<${expected}>` }])
})

test('P247 the default format', async () => {
  server = await Pop3Server.start()
  server.mb1()
  const client = await server.login()
  client.send('RETR 1\r\nTOP 2 0\r\nDELE 1\r\nQUIT\r\n')
  await client.rest()
  expect(server.events('pop3.logout')[0]?.summary).toMatch(/^top=1\/\d+, retr=1\/\d+, del=1\/32, size=99$/)
})

test('templates: names, letters and percent signs; a variable that is none is named', () => {
  const text = '%{user} %m %% %{remote_ip}'
  expect(checkTemplate(logoutVariables)(text)).toBeUndefined()
  expect(fillIn(text, logoutVariables, (name) => `<${name}>`)).toBe('<user> <message_count> % <remote_ip>')
  for (const [wrong, named] of [
    ['%{users}', '%{users}'],
    ['%z', '%z'],
    ['100%', '%'],
  ] as const) {
    expect(checkTemplate(logoutVariables)(wrong)).toBe(`unknown variable ${named}`)
  }
})

test('P286 rawlog_dir gets what is said after login, and no password', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'pop3-raw-'))
  server = await Pop3Server.start({ set: [`pop3.rawlog_dir=${dir}`] })
  server.mb1()
  const client = await server.connect()
  await client.line()
  client.send('USER alice\r\nPASS secret\r\nNOOP\r\nRETR 1\r\nST')
  await client.lines(9)
  client.send('AT\r\nQUIT\r\n')
  await client.rest()
  await until('the end', () => server.events('pop3.logout').length === 1)
  const [input, output] = ['.in', '.out'].map((end) => {
    const name = readdirSync(dir).find((file) => file.endsWith(end))!
    expect(name).toMatch(/^\d{8}-\d{6}\.\d+\.\d+\./)
    return readFileSync(join(dir, name), 'utf8')
  })
  rmSync(dir, { recursive: true })
  expect(input!.replaceAll(/^\d+\.\d{6} /gm, '')).toBe('NOOP\r\nRETR 1\r\nSTAT\r\nQUIT\r\n')
  expect(output).toMatch(
    /^\d+\.\d{6} \+OK \w[^\n]*\n\d+\.\d{6} \+OK\r\n\d+\.\d{6} \+OK 32 octets\r\n\d+\.\d{6} From: a\r\n/m,
  )
  expect(input! + output!).not.toContain('secret')
})

test('R73 R79 octets count from the login on, those included that came with the password', async () => {
  server = await Pop3Server.start({ set: ['pop3.logout_format=%i %o'] })
  server.mb1()
  const client = await server.connect()
  await client.line()
  client.send('USER alice\r\nPASS secret\r\nSTAT\r\n')
  await client.line()
  const said = [...(await client.lines(2)), await client.ask('NOOP')]
  client.send('QUIT\r\n')
  const output = `${said.join('\r\n')}\r\n${await client.rest()}`.length
  expect(server.events('pop3.logout')).toMatchObject([{ summary: `18 ${output}`, input: 18, output }])
})

test('P286 a folder that is not there costs nothing', async () => {
  server = await Pop3Server.start({ set: ['pop3.rawlog_dir=/nowhere/at/all'] })
  expect(await (await server.login()).ask('STAT')).toBe('+OK 0 0')
})

test.each([
  ['no_auth_attempts', [], ['CAPA']],
  ['auth_failed', [], ['USER alice', 'PASS wrong']],
  ['invalid_mech', [], ['AUTH FOO']],
  ['invalid_base64', [], ['AUTH PLAIN !']],
  ['invalid_base64', [], ['AUTH PLAIN', '!']],
  ['auth_aborted_by_client', [], ['AUTH PLAIN', '*']],
  ['cleartext_auth_disabled', [], ['USER alice', 'PASS secret']],
  ['auth_waiting_client', [], ['AUTH PLAIN']],
  ['temp_fail', ['mailbox.allow_readonly=false'], ['USER file', 'PASS secret']],
  ['connection_limit', ['limits.max_userip_connections=1'], ['USER alice', 'PASS secret']],
])('L19 why nobody logged in: %s', async (code, set, commands) => {
  const leaves = code === 'auth_waiting_client'
  server = await Pop3Server.start({ set, users: ['file:{PLAIN}secret::::/dev/null'] })
  const other = code === 'connection_limit' ? await server.login() : undefined
  // From another address than the server's passwords need TLS.
  const client = await server.connect(code === 'cleartext_auth_disabled' ? '127.0.0.2' : undefined)
  client.send(`${[...commands, ...(leaves ? [] : ['QUIT'])].join('\r\n')}\r\n`)
  if (leaves) client.socket.end()
  await client.rest()
  const line = await until('the log line', () => server.events('pop3.disconnect')[0])
  expect(line.code).toBe(code)
  other?.end()
})

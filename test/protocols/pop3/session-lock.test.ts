/** `pop3.lock_session`: one session of a mailbox at a time. */

import { existsSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { until } from '../../support/until.ts'
import { type Client, Pop3Server } from './harness.ts'

let server: Pop3Server
afterEach(() => server.stop())

async function start(set: readonly string[] = [], virtualTime = false): Promise<void> {
  server = await Pop3Server.start({ set: ['pop3.lock_session=true', ...set], virtualTime })
  server.mb1()
}

const lockFile = () => join(server.maildir(), 'dovecot-pop3-session.lock')

/** A client that has said who it is; the answer to PASS is still to come. */
async function asked(): Promise<Client> {
  const client = await server.connect()
  client.send('USER alice\r\nPASS secret\r\n')
  await client.lines(2)
  return client
}

test('P201 while one session has the mailbox the next is told so, and may try again', async () => {
  await start(['pop3.lock_wait=1s'], true)
  const first = await server.login()
  expect(readFileSync(lockFile(), 'utf8')).toMatch(new RegExp(`^${process.pid}:`))
  const second = await asked()
  await second.flushed()
  await server.advance(1_000)
  expect(await second.line()).toMatch(/^-ERR \[IN-USE\] /)
  expect(await first.ask('STAT')).toBe('+OK 3 99')
  await first.ask('QUIT')
  await until('the lock to go', () => !existsSync(lockFile()))
  second.send('USER alice\r\nPASS secret\r\n')
  expect((await second.lines(2))[1]).toMatch(/^\+OK/)
})

test('P201 close_on_busy ends the connection', async () => {
  await start(['pop3.lock_wait=0', 'pop3.close_on_busy=true'])
  await server.login()
  const second = await asked()
  expect(await second.rest()).toMatch(/^-ERR \[IN-USE\] .*\r\n$/)
})

test('P202 a session that waits gets the mailbox when the other ends, however it ends', async () => {
  await start()
  const first = await server.login()
  const second = await asked()
  const third = await asked()
  await first.ask('QUIT')
  expect(await second.line()).toMatch(/^\+OK/)
  second.destroy()
  expect(await third.line()).toMatch(/^\+OK/)
  await third.ask('QUIT')
  await third.rest()
  await until('the lock to go', () => !existsSync(lockFile()))
})

test('P203 P204 a lock of a dead process is taken over, one of another machine is not', async () => {
  await start(['pop3.lock_wait=0'])
  writeFileSync(lockFile(), `99999999:${hostname()}`)
  const longAgo = Date.now() / 1000 - 10
  utimesSync(lockFile(), longAgo, longAgo)
  expect(await (await server.login()).ask('QUIT')).toMatch(/^\+OK/)
  await until('the lock to go', () => !existsSync(lockFile()))
  writeFileSync(lockFile(), '1:elsewhere')
  expect(await (await asked()).line()).toMatch(/^-ERR \[IN-USE\] /)
  expect(readFileSync(lockFile(), 'utf8')).toBe('1:elsewhere')
})

test('P206 a session whose lock file is gone ends', async () => {
  await start([], true)
  const client = await server.login()
  rmSync(lockFile())
  await server.advance(60_000)
  expect(await client.rest()).toMatch(/^-ERR \[SYS\/TEMP\] /)
})

test('P207 a lock file that cannot be made is an answer', async () => {
  await start()
  rmSync(server.maildir(), { recursive: true })
  writeFileSync(server.maildir(), 'no folder')
  expect(await (await asked()).rest()).toMatch(/^-ERR \[SYS\/TEMP\] /)
})

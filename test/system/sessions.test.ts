/** Many sessions at once in one service. */
import { expect, test } from 'vitest'
import { Pop3Client } from '../support/clients.ts'
import { startService } from '../support/fixtures.ts'

const SESSIONS = 1000
const USERS = 200

test('1,000 POP3 sessions are open at once on two connection threads', { timeout: 120_000 }, async () => {
  const users = Object.fromEntries(Array.from({ length: USERS }, (_, index) => [`u${index}`, 'secret']))
  const service = await startService({
    listeners: ['pop3'],
    users,
    tables: '[pools.connections]\nmin_threads = 2\nmax_threads = 2\n',
  })
  const open: Pop3Client[] = []
  let next = 0
  await Promise.all(
    Array.from({ length: 40 }, async () => {
      while (next < SESSIONS) {
        const index = next++
        open.push(await Pop3Client.login(service.ports.pop3, `u${index % USERS}`))
      }
    }),
  )
  expect(open).toHaveLength(SESSIONS)
  // All of them live at the same time.
  const answers = await Promise.all(open.map((client) => client.ok('STAT')))
  expect(new Set(answers)).toEqual(new Set(['+OK 0 0']))
  const logins = service.events('pop3.login')
  expect(logins).toHaveLength(SESSIONS)
  expect(new Set(logins.map((line) => line.thread)).size).toBe(2)
  const status = await service.command(['status'])
  expect(status.code).toBe(0)
  expect(status.stdout).toMatch(/\b1000\b/)

  service.signal('SIGTERM')
  const goodbyes = await Promise.all(open.map((client) => client.line()))
  expect(new Set(goodbyes)).toEqual(new Set(['-ERR [SYS/TEMP] Server shutting down.']))
  expect((await service.exit()).code).toBe(0)
})

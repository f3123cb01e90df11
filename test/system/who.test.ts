/** Operators see who is connected, and can end it. */
import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { Pop3Client } from '../support/clients.ts'
import { startService } from '../support/fixtures.ts'
import { until } from '../support/until.ts'

test('status --sessions names users, addresses and what they do; kick ends those that fit', async () => {
  const service = await startService()
  const [ann, bob] = [
    await Pop3Client.login(service.ports.pop3, 'ann'),
    await Pop3Client.login(service.ports.pop3, 'bob'),
  ]
  const stranger = await Pop3Client.connect(service.ports.pop3)
  const smtp = connect(service.ports.smtp, '127.0.0.1')
  await ann.ok('NOOP')
  const rows = await until('four sessions', async () => {
    const { stdout } = await service.command(['status', '--sessions', '--json'])
    const found = JSON.parse(stdout) as { service: string; user: string; state?: string; session: string }[]
    return found.length === 4 ? found : undefined
  })
  expect(rows.map(({ service: name, user, state }) => [name, user, state ?? ''])).toEqual([
    ['pop3', 'ann', 'idle'],
    ['pop3', 'bob', 'idle'],
    ['pop3', '', 'login'],
    ['smtp', '', ''],
  ])
  expect(rows[0]).toMatchObject({ address: '127.0.0.1', tls: null, input: 29 })
  const text = await service.command(['status', '--sessions'])
  expect(text.stdout).toMatch(/^pop3 +ann +127\.0\.0\.1 +\d+s +\d+s +idle +/m)

  expect(await service.command(['kick', '--user', 'nobody'])).toMatchObject({ code: 66 })
  expect(await service.command(['kick'])).toMatchObject({ code: 64 })
  const kicked = await service.command(['kick', '--user', 'ANN', '--json'])
  expect(JSON.parse(kicked.stdout)).toEqual({ kicked: [rows[0]!.session] })
  expect(await ann.line()).toBe('-ERR [SYS/TEMP] Server shutting down.')
  await service.untilEvent('pop3.logout', ({ reason }) => reason === 'Kicked by an administrator')
  await bob.ok('NOOP')

  expect(await service.command(['kick', '--address', '127.0.0.1'])).toMatchObject({ code: 0 })
  expect(await bob.line()).toMatch(/^-ERR \[SYS\/TEMP\]/)
  expect(await stranger.line()).toMatch(/^-ERR \[SYS\/TEMP\]/)
  await until('all gone', async () => {
    const { stdout } = await service.command(['status', '--sessions'])
    return stdout === 'Nobody is connected.\n'
  })
  smtp.destroy()
})

/** Mail for a domain whose best exchanger we are: `best_mx_transport` takes it instead of a bounce. */
import { expect, onTestFinished, test } from 'vitest'
import { NameServer } from '../dns/name-server.ts'
import { Pop3Client, SmtpClient } from '../support/clients.ts'
import { startService } from '../support/fixtures.ts'
import { until } from '../support/until.ts'

test('best_mx_transport = "local" delivers to the local user', { timeout: 60_000 }, async () => {
  const dns = await NameServer.start({
    'MX other.test': { records: ['MX 10 us.test'] },
    'A us.test': { records: ['A 127.0.0.1'] },
  })
  onTestFinished(() => dns[Symbol.asyncDispose]())
  const tables = `
[smtp]
best_mx_transport = "local"
[dns]
servers = ["${dns.address}"]
[net]
inet_protocols = ["ipv4"]
`
  const service = await startService({ tables })
  const client = await SmtpClient.connect(service.ports.smtp)
  await client.expect(250, 'EHLO client.test')
  const mail = { from: 'sender@peers.test', to: ['ann@other.test'], content: 'Subject: x\r\n\r\nx' }
  expect((await client.send(mail)).code).toBe(250)
  client.close()
  await until('the mail in the mailbox', async () => {
    const pop = await Pop3Client.login(service.ports.pop3, 'ann')
    const [, count] = (await pop.ok('STAT')).split(' ')
    await pop.ok('QUIT')
    return count === '1'
  })
  // The line comes after the commit, and the mail is in the mailbox before it.
  expect(await service.untilEvent('delivery')).toMatchObject({ to: 'ann@other.test', status: 'sent' })
  const wrong = await service.command(['config', '--set', 'smtp.best_mx_transport=locl', 'smtp.tcp_port'])
  expect([wrong.code, wrong.stderr]).toEqual([78, expect.stringContaining('did you mean local?')])
})

/** What the postmaster hears of servers that break the protocol, through the real service. */
import { expect, test } from 'vitest'
import { Pop3Client, SmtpClient } from '../support/clients.ts'
import { startService } from '../support/fixtures.ts'
import { SmtpSink } from '../support/smtp-sink.ts'
import { until } from '../support/until.ts'

test('K10 the transcript of a session goes to the postmaster, from the double-bounce address', {
  timeout: 60_000,
}, async () => {
  const sink = await SmtpSink.start({
    misbehave: (verb) => (verb === 'RCPT' ? '500 5.5.1 what is RCPT' : undefined),
  })
  const service = await startService({
    users: { ann: 'secret', postmaster: 'secret' },
    tables: `[smtp]\nrelayhost = "[127.0.0.1]:${sink.port}"\n[notify]\nclasses = ["protocol"]\n`,
  })
  const client = await SmtpClient.connect(service.ports.smtp)
  await client.expect(250, 'EHLO test')
  await client.send({
    from: 'ann@mail.peers.test',
    to: ['x@dest.test'],
    content: 'Subject: one\r\n\r\nhello',
  })
  const lines = await until('a mail for the postmaster', async () => {
    const pop = await Pop3Client.login(service.ports.pop3, 'postmaster')
    const answer = await pop.ok('STAT')
    const mail = answer.startsWith('+OK 1 ') ? await pop.multi('RETR 1') : undefined
    await pop.ok('QUIT')
    return mail
  })
  await sink.stop()
  expect(lines).toContain(`Subject: Trouble with the mail server 127.0.0.1[127.0.0.1]:${sink.port}`)
  expect(lines).toContain(' Out: RCPT TO:<x@dest.test>')
  expect(lines).toContain(' In:  500 5.5.1 what is RCPT')
  // The mail itself is returned to its sender, as any.
  expect(service.events('delivery').find(({ to }) => to === 'x@dest.test')).toMatchObject({
    status: 'bounced',
    dsn: '5.5.1',
  })
  expect(service.events('mail.accepted').map(({ from }) => from)).toContain('double-bounce@mail.peers.test')
})

/** `log.format = "syslog"` through the real service: sessions and deliveries on threads of their own. */
import { expect, test } from 'vitest'
import { Pop3Client, SmtpClient } from '../support/clients.ts'
import { prepareService, startSink } from '../support/fixtures.ts'
import { waitForPort } from '../support/ports.ts'
import { until } from '../support/until.ts'

test('analysers of Postfix and Dovecot logs find their lines', async () => {
  const sink = await startSink()
  const service = await prepareService({
    tables: `[smtp]\nrelayhost = "[127.0.0.1]:${sink.port}"\n[log]\nformat = "syslog"\n`,
  })
  service.launch()
  await waitForPort(service.ports.smtp)
  await waitForPort(service.ports.pop3)
  const client = await SmtpClient.connect(service.ports.smtp)
  await client.expect(250, 'EHLO test')
  await client.send({ from: 'a@b.test', to: ['x@dest.test'], content: 'Subject: one\r\n\r\nhello' })
  const pop3 = await Pop3Client.login(service.ports.pop3, 'ann')
  await pop3.ok('QUIT')
  const lines = await until(
    'all lines',
    () => /: removed\n/.test(service.stdout) && /Logged out/.test(service.stdout) && service.stdout,
  )
  const start = String.raw`^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d mail\.peers\.test `
  const has = (rest: string) => expect(lines).toMatch(new RegExp(start + rest, 'm'))
  has(String.raw`postfix/qmgr\[\d+\]: \w+: from=<a@b\.test>, size=\d+, nrcpt=1 \(queue active\)$`)
  has(
    String.raw`postfix/smtp\[\d+\]: \w+: to=<x@dest\.test>, relay=127\.0\.0\.1.*, dsn=2\.\d\.\d, status=sent \(250 .*\)$`,
  )
  has(String.raw`postfix/qmgr\[\d+\]: \w+: removed$`)
  has(
    String.raw`dovecot: pop3-login: Login: user=<ann>, method=PLAIN, rip=127\.0\.0\.1, lip=127\.0\.0\.1, mpid=\d+, secured, session=<.+>$`,
  )
  has(String.raw`dovecot: pop3\(ann\)<\d+><.+>: Disconnected: Logged out top=0/0, retr=0/0, del=0/0, size=0$`)
})

/** Mail from Postfix to us, from us to Postfix, and from us to Dovecot by LMTP. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { Pop3Client, SmtpClient } from '../support/clients.ts'
import { startService } from '../support/fixtures.ts'
import { startDovecot, startReceivingPostfix, startRelayingPostfix } from '../support/peers.ts'
import { because } from '../support/privileges.ts'
import { sendTraffic } from '../support/traffic.ts'
import { until } from '../support/until.ts'

const noPostfix = whyMissing(['postfix'], { root: true })

describe.skipIf(noPostfix !== undefined)(`Postfix${because(noPostfix)}`, () => {
  test('relays 50 mails into our mailbox', { timeout: 60_000 }, async () => {
    const service = await startService()
    const postfix = await startRelayingPostfix(service.ports.smtp)
    const { acknowledged } = await sendTraffic({
      port: () => postfix.port,
      count: 50,
      recipient: () => 'ann@mail.peers.test',
      sessions: 1,
    })
    expect(acknowledged.size).toBe(1)
    await until(
      '50 mails in the mailbox',
      async () => {
        const pop = await Pop3Client.login(service.ports.pop3, 'ann')
        const answer = await pop.ok('STAT')
        await pop.ok('QUIT')
        return answer.startsWith('+OK 50 ')
      },
      {
        deadlineMs: 30_000,
        everyMs: 200,
        describe: () => readFileSync(join(postfix.dir, 'maillog'), 'utf8').slice(-2000),
      },
    )
  })

  test('takes 50 mails from us, pipelined, and its log has each once', { timeout: 60_000 }, async () => {
    const postfix = await startReceivingPostfix()
    const service = await startService({ tables: `[smtp]\nrelayhost = "[127.0.0.1]:${postfix.port}"\n` })
    const { acknowledged } = await sendTraffic({ port: () => service.ports.smtp, count: 50 })
    expect(acknowledged.size).toBe(50)
    const log = (): string => readFileSync(join(postfix.dir, 'maillog'), 'utf8')
    const arrived = (): string[] =>
      [...log().matchAll(/to=<(m\d+@dest\.test)>.*status=sent/g)].map(([, to = '']) => to)
    await until('50 mails in its log', () => arrived().length >= 50, { deadlineMs: 30_000 })
    expect(new Set(arrived())).toEqual(acknowledged)
    expect(arrived()).toHaveLength(50)
    // It logs what it finds odd in a dialog.
    expect(log()).not.toMatch(
      /improper command pipelining|lost connection after (?!QUIT|CONNECT)|non-SMTP command/,
    )
  })

  test('refuses one recipient of two: the other is delivered, the sender told', {
    timeout: 60_000,
  }, async () => {
    const postfix = await startReceivingPostfix()
    const service = await startService({ tables: `[smtp]\nrelayhost = "[127.0.0.1]:${postfix.port}"\n` })
    const client = await SmtpClient.connect(service.ports.smtp)
    await client.expect(250, 'EHLO client.test')
    const mail = { from: 'ann@mail.peers.test', content: 'Subject: two\r\n\r\nx' }
    expect((await client.send({ ...mail, to: ['good@dest.test', 'reject@dest.test'] })).code).toBe(250)
    client.close()
    const ends = await until('both results', () => {
      const lines = service.events('delivery').filter((line) => String(line.to).endsWith('@dest.test'))
      return lines.length >= 2 && lines
    })
    expect(ends.find((line) => line.to === 'good@dest.test')).toMatchObject({ status: 'sent' })
    expect(ends.find((line) => line.to === 'reject@dest.test')).toMatchObject({
      status: 'bounced',
      dsn: '5.1.1',
    })
    await until('the failure notice', async () => {
      const pop = await Pop3Client.login(service.ports.pop3, 'ann')
      const answer = await pop.ok('STAT')
      await pop.ok('QUIT')
      return answer.startsWith('+OK 1 ')
    })
  })
})

const noDovecot = whyMissing(['dovecot'], { root: true })

test.skipIf(noDovecot !== undefined)(
  `Dovecot takes mail from us by LMTP and serves the same octets${because(noDovecot)}`,
  { timeout: 60_000 },
  async () => {
    const dovecot = await startDovecot()
    const service = await startService({
      tables: `[transport]\n"dest.test" = "lmtp:inet:127.0.0.1:${dovecot.lmtpPort}"\n`,
    })
    const client = await SmtpClient.connect(service.ports.smtp)
    await client.expect(250, 'EHLO client.test')
    const content = 'From: ann@mail.peers.test\r\nSubject: lmtp\r\n\r\n.dot\r\nlast line'
    const mail = { from: 'ann@mail.peers.test', to: ['u0@dest.test', 'u1@dest.test'], content }
    expect((await client.send(mail)).code).toBe(250)
    client.close()
    // auth_username_format: it keeps the domain, and so does the mailbox's name.
    await until(
      'both mailboxes',
      () => {
        const found = execFileSync('find', [join(dovecot.dir, 'mail'), '-type', 'f', '-path', '*/new/*'], {
          encoding: 'utf8',
        })
        return found.split('\n').filter(Boolean).length === 2
      },
      { describe: () => JSON.stringify(service.events('delivery')) },
    )
    const pop = await Pop3Client.login(dovecot.port, 'u0@dest.test')
    const lines = await pop.multi('RETR 1')
    expect(lines.slice(-3)).toEqual(['', '.dot', 'last line'])
    pop.close()
    for (const line of service.events('delivery')) expect(line).toMatchObject({ status: 'sent' })
  },
)

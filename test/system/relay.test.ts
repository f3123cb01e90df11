/** The promise of the outbound path: what was acknowledged arrives, and once when nothing broke. */
import { describe, expect, test } from 'vitest'
import { Pop3Client, SmtpClient } from '../support/clients.ts'
import { startService, startSink } from '../support/fixtures.ts'
import { sendTraffic } from '../support/traffic.ts'
import { until } from '../support/until.ts'

/** Retries soon enough for a test. */
const eager = '[queue]\nminimal_backoff_time = "1s"\nmaximal_backoff_time = "2s"\nrun_delay = "1s"\n'

describe('relaying', () => {
  test('300 mails arrive exactly once', { timeout: 60_000 }, async () => {
    const sink = await startSink()
    const service = await startService({ tables: `[smtp]\nrelayhost = "${sink.nexthop}"\n` })
    const { acknowledged, reasons } = await sendTraffic({ port: () => service.ports.smtp, count: 300 })
    expect([...reasons]).toEqual([])
    await until('300 mails at the sink', () => sink.deliveries.size === 300, { deadlineMs: 30_000 })
    expect(new Set(sink.deliveries.keys())).toEqual(acknowledged)
    expect([...sink.deliveries.values()].filter((count) => count !== 1)).toEqual([])
    expect(await service.stop()).toMatchObject({ code: 0 })
    expect(sink.mails).toHaveLength(300)
  })

  test('deliveries that go from mail to mail deliver each one once, whatever the server does to their connections', {
    timeout: 90_000,
  }, async () => {
    const mails = 400
    let turn = 0
    const sink = await startSink((verb) => {
      turn++
      // It hangs up between mails and within them, greets a mail with 421, puts off a recipient.
      if (verb === 'RSET' && turn % 11 === 0) return 'drop'
      if (verb === 'RSET' && turn % 17 === 0) return '421 4.3.2 too many'
      if (verb === 'MAIL' && turn % 43 === 0) return 'drop'
      if (verb === 'RCPT' && turn % 29 === 0) return '450 4.2.1 later'
      return undefined
    })
    const tables = `[smtp]\nrelayhost = "${sink.nexthop}"\n${eager}default_destination_concurrency_limit = 2
default_destination_concurrency_failed_cohort_limit = 1000\n`
    const service = await startService({ tables })
    const { acknowledged } = await sendTraffic({ port: () => service.ports.smtp, count: mails })
    expect(acknowledged.size).toBe(mails)
    await until('all mails at the sink', () => sink.deliveries.size === mails, {
      deadlineMs: 60_000,
      describe: () => `${sink.deliveries.size} of ${mails}`,
    })
    expect(await service.stop()).toMatchObject({ code: 0 })
    expect([...sink.deliveries.values()].filter((count) => count !== 1)).toEqual([])
    expect(sink.connections).toBeLessThan(mails)
  })

  test('the content arrives octet for octet below the Received header', async () => {
    const sink = await startSink()
    const service = await startService({ tables: `[smtp]\nrelayhost = "${sink.nexthop}"\n` })
    const content = [
      // With all that a mail must have: nothing is added.
      'From: <sender@peers.test>',
      'Date: Fri, 02 Jan 2026 03:04:05 +0000',
      'Message-Id: <1@peers.test>',
      'Subject: dots and octets',
      '',
      '.one dot',
      '..two dots',
      '.',
      '\xe9\xff\x80 octets',
      `${'long '.repeat(190)}`,
      '',
      'last',
    ].join('\r\n')
    const client = await SmtpClient.connect(service.ports.smtp)
    await client.expect(250, 'EHLO client.test')
    const mail = { from: 'sender@peers.test', to: ['m1@dest.test', 'm2@dest.test'], content }
    expect((await client.send(mail)).code).toBe(250)
    client.close()
    await until('both recipients', () => sink.deliveries.size === 2)
    for (const sunk of sink.mails) {
      expect(sunk.from).toBe('sender@peers.test')
      expect(sunk.content.endsWith(`${content}\r\n`)).toBe(true)
      expect(sunk.content).toMatch(/^Received: from client\.test /)
    }
  })

  test('a temporary refusal is tried again and nothing is doubled', { timeout: 60_000 }, async () => {
    let refusals = 0
    const sink = await startSink((verb) =>
      verb === 'RCPT' && refusals++ < 3 ? '450 4.2.1 later' : undefined,
    )
    const service = await startService({ tables: `[smtp]\nrelayhost = "${sink.nexthop}"\n${eager}` })
    const { acknowledged } = await sendTraffic({ port: () => service.ports.smtp, count: 10 })
    await until('all mails', () => sink.deliveries.size === acknowledged.size, { deadlineMs: 30_000 })
    expect([...sink.deliveries.values()].every((count) => count === 1)).toBe(true)
    expect(service.events('delivery').some((line) => line.status === 'deferred')).toBe(true)
  })

  test('a permanent refusal comes back to a local sender as a failure notice', {
    timeout: 60_000,
  }, async () => {
    const sink = await startSink((verb) => (verb === 'RCPT' ? '550 5.1.1 nobody here' : undefined))
    const service = await startService({ tables: `[smtp]\nrelayhost = "${sink.nexthop}"\n${eager}` })
    const client = await SmtpClient.connect(service.ports.smtp)
    await client.expect(250, 'EHLO client.test')
    const mail = { from: 'ann@mail.peers.test', to: ['m1@dest.test'], content: 'Subject: x\r\n\r\nx' }
    expect((await client.send(mail)).code).toBe(250)
    client.close()
    const notice = await until('the failure notice', async () => {
      const pop = await Pop3Client.login(service.ports.pop3, 'ann')
      try {
        return (await pop.ok('STAT')).startsWith('+OK 1 ')
          ? (await pop.multi('RETR 1')).join('\n')
          : undefined
      } finally {
        pop.close()
      }
    })
    // RFC 3464: a multipart/report with a machine-readable part.
    expect(notice).toMatch(/^Content-Type: multipart\/report;/im)
    expect(notice).toMatch(/report-type="?delivery-status/i)
    expect(notice).toMatch(/^Final-Recipient: rfc822; ?m1@dest\.test/im)
    expect(notice).toMatch(/^Action: failed/im)
    expect(notice).toMatch(/^Status: 5\.1\.1/im)
    expect(notice).toContain('nobody here')
  })

  test('each delivery and each mail leaves its log lines', async () => {
    const sink = await startSink()
    const service = await startService({ tables: `[smtp]\nrelayhost = "${sink.nexthop}"\n` })
    await sendTraffic({ port: () => service.ports.smtp, count: 1 })
    const accepted = await service.untilEvent('mail.accepted')
    expect(accepted).toMatchObject({
      from: 'sender@peers.test',
      queueId: expect.any(String),
      octets: expect.any(Number),
    })
    const delivery = await service.untilEvent('delivery')
    expect(delivery).toMatchObject({ queueId: accepted.queueId, to: 'm0@dest.test', status: 'sent' })
    expect(delivery).toHaveProperty('delay')
    expect(delivery).toHaveProperty('delays')
    expect(delivery).toHaveProperty('relay')
    expect(delivery).toHaveProperty('reply')
    expect(await service.untilEvent('mail.removed')).toMatchObject({ queueId: accepted.queueId })
  })
})

describe('kill -9 under traffic', () => {
  test('five kills, 500 mails: every acknowledged mail arrives', { timeout: 120_000 }, async () => {
    const sink = await startSink()
    const service = await startService({ tables: `[smtp]\nrelayhost = "${sink.nexthop}"\n${eager}` })
    let kills = 0
    let restarting: Promise<void> | undefined
    const restart = async (): Promise<void> => {
      kills += 1
      await service.kill()
      await service.run()
      restarting = undefined
    }
    const { acknowledged } = await sendTraffic({
      port: () => service.ports.smtp,
      count: 500,
      deadlineMs: 100_000,
      onAcknowledged: (_, total) => {
        if (kills < 5 && total >= 80 * (kills + 1) && restarting === undefined) restarting = restart()
      },
    })
    await restarting
    expect(kills).toBe(5)
    const missing = (): string[] => [...acknowledged].filter((recipient) => !sink.deliveries.has(recipient))
    await until('every acknowledged mail', () => missing().length === 0, {
      deadlineMs: 30_000,
      describe: () => `missing ${missing().slice(0, 10)}`,
    })
    // Doubles are allowed where a reply was cut off, not as a rule: at most what was under way at five kills.
    const doubles = [...sink.deliveries.values()].filter((count) => count > 1)
    expect(doubles.length).toBeLessThan(250)
  })
})

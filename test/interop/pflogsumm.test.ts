/** The log in the form of Postfix, read by pflogsumm. */
import { expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { SmtpClient } from '../support/clients.ts'
import { prepareService } from '../support/fixtures.ts'
import { waitForPort } from '../support/ports.ts'
import { because } from '../support/privileges.ts'
import { runProgram } from '../support/service.ts'
import { SmtpSink } from '../support/smtp-sink.ts'
import { until } from '../support/until.ts'

const missing = whyMissing(['pflogsumm'])

test.skipIf(missing !== undefined)(
  `pflogsumm counts what happened${because(missing)}`,
  { timeout: 60_000 },
  async () => {
    const sink = await SmtpSink.start({
      misbehave: (verb, line) => {
        if (verb !== 'RCPT') return undefined
        if (line.includes('bounce')) return '550 5.1.1 no such user'
        return line.includes('defer') ? '450 4.2.1 later' : undefined
      },
    })
    const service = await prepareService({
      tables: `[smtp]\nrelayhost = "[127.0.0.1]:${sink.port}"\n[log]\nformat = "syslog"\n`,
    })
    service.launch()
    await waitForPort(service.ports.smtp)
    const client = await SmtpClient.connect(service.ports.smtp)
    await client.expect(250, 'EHLO test')
    const to = ['one@dest.test', 'two@dest.test', 'bounce@dest.test', 'defer@dest.test']
    await client.send({ from: 'ann@mail.peers.test', to, content: 'Subject: one\r\n\r\nhello' })
    const log = await until('all results', () => {
      const lines = service.stdout
      return (lines.match(/@dest\.test>.*status=/g) ?? []).length >= 4 && lines
    })
    await sink.stop()
    const { stdout, code } = await runProgram('pflogsumm', ['-u', '5', '-h', '5'], { input: log })
    expect(code).toBe(0)
    const counted = (what: string): number => Number(new RegExp(`^ +(\\d+) +${what}`, 'm').exec(stdout)?.[1])
    // The notice about the one that bounced is received and may be delivered already.
    expect(counted('received')).toBeGreaterThanOrEqual(1)
    expect(counted('delivered')).toBeGreaterThanOrEqual(2)
    expect([counted('bounced'), counted('deferred')]).toEqual([1, 1])
    expect(stdout).toMatch(/ann@mail\.peers\.test/)
    expect(stdout).toMatch(/550 5\.1\.1 no such user|no such user/)
    expect(stdout).toMatch(/450 4\.2\.1 later|later/)
  },
)

/** Postfix's smtp-source in its ways of sending, to SMTP and LMTP. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { Pop3Client } from '../support/clients.ts'
import { startService } from '../support/fixtures.ts'
import { because } from '../support/privileges.ts'
import { runProgram, type Service } from '../support/service.ts'

const noSource = whyMissing(['smtp-source'])

async function mailsOf(service: Service, user: string): Promise<number> {
  const pop = await Pop3Client.login(service.ports.pop3, user)
  const [, count = '0'] = (await pop.ok('STAT')).split(' ')
  await pop.ok('QUIT')
  return Number(count)
}

const from = ['-f', 'ann@mail.peers.test', '-t', 'bob@mail.peers.test']

describe.skipIf(noSource !== undefined)(`smtp-source${because(noSource)}`, () => {
  test('in SMTP: a connection each, one for many, several at once, many recipients, its own text', {
    timeout: 60_000,
  }, async () => {
    const service = await startService({ listeners: ['smtp', 'lmtp', 'pop3'] })
    const send = async (...args: string[]) => {
      const server = `127.0.0.1:${service.ports.smtp}`
      const { code, stderr } = await runProgram('smtp-source', [...args, server])
      expect({ code, stderr }, args.join(' ')).toEqual({ code: 0, stderr: '' })
    }
    const text = join(service.dir, 'text')
    writeFileSync(text, 'Subject: own\n\n.\nof its own\n')
    await send('-m', '5', ...from)
    await send('-d', '-m', '5', ...from)
    await send('-s', '5', '-m', '20', '-l', '20000', ...from)
    await send('-d', '-s', '3', '-m', '9', '-S', 'a subject', '-M', 'client.test', ...from)
    await send('-F', text, '-m', '2', ...from)
    await send('-l', '300000', '-m', '2', ...from)
    expect(await mailsOf(service, 'bob')).toBe(43)
    await send('-r', '5', '-N', '-m', '4', '-f', 'ann@mail.peers.test', '-t', 'x@dest.test')
    expect(
      service.events('mail.accepted').filter(({ recipients }) => (recipients as string[]).length === 5),
    ).toHaveLength(4)
  })

  test('in LMTP over a unix socket', { timeout: 60_000 }, async () => {
    const service = await startService({ listeners: ['lmtp', 'pop3'] })
    const args = ['-L', '-d', '-s', '3', '-m', '12', ...from, `unix:${service.lmtpSocket}`]
    expect(await runProgram('smtp-source', args)).toMatchObject({ code: 0, stderr: '' })
    expect(await mailsOf(service, 'bob')).toBe(12)
  })

  test('is told of a refusal, and stops', async () => {
    const service = await startService()
    const { code, stderr } = await runProgram('smtp-source', [
      ...['-m', '1', '-f', 'ann@mail.peers.test', '-t', 'nobody@mail.peers.test'],
      `127.0.0.1:${service.ports.smtp}`,
    ])
    expect(code).not.toBe(0)
    expect(stderr).toContain('550')
  })
})

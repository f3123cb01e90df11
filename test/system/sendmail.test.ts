/** `mailactors send` in the place of sendmail: what programs pass to it, and what they look at afterwards. */
import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Pop3Client } from '../support/clients.ts'
import { prepareService, startService } from '../support/fixtures.ts'
import { binary, runProgram, type Service } from '../support/service.ts'

const text = 'Subject: x\n\nbody\n'

/** Mails in bob's mailbox, the newest last. */
async function fetched(service: Service, user: string, count: number): Promise<string[]> {
  await service.untilEvent('delivery', () => service.events('delivery').length >= count)
  const pop = await Pop3Client.login(service.ports.pop3, user)
  const [, mails = '0'] = (await pop.ok('STAT')).split(' ')
  const all: string[] = []
  for (let i = 1; i <= Number(mails); i += 1) all.push((await pop.multi(`RETR ${i}`)).join('\n'))
  await pop.ok('QUIT')
  return all
}

test('the command lines of cron, PHP, mutt, git and mailx', { timeout: 60_000 }, async () => {
  const service = await startService()
  const send = async (args: readonly string[], input = text) => {
    const sent = await service.command(['send', ...args], input)
    expect(sent, args.join(' ')).toEqual({ code: 0, stdout: '', stderr: '' })
  }
  await send(['-FCronDaemon', '-i', '-B8BITMIME', '-oem', 'bob'])
  await send(['-t', '-i'], `To: Bob <bob@mail.peers.test>\nBcc: ann@mail.peers.test\n${text}`)
  await send(['-ti', '-fann@mail.peers.test'], `To: bob\nFrom: me\n${text}`)
  const dsn = ['-N', 'success,failure', '-R', 'hdrs', '-V', 'id7']
  await send(['-oem', '-oi', '-f', 'ann@mail.peers.test', ...dsn, '--', 'bob@mail.peers.test'])
  await send(['-i', '-G', '-r', '<>', 'bob@mail.peers.test,ann'])
  await send(['-odb', '-oee', '-om', '-v', '-Am', '-O', 'DeliveryMode=b', 'bob'], `${text}.\nnot sent\n`)
  const mails = await fetched(service, 'bob', 8)
  expect(mails).toHaveLength(6)
  const cron = mails.find((mail) => mail.includes('CronDaemon')) ?? ''
  expect(cron).toMatch(/^From: CronDaemon <.+@mail\.peers\.test>$/m)
  expect(cron).toMatch(/^Message-Id: <.+>$/m)
  expect(mails.join('\n')).not.toMatch(/Bcc|not sent/)
  expect(mails.filter((mail) => mail.includes('\nReceived: ') && !/^Message-Id:/m.test(mail))).toHaveLength(1)
  const senders = service.events('delivery').filter(({ to }) => to === 'bob@mail.peers.test')
  expect(senders).toHaveLength(6)
})

test('exit codes and messages when it cannot be done', { timeout: 60_000 }, async () => {
  const service = await startService({ tables: '[smtpd]\nmessage_size_limit = 10000\n' })
  const ends = async (args: readonly string[], input = text) => {
    const { code, stderr } = await service.command(['send', ...args], input)
    expect(stderr === '' || /^mailactors: [^\n]+\n$/.test(stderr), stderr).toBe(true)
    return [code, stderr === ''] as const
  }
  expect(await ends([])).toEqual([64, false])
  expect(await ends(['-t'])).toEqual([64, false])
  expect(await ends(['-i', 'a b@c'])).toEqual([65, false])
  expect(await ends(['-bd'])).toEqual([64, false])
  expect(await ends(['-B', 'QP', 'bob'])).toEqual([64, false])
  expect(await ends(['bob'], `${text}${'x'.repeat(20_000)}\n`)).toEqual([65, false])
  expect(await ends(['-q'])).toEqual([0, true])
  expect(await ends(['-q15m'])).toEqual([0, true])
  expect(await ends(['-qIabc'])).toEqual([66, false])
  expect(await ends(['-qSabc'])).toEqual([64, false])
  expect(await ends(['-bi'])).toEqual([0, true])
})

test('under the names of sendmail, mailq and newaliases', { timeout: 60_000 }, async () => {
  const service = await startService()
  const as = (name: string, args: readonly string[], input = '') => {
    const link = join(service.dir, name)
    symlinkSync(binary, link)
    return runProgram(process.execPath, [link, ...args], {
      cwd: service.dir,
      input,
      env: { MAILACTORS_FROM_SOURCE: '1' },
    })
  }
  expect(await as('sendmail', ['-i', 'bob'], text)).toEqual({ code: 0, stdout: '', stderr: '' })
  expect(await fetched(service, 'bob', 1)).toHaveLength(1)
  expect(await as('mailq', [])).toMatchObject({ code: 0, stderr: '' })
  expect(await as('newaliases', [])).toEqual({ code: 0, stdout: '', stderr: '' })
})

test('without a service it says so', async () => {
  const service = await prepareService()
  expect(await service.command(['send', 'bob'], text)).toMatchObject({ code: 69 })
})

/** SMTP clients that others wrote send mail to us; our mailbox shows what came. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { Pop3Client } from '../support/clients.ts'
import { startService } from '../support/fixtures.ts'
import { because } from '../support/privileges.ts'
import { runProgram, type Service } from '../support/service.ts'

const TEXT =
  'From: ann@mail.peers.test\nTo: bob@mail.peers.test\nSubject: interop\n\n.dot\n..dots\nlast line\n'

/** The mail in a file with CRLF line ends, as curl sends it. */
function mailFile(service: Service): string {
  const file = join(service.dir, 'mail.txt')
  writeFileSync(file, TEXT.replaceAll('\n', '\r\n'))
  return file
}

/** Without its last line end: swaks puts one of its own before the final dot. */
function mailFileForSwaks(service: Service): string {
  const file = join(service.dir, 'mail.txt')
  writeFileSync(file, TEXT.trimEnd())
  return file
}

/** Bob's only mail is the one above. */
async function expectArrived(service: Service): Promise<void> {
  const pop = await Pop3Client.login(service.ports.pop3, 'bob')
  expect(await pop.ok('STAT')).toMatch(/^\+OK 1 /)
  const lines = await pop.multi('RETR 1')
  expect(lines).toContain('Subject: interop')
  expect(lines.slice(lines.indexOf('') + 1)).toEqual(['.dot', '..dots', 'last line'])
  pop.close()
}

const noCurl = whyMissing(['curl'])
describe.skipIf(noCurl !== undefined)(`curl${because(noCurl)}`, () => {
  test('sends a mail', async () => {
    const service = await startService()
    const sent = await runProgram('curl', [
      ...['-sS', '-m', '20', `smtp://127.0.0.1:${service.ports.smtp}/client.test`],
      ...['--mail-from', 'ann@mail.peers.test', '--mail-rcpt', 'bob@mail.peers.test'],
      ...['--upload-file', mailFile(service)],
    ])
    expect(sent).toMatchObject({ code: 0 })
    await expectArrived(service)
  })

  test('logs in with AUTH PLAIN', async () => {
    const service = await startService()
    const send = (password: string) =>
      runProgram('curl', [
        ...['-sS', '-m', '20', `smtp://127.0.0.1:${service.ports.smtp}/client.test`],
        ...['--login-options', 'AUTH=PLAIN', '-u', `ann:${password}`],
        ...['--mail-from', 'ann@mail.peers.test', '--mail-rcpt', 'bob@mail.peers.test'],
        ...['--upload-file', mailFile(service)],
      ])
    expect((await send('wrong')).code).toBe(67) // curl: login denied
    expect(await send('secret')).toMatchObject({ code: 0 })
    await expectArrived(service)
  })
})

const noSwaks = whyMissing(['swaks'])
describe.skipIf(noSwaks !== undefined)(`swaks${because(noSwaks)}`, () => {
  test.each([
    { name: 'plain', args: [] },
    { name: 'pipelined', args: ['--pipeline'] },
    { name: 'AUTH PLAIN', args: ['--auth', 'PLAIN', '--auth-user', 'ann', '--auth-password', 'secret'] },
    { name: 'AUTH LOGIN', args: ['--auth', 'LOGIN', '--auth-user', 'ann', '--auth-password', 'secret'] },
  ])('sends a mail: $name', async ({ args }) => {
    const service = await startService()
    const sent = await runProgram('swaks', [
      ...['--server', `127.0.0.1:${service.ports.smtp}`, '--ehlo', 'client.test', '--timeout', '20'],
      ...[
        '--from',
        'ann@mail.peers.test',
        '--to',
        'bob@mail.peers.test',
        '--data',
        `@${mailFileForSwaks(service)}`,
      ],
      ...args,
    ])
    expect(sent, sent.stdout).toMatchObject({ code: 0 })
    await expectArrived(service)
  })

  test('is told of an unknown user', async () => {
    const service = await startService()
    const sent = await runProgram('swaks', [
      ...['--server', `127.0.0.1:${service.ports.smtp}`, '--from', 'ann@mail.peers.test'],
      ...['--to', 'nobody@mail.peers.test', '--timeout', '20'],
    ])
    expect(sent.code).toBe(24) // swaks: no recipient accepted
    expect(sent.stdout).toMatch(/<\*\* 550 5\.1\.1 /)
  })

  test('delivers by LMTP to our socket', async () => {
    const service = await startService({ listeners: ['lmtp', 'pop3'] })
    const sent = await runProgram('swaks', [
      ...['--socket', service.lmtpSocket, '--protocol', 'LMTP', '--ehlo', 'client.test', '--timeout', '20'],
      ...[
        '--from',
        'ann@mail.peers.test',
        '--to',
        'bob@mail.peers.test',
        '--data',
        `@${mailFileForSwaks(service)}`,
      ],
    ])
    expect(sent, sent.stdout).toMatchObject({ code: 0 })
    await expectArrived(service)
  })
})

const noMsmtp = whyMissing(['msmtp'])
test.skipIf(noMsmtp !== undefined)(`msmtp sends a mail with DSN parameters${because(noMsmtp)}`, async () => {
  const service = await startService()
  const sent = await runProgram(
    'msmtp',
    [
      ...['--host=127.0.0.1', `--port=${service.ports.smtp}`, '--from=ann@mail.peers.test', '--tls=off'],
      ...['--dsn-notify=failure', '--dsn-return=hdrs', 'bob@mail.peers.test'],
    ],
    { input: TEXT },
  )
  expect(sent).toMatchObject({ code: 0 })
  await expectArrived(service)
})

const noPython = whyMissing(['python3'])
test.skipIf(noPython !== undefined)(`Python's smtplib sends a mail${because(noPython)}`, async () => {
  const service = await startService()
  const script = [
    'import smtplib, sys',
    's = smtplib.SMTP("127.0.0.1", int(sys.argv[1]), timeout=20)',
    's.ehlo("client.test")',
    'assert s.has_extn("pipelining") and s.has_extn("8bitmime") and s.has_extn("size"), s.esmtp_features',
    'refused = s.sendmail("ann@mail.peers.test", ["bob@mail.peers.test", "nobody@mail.peers.test"], sys.stdin.read())',
    'assert list(refused) == ["nobody@mail.peers.test"], refused',
    's.quit()',
  ].join('\n')
  const sent = await runProgram('python3', ['-c', script, `${service.ports.smtp}`], { input: TEXT })
  expect(sent).toMatchObject({ code: 0, stderr: '' })
  await expectArrived(service)
})

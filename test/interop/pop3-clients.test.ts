/** POP3 clients that others wrote fetch mail from us. */
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { Pop3Client, SmtpClient } from '../support/clients.ts'
import { startService, tempDir } from '../support/fixtures.ts'
import { because } from '../support/privileges.ts'
import { runProgram, type Service } from '../support/service.ts'

const MAILS = 3
const body = (number: number): string => `.dot\r\n..dots\r\nmail number ${number}`

/** A service with three mails for ann. */
async function withMail(): Promise<Service> {
  const service = await startService()
  const client = await SmtpClient.connect(service.ports.smtp)
  await client.expect(250, 'EHLO client.test')
  for (let number = 1; number <= MAILS; number++) {
    const content = `From: bob@mail.peers.test\r\nSubject: interop ${number}\r\n\r\n${body(number)}`
    const reply = await client.send({ from: 'bob@mail.peers.test', to: ['ann@mail.peers.test'], content })
    expect(reply.code).toBe(250)
  }
  client.close()
  return service
}

/** The files of a Maildir that a client filled. */
function mailsIn(maildir: string): string[] {
  return ['new', 'cur'].flatMap((folder) =>
    readdirSync(join(maildir, folder)).map((file) => readFileSync(join(maildir, folder, file), 'latin1')),
  )
}

function emptyMaildir(): string {
  const dir = tempDir()
  for (const folder of ['tmp', 'new', 'cur']) mkdirSync(join(dir, folder))
  return dir
}

function expectAllMails(texts: readonly string[]): void {
  expect(texts).toHaveLength(MAILS)
  for (let number = 1; number <= MAILS; number++) {
    const text = texts.find((each) => each.includes(`Subject: interop ${number}`)) ?? ''
    expect(text.replaceAll('\r\n', '\n').trimEnd().endsWith(body(number).replaceAll('\r\n', '\n'))).toBe(true)
  }
}

async function countOf(service: Service): Promise<number> {
  const pop = await Pop3Client.login(service.ports.pop3, 'ann')
  const [, count] = (await pop.ok('STAT')).split(' ')
  await pop.ok('QUIT')
  return Number(count)
}

const noCurl = whyMissing(['curl'])
describe.skipIf(noCurl !== undefined)(`curl${because(noCurl)}`, () => {
  test('lists, fetches, and asks for UIDL and TOP', async () => {
    const service = await withMail()
    const fetch = async (...args: string[]): Promise<string> => {
      const result = await runProgram('curl', ['-sS', '-m', '20', '-u', 'ann:secret', ...args])
      expect(result).toMatchObject({ code: 0 })
      return result.stdout
    }
    const url = `pop3://127.0.0.1:${service.ports.pop3}/`
    expect((await fetch(url)).match(/^\d+ \d+/gm)).toHaveLength(MAILS)
    expect(await fetch(`${url}1`)).toContain(body(1))
    expect((await fetch('-X', 'UIDL', url)).match(/^\d+ \S+/gm)).toHaveLength(MAILS)
    const top = await fetch('-X', 'TOP 2 1', url)
    expect(top).toContain('Subject: interop 2')
    expect(top).not.toContain('mail number 2')
  })

  test('is refused with a wrong password', async () => {
    const service = await withMail()
    const url = `pop3://127.0.0.1:${service.ports.pop3}/`
    expect((await runProgram('curl', ['-sS', '-m', '20', '-u', 'ann:wrong', url])).code).toBe(67)
  })
})

const noMpop = whyMissing(['mpop'])
test.skipIf(noMpop !== undefined)(`mpop fetches each mail once, pipelined${because(noMpop)}`, async () => {
  const service = await withMail()
  const maildir = emptyMaildir()
  const args = [
    ...[
      '--quiet',
      '--host=127.0.0.1',
      `--port=${service.ports.pop3}`,
      '--user=ann',
      '--auth=user',
      '--tls=off',
    ],
    ...[
      '--passwordeval=echo secret',
      '--keep=on',
      '--pipelining=on',
      `--uidls-file=${join(maildir, 'uidls')}`,
    ],
    `--deliver=maildir,${maildir}`,
  ]
  expect(await runProgram('mpop', args)).toMatchObject({ code: 0 })
  expectAllMails(mailsIn(maildir))
  // The UIDLs are stable: the second run finds nothing new.
  expect(await runProgram('mpop', args)).toMatchObject({ code: 0 })
  expect(mailsIn(maildir)).toHaveLength(MAILS)
})

const noFetchmail = whyMissing(['fetchmail'])
test.skipIf(noFetchmail !== undefined)(`fetchmail fetches and deletes${because(noFetchmail)}`, async () => {
  const service = await withMail()
  const dir = tempDir()
  const file = join(dir, 'fetchmailrc')
  writeFileSync(
    file,
    [
      `poll 127.0.0.1 service ${service.ports.pop3} protocol pop3`,
      '  username "ann" password "secret"',
      "  sslproto '' nokeep fetchall no rewrite",
      `  mda "cat >> ${join(dir, 'mbox')}"`,
      '',
    ].join('\n'),
    { mode: 0o600 },
  )
  const result = await runProgram('fetchmail', ['-f', file, '--nodetach'], { env: { FETCHMAILHOME: dir } })
  expect(result, result.stdout).toMatchObject({ code: 0 })
  expect(readFileSync(join(dir, 'mbox'), 'latin1').match(/mail number \d/g)).toHaveLength(MAILS)
  expect(await countOf(service)).toBe(0)
})

const noGetmail = whyMissing(['getmail', 'setpriv'], { root: true })
test.skipIf(noGetmail !== undefined)(`getmail fetches all${because(noGetmail)}`, async () => {
  const service = await withMail()
  const dir = emptyMaildir()
  // getmail does not deliver as root.
  for (const path of [dir, ...['tmp', 'new', 'cur'].map((folder) => join(dir, folder))])
    chmodSync(path, 0o777)
  writeFileSync(
    join(dir, 'getmailrc'),
    [
      '[retriever]',
      'type = SimplePOP3Retriever',
      'server = 127.0.0.1',
      `port = ${service.ports.pop3}`,
      'username = ann',
      'password = secret',
      '[destination]',
      'type = Maildir',
      `path = ${dir}/`,
      '[options]',
      'delete = false',
      '',
    ].join('\n'),
  )
  chmodSync(join(dir, 'getmailrc'), 0o644)
  const result = await runProgram('setpriv', [
    ...['--reuid=nobody', '--regid=nogroup', '--clear-groups'],
    ...['getmail', `--getmaildir=${dir}`, '--rcfile=getmailrc'],
  ])
  expect(result, result.stdout).toMatchObject({ code: 0 })
  expectAllMails(mailsIn(dir))
})

const noPython = whyMissing(['python3'])
test.skipIf(noPython !== undefined)(`Python's poplib reads and deletes${because(noPython)}`, async () => {
  const service = await withMail()
  const script = [
    'import poplib, sys',
    'p = poplib.POP3("127.0.0.1", int(sys.argv[1]), timeout=20)',
    'capa = p.capa()',
    'assert {"TOP", "UIDL", "USER", "PIPELINING", "RESP-CODES"} <= set(capa), capa',
    'p.user("ann"); p.pass_("secret")',
    'count, octets = p.stat()',
    'assert count == 3, count',
    'sizes = [int(line.split()[1]) for line in p.list()[1]]',
    'assert sum(sizes) == octets, (sizes, octets)',
    'uidls = [line.split()[1] for line in p.uidl()[1]]',
    'assert len(set(uidls)) == 3, uidls',
    'for n in (1, 2, 3):',
    '    lines = p.retr(n)[1]',
    '    assert lines[-3:] == [b".dot", b"..dots", b"mail number %d" % n], lines',
    '    assert sum(len(line) + 2 for line in lines) == sizes[n - 1], (n, sizes)',
    'assert b"Subject: interop 2" in p.top(2, 0)[1]',
    'p.dele(2); p.rset(); p.dele(1); p.dele(3)',
    'p.quit()',
  ].join('\n')
  const result = await runProgram('python3', ['-c', script, `${service.ports.pop3}`])
  expect(result).toMatchObject({ code: 0, stderr: '' })
  expect(await countOf(service)).toBe(1)
})

/** `mailactors mailbox`: the real binary on Maildirs, without a service and beside one. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { Pop3Client } from '../support/clients.ts'
import { prepareService } from '../support/fixtures.ts'
import type { Service } from '../support/service.ts'

const m1 = 'From: a\nSubject: one\n\nhello\n'

let service: Service
let maildir: string
beforeEach(async () => {
  service = await prepareService({ listeners: ['pop3'], users: { ann: 'secret' } })
  maildir = join(service.dataDir, 'mail', 'ann', 'Maildir')
  for (const folder of ['cur', 'new', 'tmp']) mkdirSync(join(maildir, folder), { recursive: true })
})

const write = (name: string, text = m1) => writeFileSync(join(maildir, name), text)
const uidList = () => readFileSync(join(maildir, 'dovecot-uidlist'), 'latin1')

/** Three mails that a server with this list has shown. */
function listed(...records: readonly string[]): void {
  write('cur/1.a:2,')
  write('cur/2.b:2,S')
  write('new/3.c')
  const lines = records.length > 0 ? records : ['1 :1.a', '2 :2.b', '7 :3.c']
  write('dovecot-uidlist', `3 V1700000000 N8 G${'0123456789abcdef'.repeat(2)}\n${lines.join('\n')}\n`)
}

async function run(...args: string[]) {
  const { code, stdout, stderr } = await service.command(['mailbox', ...args, '-c', service.configFile])
  return { code, stdout, stderr }
}

/** Everything below the Maildir, with its content. */
function contents(): Record<string, string> {
  const files = readdirSync(maildir, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  )
  return Object.fromEntries(
    files.map(({ parentPath, name }) => [
      join(parentPath, name),
      readFileSync(join(parentPath, name), 'latin1'),
    ]),
  )
}

describe('list and verify', () => {
  test('list tells what is in a mailbox; --json as data', async () => {
    listed('1 W32 :1.a', '2 :2.b')
    const before = contents()
    const { code, stdout } = await run('list', '--json')
    expect(code).toBe(0)
    const row = {
      user: 'ann',
      mails: 3,
      fresh: 1,
      octets: 32,
      unsized: 2,
      unlisted: 1,
      uidValidity: 1_700_000_000,
    }
    expect(JSON.parse(stdout)).toMatchObject([{ ...row, nextUid: 8, problems: [], quota: null, maildir }])
    expect((await run('ann')).stdout).toMatch(/^USER .*\nann +3 +1 +32 B \+ 2 unread +1700000000 +8 /)
    expect(contents()).toEqual(before)
  })

  test('a user whom no mail has come for yet has an empty mailbox, and is not in the way of the others', async () => {
    rmSync(maildir, { recursive: true })
    const { code, stdout } = await run('list')
    expect({ code, stdout }).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/\nann +0 +0 +0 B +- +- /),
    })
    expect(await run('verify')).toMatchObject({ code: 0, stdout: 'ann: 0 messages, nothing wrong\n' })
    expect(existsSync(maildir)).toBe(false)
  })

  test('verify finds what is wrong, and says so with exit code 65', async () => {
    listed('1 W99 :1.a', '2 :2.b', '1 :3.c')
    write('cur/2.b:2,F')
    mkdirSync(join(maildir, 'cur', 'folder'))
    write('cur/4.d,S=5:2,q')
    const { code, stdout, stderr } = await run('verify', '--sizes', 'ann')
    expect(code).toBe(65)
    expect(stderr).toMatch(/^mailactors: mailbox verify: something is wrong with 1 mailbox/)
    for (const problem of [
      'two files with one name: 2.b',
      'a folder among the mails: folder',
      'line 4',
      'keyword q',
      'S=5',
    ])
      expect(stdout).toContain(problem)
    write('dovecot-uidlist', uidList().replace('1 :3.c', '8 :3.c'))
    expect((await run('verify', '--sizes', 'ann')).stdout).toContain('W=99')
  })

  test('verify compares the index with the uid list', async () => {
    listed()
    await service.run()
    const client = await Pop3Client.login(service.ports.pop3, 'ann')
    await client.ok('QUIT')
    await service.stop()
    expect(await run('verify', 'ann')).toMatchObject({ code: 0, stdout: 'ann: 3 messages, nothing wrong\n' })
    write('dovecot-uidlist', uidList().replace('1 :1.a', '1 :1.x').replace('2 ', '2 '))
    write('dovecot-uidlist', uidList().replace('V1700000000', 'V1700000001'))
    expect((await run('verify', 'ann')).stdout).toContain('another uid validity')
  })

  test('a user that is not there', async () => {
    expect(await run('verify', 'eve')).toMatchObject({
      code: 66,
      stderr: expect.stringContaining('user list'),
    })
  })

  test('a Maildir that the index knows and that is gone is no empty mailbox', async () => {
    listed()
    await service.run()
    await (await Pop3Client.login(service.ports.pop3, 'ann')).ok('QUIT')
    await service.stop()
    rmSync(maildir, { recursive: true })
    expect(await run('verify')).toMatchObject({ code: 66, stderr: expect.stringContaining('ann') })
  })
})

describe('rebuild', () => {
  test('makes the index anew, with the service and without, and no UIDL changes', async () => {
    listed()
    const uidl = async () => {
      const client = await Pop3Client.login(service.ports.pop3, 'ann')
      const lines = await client.multi('UIDL')
      await client.ok('QUIT')
      return lines
    }
    expect(await run('rebuild', 'ann')).toMatchObject({ code: 0, stdout: 'ann: 3 messages\n' })
    await service.run()
    const before = await uidl()
    expect(before).toEqual(['1 000000016553f100', '2 000000026553f100', '3 000000076553f100'])
    expect(await run('rebuild', 'ann', '--json')).toMatchObject({ code: 0 })
    expect(await uidl()).toEqual(before)
  })
})

describe('import', () => {
  test('a dry run says how many messages would be downloaded again, and changes nothing', async () => {
    listed('1 :1.a', '2 Pfixed :2.b', '7 :3.c')
    const before = contents()
    expect(await run('import', '-n')).toMatchObject({
      code: 0,
      stdout: 'ann: 0 of 3 messages would be downloaded again\n',
    })
    expect(await run('import', '--dry-run', '--uidl-format', '%f', 'ann')).toMatchObject({
      code: 0,
      stdout: 'ann: 2 of 3 messages would be downloaded again\n',
    })
    const { stdout } = await run('import', '-n', '--uidl-format', 'UID%u-%v', '--json')
    expect(JSON.parse(stdout)).toEqual([{ user: 'ann', messages: 3, again: 2, kept: 0, known: true }])
    expect(contents()).toEqual(before)
  })

  test('keeps the UIDLs of another format, beside a running service, in order and once', async () => {
    listed('1 :1.a', '2 Pfixed :2.b', '7 :3.c')
    await service.run()
    const uidl = async () => {
      const client = await Pop3Client.login(service.ports.pop3, 'ann')
      const lines = await client.multi('UIDL')
      await client.ok('QUIT')
      return lines
    }
    expect((await uidl())[0]).toBe('1 000000016553f100')
    expect(await run('import', '--uidl-format', '%u-%f', 'ann')).toMatchObject({
      code: 0,
      stdout: 'ann: 2 of 3 UIDLs kept as they were\n',
    })
    expect(await uidl()).toEqual(['1 1-1.a', '2 fixed', '3 7-3.c'])
    expect(await run('import', '--uidl-format', '%u-%f', 'ann')).toMatchObject({
      code: 0,
      stdout: 'ann: 0 of 3 messages would be downloaded again\n',
    })
  })

  test('from Courier', async () => {
    listed()
    rmSync(join(maildir, 'dovecot-uidlist'))
    const lines = [
      '/3 12 1600000000',
      '1.a:2, 32 5:1600000000:0',
      '2.b 32 0:0:0',
      '3.c 30 6:0',
      '9.gone 1 9:1',
    ]
    write('courierpop3dsizelist', `${lines.join('\n')}\n`)
    expect(await run('import', '-n', '--from', 'courier')).toMatchObject({
      stdout: 'ann: 3 of 3 messages would be downloaded again\n',
    })
    expect(await run('import', '--from', 'courier')).toMatchObject({
      code: 0,
      stdout: 'ann: 3 of 3 UIDLs kept as they were\n',
    })
    expect(uidList().match(/P\S+/g)).toEqual(
      ['PUID5-1600000000', 'P', 'PUID6'].filter((key) => key.length > 1),
    )
    expect(uidList()).toMatch(/^2 P :2\.b$/m)
  })

  test('from an mbox, by its header fields', async () => {
    write('cur/1.a:2,', 'X-IMAPbase: 1500000000 9\nX-UID: 3\nFrom: a\n\nX-UID: 9\n')
    write('cur/2.b:2,', 'X-UID: 4\nX-UIDL: abc\n\nx\n')
    write('cur/3.c:2,', 'From: new\n\nx\n')
    expect(await run('import', '--from', 'mbox', '--reuse-xuidl')).toMatchObject({
      code: 0,
      stdout: 'ann: 2 of 3 UIDLs kept as they were\n',
    })
    expect(uidList()).toMatch(/\n1 P0000000359682f00 :1\.a\n2 Pabc :2\.b\n3 :3\.c\n/)
  })

  test.each([
    { args: ['--uidl-format', 'same'], code: 64, line: /--uidl-format: must contain/ },
    { args: ['--from', 'exchange'], code: 64, line: /Allowed choices are dovecot, courier, mbox/ },
    { args: ['--from', 'courier'], code: 66, line: /courier has left no UIDs here/ },
    { args: ['eve'], code: 66, line: /user eve: not in/ },
  ])('$args is refused with $code', async ({ args, code, line }) => {
    listed()
    const before = contents()
    expect(await run('import', ...args)).toMatchObject({ code, stderr: expect.stringMatching(line) })
    expect(contents()).toEqual(before)
  })

  test('while another program keeps the uid list locked, nothing is kept: exit code 75', async () => {
    listed()
    write('dovecot-uidlist.lock', '1:otherhost')
    const { code, stderr } = await run('import', '--uidl-format', '%f', '--set', 'mail.max_lock_timeout=1s')
    expect(code).toBe(75)
    expect(stderr).toMatch(/locked/)
  })
})

/** Other programs change the mailbox while a session has it open. */
import { unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { m1, m2, m3, Pop3Server, type ServerOptions } from './harness.ts'

let server: Pop3Server
afterEach(() => server?.stop())

/** Three mails; the first two have UIDLs of their own in the uid list. */
async function start(options: ServerOptions = {}): Promise<Pop3Server> {
  server = await Pop3Server.start(options)
  server.put('cur/1700000001.M1P1.h:2,', m1)
  server.put('cur/1700000002.M2P1.h:2,', m2)
  server.put('cur/1700000003.M3P1.h:2,', m3)
  const lines = '1 Pold-1 :1700000001.M1P1.h\n2 Pold-2 :1700000002.M2P1.h\n3 :1700000003.M3P1.h\n'
  server.put('dovecot-uidlist', `3 V1700000000 N4 G0123456789abcdef0123456789abcdef\n${lines}`)
  return server
}

const remove = (name: string) => unlinkSync(join(server.maildir(), 'cur', name))

test('C49 a mail that is known to be gone has lost the UIDL of the uid list, as in Dovecot', async () => {
  await start()
  const client = await server.login()
  remove('1700000001.M1P1.h:2,')
  expect(await client.ask('UIDL 1')).toBe('+OK 1 old-1')
  remove('1700000002.M2P1.h:2,')
  // Looking for this one finds that the other is gone too.
  expect(await client.ask('RETR 2')).toMatch(/^-ERR/)
  expect(await client.ask('UIDL 1')).toBe('+OK 1 000000016553f100')
  expect(await client.ask('UIDL 2')).toBe('+OK 2 000000026553f100')
  expect((await client.list('UIDL')).lines).toEqual([
    '1 000000016553f100',
    '2 000000026553f100',
    '3 000000036553f100',
  ])
  expect(await client.ask('STAT')).toBe('+OK 3 99')
})

test.each(['%f', '%g'])(
  'P249 C50 UIDLs of %s: a list breaks off at a mail that is known to be gone',
  async (format) => {
    await start({ set: [`pop3.uidl_format=${format}`] })
    const client = await server.login()
    remove('1700000003.M3P1.h:2,')
    expect((await client.list('UIDL')).lines).toHaveLength(3)
    expect(await client.ask('RETR 3')).toMatch(/^-ERR/)
    client.send('UIDL\r\nNOOP\r\n')
    expect(await client.rest()).toBe('+OK\r\n1 old-1\r\n2 old-2\r\n')
    expect(server.events('pop3.logout').at(-1)).toMatchObject({ reason: 'UIDLs could not be listed' })
  },
)

test('C50 and UIDL of that mail has no answer that could be taken for one', async () => {
  await start({ set: ['pop3.uidl_format=%f'] })
  const client = await server.login()
  remove('1700000003.M3P1.h:2,')
  expect(await client.ask('RETR 3')).toMatch(/^-ERR/)
  client.send('NOOP\r\nUIDL 3\r\nNOOP\r\n')
  expect(await client.rest()).toBe('+OK\r\n')
})

test('C52 renamed UIDLs that were told once stay when mails are gone', async () => {
  await start({ set: ['pop3.uidl_duplicates=rename'] })
  const client = await server.login()
  const { lines } = await client.list('UIDL')
  remove('1700000001.M1P1.h:2,')
  expect(await client.ask('RETR 1')).toMatch(/^-ERR/)
  expect((await client.list('UIDL')).lines).toEqual(lines)
})

test('P211 D8 mail that comes during a session is not seen by it, and is in cur/ after QUIT', async () => {
  await start()
  const client = await server.login()
  server.put('new/1700000009.M9P1.h', m1)
  expect(await client.ask('STAT')).toBe('+OK 3 99')
  expect(await client.ask('QUIT')).toMatch(/^\+OK/)
  expect(server.files()).toContain('1700000009.M9P1.h:2,')
  const next = await server.login()
  expect(await next.ask('UIDL 4')).toBe('+OK 4 000000046553f100')
})

test('C58 but not with no_flag_updates', async () => {
  await start({ set: ['pop3.no_flag_updates=true'] })
  const client = await server.login()
  server.put('new/1700000009.M9P1.h', m1)
  expect(await client.ask('QUIT')).toMatch(/^\+OK/)
  expect(server.files()).toContain('new/1700000009.M9P1.h')
})

test('M14 while another program keeps the uid list locked, new mail waits and QUIT does not', async () => {
  await start()
  const client = await server.login()
  server.put('new/1700000009.M9P1.h', m1)
  server.put('dovecot-uidlist.lock', '1:elsewhere')
  expect(await client.ask('DELE 1')).toMatch(/^\+OK/)
  expect(await client.ask('QUIT')).toMatch(/^\+OK/)
  expect(server.files()).toEqual(['1700000002.M2P1.h:2,', '1700000003.M3P1.h:2,', 'new/1700000009.M9P1.h'])
})

test('M17 and a mail that was removed is found to be gone', async () => {
  await start()
  const client = await server.login()
  server.put('new/1700000009.M9P1.h', m1)
  server.put('dovecot-uidlist.lock', '1:elsewhere')
  remove('1700000002.M2P1.h:2,')
  expect(await client.ask('RETR 2')).toMatch(/^-ERR/)
  expect(server.files()).toContain('new/1700000009.M9P1.h')
  // Known now: nothing is looked for again.
  expect(await client.ask('RETR 2')).toMatch(/^-ERR/)
})

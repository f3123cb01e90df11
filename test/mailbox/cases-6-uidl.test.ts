/**
 * Cases of section 6: UIDLs, order, what DELE does. Elsewhere: P234 to P236 as pure functions too (`pure.test.ts` of
 * POP3), P240 to P242 and P247 with the session, P249 in `changes.test.ts` of POP3.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { m1, m2, m3, Pop3Server } from '../protocols/pop3/harness.ts'

/** For machines that have much to do. */
const patient = { timeout: 30_000 }

let server: Pop3Server | undefined
afterEach(async () => {
  await server?.stop()
  server = undefined
})

const start = async (...set: string[]) => {
  server = await Pop3Server.start({ set })
  return server
}
const file = (name: string) => readFileSync(join(server!.maildir(), name), 'latin1')

/** MB1 with these records in its uid list. */
function withList(...records: readonly string[]): void {
  server!.mb1()
  server!.put(
    'dovecot-uidlist',
    `3 V1700000000 N4 G0123456789abcdef0123456789abcdef\n${records.join('\n')}\n`,
  )
}
const mb6 = () =>
  withList('1 O3 :1700000001.M1P1.h', '2 :1700000002.M2P1.h', '3 O1 Pold-uidl-3 :1700000003.M3P1.h')
function mb7(fields = ['dup', 'dup', 'dup']): void {
  fields.forEach((field, i) => {
    server!.put(`cur/170000000${i}.M1P1.h:2,`, `X-UIDL: ${field}\n\nx\n`)
  })
}

const session = async (...commands: readonly string[]) => {
  const client = await server!.login()
  const { lines } = await client.list('UIDL')
  for (const command of commands) {
    if (command.startsWith('RETR')) await client.list(command)
    else expect(await client.ask(command)).toMatch(/^\+OK/)
  }
  expect(await client.ask('QUIT')).toMatch(/^\+OK/)
  return lines
}
const values = (lines: readonly string[]) => lines.map((line) => line.split(' ')[1])

test('P230 mails with an order number come first, with their own UIDLs', async () => {
  await start()
  mb6()
  const client = await server!.login()
  expect((await client.list('LIST')).lines).toEqual(['1 35', '2 32', '3 32'])
  expect(await session()).toEqual(['1 old-uidl-3', '2 000000016553f100', '3 000000026553f100'])
})

test('P231 numbers of RETR and DELE are those of the list', async () => {
  await start()
  mb6()
  const client = await server!.login()
  expect((await client.list('RETR 1')).lines.at(-1)).toBe('no newline at end')
  await client.ask('DELE 1')
  await client.ask('QUIT')
  expect(server!.files()).toEqual(['1700000001.M1P1.h:2,', '1700000002.M2P1.h:2,S'])
})

test('P232 X-UIDL fields are UIDLs', async () => {
  await start('pop3.reuse_xuidl=true')
  mb7(['abc', ' spaced ', 'two words', 'x'.repeat(71), ''])
  server!.put('cur/1800000000.x:2,', 'Subject: none\nX-Uidl-Not: a\n\nX-UIDL: in-the-body\n')
  const shown = values(await session())
  expect(shown.slice(0, 2)).toEqual(['abc', 'spaced'])
  for (const uidl of shown.slice(2)) expect(uidl).toMatch(/^0000000[3-6][0-9a-f]{8}$/)
  // The second time they come from the index.
  expect(values(await session())).toEqual(shown)
})

test('P234 duplicates are renamed', async () => {
  await start('pop3.reuse_xuidl=true', 'pop3.uidl_duplicates=rename')
  mb7()
  expect(values(await session())).toEqual(['dup', 'dup-2', 'dup-3'])
})

test('P235 or allowed', async () => {
  await start('pop3.reuse_xuidl=true')
  mb7()
  expect(values(await session())).toEqual(['dup', 'dup', 'dup'])
})

test('P236 a new name that is taken', async () => {
  await start('pop3.reuse_xuidl=true', 'pop3.uidl_duplicates=rename')
  mb7(['a', 'a-2', 'a'])
  expect(values(await session())).toEqual(['a', 'a-2', 'a-2-2'])
})

test('C52 duplicates are renamed in the order of UIDs, whatever the numbers are', async () => {
  await start('pop3.uidl_duplicates=rename')
  withList('1 O9 Psame :1700000001.M1P1.h', '2 Psame :1700000002.M2P1.h', '3 O1 Psame :1700000003.M3P1.h')
  expect(await session()).toEqual(['1 same-3', '2 same', '3 same-2'])
})

test('P237 saved UIDLs stay when the format changes', async () => {
  await start('pop3.save_uidl=true', 'pop3.uidl_format=%f')
  server!.mb1()
  const shown = await session()
  expect(values(shown)).toEqual(['1700000001.M1P1.h', '1700000002.M2P1.h', '1700000003.M3P1.h'])
  await expect.poll(() => file('dovecot-uidlist'), patient).toMatch(/^1 (?:W\d+ )?P(?: |$)/m)
  const list = file('dovecot-uidlist')
  await server!.stop()
  await start('pop3.uidl_format=%u-%v')
  server!.mb1()
  server!.put('dovecot-uidlist', list)
  server!.put('new/1800000000.x', m1)
  expect(await session()).toEqual([...shown, '4 4-1700000000'])
})

test('P237 UIDLs that were not told are not saved', async () => {
  await start('pop3.save_uidl=true')
  server!.mb1()
  const client = await server!.login()
  await client.ask('UIDL 2')
  await client.ask('QUIT')
  await expect.poll(() => file('dovecot-uidlist'), patient).toMatch(/^2 (?:W\d+ )?P000000026553f100/m)
  expect(file('dovecot-uidlist')).not.toMatch(/^[13] (?:W\d+ )?P/m)
})

test.each([['abc'], ['%m'], [`%u${'x'.repeat(80)}`]])('P239 uidl_format %s is refused', async (format) => {
  await expect(start(`pop3.uidl_format=${format}`)).rejects.toThrow(/uidl_format/)
})

test('P244 with a deleted flag DELE gives it, and the mail is hidden from then on', async () => {
  await start('pop3.deleted_flag=$POP3Deleted')
  server!.mb1()
  expect(await session('DELE 1')).toHaveLength(3)
  expect(server!.files()[0]).toBe('1700000001.M1P1.h:2,a')
  expect(file('dovecot-keywords')).toBe('0 $POP3Deleted\n')
  expect(await session()).toEqual(['1 000000026553f100', '2 000000036553f100'])
})

test('P245 with delete_type expunge DELE removes, and what is hidden stays hidden', async () => {
  await start('pop3.deleted_flag=$POP3Deleted', 'pop3.delete_type=expunge')
  server!.mb1()
  server!.put('dovecot-keywords', '0 $POP3Deleted\n')
  server!.put('cur/1700000009.M1P1.h:2,Sa', m2)
  expect(await session('DELE 1')).toHaveLength(3)
  expect(server!.files()).toEqual(['1700000002.M2P1.h:2,S', '1700000003.M3P1.h:2,', '1700000009.M1P1.h:2,Sa'])
})

test('P246 delete_type flag needs a flag', async () => {
  await expect(start('pop3.delete_type=flag')).rejects.toThrow(/pop3\.delete_type.*pop3\.deleted_flag/)
})

test.each([['two words'], ['(x)'], ['é']])('R50 the keyword %s is refused', async (keyword) => {
  await expect(start(`pop3.deleted_flag=${keyword}`)).rejects.toThrow(/deleted_flag/)
})

test('C57 without a deleted flag nothing is hidden, whatever keywords mails have', async () => {
  await start()
  server!.put('cur/1.x:2,abc', m3)
  server!.put('dovecot-keywords', '0 $POP3Deleted\n')
  expect(await session()).toHaveLength(1)
})

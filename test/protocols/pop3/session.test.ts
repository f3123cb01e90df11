import { chmodSync, renameSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { IndexStore } from '../../../src/mailbox/index-store.ts'
import { Page } from '../../../src/mailbox/page.ts'
import { until } from '../../support/until.ts'
import { m1, m2, m3, Pop3Server, type ServerOptions } from './harness.ts'

let server: Pop3Server
afterEach(() => server?.stop())

async function start(options: ServerOptions = {}): Promise<Pop3Server> {
  server = await Pop3Server.start(options)
  return server
}

const ok = /^\+OK( .*)?$/
const err = /^-ERR( .*)?$/
const errCode = (code: string) => new RegExp(`^-ERR \\[${code}\\] .+$`)
const base64 = (text: string) => Buffer.from(text, 'latin1').toString('base64')

describe('AUTHORIZATION', () => {
  test('P001 F1 a greeting of one line', async () => {
    await start()
    const client = await server.connect()
    expect(await client.line()).toMatch(ok)
    expect(await client.ask('QUIT')).toMatch(ok)
    expect(await client.rest()).toBe('')
  })

  test('P006 a whole session in one write', async () => {
    await start()
    server.mb1()
    const client = await server.connect()
    client.send('USER alice\r\nPASS secret\r\nSTAT\r\nQUIT\r\n')
    const lines = (await client.rest()).split('\r\n')
    const answers = [ok, ok, /^\+OK 3 99$/, ok].map((match) => expect.stringMatching(match))
    expect(lines).toEqual([expect.stringMatching(ok), '+OK', ...answers.slice(1), ''])
    expect(server.files()).toContain('1700000003.M3P1.h:2,')
  })

  test.each([
    { name: 'P007 an unknown user is not told apart', say: 'USER nobody', expected: /^\+OK$/ },
    { name: 'P012 PASS without USER', say: 'PASS secret', expected: err },
    { name: 'P020 STAT is not known before login', say: 'STAT', expected: err },
    { name: 'P071 an unknown mechanism', say: 'AUTH FOO', expected: errCode('AUTH') },
    { name: 'P042 XCLIENT changes nothing', say: 'XCLIENT ADDR=1.2.3.4', expected: ok },
    { name: 'P170 only NULs', say: '\0\0', expected: err },
    { name: 'STLS where there is no TLS', say: 'STLS', expected: err },
  ])('$name', async ({ say, expected }) => {
    await start()
    const client = await server.connect()
    await client.line()
    expect(await client.ask(say)).toMatch(expected)
    expect((await client.list('CAPA')).status).toBe('+OK')
  })

  test('P008 P010 P011 a wrong password, and USER is needed again', async () => {
    await start()
    server.mb1()
    const client = await server.connect()
    await client.line()
    await client.ask('USER alice')
    expect(await client.ask('PASS wrong')).toMatch(errCode('AUTH'))
    expect(await client.ask('PASS secret')).toMatch(/^-ERR (?!\[AUTH\])/)
    await client.ask('USER alice')
    expect(await client.ask('PASS secret')).toMatch(ok)
    expect(server.events('pop3.login-failed')).toHaveLength(1)
  })

  test('P013 spaces in a password', async () => {
    await start()
    const client = await server.login('bob', 'p w  d')
    expect(await client.ask('STAT')).toBe('+OK 0 0')
  })

  test('P015 case of verbs does not matter', async () => {
    await start()
    const client = await server.connect()
    client.send('uSeR alice\r\npAsS secret\r\nstat\r\n')
    expect((await client.lines(4)).slice(1)).toEqual([
      '+OK',
      expect.stringMatching(ok),
      expect.stringMatching(ok),
    ])
  })

  test('P021 the third unknown command closes', async () => {
    await start()
    const client = await server.connect()
    client.send('FOO\r\nBAR\r\nBAZ\r\nCAPA\r\n')
    const lines = (await client.rest()).split('\r\n')
    expect(lines).toHaveLength(6)
    for (const line of lines.slice(1, 5)) expect(line).toMatch(err)
  })

  test('P022 a known command starts the count anew', async () => {
    await start()
    const client = await server.connect()
    client.send('FOO\r\nBAR\r\nCAPA\r\nFOO\r\nBAR\r\nCAPA\r\nQUIT\r\n')
    expect((await client.rest()).match(/SASL/g)).toHaveLength(2)
  })

  test('P023 an HTTP client is turned away', async () => {
    await start()
    const client = await server.connect()
    client.send('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    expect((await client.rest()).split('\r\n').filter((line) => err.test(line))).toHaveLength(4)
  })

  test('P025 sixty commands in one write', async () => {
    await start()
    const client = await server.connect()
    client.send(`${'CAPA\r\n'.repeat(60)}QUIT\r\n`)
    expect((await client.rest()).match(/\r\nPIPELINING\r\n/g)).toHaveLength(60)
  })

  test('P028 QUIT before login', async () => {
    await start()
    server.mb1()
    const before = server.files()
    const client = await server.connect()
    await client.line()
    expect(await client.ask('QUIT')).toMatch(ok)
    expect(await client.rest()).toBe('')
    expect(server.files()).toEqual(before)
  })

  test('P030 commands behind a failed login are carried out', async () => {
    await start()
    const client = await server.connect()
    client.send('USER alice\r\nPASS wrong\r\nCAPA\r\nQUIT\r\n')
    const lines = (await client.rest()).split('\r\n')
    expect(lines[2]).toMatch(errCode('AUTH'))
    expect(lines.slice(3, 5)).toEqual(['+OK', 'CAPA'])
    expect(lines.at(-2)).toMatch(ok)
  })

  test('P033 over the limit: IN-USE and the end; a session that ends makes room', async () => {
    await start({ set: ['limits.max_userip_connections=2'] })
    const first = await server.login()
    await server.login()
    const third = await server.connect()
    await third.line()
    await third.ask('USER alice')
    expect(await third.ask('PASS secret')).toMatch(errCode('IN-USE'))
    expect(await third.rest()).toBe('')
    await first.ask('QUIT')
    await first.rest()
    await until('room for one more', async () => {
      const next = await server.connect()
      next.send('USER alice\r\nPASS secret\r\n')
      return ok.test((await next.lines(3))[2]!)
    })
  })

  test('P018 without TLS from elsewhere no password is taken, whoever asks', async () => {
    await start({
      hooks: { socket: (socket) => Object.defineProperty(socket, 'remoteAddress', { value: '192.0.2.1' }) },
    })
    const client = await server.connect()
    await client.line()
    expect(await client.ask('USER alice')).toMatch(errCode('AUTH'))
    expect(await client.ask('PASS secret')).toMatch(errCode('AUTH'))
    expect(await client.ask(`AUTH PLAIN ${base64('\0alice\0secret')}`)).toMatch(errCode('AUTH'))
    const { lines } = await client.list('CAPA')
    expect(lines).toEqual(['CAPA', 'TOP', 'UIDL', 'RESP-CODES', 'PIPELINING', 'AUTH-RESP-CODE'])
    expect((await client.list('AUTH')).lines).toEqual([])
  })

  test('P041 a Maildir that is no folder is said before any +OK', async () => {
    await start()
    server.put('x', '', 'other')
    writeFileSync(join(server.root, 'mail/alice'), '')
    const client = await server.connect()
    client.send('USER alice\r\nPASS secret\r\nSTAT\r\n')
    const lines = (await client.rest()).split('\r\n')
    expect(lines[2]).toMatch(/^-ERR \[SYS\/(TEMP|PERM)\] .+$/)
    expect(lines).toHaveLength(4)
  })

  test.skipIf(process.getuid?.() === 0)('P041 a Maildir that may not be read', async () => {
    await start()
    server.mb1()
    chmodSync(server.maildir(), 0)
    const client = await server.connect()
    client.send('USER alice\r\nPASS secret\r\n')
    expect((await client.rest()).split('\r\n')[2]).toMatch(errCode('SYS/PERM'))
    chmodSync(server.maildir(), 0o700)
  })
})

describe('AUTH', () => {
  test.each([
    {
      name: 'P060 PLAIN with an initial response',
      say: [`AUTH PLAIN ${base64('\0alice\0secret')}`],
      expected: [ok],
    },
    {
      name: 'P061 PLAIN after a challenge',
      say: ['AUTH PLAIN', base64('\0alice\0secret')],
      expected: [/^\+ $/, ok],
    },
    { name: 'P062 cancelled', say: ['AUTH PLAIN', '*'], expected: [/^\+ $/, /^-ERR (?!\[)/] },
    { name: 'P064 = not at the end', say: ['AUTH PLAIN =AAA'], expected: [err] },
    { name: 'P064 = in the middle', say: ['AUTH PLAIN AAA=BBB'], expected: [err] },
    { name: 'P065 an empty response', say: ['AUTH PLAIN ='], expected: [err] },
    { name: 'P066 one NUL', say: [`AUTH PLAIN ${base64('alice\0secret')}`], expected: [errCode('AUTH')] },
    {
      name: 'P067 the same name twice',
      say: [`AUTH plain ${base64('alice\0alice\0secret')}`],
      expected: [ok],
    },
    {
      name: 'another authorization name',
      say: [`AUTH PLAIN ${base64('bob\0alice\0secret')}`],
      expected: [errCode('AUTH')],
    },
    {
      name: 'P072 LOGIN',
      say: ['AUTH LOGIN', base64('alice'), base64('secret')],
      expected: [/^\+ VXNlcm5hbWU6$/, /^\+ UGFzc3dvcmQ6$/, ok],
    },
    {
      name: 'LOGIN with the name at once',
      say: [`AUTH LOGIN ${base64('alice')}`, base64('secret')],
      expected: [/^\+ /, ok],
    },
    {
      name: 'P080 4000 characters are too many for nobody',
      say: [`AUTH PLAIN ${'A'.repeat(4000)}`],
      expected: [errCode('AUTH')],
    },
  ])('$name', async ({ say, expected }) => {
    await start()
    const client = await server.connect()
    await client.line()
    for (const [i, line] of say.entries()) expect(await client.ask(line)).toMatch(expected[i]!)
    expect((await client.list('CAPA')).status).toBe('+OK')
  })

  test('P069 what a name contains is not echoed', async () => {
    await start()
    const client = await server.connect()
    await client.line()
    expect(await client.ask(`AUTH PLAIN ${base64('\0x\r\n+OK forged\0p')}`)).toMatch(errCode('AUTH'))
    expect((await client.list('CAPA')).status).toBe('+OK')
  })

  test('P070 the list of mechanisms', async () => {
    await start()
    const client = await server.connect()
    await client.line()
    expect(await client.list('AUTH')).toEqual({
      status: expect.stringMatching(ok),
      lines: ['PLAIN', 'LOGIN'],
    })
  })

  test('P081 9000 characters without an end are refused without a word', async () => {
    await start()
    const client = await server.connect()
    await client.line()
    client.send(`AUTH PLAIN ${'A'.repeat(9000)}`)
    expect(await client.rest()).toBe('')
  })

  test('P082 not after login', async () => {
    await start()
    const client = await server.login()
    for (const say of [`AUTH PLAIN ${base64('\0alice\0secret')}`, 'USER x', 'STLS']) {
      expect(await client.ask(say)).toMatch(err)
    }
    expect(await client.ask('NOOP')).toBe('+OK')
  })
})

describe('TRANSACTION', () => {
  test('P110 an empty mailbox', async () => {
    await start()
    const client = await server.login()
    expect(await client.ask('STAT')).toBe('+OK 0 0')
    expect(await client.list('LIST')).toEqual({ status: '+OK 0 messages', lines: [] })
    expect(await client.list('UIDL')).toEqual({ status: '+OK', lines: [] })
  })

  test('P111 P112 P141 STAT, LIST and UIDL', async () => {
    await start()
    server.mb1()
    const client = await server.login()
    expect(await client.ask('STAT')).toBe('+OK 3 99')
    expect((await client.list('LIST')).lines).toEqual(['1 32', '2 32', '3 35'])
    expect((await client.list('UIDL')).lines).toEqual([1, 2, 3].map((n) => `${n} 0000000${n}6553f100`))
    expect(await client.ask('UIDL 3')).toBe('+OK 3 000000036553f100')
  })

  test.each([
    { name: 'P113', say: 'LIST 2', expected: /^\+OK 2 32$/ },
    { name: 'P115 leading zeros', say: 'LIST 0001', expected: /^\+OK 1 32$/ },
    { name: 'P116 more spaces', say: 'LIST   2', expected: /^\+OK 2 32$/ },
    { name: 'P118 a space in front', say: ' STAT', expected: err },
    { name: 'P118 a tab behind', say: 'STAT\t', expected: err },
    { name: 'C1 a space behind', say: 'LIST 1 ', expected: err },
    { name: 'C1 zero', say: 'LIST 0', expected: err },
    { name: 'C1 one too many', say: 'LIST 4', expected: err },
    { name: 'C1 a sign', say: 'RETR +1', expected: err },
    { name: 'C1 no number', say: 'DELE', expected: err },
    { name: 'C1 more than 32 bits', say: 'DELE 4294967297', expected: err },
    { name: 'C3 an argument that nobody reads', say: 'STAT foo', expected: /^\+OK 3 99$/ },
    { name: 'P133', say: 'TOP', expected: err },
    { name: 'P133', say: 'TOP 1', expected: err },
    { name: 'P133', say: 'TOP 1 ', expected: err },
    { name: 'P133', say: 'TOP 1 -1', expected: err },
    { name: 'P133', say: 'TOP 1 x', expected: err },
    { name: 'P133', say: 'TOP 1 2 3', expected: err },
    { name: 'P133', say: 'TOP x 1', expected: err },
    { name: 'P143', say: 'NOOP', expected: /^\+OK$/ },
    { name: 'P145 LAST is not offered', say: 'LAST', expected: err },
    { name: 'P148', say: 'XYZZY', expected: err },
    { name: 'P163 a CR inside', say: 'ST\rAT', expected: err },
    { name: 'P169 a NUL inside', say: 'RETR 1\0junk', expected: err },
    { name: 'P297 255 octets', say: `NOOP ${'x'.repeat(248)}`, expected: /^\+OK$/ },
  ])('$name: $say', async ({ say, expected }) => {
    await start()
    server.mb1()
    const client = await server.login()
    expect(await client.ask(say)).toMatch(expected)
    expect(await client.ask('STAT')).toBe('+OK 3 99')
    client.destroy()
  })

  test('P117 LIST with only a space is the whole list', async () => {
    await start()
    server.mb1()
    const client = await server.login()
    expect((await client.list('LIST ')).lines).toHaveLength(3)
  })

  test.each([
    { name: 'P120', say: 'RETR 1', status: '+OK 32 octets', lines: ['From: a', 'Subject: one', '', 'hello'] },
    {
      name: 'P121 dots are doubled',
      say: 'RETR 2',
      status: '+OK 32 octets',
      lines: ['Subject: two', '', '..', '...', '..x', 'end'],
    },
    {
      name: 'P122 no line end at the end',
      say: 'RETR 3',
      status: '+OK 35 octets',
      lines: ['Subject: three', '', 'no newline at end'],
    },
    { name: 'P130', say: 'TOP 1 0', status: '+OK', lines: ['From: a', 'Subject: one', ''] },
    { name: 'P131', say: 'TOP 2 2', status: '+OK', lines: ['Subject: two', '', '..', '...'] },
    { name: 'P132', say: 'TOP 1 1000', status: '+OK', lines: ['From: a', 'Subject: one', '', 'hello'] },
    { name: 'P135', say: 'TOP 1   1', status: '+OK', lines: ['From: a', 'Subject: one', '', 'hello'] },
    {
      name: 'C43 2^64-1 lines',
      say: 'TOP 1 18446744073709551615',
      status: '+OK',
      lines: ['From: a', 'Subject: one', '', 'hello'],
    },
  ])('$name: $say', async ({ say, status, lines }) => {
    await start()
    server.mb1()
    const client = await server.login()
    expect(await client.list(say)).toEqual({ status, lines })
    await client.ask('QUIT')
    const seen = say === 'RETR 1' ? '1700000001.M1P1.h:2,S' : '1700000001.M1P1.h:2,'
    expect(server.files()).toContain(seen)
  })

  test.each([
    {
      name: 'P123 stored with CRLF',
      content: m1.replaceAll('\n', '\r\n'),
      size: 32,
      sent: 'From: a\r\nSubject: one\r\n\r\nhello\r\n.\r\n',
    },
    { name: 'P125 a dot is the first octet', content: '.\nx\n', size: 6, sent: '..\r\nx\r\n.\r\n' },
    {
      name: 'C61 a mail that begins as the end of an answer',
      content: '.\r\nSTAT\r\n',
      size: 9,
      sent: '..\r\nSTAT\r\n.\r\n',
    },
    { name: 'P126 headers only', content: 'Subject: h\n', size: 12, sent: 'Subject: h\r\n.\r\n' },
    { name: 'P127 a NUL passes', content: 'A: b\n\nx\0y\n', size: 13, sent: 'A: b\r\n\r\nx\0y\r\n.\r\n' },
    {
      name: 'P128 a CR alone is data',
      content: 'A: b\n\nx\ry\n',
      size: 13,
      sent: 'A: b\r\n\r\nx\ry\r\n.\r\n',
    },
    { name: 'C63 an empty mail', content: '', size: 0, sent: '\r\n.\r\n' },
    {
      name: 'mixed line ends',
      content: 'a: b\r\n\n.\r\n.\r',
      size: 13,
      sent: 'a: b\r\n\r\n..\r\n..\r\r\n.\r\n',
    },
  ])('$name', async ({ content, size, sent }) => {
    await start()
    server.put('cur/1.a:2,', content)
    const client = await server.login()
    client.send('RETR 1\r\nQUIT\r\n')
    const [status, ...rest] = (await client.rest()).split('\r\n')
    expect(status).toBe(`+OK ${size} octets`)
    expect(rest.join('\r\n')).toMatch(/\+OK [^\r\n]*\r\n$/)
    expect(rest.join('\r\n').replace(/\+OK [^\r\n]*\r\n$/, '')).toBe(sent)
  })

  test('P126 P127 workarounds for old clients', async () => {
    await start({ set: ['pop3.client_workarounds=outlook-no-nuls,oe-ns-eoh'] })
    server.put('cur/1.a:2,', 'Subject: h\n')
    server.put('cur/2.a:2,', 'A: b\n\nx\0y\n')
    const client = await server.login()
    expect((await client.list('RETR 1')).lines).toEqual(['Subject: h', ''])
    expect((await client.list('TOP 1 5')).lines).toEqual(['Subject: h', ''])
    expect((await client.list('RETR 2')).lines).toEqual(['A: b', '', 'x\x80y'])
  })

  test('exact_octets counts the line end that is added', async () => {
    await start({ set: ['pop3.exact_octets=true'] })
    server.mb1()
    const client = await server.login()
    expect((await client.list('RETR 3')).status).toBe('+OK 37 octets')
    expect((await client.list('RETR 1')).status).toBe('+OK 32 octets')
  })

  test('P136 P137 P138 marks and RSET', async () => {
    await start()
    server.mb1()
    const client = await server.login()
    expect(await client.ask('DELE 2')).toMatch(ok)
    expect(await client.ask('STAT')).toBe('+OK 2 67')
    expect((await client.list('LIST')).lines).toEqual(['1 32', '3 35'])
    expect((await client.list('UIDL')).lines.map((line) => line[0])).toEqual(['1', '3'])
    for (const say of ['DELE 2', 'RETR 2', 'TOP 2 0', 'LIST 2', 'UIDL 2'])
      expect(await client.ask(say)).toMatch(err)
    expect(await client.ask('RSET')).toMatch(ok)
    expect(await client.ask('STAT')).toBe('+OK 3 99')
    expect(await client.ask('LIST 2')).toBe('+OK 2 32')
    expect(await client.ask('QUIT')).toMatch(ok)
    expect(server.files()).toHaveLength(3)
  })

  test('P140 numbers start anew at 1, UIDLs stay with their mails', async () => {
    await start()
    server.mb1()
    const first = await server.login()
    await first.ask('DELE 1')
    await first.ask('QUIT')
    const second = await server.login()
    expect((await second.list('UIDL')).lines).toEqual(['1 000000026553f100', '2 000000036553f100'])
  })

  test('P152 the file is gone when +OK comes', async () => {
    await start()
    server.mb1()
    const client = await server.login()
    await client.ask('DELE 1')
    expect(await client.ask('QUIT')).toMatch(ok)
    expect(server.files()).toEqual(['1700000002.M2P1.h:2,S', '1700000003.M3P1.h:2,'])
  })

  test('P151 what follows QUIT is not carried out', async () => {
    await start()
    server.mb1()
    const client = await server.login()
    client.send('DELE 1\r\nQUIT\r\nSTAT\r\nRSET\r\n')
    expect((await client.rest()).split('\r\n')).toHaveLength(3)
  })

  test('P146 P147 without QUIT nothing is removed; seen marks stay unless RSET took them', async () => {
    await start()
    server.mb1()
    const first = await server.login()
    first.send('RETR 1\r\nRSET\r\n')
    await first.lines(7)
    first.end()
    await first.rest()
    const second = await server.login()
    second.send('DELE 1\r\nRETR 3\r\n')
    await second.lines(6)
    second.end()
    await second.rest()
    const third = await server.login()
    expect(await third.ask('STAT')).toBe('+OK 3 99')
    expect(server.files()).toEqual(['1700000001.M1P1.h:2,', '1700000002.M2P1.h:2,S', '1700000003.M3P1.h:2,S'])
  })

  test('LAST and RSET where they are offered', async () => {
    await start({ set: ['pop3.enable_last=true'] })
    server.mb1()
    const client = await server.login()
    expect(await client.ask('LAST')).toBe('+OK 2')
    await client.list('RETR 3')
    expect(await client.ask('LAST')).toBe('+OK 3')
    expect(await client.ask('RSET')).toMatch(ok)
    expect(await client.ask('LAST')).toBe('+OK 0')
    expect(server.files()).toContain('1700000002.M2P1.h:2,')
  })

  test('P150 CAPA after login', async () => {
    await start()
    const client = await server.login()
    expect(await client.list('CAPA')).toEqual({
      status: '+OK',
      lines: [
        'CAPA',
        'TOP',
        'UIDL',
        'RESP-CODES',
        'PIPELINING',
        'AUTH-RESP-CODE',
        'USER',
        'SASL PLAIN LOGIN',
      ],
    })
  })

  test('P230 P231 order and UIDLs of an earlier server', async () => {
    await start()
    server.mb1()
    const lines = '1 O3 :1700000001.M1P1.h\n2 :1700000002.M2P1.h\n3 O1 Pold-uidl-3 :1700000003.M3P1.h\n'
    server.put('dovecot-uidlist', `3 V1700000000 N4 G0123456789abcdef0123456789abcdef\n${lines}`)
    const client = await server.login()
    expect((await client.list('UIDL')).lines).toEqual([
      '1 old-uidl-3',
      '2 000000016553f100',
      '3 000000026553f100',
    ])
    expect((await client.list('RETR 1')).lines[0]).toBe('Subject: three')
    await client.ask('DELE 1')
    await client.ask('QUIT')
    expect(server.files()).toEqual(['1700000001.M1P1.h:2,', '1700000002.M2P1.h:2,S'])
  })
})

describe('framing', () => {
  test('P160 P162 pieces of commands, and LF alone', async () => {
    await start()
    server.mb1()
    const client = await server.login()
    for (const piece of ['ST', 'AT', '\r\n']) {
      client.send(piece)
      await client.flushed()
    }
    expect(await client.line()).toBe('+OK 3 99')
    client.send('STAT\nNOOP\n')
    expect(await client.lines(2)).toEqual(['+OK 3 99', '+OK'])
  })

  test('P164 P165 FIN: a line without its end is nothing, a whole line is answered', async () => {
    await start()
    server.mb1()
    const first = await server.login()
    first.send('STAT')
    first.end()
    expect(await first.rest()).toBe('')
    const second = await server.login()
    second.send('STAT\r\n')
    second.end()
    expect(await second.rest()).toBe('+OK 3 99\r\n')
  })

  test('P167 a line that never ends', async () => {
    await start()
    const client = await server.login()
    client.send('a'.repeat(3000))
    expect(await client.rest()).toMatch(/^-ERR [^\r\n]+\r\n$/)
    expect(server.events('pop3.logout')[0]).toMatchObject({ reason: 'Command line too long' })
  })

  test('P167 before login too, where AUTH alone may be longer', async () => {
    await start()
    const client = await server.connect()
    await client.line()
    client.send('a'.repeat(1100))
    expect(await client.rest()).toMatch(/^-ERR [^\r\n]+\r\n$/)
  })

  test('P168 20 000 commands in one write', async () => {
    await start()
    const client = await server.login()
    client.send(`${'NOOP\r\n'.repeat(20_000)}QUIT\r\n`)
    expect((await client.rest()).match(/\+OK\r\n/g)).toHaveLength(20_000)
  })

  test('P172 P173 twenty wrong commands are tolerated, one more is not', async () => {
    await start()
    server.mb1()
    const first = await server.login()
    first.send(`${'FOO\r\n'.repeat(20)}NOOP\r\n`.repeat(3))
    expect((await first.lines(63)).filter((line) => ok.test(line))).toHaveLength(3)
    const second = await server.login()
    second.send('DELE 9\r\n'.repeat(30))
    expect((await second.rest()).match(/-ERR/g)).toHaveLength(22)
  })

  test('P174 P189 the echo of a command is short and printable', async () => {
    await start()
    const client = await server.login()
    expect((await client.ask('Z'.repeat(1500))).length).toBeLessThan(100)
    expect(await client.ask('\x1b[2J\xff')).toMatch(/^-ERR [\x20-\x7e]+$/)
  })

  test('P175 pipelined RETR, DELE and QUIT', async () => {
    await start()
    server.mb1()
    const client = await server.login()
    client.send('RETR 1\r\nRETR 2\r\nDELE 1\r\nSTAT\r\nQUIT\r\n')
    const text = await client.rest()
    expect(text).toContain('\r\nhello\r\n.\r\n+OK 32 octets\r\nSubject: two\r\n')
    expect(text).toMatch(/\+OK 2 67\r\n\+OK [^\r\n]+\r\n$/)
    expect(server.files()).toHaveLength(2)
  })
})

describe('mails that change underneath', () => {
  test('P208 a mail that is gone', async () => {
    await start()
    server.mb1()
    const client = await server.login()
    unlinkSync(join(server.maildir(), 'cur/1700000001.M1P1.h:2,'))
    client.send('STAT\r\nLIST 1\r\nUIDL 1\r\nRETR 1\r\nTOP 1 0\r\nDELE 1\r\nQUIT\r\n')
    const lines = (await client.rest()).split('\r\n')
    const expected = [/^\+OK 3 99$/, /^\+OK 1 32$/, ok, err, err, ok, ok]
    expect(lines.slice(0, -1)).toEqual(expected.map((match) => expect.stringMatching(match)))
    expect(server.files()).toHaveLength(2)
  })

  test('P209 a client that asks for it again and again is cut off', async () => {
    await start()
    server.mb1()
    const client = await server.login()
    unlinkSync(join(server.maildir(), 'cur/1700000001.M1P1.h:2,'))
    client.send('RETR 1\r\n'.repeat(30))
    // The first is not the client's fault; twenty are tolerated; one more, and the line that says why.
    expect((await client.rest()).match(/-ERR/g)).toHaveLength(1 + 20 + 1 + 1)
  })

  test('P213 a mail renamed by another program', async () => {
    await start()
    server.mb1()
    const client = await server.login()
    const folder = join(server.maildir(), 'cur')
    renameSync(join(folder, '1700000001.M1P1.h:2,'), join(folder, '1700000001.M1P1.h:2,FR'))
    expect((await client.list('RETR 1')).lines.at(-1)).toBe('hello')
    await client.ask('QUIT')
    expect(server.files()).toContain('1700000001.M1P1.h:2,FRS')
  })

  test('P211 mail that arrives is for the next session', async () => {
    await start()
    server.mb1()
    const client = await server.login()
    server.put('new/1800000000.z', m1)
    expect(await client.ask('STAT')).toBe('+OK 3 99')
    const next = await server.login()
    expect(await next.ask('STAT')).toBe('+OK 4 131')
  })

  test('P276 C65 a mail that was cut never looks whole', async () => {
    await start()
    server.mb1()
    const client = await server.login()
    await client.ask('STAT')
    truncateSync(join(server.maildir(), 'cur/1700000001.M1P1.h:2,'), 10)
    client.send('RETR 1\r\n')
    expect(await client.rest()).not.toMatch(/\r\n\.\r\n/)
    const next = await server.login()
    expect(await next.ask('LIST 1')).toBe('+OK 1 11')
  })

  test('P275 C66 a mail that is larger than its name says is sent whole, and announced right next time', async () => {
    await start()
    server.put('cur/1.a,S=10,W=12:2,', m1)
    const client = await server.login()
    expect(await client.list('RETR 1')).toMatchObject({ status: '+OK 12 octets', lines: { length: 4 } })
    await client.ask('QUIT')
    const next = await server.login()
    expect(await next.ask('LIST 1')).toBe('+OK 1 32')
  })

  test('P218 sessions that remove different mails at once', async () => {
    await start({ set: ['limits.max_userip_connections=0'] })
    for (let i = 0; i < 60; i++) server.put(`cur/${1000 + i}.h:2,`, m1)
    const clients = await Promise.all(Array.from({ length: 10 }, () => server.login()))
    await Promise.all(
      clients.map(async (client, i) => {
        for (let n = 0; n < 5; n++) expect(await client.ask(`DELE ${i * 5 + n + 1}`)).toMatch(ok)
        expect(await client.ask('QUIT')).toMatch(ok)
      }),
    )
    expect(server.files()).toEqual(Array.from({ length: 10 }, (_, i) => `${1050 + i}.h:2,`))
    const last = await server.login()
    expect((await last.list('UIDL')).lines[0]).toMatch(/^1 00000033/)
  })

  test('C59 two sessions may remove the same mail', async () => {
    await start()
    server.mb1()
    const [first, second] = [await server.login(), await server.login()]
    for (const client of [first, second]) await client.ask('DELE 1')
    for (const client of [first, second]) expect(await client.ask('QUIT')).toMatch(ok)
    expect(server.files()).toHaveLength(2)
  })
})

describe('large answers', () => {
  const big = Array.from(
    { length: 40_000 },
    (_, i) => `${i % 7 === 0 ? '.' : ''}line ${i} ${'x'.repeat(i % 90)}`,
  )
  const content = `Subject: big\n\n${big.join('\n')}\n`
  const sent = `Subject: big\r\n\r\n${big.map((line) => (line.startsWith('.') ? `.${line}` : line)).join('\r\n')}\r\n.\r\n`

  test('P178 a large mail arrives whole, however slowly the client reads', async () => {
    await start()
    server.put('cur/1.a:2,', content)
    const client = await server.login()
    client.socket.pause()
    client.send('RETR 1\r\nNOOP\r\nRETR 1\r\nQUIT\r\n')
    for (let i = 0; i < 50; i++) await client.flushed()
    client.socket.resume()
    const text = await client.rest()
    const status = `+OK ${content.length + big.length + 2} octets\r\n`
    expect(text.replace(/\+OK [^\r\n]*\r\n$/, '') === `${status}${sent}+OK\r\n${status}${sent}`).toBe(true)
  })

  test('P131 TOP of a large mail reads no more than it needs', async () => {
    await start()
    server.put('cur/1.a:2,', content)
    const client = await server.login()
    expect((await client.list('TOP 1 0')).lines).toEqual(['Subject: big', ''])
    expect((await client.list('TOP 1 30000')).lines).toHaveLength(30_002)
    expect(await client.ask('NOOP')).toBe('+OK')
  })

  test('C68 one line of 3 MB', async () => {
    await start()
    server.put('cur/1.a:2,', `a: b\n\n${'y'.repeat(3_000_000)}`)
    const client = await server.login()
    const { status, lines } = await client.list('RETR 1')
    expect(status).toBe('+OK 3000008 octets')
    expect(lines[2]).toHaveLength(3_000_000)
  })

  test('P177 P187 long lists to a client that does not read', async () => {
    await start()
    for (let i = 0; i < 2000; i++) server.put(`cur/${10_000 + i}.h,S=28,W=32:2,`, '')
    const client = await server.login()
    client.socket.pause()
    client.send(`${'LIST\r\nUIDL\r\n'.repeat(20)}STAT\r\nQUIT\r\n`)
    for (let i = 0; i < 50; i++) await client.flushed()
    client.socket.resume()
    const text = await client.rest()
    expect(text.match(/\r\n2000 32\r\n\.\r\n/g)).toHaveLength(20)
    expect(text.match(/\r\n2000 000007d0[0-9a-f]{8}\r\n\.\r\n/g)).toHaveLength(20)
    expect(text).toContain('+OK 2000 64000\r\n')
  })

  test('P185 nothing is put into a mail at shutdown', async () => {
    await start()
    server.put('cur/1.a:2,', content.repeat(8))
    const client = await server.login()
    client.socket.pause()
    client.send('RETR 1\r\n')
    for (let i = 0; i < 50; i++) await client.flushed()
    const stopping = server.shutdown()
    client.socket.resume()
    const text = await client.rest()
    await stopping
    expect(text).not.toContain('-ERR')
    expect(text).not.toContain('\r\n.\r\n')
  })
})

describe('time', () => {
  test('P026 P027 a login must come in time, whatever else is said', async () => {
    await start({ virtualTime: true })
    const client = await server.connect()
    await client.line()
    await server.advance(170_000)
    await client.list('CAPA')
    await server.advance(11_000)
    expect(await client.rest()).toMatch(/^-ERR [^\r\n]+\r\n$/)
  })

  test('P180 F7 an idle session ends with one line and removes nothing', async () => {
    await start({ virtualTime: true })
    server.mb1()
    const client = await server.login()
    await client.ask('DELE 1')
    await server.advance(599_000)
    expect(await client.ask('NOOP')).toBe('+OK')
    await server.advance(599_000)
    expect(await client.ask('STAT')).toBe('+OK 2 67')
    await server.advance(601_000)
    expect(await client.rest()).toMatch(/^-ERR [^\r\n]+\r\n$/)
    expect(server.events('pop3.logout')[0]).toMatchObject({
      reason: expect.stringMatching(/^No command for \d+ s$/),
    })
    expect(server.files()).toHaveLength(3)
  })

  test('P180 silent_autologout says nothing', async () => {
    await start({ virtualTime: true, set: ['pop3.silent_autologout=true'] })
    const client = await server.login()
    await server.advance(601_000)
    expect(await client.rest()).toBe('')
  })

  test('P179 a client that never reads its mail is closed, with nothing added to it', async () => {
    await start({ virtualTime: true })
    server.put('cur/1.a:2,', `a: b\n\n${'z'.repeat(70)}\n`.repeat(1_000_000 / 10))
    const client = await server.login()
    client.socket.pause()
    client.send('RETR 1\r\n')
    for (let i = 0; i < 200; i++) await client.flushed()
    await server.advance(601_000)
    client.socket.resume()
    const text = await client.rest()
    expect(text).not.toContain('-ERR')
    expect(text).not.toContain('\r\n.\r\n')
    expect(server.events('pop3.logout')[0]).toMatchObject({ reason: expect.stringContaining('not draining') })
  })

  test('P183 sizes that were found out reach the disk without QUIT', async () => {
    await start({ virtualTime: true })
    server.mb1()
    await server.login()
    await server.advance(10_500)
    const store = IndexStore.open(join(server.root, 'index/index.db'))
    const pages = store.load(server.maildir())!.pages.map((bytes) => Page.of(bytes))
    store.close()
    expect(pages.flatMap(({ sizes }) => [...sizes])).toEqual([32, 32, 35])
  })

  test('P182 a shorter idle timeout is refused by the configuration', async () => {
    await expect(start({ set: ['pop3.idle_timeout=300s'] })).rejects.toThrow(/idle_timeout/)
  })
})

describe('the end', () => {
  test('P184 at shutdown sessions are told, and marks are dropped', async () => {
    await start()
    server.mb1()
    const client = await server.login()
    await client.ask('DELE 1')
    const stopping = server.shutdown()
    expect(await client.rest()).toBe('-ERR [SYS/TEMP] Server shutting down.\r\n')
    await stopping
    expect(server.files()).toHaveLength(3)
  })

  test('P247 P298 one line at login and one at the end, with the same session', async () => {
    await start()
    server.mb1()
    const client = await server.login()
    client.send('RETR 1\r\nTOP 2 0\r\nDELE 1\r\nQUIT\r\n')
    await client.rest()
    expect(server.events('pop3.login')).toMatchObject([
      { event: 'pop3.login', session: 's1', remote: '127.0.0.1', user: 'alice', method: 'PLAIN', tls: null },
    ])
    expect(server.events('pop3.logout')).toMatchObject([
      {
        event: 'pop3.logout',
        session: 's1',
        remote: '127.0.0.1',
        user: 'alice',
        reason: 'Logged out',
        topCount: 1,
        topBytes: '+OK\r\nSubject: two\r\n\r\n'.length,
        retrCount: 1,
        retrBytes: '+OK 32 octets\r\n'.length + 32,
        deletedCount: 1,
        deletedBytes: 32,
        messageCount: 3,
        messageBytes: 99,
        input: 'RETR 1\r\nTOP 2 0\r\nDELE 1\r\nQUIT\r\n'.length,
        output: expect.any(Number),
      },
    ])
    expect(m2.length + m3.length).toBe(59)
  })

  test('P219 P287 sessions that vanish are no longer counted', async () => {
    await start({ set: ['limits.max_userip_connections=3'] })
    for (let round = 0; round < 5; round++) {
      const clients = await Promise.all([server.login(), server.login(), server.login()])
      for (const client of clients) {
        client.send('LIST\r\nRETR')
        client.socket.resetAndDestroy()
      }
      const deadline = performance.now() + 10_000
      while (server.events('pop3.logout').length < (round + 1) * 3 && performance.now() < deadline) {
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    expect(await (await server.login()).ask('STAT')).toBe('+OK 0 0')
  })

  test('UIDLs are the same after a restart without the index', async () => {
    await start()
    server.mb1()
    const first = await server.login()
    const before = (await first.list('UIDL')).lines
    const { rmSync } = await import('node:fs')
    await server.shutdown()
    const again = await Pop3Server.start()
    const { cpSync } = await import('node:fs')
    cpSync(join(server.root, 'mail'), join(again.root, 'mail'), { recursive: true, preserveTimestamps: true })
    rmSync(join(again.root, 'index'), { recursive: true, force: true })
    const second = await again.login()
    expect((await second.list('UIDL')).lines).toEqual(before)
    await again.stop()
  })
})

test('S12 C60 sizes on the disk say nothing about line ends: a mail with both kinds is sent with CRLF', async () => {
  await start({ set: ['pop3.fast_size_lookups=true'] })
  const mail = 'A: b\r\nC: d\n\n.\nx\r\n'
  server.put(`cur/1.x,S=${mail.length}:2,`, mail)
  const client = await server.login()
  expect(await client.list('RETR 1')).toEqual({
    status: `+OK ${mail.length} octets`,
    lines: ['A: b', 'C: d', '', '..', 'x'],
  })
})

/** Who the client is, or says it speaks for, and how much one client may do. */
import { describe, expect, onTestFinished, test } from 'vitest'
import { reverseName } from '../../../../src/dns/reverse.ts'
import { NameServer } from '../../../dns/name-server.ts'
import { bytesOf, codes, converse, TestServer } from './harness.ts'

const script = (...lines: string[]) => lines.map((line) => `${line}\r\n`).join('')
const mail = ['MAIL FROM:<a@b.test>', 'RCPT TO:<x@d.test>', 'DATA', 'A: b', '.']
const trusting = {
  authorized_xclient_hosts: ['127.0.0.0/8'],
  authorized_xforward_hosts: ['127.0.0.0/8', '192.0.2.7'],
}
/** A conversation with a client of that address. */
const from = (server: TestServer, address: string, ...lines: string[]) =>
  converse(server.connectInMemory(address), [Buffer.from(script(...lines))])

describe('XCLIENT', () => {
  test('begins the session again, with the rights of the other client', async () => {
    const server = await TestServer.start({ smtpd: trusting })
    const transcript = await server.exchange(
      script(
        ...['EHLO c', 'XCLIENT NAME=c.example ADDR=192.0.2.7 PORT=77', 'EHLO d', 'MAIL FROM:<a@b.test>'],
        ...['RCPT TO:<x@d.test>', 'RCPT TO:<ann@mx.test>', 'DATA', 'A: b', '.', 'XCLIENT ADDR=192.0.2.8'],
      ),
    )
    expect(codes(transcript)).toEqual([220, 250, 220, 250, 250, 554, 250, 354, 250, 550])
    expect(server.maildrop('ann')[0]).toContain('Received: from d (c.example [192.0.2.7])\n')
    expect(server.events('mail.accepted')[0]).toMatchObject({ client: '192.0.2.7' })
  })

  test('HELO, PROTO and LOGIN are as if said', async () => {
    const server = await TestServer.start({ smtpd: trusting })
    const line = 'XCLIENT ADDR=IPv6:2001:db8::7 NAME=[UNAVAILABLE] HELO=h+2Btest PROTO=esmtp LOGIN=ann'
    expect(codes(await server.exchange(script(line, ...mail)))).toEqual([220, 220, 250, 250, 354, 250])
    expect(bytesOf(server.queue.mails[0]!)).toMatch(
      /^Received: from h\+test \(unknown \[IPv6:2001:db8::7\]\)\r\n\tby mx\.test \(mailactors\) with ESMTPA id /,
    )
  })

  test.each([
    { name: 'from one who may not', line: 'XCLIENT ADDR=192.0.2.7', address: '192.0.2.7', code: 550 },
    { name: 'without attributes', line: 'XCLIENT', code: 501 },
    { name: 'without a value', line: 'XCLIENT ADDR=', code: 501 },
    { name: 'an unknown attribute', line: 'XCLIENT FOO=1', code: 501 },
    { name: 'no address', line: 'XCLIENT ADDR=192.0.2', code: 501 },
    { name: 'no port', line: 'XCLIENT PORT=x', code: 501 },
    { name: 'no host name', line: 'XCLIENT NAME=a+20b', code: 501 },
    { name: 'no protocol', line: 'XCLIENT PROTO=LMTP', code: 501 },
    { name: 'too long', line: `XCLIENT HELO=${'x'.repeat(256)}`, code: 501 },
  ])('is refused $name', async ({ line, code, address = '127.0.0.1' }) => {
    const server = await TestServer.start({ smtpd: trusting })
    expect(codes(await from(server, address, line))).toEqual([220, code])
  })

  test('is refused within a mail', async () => {
    const server = await TestServer.start({ smtpd: trusting })
    const lines = script('MAIL FROM:<>', 'XCLIENT ADDR=192.0.2.7', 'XFORWARD ADDR=192.0.2.7')
    expect(codes(await server.exchange(lines))).toEqual([220, 250, 503, 503])
  })
})

describe('XFORWARD', () => {
  test('is for the queue and the next mail alone', async () => {
    const server = await TestServer.start({ smtpd: trusting })
    const lines = script(
      ...[
        'EHLO c',
        'XFORWARD NAME=f.example ADDR=192.0.2.9 PORT=99',
        'XFORWARD PROTO=LMTP HELO=h IDENT=Q1 SOURCE=REMOTE',
      ],
      ...[...mail, ...mail],
    )
    expect(codes(await server.exchange(lines))).toEqual([
      220, 250, 250, 250, 250, 250, 354, 250, 250, 250, 354, 250,
    ])
    const [first, second] = server.queue.mails
    expect(first!.client).toEqual({
      ...{ name: 'f.example', address: '192.0.2.9', port: 99, protocol: 'LMTP', helo: 'h' },
      ...{ ident: 'Q1', source: 'REMOTE' },
    })
    // Who handed it to us is in Received all the same.
    expect(bytesOf(first!)).toMatch(/^Received: from c \(localhost \[127\.0\.0\.1\]\)/)
    expect(second!.client).toMatchObject({ address: '127.0.0.1', helo: 'c' })
  })

  test.each([
    { name: 'from one who may not', line: 'XFORWARD ADDR=192.0.2.7', address: '192.0.2.8', code: 550 },
    { name: 'with what only XCLIENT has', line: 'XFORWARD LOGIN=x', code: 501 },
    { name: 'with a strange source', line: 'XFORWARD SOURCE=MOON', code: 501 },
  ])('is refused $name', async ({ line, code, address = '127.0.0.1' }) => {
    const server = await TestServer.start({ smtpd: trusting })
    expect(codes(await from(server, address, line))).toEqual([220, code])
  })
})

describe('the name of a client', () => {
  const received = async (address: string, zone: Readonly<Record<string, string>>) => {
    const records = Object.fromEntries(
      Object.entries(zone).map(([key, value]) => {
        const [name = '', type = ''] = key.split(' ')
        return [`${type} ${name}`, { records: [`${type} ${value}`] }]
      }),
    )
    const names = await NameServer.start(records)
    onTestFinished(() => names[Symbol.asyncDispose]())
    const server = await TestServer.start({
      smtpd: { mynetworks: ['192.0.2.0/24', '2001:db8::/32'], peername_lookup: true },
      dns: { servers: [names.address], tries: 1 },
    })
    const transcript = await from(server, address, 'EHLO c', ...mail, ...mail)
    expect(codes(transcript)).toEqual([220, 250, 250, 250, 354, 250, 250, 250, 354, 250])
    return server.queue.mails.map((one) => /^Received: from c \((\S+) /.exec(bytesOf(one))?.[1])
  }

  test('is that of its address, when the name has the address', async () => {
    const zone = { '7.2.0.192.in-addr.arpa PTR': 'c.example', 'c.example A': '192.0.2.7' }
    expect(await received('192.0.2.7', zone)).toEqual(['c.example', 'c.example'])
  })

  test('in IPv6, too', async () => {
    const reverse = `7.${'0.'.repeat(23)}8.b.d.0.1.0.0.2.ip6.arpa`
    expect(reverseName('2001:db8::7')).toBe(reverse)
    const zone = { [`${reverse} PTR`]: 'c.example', 'c.example AAAA': '2001:db8:0::7' }
    expect(await received('2001:db8::7', zone)).toEqual(['c.example', 'c.example'])
  })

  test('is unknown when it is somebody else’s, or none', async () => {
    const zone = { '7.2.0.192.in-addr.arpa PTR': 'c.example', 'c.example A': '192.0.2.8' }
    expect(await received('192.0.2.7', zone)).toEqual(['unknown', 'unknown'])
    expect(await received('192.0.2.7', {})).toEqual(['unknown', 'unknown'])
  })
})

describe('limits of one client', () => {
  test('connections at the same time; those that ended do not count, nor do those of others', async () => {
    const server = await TestServer.start({ smtpd: { client_connection_count_limit: 1 } })
    const first = server.connectInMemory('192.0.2.7')
    const greeting = await new Promise<Buffer>((resolve) => first.once('data', resolve))
    expect(greeting.toString()).toMatch(/^220 /)
    expect(await from(server, '192.0.2.7', 'QUIT')).toMatch(/^421 4\.7\.0 /)
    expect(codes(await from(server, '192.0.2.8', 'QUIT'))).toEqual([220, 221])
    expect(codes(await from(server, '127.0.0.1', 'QUIT'))).toEqual([220, 221])
    first.destroy()
    await server.sessionsEnded()
    expect(codes(await from(server, '192.0.2.7', 'QUIT'))).toEqual([220, 221])
    expect(server.events('smtpd.limit')).toMatchObject([
      { client: '192.0.2.7', what: 'connections', value: 2 },
    ])
  })

  test('connections in a time', async () => {
    const server = await TestServer.start({ smtpd: { client_connection_rate_limit: 2 } })
    const seen: string[] = []
    for (let i = 0; i < 3; i += 1) seen.push((await from(server, '192.0.2.7', 'QUIT')).slice(0, 3))
    expect(seen).toEqual(['220', '220', '421'])
  })

  test.each([
    { name: 'MAIL', setting: 'client_message_rate_limit', line: 'MAIL FROM:<>', reset: 'RSET', code: 450 },
    { name: 'RCPT', setting: 'client_recipient_rate_limit', line: 'RCPT TO:<ann@mx.test>', code: 450 },
    {
      name: 'VRFY, which counts as RCPT',
      setting: 'client_recipient_rate_limit',
      line: 'VRFY ann',
      code: 450,
    },
    { name: 'AUTH', setting: 'client_auth_rate_limit', line: 'AUTH PLAIN AAAA', code: 450 },
  ])('$name in a time, over all its connections', async ({ setting, line, reset, code }) => {
    const server = await TestServer.start({ smtpd: { [setting]: 2 }, auth: { allow_cleartext: true } })
    const lines = ['EHLO c', ...(line.startsWith('RCPT') ? ['MAIL FROM:<>'] : [])]
    const again = reset === undefined ? [line] : [line, reset]
    await from(server, '192.0.2.7', ...lines, ...again)
    const replies = codes(await from(server, '192.0.2.7', ...lines, ...again, ...again, 'NOOP'))
    expect(replies.filter((reply) => reply === code)).toHaveLength(1)
    expect(replies.at(-1)).toBe(250)
    expect(codes(await from(server, '192.0.2.8', ...lines, ...again, ...again))).not.toContain(code)
  })

  test('who speaks for another client has the limits of that one', async () => {
    const server = await TestServer.start({ smtpd: { ...trusting, client_connection_rate_limit: 1 } })
    const go = () => from(server, '127.0.0.1', 'XCLIENT ADDR=192.0.2.7', 'QUIT')
    expect(codes(await go())).toEqual([220, 220, 221])
    expect(codes(await go())).toEqual([220, 421])
  })
})

describe('pipelining without leave', () => {
  const smtpd = { forbid_unauth_pipelining: true }
  test.each([
    { name: 'behind EHLO', lines: ['EHLO c', 'NOOP'], codes: [220, 554] },
    { name: 'behind DATA', lines: ['DATA', 'x'], codes: [220, 554] },
    { name: 'the last line alone', lines: ['QUIT'], codes: [220, 221] },
  ])('$name', async ({ lines, codes: expected }) => {
    const server = await TestServer.start({ smtpd })
    expect(codes(await from(server, '127.0.0.1', ...lines))).toEqual(expected)
  })

  test('before the greeting', async () => {
    const server = await TestServer.start({ smtpd })
    const stream = server.connectInMemory('192.0.2.7')
    expect(codes(await converse(stream, [Buffer.from('EHLO c\r\n')]))).toEqual([554])
  })
})

test('under stress a session waits for less, and one error ends it', async () => {
  const server = await TestServer.start({ isStressed: true })
  expect(codes(await server.exchange(script('BOGUS', 'NOOP')))).toEqual([220, 500, 421])
})

test('lines that end in LF alone are commands where that is not forbidden', async () => {
  const server = await TestServer.start()
  expect(codes(await server.exchange('EHLO c\nMAIL FROM:<a@b.test>\nQUIT\n'))).toEqual([220, 250, 250, 221])
  expect(codes(await converse(server.connectInMemory('192.0.2.7'), [Buffer.from('NOOP\nNOOP\n')]))).toEqual([
    220, 550,
  ])
})

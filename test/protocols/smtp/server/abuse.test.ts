/** Clients that are slow, broken or hostile: the session ends, nothing of it stays, and nothing of ours breaks. */
import { describe, expect, test } from 'vitest'
import { Random } from '../../../../src/testing/random.ts'
import { chosenSeed } from '../../../support/seed.ts'
import { until } from '../../../support/until.ts'
import { codes, converse, type ServerOptions, TestServer } from './harness.ts'

const script = (...lines: string[]) => lines.map((line) => `${line}\r\n`).join('')
const begun = script('EHLO c', 'MAIL FROM:<a@b.test>', 'RCPT TO:<x@d.test>')

/** Nothing of a session is left: no actor, no crash, no file, no mail. */
async function expectNothingLeft(server: TestServer): Promise<void> {
  await server.sessionsEnded()
  expect(server.crashes).toEqual([])
  await until('no content file', () => server.contentFiles().length === 0)
}

describe('octets that trickle in do not keep a session', () => {
  test.each([
    { name: 'before a command', first: '', trickle: 'E' },
    { name: 'within EHLO', first: 'EHLO ', trickle: 'c' },
    { name: 'within MAIL', first: 'EHLO c\r\nMAIL FROM:<', trickle: 'a' },
    { name: 'within RCPT', first: 'MAIL FROM:<>\r\nRCPT TO:<', trickle: 'a' },
    { name: 'within an AUTH line', first: 'EHLO c\r\nAUTH PLAIN\r\n', trickle: 'A' },
    { name: 'within DATA', first: `${begun}DATA\r\n`, trickle: 'x' },
    { name: 'within a line end of DATA', first: `${begun}DATA\r\n`, trickle: '\r' },
    { name: 'within a chunk', first: `${begun}BDAT 100000\r\n`, trickle: 'x' },
    { name: 'within a chunk that is skipped', first: 'BDAT 100000\r\n', trickle: 'x' },
  ])('$name', async ({ first, trickle }) => {
    const server = await TestServer.start({ smtpd: { timeout: 200, min_data_rate: 500 } })
    const socket = server.connect()
    let received = ''
    socket.on('data', (octets: Buffer) => {
      received += octets.toString('latin1')
    })
    socket.on('error', () => {})
    socket.write(first)
    const timer = setInterval(() => socket.write(trickle), 20)
    try {
      await until('the goodbye', () => received.includes('421 4.4.2 '))
    } finally {
      clearInterval(timer)
      socket.destroy()
    }
    await expectNothingLeft(server)
  })
})

describe('a client that goes away', () => {
  const stages = [
    ...['', 'EH', 'EHLO c\r\n', 'MAIL FROM:<>\r\n', begun, `${begun}DATA\r\n`, `${begun}DATA\r\nA: b\r\n`],
    ...[
      `${begun}DATA\r\nA: b\r\n.`,
      `${begun}DATA\r\nA: b\r\n.\r`,
      `${begun}BDAT 5\r\nab`,
      `${begun}BDAT 2\r\nab`,
    ],
    ...['BDAT 9\r\nabc', 'EHLO c\r\nAUTH PLAIN\r\n', 'EHLO c\r\nAUTH LOGIN\r\nYW5u\r\n'],
  ]

  test('at any stage, by reset or by FIN, leaves nothing', async () => {
    const server = await TestServer.start()
    for (const stage of stages) {
      const broken = server.connect()
      broken.on('error', () => {})
      await new Promise((resolve) => broken.once('data', resolve))
      broken.write(stage)
      broken.resetAndDestroy()
      const transcript = await server.exchange(stage)
      expect(transcript, JSON.stringify(stage)).toMatch(/^220 [^\r]*\r\n(?:\d{3}[ -][^\r]*\r\n)*$/)
    }
    await expectNothingLeft(server)
    expect(server.queue.mails).toEqual([])
  })

  test('behind its last command still gets the reply, and its mail is kept', async () => {
    const server = await TestServer.start()
    expect(codes(await server.exchange(`${begun}DATA\r\nA: b\r\n.\r\n`))).toEqual([
      220, 250, 250, 250, 354, 250,
    ])
    expect(codes(await server.exchange(`${begun}BDAT 6 LAST\r\nA: b\r\n`))).toEqual([220, 250, 250, 250, 250])
    expect(server.queue.mails).toHaveLength(2)
  })
})

describe('floods', () => {
  test('of recipients: a thousand are taken, a thousand more told to come back, then it ends', async () => {
    const server = await TestServer.start({ smtpd: { error_sleep_time: 0 } })
    const socket = server.connect()
    const lines = Buffer.from('RCPT TO:<x@d.test>\r\n'.repeat(10_000))
    let received = ''
    let sent = 0
    socket.on('error', () => {})
    socket.on('data', (octets: Buffer) => {
      received += octets.toString('latin1')
    })
    socket.write('MAIL FROM:<>\r\n')
    // A million of them, as fast as they are taken.
    const send = () => {
      while (sent < 100 && !socket.destroyed) {
        sent += 1
        if (!socket.write(lines)) return
      }
    }
    socket.on('drain', send)
    send()
    await until('the goodbye', () => received.includes('421 4.7.0 '))
    socket.destroy()
    const seen = codes(received)
    expect(seen.filter((code) => code === 452)).toHaveLength(1_000 + 20)
    expect(seen.at(-1)).toBe(421)
    await expectNothingLeft(server)
  })

  test.each([
    { name: 'of one line without end', octets: 'x'.repeat(1_000_000), last: 421 },
    { name: 'of unknown commands', octets: 'BOGUS\r\n'.repeat(1_000), last: 421 },
    { name: 'of empty lines', octets: '\r\n'.repeat(1_000), last: 421 },
    { name: 'of NUL', octets: '\0'.repeat(100_000), last: 421 },
  ])('$name', async ({ octets, last }) => {
    const server = await TestServer.start({ smtpd: { error_sleep_time: 0 } })
    expect(codes(await server.exchange(octets)).at(-1)).toBe(last)
    await expectNothingLeft(server)
  })
})

describe('content at the edges', () => {
  const send = async (content: string, options: ServerOptions = {}) => {
    const server = await TestServer.start(options)
    const transcript = await server.exchange(`${begun}DATA\r\n${content}.\r\nQUIT\r\n`)
    return { server, replies: codes(transcript).slice(5) }
  }

  test.each([
    { name: 'no octet', content: '' },
    { name: 'NULs', content: `A: b\0c\r\n\r\n${'\0'.repeat(5_000)}\r\n` },
    { name: 'a field of a megabyte', content: `A: ${'x'.repeat(1_000_000)}\r\n\r\nb\r\n` },
    { name: 'ten thousand fields', content: `${'A: b\r\n'.repeat(10_000)}\r\nb\r\n` },
    { name: 'a megabyte of line ends', content: '\r\n'.repeat(500_000) },
    { name: 'a megabyte of CR', content: `${'\r'.repeat(1_000_000)}\r\n` },
    { name: 'a megabyte of LF', content: `${'\n'.repeat(500_000)}\r\n` },
  ])('$name', async ({ content }) => {
    const { server, replies } = await send(content)
    expect(replies).toEqual([250, 221])
    expect(server.queue.mails).toHaveLength(1)
    expect(server.crashes).toEqual([])
  })

  test('larger than it may be: read to its end, and nothing of it kept', async () => {
    const { server, replies } = await send(`${'x'.repeat(98)}\r\n`.repeat(50_000), {
      smtpd: { message_size_limit: 1_000_000 },
    })
    expect(replies).toEqual([552, 221])
    await expectNothingLeft(server)
  })
})

test('random octets and random pieces of SMTP end in replies and nothing else', {
  timeout: 60_000,
}, async () => {
  const seed = chosenSeed()
  const numbers = new Random(seed)
  const random = (below: number): number => numbers.below(below)
  const pieces = [
    ...[
      'EHLO ',
      'HELO c',
      'MAIL FROM:',
      'RCPT TO:',
      '<a@b.test>',
      '<>',
      'DATA',
      'BDAT ',
      '5',
      ' LAST',
      'RSET',
      'NOOP',
      'QUIT',
    ],
    ...[
      'AUTH PLAIN',
      'AUTH LOGIN',
      '=',
      '*',
      'AGFubgBzZWNyZXQ=',
      'VRFY ',
      'ETRN ',
      'XCLIENT ',
      'ADDR=192.0.2.1',
      'XFORWARD ',
    ],
    ...[
      '\r\n',
      '\r\n',
      '\r\n',
      '\r\n',
      '\n',
      '\r',
      '.',
      '\0',
      ' ',
      '\t',
      ' SIZE=1',
      ' ORCPT=',
      '"',
      '(',
      '\xff',
      '\xc3\xa9',
      'x'.repeat(3000),
    ],
  ]
  const smtpd = {
    ...{
      error_sleep_time: 0,
      authorized_xclient_hosts: ['127.0.0.0/8'],
      authorized_xforward_hosts: ['127.0.0.0/8'],
    },
    client_event_limit_exceptions: [],
  }
  const server = await TestServer.start({ smtpd })
  for (let round = 0; round < Number(process.env.ROUNDS ?? 2_000); round += 1) {
    const text = Array.from({ length: 1 + random(40) }, () =>
      random(20) === 0 ? String.fromCharCode(random(256)) : pieces[random(pieces.length)]!,
    ).join('')
    const octets = Buffer.from(text, 'latin1')
    const chunks: Buffer[] = []
    for (let at = 0; at < octets.length; ) {
      const size = 1 + random(random(2) === 0 ? 5 : 4_000)
      chunks.push(octets.subarray(at, at + size))
      at += size
    }
    const transcript = await converse(server.connectInMemory(), chunks)
    expect(transcript, `SEED=${seed} round ${round}: ${JSON.stringify(text)}`).toMatch(
      /^(?:\d{3}[ -][^\r\n]*\r\n)+$/,
    )
  }
  await server.sessionsEnded()
  expect(server.crashes).toEqual([])
  await until('no content file', () => server.contentFiles().length === 0)
})

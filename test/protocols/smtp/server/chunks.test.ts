/** Content by BDAT (RFC 3030), through the whole session. */
import { describe, expect, test } from 'vitest'
import { until } from '../../../support/until.ts'
import { bytesOf, codes, converse, type ServerOptions, TestServer } from './harness.ts'

const script = (...lines: string[]) => lines.map((line) => `${line}\r\n`).join('')
const begin = script('EHLO c', 'MAIL FROM:<a@b.test>', 'RCPT TO:<x@d.test>')
const chunk = (content: string, last = '') => `BDAT ${content.length}${last}\r\n${content}`

/** Codes after the three of `begin`. */
async function send(octets: string, options: ServerOptions = {}) {
  const server = await TestServer.start(options)
  const transcript = await server.exchange(begin + octets)
  const [greeting, ehlo, mail, rcpt, ...rest] = codes(transcript)
  expect([greeting, ehlo, mail, rcpt]).toEqual([220, 250, 250, 250])
  const bodies = server.queue.mails.map((mail) => bytesOf(mail).replace(/^Received:[\s\S]*?\(UTC\)\r\n/, ''))
  expect(server.contentFiles()).toEqual([])
  return { rest, bodies, transcript, server }
}

describe('chunks make a mail', () => {
  test.each([
    {
      name: 'one',
      octets: chunk('A: b\r\n\r\nc\r\n', ' LAST'),
      bodies: ['A: b\r\n\r\nc\r\n'],
      replies: [250],
    },
    {
      name: 'a line cut by a chunk, and its line end too',
      octets: chunk('A: b') + chunk('c\r') + chunk('\n\r\nd\r\n') + chunk('', ' LAST'),
      bodies: ['A: bc\r\n\r\nd\r\n'],
      replies: [250, 250, 250, 250],
    },
    {
      name: 'dots and commands are content',
      octets: chunk('A: b\r\n\r\n.\r\n..\r\nRSET\r\n', ' last'),
      bodies: ['A: b\r\n\r\n.\r\n..\r\nRSET\r\n'],
      replies: [250],
    },
    { name: 'no line end at the end', octets: chunk('A: b', ' LAST'), bodies: ['A: b\r\n'], replies: [250] },
    { name: 'no octet', octets: chunk('', ' LAST'), bodies: [''], replies: [250] },
    {
      name: 'two mails at once',
      octets: `${chunk('A: 1\r\n', ' LAST')}${begin}${chunk('A: 2\r\n', ' LAST')}QUIT\r\n`,
      bodies: ['A: 1\r\n', 'A: 2\r\n'],
      replies: [250, 250, 250, 250, 250, 221],
    },
    {
      name: 'RSET between them forgets what came',
      octets: `${chunk('A: 1\r\n')}RSET\r\n${begin}${chunk('A: 2\r\n', ' LAST')}`,
      bodies: ['A: 2\r\n'],
      replies: [250, 250, 250, 250, 250, 250],
    },
  ])('$name', async ({ octets, bodies, replies }) => {
    const result = await send(octets)
    expect(result.rest).toEqual(replies)
    expect(result.bodies).toEqual(bodies)
  })

  test('with a reply to each chunk that names its size', async () => {
    const { transcript } = await send(chunk('A: b\r\n') + chunk('', ' LAST'))
    expect(transcript).toContain('\r\n250 2.0.0 Ok: 6 octets\r\n250 2.0.0 Ok: queued as ')
  })

  test('for each recipient in LMTP', async () => {
    const server = await TestServer.start({ service: 'lmtp', unix: true })
    const transcript = await server.exchange(
      `${script('LHLO c', 'MAIL FROM:<>', 'RCPT TO:<ann>', 'RCPT TO:<bob>')}${chunk('A: b\r\n')}${chunk('', ' LAST')}`,
    )
    expect(codes(transcript)).toEqual([220, 250, 250, 250, 250, 250, 250, 250])
    expect(server.maildrop('bob')).toHaveLength(1)
  })

  test('larger than memory', async () => {
    const large = `${'x'.repeat(70)}\r\n`.repeat(4_000)
    const server = await TestServer.start()
    const transcript = await server.exchange(begin + chunk(`A: b\r\n\r\n${large}`) + chunk(large, ' LAST'))
    expect(codes(transcript).slice(4)).toEqual([250, 250])
    expect(server.contentFiles()).toHaveLength(1)
  })
})

describe('chunks that are refused are read and dropped', () => {
  test.each([
    { name: 'before MAIL', octets: `RSET\r\n${chunk('RSET\r\n')}NOOP\r\n`, replies: [250, 503, 250] },
    {
      name: 'no recipient',
      octets: `RSET\r\nMAIL FROM:<>\r\n${chunk('A\r\n')}${chunk('QUIT\r\n', ' LAST')}QUIT\r\n`,
      replies: [250, 250, 554, 551, 221],
    },
    {
      name: 'an empty one, and all after it',
      octets: `${chunk('')}${chunk('QUIT\r\n')}${chunk('', ' LAST')}${begin}QUIT\r\n`,
      replies: [551, 551, 551, 250, 250, 250, 221],
    },
    {
      name: 'MAIL, RCPT and DATA after one are out of order, RSET mends that',
      octets: `${chunk('')}MAIL FROM:<>\r\nRCPT TO:<x@d.test>\r\nDATA\r\nRSET\r\n${begin}QUIT\r\n`,
      replies: [551, 503, 503, 503, 250, 250, 250, 250, 221],
    },
    {
      name: 'MAIL, RCPT and DATA between chunks',
      octets: `${chunk('A: b\r\n')}MAIL FROM:<>\r\nRCPT TO:<x@d.test>\r\nDATA\r\n${chunk('', ' LAST')}QUIT\r\n`,
      replies: [250, 503, 503, 503, 250, 221],
      mails: 1,
    },
  ])('$name', async ({ octets, replies, mails = 0 }) => {
    const { rest, bodies } = await send(octets)
    expect(rest).toEqual(replies)
    expect(bodies).toHaveLength(mails)
  })

  test('too large: the one that goes over the limit, not the ones before', async () => {
    const octets = `${chunk('a'.repeat(80))}${chunk('a'.repeat(60))}${chunk('QUIT\r\n', ' LAST')}NOOP\r\n`
    const { rest, bodies } = await send(octets, { smtpd: { message_size_limit: 100 } })
    expect(rest).toEqual([250, 552, 551, 250])
    expect(bodies).toEqual([])
  })

  test('far too large: told, and hung up on', async () => {
    const { transcript } = await send('BDAT 999999999\r\nQUIT\r\n', { smtpd: { message_size_limit: 100 } })
    expect(codes(transcript).slice(4)).toEqual([552])
  })

  test('an LF alone from elsewhere', async () => {
    const smtpd = { forbid_bare_newline_exclusions: [] }
    const { rest } = await send(`${chunk('a\nb')}${chunk('c', ' LAST')}NOOP\r\n`, { smtpd })
    expect(rest).toEqual([550, 551, 250])
  })
})

test.each(['BDAT', 'BDAT x', 'BDAT -1', 'BDAT 1 FIRST', 'BDAT 1 LAST X', 'BDAT 99999999999999999999'])(
  '%s: nobody knows what follows, so nothing is read any more',
  async (line) => {
    const { rest, bodies } = await send(`${line}\r\nNOOP\r\n`)
    expect(rest).toEqual([521])
    expect(bodies).toEqual([])
  },
)

test('not offered, not taken', async () => {
  const { rest, transcript } = await send(chunk('x', ' LAST'), {
    smtpd: { discard_ehlo_keywords: ['chunking'] },
  })
  expect(transcript).not.toContain('CHUNKING')
  expect(rest).toEqual([521])
})

test('a client that vanishes within a chunk leaves nothing', async () => {
  const server = await TestServer.start()
  const socket = server.connect()
  socket.write(`${begin}BDAT 1000000\r\n${'x'.repeat(500_000)}`)
  await until('a content file', () => server.contentFiles().length === 1)
  socket.destroy()
  await server.sessionsEnded()
  await until('no content file', () => server.contentFiles().length === 0)
  expect(server.queue.mails).toEqual([])
})

test('a pipelined session cut anywhere gives the same output and the same mails', async () => {
  const server = await TestServer.start()
  const octets = Buffer.from(
    `${begin}${chunk('A: b\r\n')}${chunk('\r\nc\r')}${chunk('', ' LAST')}${begin}${chunk('x')}${chunk('')}RSET\r\nQUIT\r\n`,
  )
  const comparable = (transcript: string) => transcript.replace(/queued as [0-9A-Z]{18}/g, 'queued as ID')
  const whole = comparable(await converse(server.connectInMemory(), [octets]))
  expect(codes(whole)).toEqual([220, 250, 250, 250, 250, 250, 250, 250, 250, 250, 250, 551, 250, 221])
  for (let at = 1; at < octets.length; at += 1) {
    const cut = [octets.subarray(0, at), octets.subarray(at)]
    expect(comparable(await converse(server.connectInMemory(), cut)), `cut at ${at}`).toBe(whole)
  }
  const single = Array.from(octets, (octet) => Buffer.from([octet]))
  expect(comparable(await converse(server.connectInMemory(), single))).toBe(whole)
  expect(new Set(server.queue.mails.map((mail) => bytesOf(mail).split('(UTC)\r\n')[1]))).toEqual(
    new Set(['A: b\r\n\r\nc\r\n']),
  )
})

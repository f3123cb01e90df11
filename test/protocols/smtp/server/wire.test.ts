/** What holds however the octets arrive: in any pieces, in any order, in any quantity. */
import { describe, expect, test } from 'vitest'
import { Random } from '../../../../src/testing/random.ts'
import { chosenSeed } from '../../../support/seed.ts'
import { until, within } from '../../../support/until.ts'
import { bytesOf, codes, converse, TestServer } from './harness.ts'

const session = [
  'EHLO c.test',
  'MAIL FROM:<a@b.test>',
  'RCPT TO:<ann@mx.test>',
  'RCPT TO:<nobody@mx.test>',
  'RCPT TO:<x@d.test>',
  'DATA',
  'Subject: x',
  '',
  '..',
  '.',
  'NOOP\rX',
  'BOGUS',
  'QUIT',
  '',
].join('\r\n')

/** Queue ids differ from mail to mail. */
const comparable = (transcript: string) => transcript.replace(/queued as [0-9A-Z]{18}/g, 'queued as ID')

test('a pipelined session cut anywhere gives the same output and the same mail', async () => {
  const server = await TestServer.start()
  const octets = Buffer.from(session)
  const whole = comparable(await converse(server.connectInMemory(), [octets]))
  expect(codes(whole)).toEqual([220, 250, 250, 250, 550, 250, 354, 250, 500, 500, 221])
  for (let at = 1; at < octets.length; at += 1) {
    const cut = [octets.subarray(0, at), octets.subarray(at)]
    expect(comparable(await converse(server.connectInMemory(), cut)), `cut at ${at}`).toBe(whole)
  }
  const single = Array.from(octets, (octet) => Buffer.from([octet]))
  expect(comparable(await converse(server.connectInMemory(), single))).toBe(whole)
  const bodies = new Set(
    server.queue.mails.map((mail) => bytesOf(mail).replace(/^Received:[\s\S]*\(UTC\)\r\n/, '')),
  )
  expect([...bodies]).toEqual(['Subject: x\r\n\r\n.\r\n'])
  expect(server.queue.mails).toHaveLength(octets.length + 1)
})

test('replies to commands that came together leave in one write', async () => {
  const server = await TestServer.start()
  const client = server.connectInMemory()
  const writes: string[] = []
  client.on('data', (chunk: Buffer) => writes.push(chunk.toString()))
  await until('the greeting', () => writes.length === 1)
  client.write('EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<ann@mx.test>\r\nRCPT TO:<x@d.test>\r\nDATA\r\n')
  await until('the reply to DATA', () => writes.join('').includes('354 '))
  expect(writes).toHaveLength(2)
  client.destroy()
})

test('a client that does not read is not read from', async () => {
  const server = await TestServer.start({ smtpd: { junk_command_limit: 1_000_000 } })
  const socket = server.connect()
  socket.pause()
  const burst = Buffer.from('NOOP\r\n'.repeat(10_000))
  let sent = 0
  // The kernel's buffers in between take a few MB; then nothing is taken any more.
  await within(
    'the socket to fill up',
    new Promise<void>((resolve) => {
      const write = () => {
        if (sent > 100_000_000) return
        sent += burst.length
        if (socket.write(burst)) setImmediate(write)
        else {
          const stuck = setTimeout(resolve, 300)
          socket.once('drain', () => {
            clearTimeout(stuck)
            write()
          })
        }
      }
      write()
    }),
  )
  expect(sent).toBeLessThan(100_000_000)
  socket.destroy()
  await server.sessionsEnded()
})

describe('random octets', () => {
  const words = [
    'EHLO c', 'MAIL FROM:<a@b.test>', 'RCPT TO:<ann@mx.test>', 'RCPT TO:<x@d.test>', 'DATA', '.', 'RSET', 'QUIT',
    'AUTH PLAIN', 'AUTH LOGIN', '*', 'AGFubgBzZWNyZXQ=', '\r\n', '\n', '\r', '\0', '"', '<', '>', ' ', '=', 'SIZE=',
    'STARTTLS', '\xff\xfe', '\xc3\xbc', 'x'.repeat(3000), 'Received: x', '\r\n.\r\n',
  ] // biome-ignore format: a list

  test('only replies come out, and every session ends', async () => {
    const seed = chosenSeed()
    const numbers = new Random(seed)
    const random = (below: number): number => numbers.below(below)
    const server = await TestServer.start({ smtpd: { error_sleep_time: 0 } })
    for (let round = 0; round < 400; round += 1) {
      let input = ''
      for (let i = random(60); i >= 0; i -= 1) {
        if (random(5) === 0) input += String.fromCharCode(random(256))
        else input += `${words[random(words.length)]}${random(3) === 0 ? '' : '\r\n'}`
      }
      const octets = Buffer.from(input, 'latin1')
      const chunks: Buffer[] = []
      for (let at = 0; at < octets.length; ) {
        const size = 1 + random(500)
        chunks.push(octets.subarray(at, at + size))
        at += size
      }
      const transcript = await converse(server.connectInMemory(), chunks)
      expect(transcript, `seed ${seed}, round ${round}: ${JSON.stringify(input)}`).toMatch(
        /^220 [^\r\n]+\r\n(?:[2-5][0-9]{2}[ -][ -~\u0080-\u00ff]*\r\n)*$/,
      )
    }
    await server.sessionsEnded()
    expect(server.crashes).toEqual([])
    expect(server.contentFiles()).toEqual([])
  })
})

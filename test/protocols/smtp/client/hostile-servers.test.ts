/**
 * Servers that stall, lie, split replies anywhere, flood, answer out of turn and hang up at each point: whatever they do,
 * each recipient gets exactly one result, and the delivery comes to an end.
 */
import { createServer, type Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import type { DeliveryReport } from '../../../../src/queue/contract.ts'
import { Random } from '../../../../src/testing/random.ts'
import { chosenSeed } from '../../../support/seed.ts'
import { deliver, type LogLine, recipients } from './harness.ts'

const three = recipients('a@d.test', 'b@d.test', 'c@d.test')
const waits = {
  helo_timeout: 150,
  mail_timeout: 150,
  rcpt_timeout: 150,
  data_init_timeout: 150,
  data_xfer_timeout: 300,
  data_done_timeout: 150,
  rset_timeout: 150,
  quit_timeout: 150,
}

/** A server that hands each connection to `serve`. */
async function withServer<T>(serve: (socket: Socket) => void, use: (port: number) => Promise<T>): Promise<T> {
  const sockets = new Set<Socket>()
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    serve(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    return await use((server.address() as { port: number }).port)
  } finally {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  }
}

function expectOneResultEach(report: DeliveryReport): void {
  expect(report.results.map(({ id }) => id).sort()).toEqual([1, 2, 3])
  const classes = { sent: '2', deferred: '4', bounced: '5' } as Record<string, string>
  for (const { status, dsn, reply } of report.results) {
    expect(dsn).toMatch(/^[245]\.\d{1,3}\.\d{1,3}$/)
    expect(dsn[0]).toBe(classes[status])
    // UTF-8 stays word for word; nothing else that is not text does.
    expect(reply).toMatch(/^[^\p{Cc}\p{Cs}\ufffd]*$/u)
    expect(reply.length).toBeLessThan(5_000)
  }
}

/** Feeds whole lines, and what follows DATA as one word: `.`. */
function onCommands(socket: Socket, answer: (verb: string) => void): void {
  let input = ''
  let inContent = false
  socket.on('data', (chunk) => {
    input += chunk.toString('latin1')
    for (;;) {
      if (inContent) {
        const end = input.startsWith('.\r\n') ? 3 : input.indexOf('\r\n.\r\n') + 5
        if (end < 5 && !input.startsWith('.\r\n')) return
        input = input.slice(end)
        inContent = false
        answer('.')
        continue
      }
      const lf = input.indexOf('\r\n')
      if (lf < 0) return
      const verb = input.slice(0, lf).split(/[ :]/)[0]!
      input = input.slice(lf + 2)
      inContent = verb === 'DATA'
      answer(verb)
    }
  })
}

const usual: Readonly<Record<string, string>> = {
  EHLO: '250-mx\r\n250-PIPELINING\r\n250 8BITMIME\r\n',
  LHLO: '250-mx\r\n250 PIPELINING\r\n',
  HELO: '250 mx\r\n',
  DATA: '354 go on\r\n',
  QUIT: '221 bye\r\n',
}
const usualReply = (verb: string): string => usual[verb] ?? '250 2.0.0 ok\r\n'

describe('a dialogue that ends after each octet the server sends', () => {
  test.each(['smtp', 'lmtp'] as const)('%s', { timeout: 60_000 }, async (transport) => {
    let left = 0
    let spent = 0
    const say = (socket: Socket, text: string) => {
      const part = text.slice(0, left)
      left -= part.length
      spent += part.length
      if (part.length === text.length) socket.write(part)
      else socket.end(part)
    }
    const serve = (socket: Socket) => {
      say(socket, '220 mx ESMTP\r\n')
      onCommands(socket, (verb) => {
        say(socket, verb === '.' && transport === 'lmtp' ? usualReply(verb).repeat(3) : usualReply(verb))
      })
    }
    await withServer(serve, async (port) => {
      const nexthop = transport === 'lmtp' ? `inet:127.0.0.1:${port}` : `[127.0.0.1]:${port}`
      const outcomes = new Set<string>()
      for (let cut = 0, whole = false; !whole; cut++) {
        left = cut
        spent = 0
        const report = await deliver({
          settings: waits,
          request: { transport, nexthop, recipients: three },
          environment: { protocol: transport },
        })
        expectOneResultEach(report)
        outcomes.add(report.results.map(({ status }) => status).join(' '))
        whole = spent < cut || cut > 1_000
      }
      expect(outcomes).toContain('sent sent sent')
      expect(outcomes).toContain('deferred deferred deferred')
      if (transport === 'lmtp') expect(outcomes).toContain('sent sent deferred')
    })
  })
})

describe('random hostility', () => {
  const seed = chosenSeed()
  const count = Number(process.env.RANDOM_CASES ?? 150)

  test(`seed ${seed}`, { timeout: 120_000 }, async () => {
    const numbers = new Random(seed)
    const random = (): number => numbers.next()
    const pick = <T>(...choices: readonly T[]): T => choices[Math.floor(random() * choices.length)]!
    const code = (): string =>
      pick('250', '354', '421', '450', '550', '220', '221', '000', '999', '25', '2500', '', '200-', '250-')
    const nasty = (verb: string): string =>
      pick(
        usualReply(verb),
        `${code()} x\r\n`,
        `${code()}\r\n`,
        'garbage\r\n',
        '\r\n',
        '\0\xff\r\n',
        `250-${'x'.repeat(9_000)}\r\n250 ok\r\n`,
        `${'250-more\r\n'.repeat(3_000)}250 ok\r\n`,
        usualReply(verb).replaceAll('\r\n', '\n'),
        usualReply(verb).repeat(pick(2, 3, 50)),
        'x'.repeat(200_000),
        `250 ${'\r'.repeat(10)}\n`,
      )
    const badness = () => (verb: string, socket: Socket) => {
      const mood = random()
      if (mood < 0.72) socket.write(usualReply(verb))
      else if (mood < 0.76) socket.end()
      else if (mood < 0.79) socket.resetAndDestroy()
      else if (mood < 0.81) return
      else if (mood < 0.84) socket.end(nasty(verb))
      else {
        const text = nasty(verb)
        const at = Math.floor(random() * text.length)
        socket.write(text.slice(0, at))
        setImmediate(() => !socket.destroyed && socket.write(text.slice(at)))
      }
    }
    const serve = (socket: Socket) => {
      const misbehave = badness()
      misbehave('CONNECT', socket)
      onCommands(socket, (verb) => {
        if (!socket.destroyed && socket.writable) misbehave(verb, socket)
      })
    }
    const seen = new Map<string, number>()
    await withServer(serve, async (port) => {
      for (let batch = 0; batch < count; batch += 25) {
        await Promise.all(
          Array.from({ length: 25 }, async () => {
            const transport = pick('smtp', 'smtp', 'lmtp')
            const hop = transport === 'lmtp' ? 'inet:' : ''
            const log: LogLine[] = []
            const report = await deliver({
              log,
              settings: waits,
              request: {
                transport,
                nexthop: `${hop}[127.0.0.1]:${port}, [127.0.0.1]:${port}`,
                recipients: three,
                content: { bytes: Buffer.from(`Subject: x\r\n\r\n${'y'.repeat(pick(10, 300_000))}\r\n`) },
              },
              environment: {
                protocol: transport as 'smtp' | 'lmtp',
                notifyClasses: pick([], ['protocol', 'data']),
              },
            })
            expectOneResultEach(report)
            for (const { status } of report.results) seen.set(status, (seen.get(status) ?? 0) + 1)
          }),
        )
      }
    })
    for (const status of ['sent', 'deferred', 'bounced'])
      expect(seen.get(status) ?? 0, status).toBeGreaterThan(0)
  })
})

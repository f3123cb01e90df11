import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ContentEncoder } from '../../../../../src/protocols/smtp/client/content/encoder.ts'
import { Random } from '../../../../../src/testing/random.ts'
import { chosenSeed } from '../../../../support/seed.ts'
import { bodyOf, deliver, outcome } from '../harness.ts'
import { ScriptedServer } from '../scripted-server.ts'

function encode(text: string, limit = 998, cuts: readonly number[] = []): string {
  const encoder = new ContentEncoder(limit)
  const bytes = Buffer.from(text, 'latin1')
  let out = ''
  let from = 0
  for (const cut of [...cuts, bytes.length]) {
    out += encoder.encode(bytes.subarray(from, cut)).toString('latin1')
    from = cut
  }
  return out + encoder.finish()
}

const x = (count: number) => 'x'.repeat(count)

describe('content on the wire', () => {
  test.each([
    ['H01 a line of 998', `${x(998)}\r\n`, `${x(998)}\r\n.\r\n`],
    ['H02 a line of 999', `${x(999)}\r\n`, `${x(998)}\r\n x\r\n.\r\n`],
    ['H03 a line of 2000', `${x(2000)}\r\n`, `${x(998)}\r\n ${x(997)}\r\n ${x(5)}\r\n.\r\n`],
    ['H05 dots', '.\r\n..\r\n.a\r\n', '..\r\n...\r\n..a\r\n.\r\n'],
    ['H06 a dot after a fold', `${x(998)}.y\r\n`, `${x(998)}\r\n .y\r\n.\r\n`],
    ['H07 no final newline', 'a\r\nb', 'a\r\nb\r\n.\r\n'],
    ['nothing', '', '.\r\n'],
    ['dots elsewhere', 'a.\r\na.b\r\n', 'a.\r\na.b\r\n.\r\n'],
    ['a bare LF before a dot', 'a\n.\r\nb\r\n', 'a\n..\r\nb\r\n.\r\n'],
    ['a last line that is too long', x(999), `${x(998)}\r\n x\r\n.\r\n`],
    ['a CR at the end', 'a\r', 'a\r\r\n.\r\n'],
  ])('%s', (_, text, wanted) => {
    expect(encode(text)).toBe(wanted)
  })

  test('limit 0 never folds', () => {
    expect(encode(`${x(5000)}\r\n`, 0)).toBe(`${x(5000)}\r\n.\r\n`)
  })

  test('what needs no change is the same buffer', () => {
    const bytes = bodyOf(4_096)
    expect(new ContentEncoder(998).encode(bytes)).toBe(bytes)
  })

  test('the result does not depend on where chunks end', () => {
    const seed = chosenSeed()
    const numbers = new Random(seed)
    const random = (n: number) => numbers.below(n)
    for (let round = 0; round < 300; round++) {
      let text = ''
      for (let i = random(12); i >= 0; i--) {
        text += ['.', '..', 'a', '\r\n', '\n', '\r', x(random(30)), '.x'][random(8)]
      }
      const whole = encode(text, 10)
      const cuts = Array.from({ length: random(5) }, () => random(text.length + 1)).sort((a, b) => a - b)
      expect(encode(text, 10, cuts), `seed ${seed}, round ${round}, cuts ${cuts}`).toBe(whole)
      // What the server makes of it: no line of content is a lone dot.
      expect(whole.slice(0, -3).split('\r\n').slice(0, -1)).not.toContain('.')
    }
  })
})

describe('content from a file', () => {
  const withFile = async (bytes: Buffer, use: (file: string) => Promise<void>) => {
    const dir = await mkdtemp(join(tmpdir(), 'mailactors-content-'))
    try {
      const file = join(dir, 'q1')
      await writeFile(file, bytes)
      await use(file)
    } finally {
      await rm(dir, { recursive: true })
    }
  }

  test('arrives whole', async () => {
    const bytes = Buffer.concat([bodyOf(500_000), Buffer.from('.\r\n.dot\r\n'), bodyOf(300_000)])
    await withFile(bytes, async (file) => {
      await using server = await ScriptedServer.start({ keywords: ['PIPELINING'] })
      const report = await deliver({
        request: {
          nexthop: `[127.0.0.1]:${server.port}`,
          content: { file, size: bytes.length },
          size: bytes.length,
        },
      })
      expect(outcome(report)).toEqual(['sent'])
      const received = server.sessions[0]!.content[0]!
      expect(received.endsWith('\r\n.\r\n')).toBe(true)
      expect(received.slice(0, -3).replace(/^\./gm, '')).toBe(bytes.toString('latin1'))
    })
  })

  test('H23 a file that is too short: no dot, no QUIT', async () => {
    const bytes = bodyOf(200_000)
    await withFile(bytes, async (file) => {
      await using server = await ScriptedServer.start({})
      const report = await deliver({
        request: { nexthop: `[127.0.0.1]:${server.port}`, content: { file, size: 300_000 } },
      })
      expect(outcome(report)).toEqual(['bounced 5.3.0'])
      await server.until(() => server.sessions[0]!.closed)
      expect(server.commands).not.toContain('CONTENT')
      expect(server.commands).not.toContain('QUIT')
    })
  })

  test('a file that is gone', async () => {
    await using server = await ScriptedServer.start({})
    const report = await deliver({
      request: { nexthop: `[127.0.0.1]:${server.port}`, content: { file: '/nonexistent/q', size: 300_000 } },
    })
    expect(outcome(report)).toEqual(['bounced 5.3.0'])
  })

  test('G11 the server says why and hangs up in the middle', async () => {
    const bytes = bodyOf(20_000_000)
    await withFile(bytes, async (file) => {
      await using server = await ScriptedServer.start({
        interrupt: { after: 100_000, reply: '552 5.3.4 too big' },
      })
      const report = await deliver({
        request: {
          nexthop: `[127.0.0.1]:${server.port}`,
          content: { file, size: bytes.length },
          size: bytes.length,
        },
      })
      expect(outcome(report)).toEqual(['bounced 5.3.4'])
      expect(server.commands).not.toContain('QUIT')
    })
  })
})

/** Lines at their limits, whole and in two pieces: the numbers are what a Dovecot 2.3 does. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Pop3Server } from './harness.ts'

let server: Pop3Server
beforeAll(async () => {
  server = await Pop3Server.start({ set: ['limits.max_userip_connections=0'] })
})
afterAll(() => server.stop())

const login = ['USER alice\r\n', 'PASS secret\r\n']
const user = (octets: number, end: string) => `USER ${'x'.repeat(octets)}${end}`

const cases: readonly (readonly [name: string, before: readonly string[], line: string, taken: boolean])[] = [
  ['L2 before login, CRLF', [], user(1024, '\r\n'), true],
  ['L2 before login, CRLF', [], user(1025, '\r\n'), false],
  ['L2 before login, LF', [], user(1025, '\n'), true],
  ['L2 before login, LF', [], user(1026, '\n'), false],
  ['L2 nothing but a verb', [], `${'x'.repeat(1024)}\r\n`, true],
  ['C22 an initial response', [], `AUTH PLAIN ${'A'.repeat(8191)}\r\n`, true],
  ['C22 an initial response', [], `AUTH PLAIN ${'A'.repeat(8192)}\r\n`, false],
  ['C22 an answer to a challenge', ['AUTH PLAIN\r\n'], `${'A'.repeat(8191)}\r\n`, true],
  ['C22 an answer to a challenge', ['AUTH PLAIN\r\n'], `${'A'.repeat(8192)}\r\n`, false],
  ['R11 after login, CRLF', login, `NOOP ${'x'.repeat(2041)}\r\n`, true],
  ['R11 after login, CRLF', login, `NOOP ${'x'.repeat(2042)}\r\n`, false],
  ['R11 after login, LF', login, `NOOP ${'x'.repeat(2042)}\n`, true],
  ['R11 after login, LF', login, `NOOP ${'x'.repeat(2043)}\n`, false],
]

describe.each(cases)('%s', (_, before, line, taken) => {
  test.each([0, 1, 2, 600])(
    `${line.length} octets are ${taken ? 'taken' : 'too many'}, %i apart`,
    async (last) => {
      const client = await server.connect()
      await client.line()
      for (const earlier of before) {
        client.send(earlier)
        await client.line()
      }
      client.send(line.slice(0, line.length - last))
      await client.flushed()
      client.send(`${line.slice(line.length - last)}QUIT\r\n`)
      // Of a response that is too long nothing is said.
      const answers = (await client.rest()).split('\r\n').filter(Boolean)
      expect(answers.at(-1) ?? '', answers.join()).toMatch(
        taken ? /^\+OK goodbye/ : /^(-ERR command line too long)?$/,
      )
    },
  )
})

test('without an end it is too long as soon as it can have none', async () => {
  for (const [before, line] of [
    [[], `USER ${'x'.repeat(1027)}`],
    [['AUTH PLAIN\r\n'], 'A'.repeat(8193)],
    [[], `AUTH PLAIN ${'A'.repeat(8193)}`],
    [login, 'x'.repeat(2049)],
  ] as const) {
    const client = await server.connect()
    client.send([...before, line].join(''))
    await client.rest()
  }
})

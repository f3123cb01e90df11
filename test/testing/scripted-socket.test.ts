import { afterEach, expect, test } from 'vitest'
import { actor, type Contract } from '../../src/index.ts'
import { ScriptedSocket, TestSystem } from '../../src/testing/index.ts'

/** Greets, answers each line in capitals, says goodbye to QUIT, and hangs up after a minute of silence. */
const shouting = actor<Contract<{ idle(since: number): void }>>({
  name: 'shouting',
  module: import.meta.url,
  init(context) {
    const socket = context.takeSocket()!
    let lines = 0
    let rest = ''
    const touch = () => context.sendAfter(60_000, 'idle', ++lines)
    socket.write('hello\r\n')
    socket.on(
      'data',
      context.bind((chunk: Buffer) => {
        rest += chunk.toString('latin1')
        for (let end = rest.indexOf('\r\n'); end >= 0; end = rest.indexOf('\r\n')) {
          const line = rest.slice(0, end)
          rest = rest.slice(end + 2)
          if (line === 'QUIT') socket.end('bye\r\n')
          else socket.write(`${line.toUpperCase()}\r\n`)
        }
        touch()
      }),
    )
    socket.on(
      'end',
      context.bind(() => context.stop()),
    )
    touch()
    return {
      idle(since) {
        if (since === lines) socket.end('idle\r\n')
      },
    }
  },
})

let system: TestSystem
afterEach(() => system?.stop())

async function connect(): Promise<ScriptedSocket> {
  system = await TestSystem.start()
  const connection = new ScriptedSocket()
  system.spawn(shouting, undefined, { socket: connection.socket })
  return connection
}

test('a dialog is played line by line', async () => {
  const connection = await connect()
  await system.run(
    connection.play(`
      # The second and the third line go out together.
      S: hello
      C: one
      C: two
      S: ONE
      S~ ^T.O$
      C: QUIT
      S: bye
      close
    `),
  )
  expect(connection.hasEnded).toBe(true)
})

test('the clock of the test decides what is idle', async () => {
  const connection = await connect()
  await system.run(connection.play('S: hello'))
  await system.advance(59_000)
  await system.run(connection.play('C: x\nS: X'))
  await system.advance(59_000)
  expect([connection.received, connection.hasEnded]).toEqual(['', false])
  await system.advance(1_000)
  await system.run(connection.play('S: idle\nclose'))
})

test('a client that leaves is seen by the actor', async () => {
  const connection = await connect()
  await system.run(connection.play('S: hello'))
  connection.end()
  await system.until('the end of the actor', () => system.terminated.length === 1)
})

test.each([
  { name: 'another line', script: 'S: hi', message: "line 1: expected 'hi', got 'hello'" },
  { name: 'no match', script: '\nS~ ^x', message: "line 2: expected '^x', got 'hello'" },
  { name: 'an end too early', script: 'C: QUIT\nS: hello\nS: bye\nS: more', message: 'the connection ended' },
  { name: 'no end', script: 'S: hello\nC: a\nC: QUIT\nclose', message: 'expected the end, got' },
  { name: 'no line of a script', script: 'X: hello', message: 'begins with none of' },
])('what does not fit the script fails: $name', async ({ script, message }) => {
  const connection = await connect()
  await expect(system.run(connection.play(script))).rejects.toMatchObject({
    code: 'MA_SCRIPT',
    message: expect.stringContaining(message),
  })
})

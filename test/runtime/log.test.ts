import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createLogger, type LogOptions } from '../../src/runtime/log.ts'

function recorded(options: Partial<LogOptions>, bindings: object = {}) {
  const lines: string[] = []
  const destination = { write: (line: string) => void lines.push(line) }
  const log = createLogger({ level: 'info', format: 'json', destination, ...options }, bindings)
  const facts = () => lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  return { log, lines, facts }
}

describe('a JSON line', () => {
  test('has time, level as a word, event, msg, and the bindings', () => {
    const { log, lines, facts } = recorded({}, { component: 'smtp', thread: 2 })
    log.child({ actor: 7 }).warn({ event: 'mail.accepted', octets: 12 }, 'mail accepted')
    expect(lines[0]!.endsWith('}\n')).toBe(true)
    expect(facts()[0]).toEqual({
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      level: 'warn',
      component: 'smtp',
      thread: 2,
      actor: 7,
      event: 'mail.accepted',
      octets: 12,
      msg: 'mail accepted',
    })
  })

  test('below the level is not written, and the level can be changed', () => {
    const { log, lines } = recorded({ level: 'warn' })
    log.info({ event: 'a' })
    expect(log.isLevelEnabled('info')).toBe(false)
    log.level = 'debug'
    log.debug({ event: 'b' })
    expect(lines).toHaveLength(1)
  })

  test('says of an error what it is and where', () => {
    const { log, facts } = recorded({})
    log.error({ event: 'x', err: new RangeError('too far') }, 'failed')
    expect(facts()[0]!.err).toMatchObject({
      type: 'RangeError',
      message: 'too far',
      stack: expect.any(String),
    })
  })

  test.each([
    { name: 'password', facts: { password: 'hunter2' } },
    { name: 'any case', facts: { Authorization: 'hunter2' } },
    { name: 'the end of a longer name', facts: { clientSecret: 'hunter2', bearerToken: 'hunter2' } },
    { name: 'nested', facts: { request: { headers: [{ token: 'hunter2' }] } } },
  ])('has no secrets: $name', ({ facts }) => {
    const before = structuredClone(facts)
    const { log, lines } = recorded({})
    log.info({ event: 'login', ...facts }, 'login')
    log.child(facts).info({ event: 'child' })
    expect(lines.join('')).not.toContain('hunter2')
    expect(lines.join('')).toContain('[redacted]')
    expect(facts).toEqual(before)
  })

  test.each([
    { name: 'a long text', facts: { text: 'x'.repeat(100_000) } },
    { name: 'text outside ASCII', facts: { text: '漢'.repeat(1_500) } },
    { name: 'a long list', facts: { to: Array.from({ length: 5_000 }, (_, i) => `user${i}@example.org`) } },
    {
      name: 'many keys',
      facts: Object.fromEntries(Array.from({ length: 5_000 }, (_, i) => [`key${i}`, `value${i}`])),
    },
    { name: 'a long sentence', facts: { actor: 'y'.repeat(9_000) } },
  ])('is never longer than 4096 octets, and stays JSON with its event: $name', ({ facts }) => {
    const { log, lines, facts: parsed } = recorded({}, { component: 'c', thread: 1 })
    log.info({ event: 'long', ...facts }, 'long')
    expect(Buffer.byteLength(lines[0]!)).toBeLessThanOrEqual(4096)
    expect(parsed()[0]).toMatchObject({
      event: 'long',
      component: 'c',
      thread: 1,
      truncated: expect.any(Number),
    })
  })
})

describe('formats', () => {
  test.each([
    { format: 'auto', isTerminal: false, starts: '{' },
    { format: 'auto', isTerminal: true, starts: '[' },
    { format: 'json', isTerminal: true, starts: '{' },
    { format: 'pretty', isTerminal: false, starts: '[' },
  ] as const)('$format with isTerminal $isTerminal starts with $starts', ({ format, isTerminal, starts }) => {
    const { log, lines } = recorded({ format, isTerminal })
    log.info({ event: 'ready' }, 'ready')
    expect(lines[0]!.startsWith(starts)).toBe(true)
    expect(lines[0]).toContain('ready')
  })

  test('syslog prints event and facts, in one line whatever a peer sent', () => {
    const { log, lines } = recorded({ format: 'syslog', host: 'mx' }, { component: 'smtp', thread: 3 })
    log.warn({ event: 'peer', reply: 'no\nJan  1 00:00:00 mx forged', n: 1 }, 'sentence')
    expect(lines[0]).toMatch(
      /^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d mx mailactors\/smtp\[3\]: warning: peer reply="no\\nJan {2}1 00:00:00 mx forged" n=1\n$/,
    )
  })

  test('syslog lines of an event can be made by its owner', () => {
    const { log, lines } = recorded({
      format: 'syslog',
      host: 'mx',
      syslogFormats: {
        delivery: ({ queueId, to }) => `postfix/smtp[1]: ${queueId}: to=<${to}>,\nstatus=sent`,
      },
    })
    log.info({ event: 'delivery', queueId: '4B1', to: 'a@b' })
    expect(lines[0]).toMatch(/ mx postfix\/smtp\[1\]: 4B1: to=<a@b>,\?status=sent\n$/)
  })
})

describe('lines of several threads', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'mailactors-log-'))
  })
  afterEach(() => {
    rmSync(folder, { recursive: true })
  })

  const program = fileURLToPath(new URL('./log-program.ts', import.meta.url))

  /** Each thread's lines are whole, in order, and not fewer than it handed over. */
  function check(output: string, counts: string): void {
    const handedOver = JSON.parse(counts) as number[]
    const seen = handedOver.map(() => 0)
    let last = 0
    for (const line of output.split('\n').slice(0, -1)) {
      const {
        event,
        thread,
        line: number,
      } = JSON.parse(line) as { event: string; thread: number; line: number }
      if (event === 'last') last++
      else expect(number).toBe(seen[thread]!++)
    }
    expect(last).toBe(1)
    for (const [thread, count] of handedOver.entries()) {
      expect(count).toBeGreaterThanOrEqual(100)
      expect(seen[thread]).toBeGreaterThanOrEqual(count)
    }
  }

  test.each([
    { how: 'exit', pipe: 'blocking' },
    { how: 'kill', pipe: 'blocking' },
    { how: 'terminate', pipe: 'blocking' },
    { how: 'exit', pipe: 'nonblocking' },
    { how: 'kill', pipe: 'nonblocking' },
    { how: 'terminate', pipe: 'nonblocking' },
  ])('reach a slow reader whole and complete: $how, $pipe', async ({ how, pipe }) => {
    const child = spawn(process.execPath, [program, how, pipe], { stdio: ['ignore', 'pipe', 'pipe'] })
    const ended = once(child, 'close')
    let counts = ''
    child.stderr.on('data', (chunk) => {
      counts += chunk
    })
    let output = ''
    child.stdout.setEncoding('utf8')
    let chunks = 0
    for await (const chunk of child.stdout) {
      output += chunk
      // Slow enough that the writers find the pipe full; this is load, not a wait for something.
      if (chunks++ < 50) await pause(2)
    }
    await ended
    check(output, counts)
  })

  test.each([{ how: 'exit' }, { how: 'kill' }, { how: 'terminate' }])(
    'are whole and complete in a file: $how',
    async ({ how }) => {
      const path = join(folder, 'log')
      const fd = openSync(path, 'a')
      const child = spawn(process.execPath, [program, how, 'blocking'], { stdio: ['ignore', fd, 'pipe'] })
      closeSync(fd)
      let counts = ''
      child.stderr!.on('data', (chunk) => {
        counts += chunk
      })
      await once(child, 'close')
      check(readFileSync(path, 'utf8'), counts)
    },
  )

  test('through a real pipe are whole and complete', async () => {
    const child = spawn(
      'sh',
      ['-c', '"$0" "$1" terminate nonblocking | (sleep 0.2; cat)', process.execPath, program],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    )
    const ended = once(child, 'close')
    let counts = ''
    child.stderr.on('data', (chunk) => {
      counts += chunk
    })
    let output = ''
    child.stdout.setEncoding('utf8')
    for await (const chunk of child.stdout) output += chunk
    await ended
    check(output, counts)
  })
})

describe('an output that fails', () => {
  test('loses the line and nothing else', () => {
    // Writing to a descriptor that is open for reading fails as a full disk does.
    const fd = openSync(fileURLToPath(import.meta.url), 'r')
    try {
      const log = createLogger({ level: 'info', format: 'json', fd })
      expect(() => log.info({ event: 'unheard' }, 'nobody reads this')).not.toThrow()
    } finally {
      closeSync(fd)
    }
  })
})

import { describe, expect, test } from 'vitest'
import { CommandError } from '../../src/admin/command-error.ts'
import { commandFailure } from '../../src/admin/commands.ts'
import { RequestReader } from '../../src/admin/control.ts'

function readAll(input: Buffer, cut: number): { command: string; content: string }[] {
  const reader = new RequestReader()
  const requests: { command: string; content: string }[] = []
  for (let start = 0; start < input.length; start += cut) {
    reader.push(input.subarray(start, start + cut))
    for (let request = reader.next(); request !== undefined; request = reader.next()) {
      requests.push({ command: request.command, content: request.content.toString() })
    }
  }
  return requests
}

describe('control requests', () => {
  test('come out the same however the octets are cut', () => {
    const input = Buffer.from(
      '{"command":"status"}\n{"command":"submit","octets":7}\na\n{b}\r\n{"command":"tree","args":{}}\n',
    )
    const whole = readAll(input, input.length)
    expect(whole).toEqual([
      { command: 'status', content: '' },
      { command: 'submit', content: 'a\n{b}\r\n' },
      { command: 'tree', content: '' },
    ])
    for (let cut = 1; cut < input.length; cut++) expect(readAll(input, cut)).toEqual(whole)
  })

  test.each([
    { name: 'no JSON', line: 'status\n', message: 'request is not JSON' },
    { name: 'no command', line: '{}\n', message: 'request has no command' },
    { name: 'null', line: 'null\n', message: 'request has no command' },
    { name: 'args of another type', line: '{"command":"x","args":3}\n', message: 'args must be an object' },
    { name: 'negative octets', line: '{"command":"x","octets":-1}\n', message: /octets must be/ },
    { name: 'endless line', line: 'x'.repeat(1024 * 1024 + 1), message: 'request line too long' },
  ])('$name is refused', ({ line, message }) => {
    const reader = new RequestReader()
    reader.push(Buffer.from(line))
    expect(() => reader.next()).toThrow(message)
  })
})

describe('command failures', () => {
  test('keep their exit code', () => {
    expect(commandFailure(new CommandError(66, 'gone'))).toEqual({ exitCode: 66, message: 'gone' })
  })

  test('say nothing of the inside when they were not foreseen', () => {
    expect(commandFailure(new TypeError('x is undefined')).message).not.toContain('undefined')
  })
})

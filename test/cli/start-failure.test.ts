import { expect, test } from 'vitest'
import { CommandFailure, systemFailure } from '../../src/cli/exit.ts'
import { startFailure } from '../../src/cli/start-failure.ts'
import { StartError } from '../../src/runtime/system.ts'

const failed = (message: string) =>
  new StartError('the system did not start: x', {}, { cause: { kind: 'error', message, code: 'MA_LISTEN' } })

test.each([
  {
    message:
      'listeners: cannot listen on 127.0.0.1:25: listen EADDRINUSE: address already in use 127.0.0.1:25',
    exitCode: 69,
    line: /^cannot listen on 127\.0\.0\.1:25: already in use .*\(.+\)$/,
  },
  {
    message: 'cannot listen on /x/l.sock: another process does',
    exitCode: 69,
    line: /^cannot listen on \/x\/l\.sock: /,
  },
  {
    message: 'cannot listen on 1.2.3.4:25: listen EADDRNOTAVAIL',
    exitCode: 69,
    line: /not an address of this machine/,
  },
  {
    message: 'cannot listen on [::]:25: listen EACCES: permission denied :::25',
    exitCode: 77,
    line: /^cannot listen on \[::\]:25: permission denied \(ports below 1024/,
  },
  {
    message: 'cannot listen on unix:/x/l.sock: listen EACCES: permission denied /x/l.sock',
    exitCode: 77,
    line: /^cannot listen on unix:\/x\/l\.sock: permission denied \(check owner and mode of its folder/,
  },
  {
    message: 'child x did not start: cannot listen on unix:/x/l.sock: there is a file that is no socket',
    exitCode: 73,
    line: /^cannot listen on unix:\/x\/l\.sock: there is a file that is no socket \(.+\)$/,
  },
  {
    message:
      'child stores did not start: child queue did not start: the queue was written by a later version',
    exitCode: 65,
    line: /^the queue was written by a later version \(.+\)$/,
  },
  { message: "EACCES: permission denied, open '/d/queue.db'", exitCode: 77, line: /data_dir/ },
  { message: 'database or disk is full', exitCode: 73, line: /make room/ },
  { message: 'something of ours', exitCode: 69, line: /^cannot start: something of ours$/ },
])('$message ends with $exitCode', ({ message, exitCode, line }) => {
  expect(startFailure(failed(message))).toMatchObject({ exitCode, lines: [expect.stringMatching(line)] })
})

test('a bug is not dressed up as a failure to start', () => {
  const bug = new TypeError('x is not a function')
  expect(startFailure(bug)).toBe(bug)
})

test('a failure that says how it ends is left alone', () => {
  const failure = new CommandFailure(75, 'busy')
  expect(startFailure(failure)).toBe(failure)
})

test.each([
  ['ENOENT', 66],
  ['EACCES', 77],
  ['EROFS', 73],
  ['ENOSPC', 74],
  ['EWHATEVER', 74],
])('%s of a file ends with %d', (code, exitCode) => {
  expect(systemFailure(Object.assign(new Error('x'), { code })).exitCode).toBe(exitCode)
})

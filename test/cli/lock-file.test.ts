import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { lockHolder, takeLock, waitForLock } from '../../src/cli/lock-file.ts'

let dir: string
let path: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ma-'))
  path = join(dir, 'lock')
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

function taken() {
  const result = takeLock(path)
  if (!('lock' in result)) throw new Error(`held by ${result.holder.pid}`)
  return result.lock
}

test('a lock names its process, and is gone after release', () => {
  const lock = taken()
  expect(lockHolder(path)).toMatchObject({ pid: process.pid })
  expect(takeLock(path)).toMatchObject({ holder: { pid: process.pid } })
  lock.release()
  expect(readdirSync(dir)).toEqual([])
  expect(lockHolder(path)).toBeUndefined()
})

test.each([
  {
    name: 'of a process that is gone',
    content: JSON.stringify({ pid: 2 ** 22 + 1, started: 'x', since: 'y' }),
  },
  {
    name: 'whose pid is somebody else’s now',
    content: JSON.stringify({ pid: process.pid, started: 'another boot', since: 'y' }),
  },
  { name: 'that is empty', content: '' },
  { name: 'that is junk', content: '\0\x01junk' },
  { name: 'with a wrong pid', content: '{"pid":-1}' },
])('a lock $name is taken over', ({ content }) => {
  writeFileSync(path, content)
  expect(lockHolder(path)).toBeUndefined()
  taken().release()
  expect(readdirSync(dir)).toEqual([])
})

test('a lock that somebody took over is not ours to release', () => {
  const lock = taken()
  const others = '{"pid":1,"started":"","since":""}\n'
  writeFileSync(path, others)
  lock.release()
  expect(readFileSync(path, 'utf8')).toBe(others)
})

test('of many processes that find a stale lock exactly one gets it', async () => {
  writeFileSync(path, JSON.stringify({ pid: 2 ** 22 + 1, started: 'x', since: 'y' }))
  const module = JSON.stringify(new URL('../../src/cli/lock-file.ts', import.meta.url).href)
  // Each says what it got, and holds on until its stdin ends.
  const program = `import(${module}).then(({ takeLock }) => {
    process.stdout.write('lock' in takeLock(${JSON.stringify(path)}) ? 'got it' : 'held')
    process.stdin.resume()
  })`
  const children = Array.from({ length: 6 }, () => spawn(process.execPath, ['-e', program]))
  const answers = await Promise.all(
    children.map(
      (child) => new Promise((resolve) => child.stdout.once('data', (text) => resolve(String(text)))),
    ),
  )
  expect(answers.toSorted()).toEqual(['got it', 'held', 'held', 'held', 'held', 'held'])
  await Promise.all(
    children.map((child) => {
      const ended = new Promise((resolve) => child.once('exit', resolve))
      child.stdin.end()
      return ended
    }),
  )
  expect(lockHolder(path)).toBeUndefined()
})

test('who waits gets the lock when it is released', async () => {
  const lock = taken()
  const waiting = waitForLock(path, 10_000)
  lock.release()
  expect(await waiting).toHaveProperty('lock')
  expect(await waitForLock(path, 0)).toHaveProperty('holder')
})

test('a folder that cannot be written is the system’s error', () => {
  expect(() => takeLock(join(dir, 'none', 'lock'))).toThrow(expect.objectContaining({ code: 'ENOENT' }))
})

/** `bin/mailactors.js` on a Node that is too old for the rest: it hands over, or says so. */
import { spawn, spawnSync } from 'node:child_process'
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { binary } from '../support/service.ts'
import { until } from '../support/until.ts'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ma-'))
  mkdirSync(join(dir, 'bin'))
  for (const name of ['mailactors.js', 'package.json'])
    copyFileSync(join(dirname(binary), name), join(dir, 'bin', name))
  // Plays the program: says with what it runs, then does what its argument says.
  writeFileSync(
    join(dir, 'bin', 'start.js'),
    `const [what] = process.argv.slice(2)
     console.log(process.execPath, process.env.UV_THREADPOOL_SIZE)
     if (what === 'wait') { setInterval(() => {}, 1000); process.on('SIGTERM', () => process.exit(7)) }
     else if (what === 'crash') process.kill(process.pid, 'SIGKILL')
     else process.exitCode = Number(what)`,
  )
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

/** Tells the file that it runs on an old Node; what it hands over to does not hear of it. */
const old = ['-r', './old.cjs']
function actOld(): void {
  writeFileSync(join(dir, 'old.cjs'), "Object.defineProperty(process, 'version', { value: 'v18.20.0' })")
}

function pin(): void {
  mkdirSync(join(dir, 'node_modules', 'node', 'bin'), { recursive: true })
  symlinkSync(realpathSync(process.execPath), join(dir, 'node_modules', 'node', 'bin', 'node'))
}

const run = (nodeArgs: readonly string[], ...args: string[]) =>
  spawnSync(process.execPath, [...nodeArgs, 'bin/mailactors.js', ...args], { cwd: dir, encoding: 'utf8' })

test('a Node that is new enough runs it itself, with sixteen threads for files', () => {
  expect(run([], '3')).toMatchObject({ status: 3, stdout: `${process.execPath} 16\n`, stderr: '' })
})

describe('a Node that is too old', () => {
  test('with no other at hand says so in one line and ends with 78', () => {
    actOld()
    expect(run(old, '0')).toMatchObject({
      status: 78,
      stdout: '',
      stderr: expect.stringMatching(/^mailactors: Node v18\.20\.0 is too old: .*\(.+\)\n$/),
    })
  })

  test('hands over to the one of the checkout: exit code, signal and output are its own', () => {
    actOld()
    pin()
    expect(run(old, '42')).toMatchObject({ status: 42, stdout: expect.stringMatching(/ 16\n$/), stderr: '' })
    expect(run(old, 'crash')).toMatchObject({ status: null, signal: 'SIGKILL' })
  })

  test('passes signals on', async () => {
    actOld()
    pin()
    const child = spawn(process.execPath, [...old, 'bin/mailactors.js', 'wait'], { cwd: dir })
    let output = ''
    child.stdout.on('data', (chunk) => {
      output += String(chunk)
    })
    const ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })))
    await until('the program', () => output.includes('16'))
    child.kill('SIGTERM')
    expect(await ended).toEqual({ code: 7, signal: null })
  })
})

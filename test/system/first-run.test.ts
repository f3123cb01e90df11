/** The first minute of a new user: no configuration, three printed lines that work as printed. */
import { spawn } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { findProgram } from '../../bench/harness/processes.ts'
import { tempDir } from '../support/fixtures.ts'
import { because, whyNotNamespace } from '../support/privileges.ts'
import { binary, type CommandResult, runProgram } from '../support/service.ts'
import { until } from '../support/until.ts'

const reason = whyNotNamespace() ?? (findProgram('curl') === undefined ? 'curl not installed' : undefined)

/** A directory in which `npx mailactors` is this project and `node` is the node of this test. */
function userDirectory(): string {
  const dir = tempDir()
  const bin = join(dir, 'node_modules', '.bin')
  mkdirSync(bin, { recursive: true })
  symlinkSync(binary, join(bin, 'mailactors'))
  symlinkSync(realpathSync(process.execPath), join(bin, 'node'))
  return dir
}

interface FirstRun {
  readonly pid: number
  output(): string
  shell(line: string): Promise<CommandResult>
  stop(): Promise<number | null>
}

/** `mailactors serve` without a configuration, on the default ports of a loopback of its own. */
async function serve(dir: string, name: string): Promise<FirstRun> {
  const file = join(dir, `${name}.log`)
  const out = openSync(file, 'a')
  const env = {
    ...process.env,
    PATH: `${join(dir, 'node_modules', '.bin')}:${dirname(process.execPath)}:${process.env.PATH}`,
    HOME: dir,
    XDG_CONFIG_HOME: join(dir, 'none'),
    MAILACTORS_FROM_SOURCE: '1',
  }
  const script = 'ip link set lo up && exec "$0" "$@"'
  const child = spawn('unshare', ['-n', 'bash', '-c', script, process.execPath, binary, 'serve'], {
    cwd: dir,
    env,
    stdio: ['ignore', out, out],
  })
  closeSync(out)
  const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)))
  onTestFinished(() => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
  })
  const output = (): string => readFileSync(file, 'utf8')
  await until('ready', () => output().includes('"event":"ready"') || child.exitCode !== null, {
    deadlineMs: 20_000,
    describe: output,
  })
  expect(output()).toContain('"event":"ready"')
  const pid = child.pid ?? 0
  return {
    pid,
    output,
    shell: (line) => runProgram('nsenter', ['-t', `${pid}`, '-n', 'bash', '-c', line], { cwd: dir, env }),
    stop: () => {
      child.kill('SIGTERM')
      return ended
    },
  }
}

describe.skipIf(reason !== undefined)(`the first run${because(reason)}`, () => {
  test('the three printed lines work as printed', { timeout: 60_000 }, async () => {
    const dir = userDirectory()
    const service = await serve(dir, 'first')
    const lines = service
      .output()
      .split('\n')
      .map((line) => line.trim())
    const smtp = lines.find((line) => /curl .*smtp:\/\/127\.0\.0\.1:2525/.test(line)) ?? ''
    const pop3 = lines.find((line) => /curl .*pop3:\/\/127\.0\.0\.1:1110\/1/.test(line)) ?? ''
    const send = lines.find((line) => line.includes('npx mailactors send')) ?? ''
    expect({ smtp, pop3, send }).not.toMatchObject({ smtp: '' })
    expect(pop3).toMatch(/-u '?"?demo:\S+/)
    expect(send).not.toBe('')

    // A welcome message is waiting.
    const welcome = await service.shell(pop3)
    expect(welcome).toMatchObject({ code: 0 })
    expect(welcome.stdout).toMatch(/^Subject: /m)

    const list = async (): Promise<number> => {
      const { stdout } = await service.shell(pop3.replace(/(:1110\/)1/, '$1'))
      return stdout.split('\n').filter((line) => /^\d+ \d+/.test(line)).length
    }
    expect(await list()).toBe(1)
    expect(await service.shell(smtp)).toMatchObject({ code: 0 })
    await until('the mail sent by curl', async () => (await list()) === 2)
    expect(await service.shell(send)).toMatchObject({ code: 0 })
    await until('the mail sent by mailactors send', async () => (await list()) === 3)

    expect(await service.stop()).toBe(0)

    // The password is printed once, on the very first run; it still works.
    const again = await serve(dir, 'second')
    expect(again.output()).not.toMatch(/demo:\S+/)
    expect((await again.shell(pop3)).code).toBe(0)
    expect(await again.stop()).toBe(0)
  })

  test('a password that was made but never shown is made again', { timeout: 60_000 }, async () => {
    const dir = userDirectory()
    const data = join(dir, 'mailactors-data')
    // As a kill leaves it between the writing of the passwd-file and the printing of the password.
    mkdirSync(join(data, 'mail', 'demo', 'Maildir', 'new'), { recursive: true })
    const welcome = join(data, 'mail', 'demo', 'Maildir', 'new', '1.welcome.host')
    writeFileSync(welcome, 'Subject: never seen\n\n')
    writeFileSync(join(data, 'first-run'), welcome)
    writeFileSync(join(data, 'users'), 'other:{PLAIN}secret::::::\ndemo:{PLAIN}unknown::::::\n')

    const service = await serve(dir, 'first')
    const pop3 = /curl pop3:\/\/127\.0\.0\.1:1110\/1 -u demo:\S+/.exec(service.output())?.[0] ?? ''
    expect(pop3).not.toBe('')
    const fetched = await service.shell(pop3)
    expect(fetched.stdout).toContain('Welcome')
    expect(fetched.stdout).not.toContain('never seen')
    expect(readFileSync(join(data, 'users'), 'utf8')).toContain('other:{PLAIN}secret')
    expect(existsSync(join(data, 'first-run'))).toBe(false)
    expect(await service.stop()).toBe(0)
  })
})

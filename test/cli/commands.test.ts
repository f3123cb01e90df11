/** The real binary as a child process: exit codes, and lines on stderr. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { binary, runCommand } from '../support/service.ts'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ma-'))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

const run = (args: readonly string[], input = '', env: Record<string, string> = {}) =>
  runCommand(args, { cwd: dir, input, env })
const users = () => readFileSync(join(dir, 'mailactors-data', 'users'), 'utf8')

describe('every failure is a line with its cure, and an exit code', () => {
  test.each(['', 'postconf: fatal\n'])('config import of %j, which has no setting', async (input) => {
    expect(await run(['config', 'import', '--postfix', '-'], input)).toMatchObject({
      code: 65,
      stdout: '',
      stderr:
        'mailactors: config import: no settings on stdin (pipe the output of postconf -n or doveconf -n into it)\n',
    })
  })

  test.runIf(existsSync('/dev/full'))('output that cannot be written', async () => {
    const full = openSync('/dev/full', 'w')
    const child = spawn(process.execPath, [binary, 'config', 'hostname'], {
      env: { ...process.env, MAILACTORS_FROM_SOURCE: '1' },
      stdio: ['ignore', full, 'pipe'],
    })
    closeSync(full)
    const [stderr, [code]] = await Promise.all([text(child.stderr as Readable), once(child, 'exit')])
    expect({ code, stderr }).toEqual({
      code: 74,
      stderr: 'mailactors: stdout: no space left on the disk (make room, or write elsewhere)\n',
    })
  })

  test.runIf(existsSync('/dev/full'))('a first start whose password cannot be shown', async () => {
    const full = openSync('/dev/full', 'w')
    const child = spawn(process.execPath, [binary, 'serve', '--set', 'listener=[]'], {
      cwd: dir,
      env: { ...process.env, MAILACTORS_FROM_SOURCE: '1' },
      stdio: ['ignore', full, 'pipe'],
    })
    closeSync(full)
    const [stderr, [code]] = await Promise.all([text(child.stderr as Readable), once(child, 'exit')])
    expect({ code, stderr }).toEqual({
      code: 74,
      stderr: 'mailactors: stdout: what has to be shown cannot be written (make room, or write elsewhere)\n',
    })
    // The next start is the first one again.
    expect(readdirSync(join(dir, 'mailactors-data')).toSorted()).toEqual(['index', 'mail', 'queue'])
  })

  test.each([
    { args: [], code: 64, line: /^mailactors: arguments: which command\? \(see mailactors --help\)$/ },
    { args: ['serv'], code: 64, line: /unknown command 'serv' \(did you mean serve\?\)$/ },
    {
      args: ['serve', '--chek'],
      code: 64,
      line: /^mailactors: serve: unknown option '--chek' \(did you mean --check\?\)$/,
    },
    { args: ['user'], code: 64, line: /^mailactors: user: which command\?/ },
    { args: ['queue', 'lst'], code: 64, line: /^mailactors: queue: unknown command \(valid are list, show/ },
    {
      args: ['queue', 'show'],
      code: 64,
      line: /^mailactors: queue show: missing required argument 'id' \(see/,
    },
    {
      args: ['config', '--doc', 'smtp.conect_timeout'],
      code: 64,
      line: /did you mean smtp\.connect_timeout\?/,
    },
    { args: ['config', '--defaults', '--changed'], code: 64, line: /exclude each other/ },
    { args: ['config', '--set', 'x.y=1'], code: 78, line: /^mailactors: --set x\.y=1: unknown key x\.y \(/ },
    { args: ['config', '--set', 'smtp=5'], code: 78, line: /^mailactors: --set smtp=5: smtp is a table \(/ },
    {
      args: ['config', '--set', 'queue.run_delay=99999999d'],
      code: 78,
      line: /queue\.run_delay: "99999999d" is longer than 100 years$/,
    },
    {
      args: ['bench', 'cache', '--out', '/proc/x'],
      code: 73,
      line: /^mailactors: bench: --out \/proc\/x: no such file or directory \(/,
    },
    {
      args: ['user', 'remove', 'ann', '--set', 'auth.passwd_file=/dev/null/users'],
      code: 73,
      line: /^mailactors: passwd-file \/dev\/null\/users: a part of the path is no directory \(/,
    },
    { args: ['status'], code: 69, line: /^mailactors: control socket .*: no service is running \(start one/ },
    { args: ['tree'], code: 69, line: /no service is running/ },
    { args: ['cache', 'stats'], code: 69, line: /no service is running/ },
    { args: ['reload'], code: 69, line: /no service is running/ },
    { args: ['stop'], code: 69, line: /no service is running/ },
    { args: ['queue', 'flush'], code: 69, line: /no service is running/ },
    { args: ['send', 'ann@mail.test'], code: 69, line: /no service is running/ },
    { args: ['send'], code: 64, line: /^mailactors: send: no recipients \(/ },
    { args: ['send', '-t'], code: 64, line: /no recipients in the header/ },
    { args: ['send', '-bz', 'a@b.test'], code: 64, line: /no mode -bz/ },
    { args: ['send', '-N', 'often', 'a@b.test'], code: 64, line: /-N often/ },
    { args: ['send', 'a b@c.test'], code: 65, line: /^mailactors: recipient <a b@c\.test>: not an address/ },
    { args: ['send', '-f', 'x y@z', 'a@b.test'], code: 65, line: /^mailactors: sender / },
    { args: ['user', 'remove', 'ann'], code: 66, line: /^mailactors: user ann: no such user in .*users \(/ },
    { args: ['user', 'add', '../ann', '--stdin'], code: 64, line: /user name: "\.\.\/ann" contains/ },
    {
      args: ['user', 'add', 'ann'],
      code: 64,
      line: /stdin is no terminal \(give the password with --stdin\)/,
    },
    { args: ['user', 'add', 'ann', '--scheme', 'MD4'], code: 64, line: /Allowed choices are ARGON2ID/ },
    {
      args: ['config', '-c', 'none.toml'],
      code: 78,
      line: /none\.toml: configuration cannot be read: no such file/,
    },
  ])('$args', async ({ args, code, line }) => {
    const result = await run(args)
    expect(result).toMatchObject({ code, stdout: '' })
    expect(result.stderr.trimEnd()).toMatch(line)
    expect(result.stderr.trimEnd().split('\n')).toHaveLength(1)
    // Nothing was made on the way to the failure.
    expect(existsSync(join(dir, 'mailactors-data'))).toBe(false)
  })

  test('each wrong setting has a line of its own', async () => {
    writeFileSync(join(dir, 'mailactors.toml'), 'hostnam = "x"\n[smtp]\nrelayhost = 5\n')
    const { code, stderr } = await run(['serve', '--check'])
    expect(code).toBe(78)
    expect(stderr.trimEnd().split('\n')).toEqual([
      `mailactors: ${dir}/mailactors.toml:1: unknown key hostnam (did you mean hostname?)`,
      `mailactors: ${dir}/mailactors.toml:3: smtp.relayhost: 5 is not a string`,
    ])
  })
})

describe('config', () => {
  test('prints what is in force, as TOML and as data', async () => {
    writeFileSync(join(dir, 'mailactors.toml'), '[smtp]\nconnect_timeout = 5\n')
    const changed = await run(['config', '--changed'], '', { MAILACTORS_QUEUE__RUN_DELAY: '90' })
    expect(changed).toMatchObject({
      code: 0,
      stdout: '[queue]\nrun_delay = "90s"\n\n[smtp]\nconnect_timeout = "5s"\n',
    })
    const json = await run(['config', '--json', 'smtp.connect_timeout', 'listener'])
    expect(JSON.parse(json.stdout)).toMatchObject({
      smtp: { connect_timeout: '5s' },
      listener: [{ service: 'pop3' }, {}, {}, {}],
    })
    expect((await run(['config', 'smtp.connect_timeout'])).stdout).toBe('smtp.connect_timeout = "5s"\n')
    const defaults = await run(['config', '--defaults', '--json'])
    expect(JSON.parse(defaults.stdout)).toMatchObject({ smtp: { connect_timeout: '30s' } })
  })

  test('says of one setting what it is, and where its value comes from', async () => {
    const doc = await run([
      'config',
      '--doc',
      'smtp.connect_timeout',
      '--json',
      '--set',
      'smtp.connect_timeout=5',
    ])
    expect(JSON.parse(doc.stdout)).toMatchObject({ default: '30s', value: '5s', origin: 'set', live: true })
  })
})

describe('user', () => {
  test('is added, checked, changed, listed and removed', async () => {
    expect(await run(['user', 'add', 'ann', '--stdin'], 'first\n')).toEqual({
      code: 0,
      stdout: '',
      stderr: '',
    })
    expect(users()).toMatch(/^ann:\{ARGON2ID\}\$argon2id\$v=19\$m=\d+,t=\d+,p=\d+\$[^$]+\$[^$]+\n$/)
    expect(statSync(join(dir, 'mailactors-data', 'users')).mode & 0o777).toBe(0o600)
    expect(await run(['user', 'verify', 'ANN', '--stdin'], 'first')).toMatchObject({
      code: 0,
      stdout: 'ok\n',
    })
    expect(await run(['user', 'verify', 'ann', '--stdin'], 'second')).toMatchObject({ code: 77, stdout: '' })
    const right = await run(['user', 'verify', 'ANN', '--stdin', '--json'], 'first')
    expect({ ...right, stdout: JSON.parse(right.stdout) }).toMatchObject({
      code: 0,
      stdout: { user: 'ann', ok: true },
    })
    const wrong = await run(['user', 'verify', 'ann', '--stdin', '--json'], 'second')
    expect({ ...wrong, stdout: JSON.parse(wrong.stdout) }).toMatchObject({
      code: 77,
      stdout: { user: 'ann', ok: false },
      stderr: 'mailactors: user ann: wrong password\n',
    })
    expect(await run(['user', 'add', 'Ann', '--stdin'], 'x')).toMatchObject({ code: 73 })
    expect(
      await run(['user', 'passwd', 'ann', '--stdin', '--scheme', 'SSHA512'], 'second\nignored'),
    ).toMatchObject({ code: 0 })
    expect(await run(['user', 'verify', 'ann', '--stdin'], 'second\r\n')).toMatchObject({ code: 0 })
    const list = await run(['user', 'list', '--json'])
    expect(JSON.parse(list.stdout)).toEqual([
      {
        user: 'ann',
        scheme: 'SSHA512',
        home: `${dir}/mailactors-data/mail/ann`,
        maildir: `${dir}/mailactors-data/mail/ann/Maildir`,
      },
    ])
    expect(await run(['user', 'remove', 'ann'])).toMatchObject({ code: 0 })
    expect(users()).toBe('')
    expect(readdirSync(join(dir, 'mailactors-data'))).toEqual(['users'])
  })

  test('with an empty password is refused', async () => {
    expect(await run(['user', 'add', 'ann', '--stdin'], '\n')).toMatchObject({ code: 65 })
  })

  test('added by many at once is never lost', async () => {
    const names = ['a', 'b', 'c', 'd']
    await Promise.all(names.map((name) => run(['user', 'add', name, '--stdin', '--scheme', 'PLAIN'], 'x')))
    expect(users().split('\n').filter(Boolean).toSorted()).toEqual(names.map((name) => `${name}:{PLAIN}x`))
  })

  test('of a bad file: the line is named, the others are there', async () => {
    mkdirSync(join(dir, 'mailactors-data'))
    writeFileSync(join(dir, 'mailactors-data', 'users'), 'broken\nann:{PLAIN}x\n')
    const { code, stdout, stderr } = await run(['user', 'list'])
    expect(code).toBe(0)
    expect(stderr).toMatch(/users:1: no password field/)
    expect(stdout).toMatch(/^ann\s+PLAIN/m)
  })
})

describe('serve', () => {
  const listening = (server: Server) =>
    new Promise<number>((resolve) => {
      server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port))
    })

  test('--check reads what TLS of deliveries needs', async () => {
    const { code, stderr } = await run(['serve', '--check', '--set', 'smtp.tls_ca_file=missing.pem'])
    expect(code).toBe(78)
    expect(stderr).toMatch(/^mailactors: TLS of smtp: .*missing\.pem: ENOENT/)
  })

  test.each(['serve --check', 'serve'])(
    '%s: a certificate of the servers that cannot be used',
    async (words) => {
      writeFileSync(join(dir, 'bad.pem'), 'no certificate')
      const toml =
        '[tls]\ncert = "missing.pem"\nkey = "key.pem"\n[tls.sni."a.test"]\ncert = "bad.pem"\nkey = "bad.pem"\n'
      writeFileSync(join(dir, 'mailactors.toml'), toml)
      const { code, stdout, stderr } = await run(words.split(' '))
      expect({ code, stdout }).toEqual({ code: 78, stdout: '' })
      expect(stderr).toMatch(
        /^mailactors: tls: .*missing\.pem.*no such file.*\nmailactors: tls\.sni\.a\.test: .*bad\.pem: .+\n$/,
      )
      expect(existsSync(join(dir, 'mailactors-data'))).toBe(false)
    },
  )

  test('--check says what would listen, and makes nothing', async () => {
    const { code, stdout } = await run(['serve', '--check', '--json'])
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ ok: true, file: null, dataDir: `${dir}/mailactors-data` })
    expect(existsSync(join(dir, 'mailactors-data'))).toBe(false)
  })

  test('that cannot start the first time leaves the first time to the next start', async () => {
    const squatter = createServer()
    const port = await listening(squatter)
    try {
      const result = await run(['serve', '--set', `listener=[{service="pop3",address="127.0.0.1:${port}"}]`])
      expect(result.code).toBe(69)
      expect(result.stderr).toMatch(
        new RegExp(`^mailactors: cannot listen on 127.0.0.1:${port}: already in use .*\\(.+\\)\n$`),
      )
      expect(result.stdout).toBe('')
      const left = readdirSync(join(dir, 'mailactors-data'))
      expect(left).not.toContain('users')
      expect(left).not.toContain('lock')
    } finally {
      squatter.close()
    }
  })

  test.each([
    { name: 'is a file', dataDir: 'file', why: /: it is a file, not a directory \(/ },
    { name: 'is in a file', dataDir: 'file/data', why: /: it is a file, not a directory \(/ },
    {
      name: 'has a directory for a lock',
      dataDir: 'data',
      why: /: \S+\/data\/lock: it is a directory, not a file \(/,
    },
    {
      name: 'cannot be made',
      dataDir: '/proc/data',
      why: /^mailactors: data directory \/proc\/data: cannot be used: /,
    },
  ])('in a data directory that $name ends with 73', async ({ dataDir, why }) => {
    writeFileSync(join(dir, 'file'), '')
    mkdirSync(join(dir, 'data', 'lock'), { recursive: true })
    const { code, stdout, stderr } = await run(['serve', '--set', `data_dir=${dataDir}`])
    expect({ code, stdout }).toEqual({ code: 73, stdout: '' })
    expect(stderr).toMatch(/^mailactors: data directory .*: cannot be used: .*\(.+\)\n$/)
    expect(stderr).toMatch(why)
  })

  test('in a data directory whose name leaves no room for the control socket ends with 78', async () => {
    const { code, stderr } = await run(['serve', '--check', '--set', `data_dir=${'d'.repeat(100)}`])
    expect(code).toBe(78)
    expect(stderr).toMatch(
      /^mailactors: data_dir: socket path .*control\.sock has \d+ octets, 107 are possible/,
    )
  })

  test.each([
    { name: 'a file that is no socket', path: 'file', why: 'there is a file that is no socket' },
    { name: 'no folder', path: 'none/x.sock', why: 'there is no such folder' },
  ])('on a path where there is $name ends with 73, in one line', async ({ path, why }) => {
    writeFileSync(join(dir, 'file'), '')
    const { code, stdout, stderr } = await run([
      'serve',
      '--set',
      `listener=[{service="lmtp",address="unix:${path}"}]`,
    ])
    expect({ code, stdout }).toEqual({ code: 73, stdout: '' })
    expect(stderr).toMatch(
      new RegExp(`^mailactors: cannot listen on unix:${join(dir, path)}: ${why} \\(.+\\)\n$`),
    )
  })
})

test.each([
  { name: 'damaged', code: 65, make: (path: string) => writeFileSync(path, 'x'.repeat(8192)) },
  { name: 'a directory', code: 74, make: (path: string) => mkdirSync(path) },
])('a stored queue that is $name is said in one line', async ({ code, make }) => {
  const path = join(dir, 'mailactors-data', 'queue', 'queue.db')
  mkdirSync(join(dir, 'mailactors-data', 'queue'), { recursive: true })
  make(path)
  const result = await run(['queue', 'list'])
  expect(result).toMatchObject({ code, stdout: '' })
  expect(result.stderr).toMatch(new RegExp(`^mailactors: ${path}: [^\\n]+ \\([^\\n]+\\)\\n$`))
})

test('queue list needs no service, and not even a queue', async () => {
  expect(await run(['queue', 'list'])).toEqual({ code: 0, stdout: 'The queue is empty.\n', stderr: '' })
  expect(await run(['queue', 'list', '--json'])).toEqual({ code: 0, stdout: '', stderr: '' })
})

import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ConfigError, ConfigFileError } from '../../src/config/errors.ts'
import { type LoadOptions, loadConfig, loadSettings } from '../../src/config/loader.ts'
import { configToml } from '../../src/config/reference.ts'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ma-'))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

/** Writes a configuration file, and returns its path. */
function file(text: string, name = 'mailactors.toml'): string {
  const path = join(dir, name)
  writeFileSync(path, text)
  return path
}

/** What is wrong, one line each, without the folder. */
function problems(options: LoadOptions): string[] {
  try {
    loadSettings({ cwd: dir, ...options })
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.problems.map(({ where, what }) => `${where}: ${what}`.replaceAll(`${dir}/`, ''))
  }
  return []
}

describe('where settings come from', () => {
  test('without a file the defaults stand alone, on this machine only', () => {
    const config = loadConfig({ cwd: dir })
    expect(config.data_dir).toBe(join(dir, 'mailactors-data'))
    expect(config.auth.passwd_file).toBe(join(dir, 'mailactors-data', 'users'))
    expect(config.listener.map(({ service, address }) => `${service} ${address}`)).toEqual([
      'pop3 127.0.0.1:1110',
      'smtp 127.0.0.1:2525',
      `lmtp unix:${join(dir, 'mailactors-data', 'lmtp.sock')}`,
      'admin 127.0.0.1:9025',
    ])
    expect(config.hostname).not.toBe('')
  })

  test('the folder comes before the user’s configuration, and -c before both', () => {
    const home = join(dir, 'home')
    const asked = file('hostname = "asked.test"', 'asked.toml')
    const here = file('hostname = "here.test"')
    mkdirSync(join(home, '.config', 'mailactors'), { recursive: true })
    writeFileSync(join(home, '.config', 'mailactors', 'mailactors.toml'), 'hostname = "home.test"')
    const env = { HOME: home }
    expect(loadConfig({ cwd: dir, env, file: asked }).hostname).toBe('asked.test')
    expect(loadConfig({ cwd: dir, env }).hostname).toBe('here.test')
    rmSync(here)
    expect(loadConfig({ cwd: dir, env }).hostname).toBe('home.test')
    expect(loadConfig({ cwd: dir, env: { XDG_CONFIG_HOME: '/nowhere', HOME: home } }).hostname).not.toBe(
      'home.test',
    )
  })

  test('--set wins over the environment, the environment over the file', () => {
    file('[smtp]\nconnect_timeout = "1s"\nhelo_timeout = "1s"\nmail_timeout = "1s"')
    const loaded = loadSettings({
      cwd: dir,
      env: { MAILACTORS_SMTP__CONNECT_TIMEOUT: '2s', MAILACTORS_SMTP__HELO_TIMEOUT: '2s' },
      set: ['smtp.connect_timeout=3s'],
    })
    const { connect_timeout, helo_timeout, mail_timeout } = loaded.config.smtp
    expect([connect_timeout, helo_timeout, mail_timeout]).toEqual([3_000, 2_000, 1_000])
    expect(loaded.origins.get('smtp.connect_timeout')).toBe('set')
    expect(loaded.origins.get('smtp.helo_timeout')).toBe('environment')
    expect(loaded.origins.get('smtp.mail_timeout')).toBe('file')
    expect(loaded.origins.has('smtp.relayhost')).toBe(false)
  })

  test('relative paths of a file start from its folder', () => {
    mkdirSync(join(dir, 'etc'))
    const path = file('data_dir = "../data"\n[auth]\npasswd_file = "users"', 'etc/ma.toml')
    const config = loadConfig({ file: path, cwd: '/' })
    expect(config.data_dir).toBe(join(dir, 'data'))
    expect(config.auth.passwd_file).toBe(join(dir, 'etc', 'users'))
  })

  test('tables, pools, transports and overrides of them', () => {
    file(
      '[transport]\n"example.com" = "smtp:[10.0.0.9]:25"\n[pools.connections]\nmax_threads = 2\nmin_threads = 2',
    )
    const config = loadConfig({
      cwd: dir,
      set: [
        'transport."a.test"=lmtp:unix:/run/x',
        'pools.deliveries.max_threads=auto',
        'mail.local_domains=a.test,b.test',
      ],
    })
    expect(config.transport).toEqual({ 'example.com': 'smtp:[10.0.0.9]:25', 'a.test': 'lmtp:unix:/run/x' })
    expect(config.pools.connections).toMatchObject({ min_threads: 2, max_threads: 2 })
    expect(config.pools.deliveries.max_threads).toBe('auto')
    expect(config.mail.local_domains).toEqual(['a.test', 'b.test'])
  })

  test('[lmtp] has what it does not set from [smtp]', () => {
    file('[smtp]\nmail_timeout = "7s"\nrcpt_timeout = "7s"\n[lmtp]\nrcpt_timeout = "9s"')
    const { lmtp } = loadConfig({ cwd: dir })
    expect(lmtp).toMatchObject({ mail_timeout: 7_000, rcpt_timeout: 9_000 })
  })

  test('what config prints is read again with the same result', () => {
    const path = file(
      'hostname = "mail.test"\n[transport]\n".x.test" = "smtp:[10.0.0.9]"\n[[listener]]\nservice = "lmtp"\naddress = "unix:l.sock"',
    )
    const first = loadSettings({ cwd: dir, file: path })
    const second = loadSettings({ cwd: dir, file: file(configToml(first), 'again.toml') })
    expect(second.config).toEqual(first.config)
  })
})

describe('listeners', () => {
  const listener = (lines: string) => file(`[[listener]]\nservice = "smtp"\n${lines}`)

  test.each([
    ['127.0.0.1:25', '127.0.0.1:25'],
    ['localhost:0', 'localhost:0'],
    [':2525', ':2525'],
    ['[::1]:25', '[::1]:25'],
  ])('%s', (written, address) => {
    listener(`address = "${written}"`)
    expect(loadConfig({ cwd: dir }).listener).toEqual([
      { service: 'smtp', address, tls: 'off', proxy_protocol: false },
    ])
  })

  test('the path of a socket starts from the folder of the file', () => {
    listener('address = "unix:run/x.sock"')
    expect(loadConfig({ cwd: '/', file: join(dir, 'mailactors.toml') }).listener[0]?.address).toBe(
      `unix:${dir}/run/x.sock`,
    )
  })

  test.each([
    { address: 'localhost', problem: /is not an address/ },
    { address: '::1:25', problem: /brackets/ },
    { address: '127.0.0.1:99999', problem: /port 99999 is out of range/ },
    { address: 'unix:', problem: /has no path/ },
    { address: `unix:/${'x'.repeat(120)}`, problem: /107 are possible/ },
  ])('$address is refused', ({ address, problem }) => {
    listener(`address = "${address}"`)
    expect(problems({})).toEqual([expect.stringMatching(/^mailactors\.toml:3: listener\.address: /)])
    expect(problems({})[0]).toMatch(problem)
  })

  test('two listeners cannot have one address', () => {
    listener('address = ":25"\n[[listener]]\nservice = "pop3"\naddress = ":25"')
    expect(problems({})).toEqual(['mailactors.toml:6: listener.address: :25 is taken by another listener'])
  })

  test('TLS needs a certificate', () => {
    listener('address = ":25"\ntls = "implicit"')
    expect(problems({})[0]).toMatch(/^mailactors\.toml:4: listener\.tls: .*certificate/)
  })

  test('implicit TLS can be had for each service', () => {
    for (const service of ['smtp', 'submission', 'lmtp', 'pop3', 'admin']) {
      file(
        `[[listener]]\nservice = "${service}"\naddress = ":995"\ntls = "implicit"\n[tls]\ncert = "cert.pem"`,
      )
      expect(loadConfig({ cwd: dir }).listener).toMatchObject([{ service, tls: 'implicit' }])
    }
  })

  test('all of them can be given on the command line', () => {
    const config = loadConfig({ cwd: dir, set: ['listener=[{service="pop3",address="127.0.0.1:0"}]'] })
    expect(config.listener).toMatchObject([{ service: 'pop3', address: '127.0.0.1:0' }])
  })
})

describe('every error is reported, with its place and the nearest valid name', () => {
  test('of a file and of what overrides it', () => {
    file(`hostname = "mail example"
foo = 1
[smpt]
x = 1
[smtp]
conect_timeout = "5s"
connect_timeout = "soon"
[queue]
run_delay = true
[pools.conections]
[pools.connections]
min_threads = 0
[transport]
"example.com" = "nowhere"
`)
    expect(problems({ set: ['queue.run_dely=3'], env: { MAILACTORS_SMTP__TCPPORT: '1' } })).toEqual([
      'mailactors.toml:1: hostname: is not a host name such as mail.example.org',
      'mailactors.toml:2: unknown key foo (see mailactors config --defaults)',
      'mailactors.toml:3: unknown table smpt (did you mean smtp?)',
      'mailactors.toml:6: unknown key smtp.conect_timeout (did you mean smtp.connect_timeout?)',
      'mailactors.toml:7: smtp.connect_timeout: "soon" is not a time such as "500ms", "30s", "10m", "4h" or "5d"',
      'mailactors.toml:9: queue.run_delay: true is not a time such as "500ms", "30s", "10m", "4h" or "5d"',
      'mailactors.toml:10: unknown table pools.conections (did you mean pools.connections?)',
      'mailactors.toml:12: pools.connections.min_threads: 0 is out of range (1 to 256)',
      'mailactors.toml:14: transport: "nowhere" for example.com is not transport:nexthop, such as smtp:[10.0.0.9]:25',
      'MAILACTORS_SMTP__TCPPORT: unknown key smtp.tcpport (did you mean smtp.tcp_port?)',
      '--set queue.run_dely=3: unknown key queue.run_dely (did you mean queue.run_delay?)',
    ])
  })

  test.each([
    {
      name: 'a table that is none',
      text: 'smtp = 5',
      problem: 'mailactors.toml:1: smtp is not a table (write [smtp] and its keys below)',
    },
    {
      name: 'pools that are none',
      text: 'pools = 5',
      problem: 'mailactors.toml:1: pools is not a table (write [pools.connections])',
    },
    {
      name: 'a listener that is no list',
      text: '\nlistener = 5',
      problem: 'mailactors.toml:2: listener is not a list of tables (write [[listener]] before each)',
    },
    {
      name: 'a listener without a service',
      text: '[[listener]]\naddress = ":1"',
      problem: 'mailactors.toml:1: listener.service is missing',
    },
    {
      name: 'most below least threads',
      text: '[pools.jobs]\nmin_threads = 3\nmax_threads = 2',
      problem: 'mailactors.toml:3: pools.jobs.max_threads: 2 is less than min_threads (3)',
    },
    {
      name: 'a date',
      text: '[smtp]\nrelayhost = 2020-01-01',
      problem: /^mailactors\.toml:2: smtp\.relayhost: .* is not a string/,
    },
    { name: 'no TOML', text: 'a = 1\n[smtp\n', problem: /^mailactors\.toml:[23]: no valid TOML: / },
    {
      name: 'a key twice',
      text: 'hostname = "a"\nhostname = "b"',
      problem: /^mailactors\.toml:2: no valid TOML: /,
    },
    { name: 'binary junk', text: '\0\x01\x02', problem: 'mailactors.toml:1: no valid TOML: not UTF-8 text' },
    {
      name: 'prototype keys',
      text: '[smtp]\nconstructor = 1\n',
      problem: /^mailactors\.toml:2: unknown key smtp\.constructor/,
    },
  ])('$name', ({ text, problem }) => {
    file(text)
    expect(problems({})).toEqual([typeof problem === 'string' ? problem : expect.stringMatching(problem)])
  })

  test.each(['x', '=1', 'smtp.=1', 'a..b=1'])('--set %s is no assignment', (set) => {
    expect(problems({ set: [set] })).toEqual([`--set ${set}: no assignment (write --set table.key=value)`])
  })

  test('a file that was asked for and is not there', () => {
    expect(() => loadConfig({ file: join(dir, 'none.toml') })).toThrow(ConfigFileError)
  })

  test.skipIf(process.getuid?.() === 0)('a file that may not be read', () => {
    chmodSync(file('hostname = "x"'), 0)
    expect(() => loadConfig({ cwd: dir })).toThrow(
      expect.objectContaining({ code: 'MA_CONFIG_FILE', errno: 'EACCES' }),
    )
  })
})

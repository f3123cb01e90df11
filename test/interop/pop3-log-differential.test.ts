/**
 * The same endings here, with `log.format = "syslog"`, and in a real Dovecot: log lines with the same fields in the same
 * order and in the same words, but for the reason between `Disconnected:` and the parenthesis, which is ours. Filters that
 * people have, such as fail2ban's, then find in ours what they find in Dovecot's.
 */
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import tls from 'node:tls'
import { expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { Random } from '../../src/testing/random.ts'
import { Authority } from '../support/certificates.ts'
import { prepareService, tempDir } from '../support/fixtures.ts'
import { startDovecot } from '../support/peers.ts'
import { giveAway, makeMaildir } from '../support/pop3-sessions.ts'
import { because } from '../support/privileges.ts'
import { until } from '../support/until.ts'

/** What one client does: lines, each followed by the answers it waits for; `''`: TLS; in the end it goes. */
interface Ending {
  readonly name: string
  readonly from?: string
  /** Lines of a write, and how many lines of answers are waited for. */
  readonly says: readonly (readonly [write: string, answers: number])[]
  readonly leaves?: 'resets'
}

const login = ['USER u0\r\nPASS secret\r\n', 2] as const
const endings: readonly Ending[] = [
  { name: 'says nothing', says: [] },
  { name: 'resets the connection', says: [], leaves: 'resets' },
  { name: 'QUIT', says: [['QUIT\r\n', 1]] },
  { name: 'no commands', says: [['A\r\nB\r\nC\r\n', 4]] },
  { name: 'wrong password', says: [['USER u0\r\nPASS wrong\r\n', 2]] },
  { name: 'no such user', says: [['USER nobody\r\nPASS wrong\r\n', 2]] },
  {
    name: 'two wrong ones',
    says: [
      ['USER u0\r\nPASS a\r\n', 2],
      ['USER u1\r\nPASS b\r\n', 2],
    ],
  },
  {
    name: 'CRAM-MD5, wrong',
    says: [
      ['AUTH CRAM-MD5\r\n', 1],
      [`${btoa(`u0 ${'a'.repeat(32)}`)}\r\n`, 1],
    ],
  },
  { name: 'AUTH, left', says: [['AUTH PLAIN\r\n', 1]] },
  {
    name: 'AUTH, given up',
    says: [
      ['AUTH PLAIN\r\n', 1],
      ['*\r\n', 1],
    ],
  },
  { name: 'no base64', says: [['AUTH PLAIN !!\r\n', 1]] },
  { name: 'no mechanism', says: [['AUTH FOO\r\n', 1]] },
  { name: 'in clear', from: '127.0.0.2', says: [['AUTH PLAIN AHUwAHNlY3JldA==\r\n', 1]] },
  { name: 'too long', says: [['x'.repeat(2000), 1]] },
  { name: 'login, QUIT', says: [login, ['STAT\r\nQUIT\r\n', 2]] },
  { name: 'login, left', says: [login, ['STAT\r\n', 1]] },
  {
    name: 'login by AUTH',
    says: [
      ['AUTH LOGIN dTA=\r\n', 1],
      ['c2VjcmV0\r\n', 1],
      ['QUIT\r\n', 1],
    ],
  },
  {
    name: 'a whole session',
    says: [login, [`${['UIDL', 'RETR 2', 'TOP 1 1', 'DELE 1', 'QUIT'].join('\r\n')}\r\n`, 10]],
  },
  { name: 'another one, left', says: [login, ['UIDL 1\r\nRETR 2\r\nDELE 2\r\nDELE 3\r\n', 10]] },
  { name: 'login, wrong commands', says: [login, ['X\r\n'.repeat(21), 22]] },
  { name: 'STLS, login', from: '127.0.0.2', says: [['STLS\r\n', 1], ['', 0], login, ['QUIT\r\n', 1]] },
  {
    name: 'STLS, QUIT',
    from: '127.0.0.2',
    says: [
      ['STLS\r\n', 1],
      ['', 0],
      ['QUIT\r\n', 1],
    ],
  },
  { name: 'STLS, no TLS', says: [['STLS\r\n', 1]] },
  {
    name: 'STLS, no TLS but something',
    says: [
      ['STLS\r\n', 1],
      ['CAPA CAPA CAPA\r\n', 0],
    ],
  },
]

/** Plays one and returns when the connection has ended. */
async function play(port: number, { name, from = '127.0.0.1', says, leaves }: Ending): Promise<void> {
  const accepted = net.connect({ host: '127.0.0.1', port, localAddress: from })
  let socket: net.Socket = accepted
  let received = ''
  let isOver = false
  const listen = () => {
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString('latin1')
    })
    socket.on('error', () => undefined)
    socket.on('close', () => {
      isOver = true
    })
  }
  listen()
  let expected = 1
  const answered = () => until(`answers (${name})`, () => isOver || received.split('\r\n').length > expected)
  await answered()
  for (const [write, answers] of says) {
    if (write === '') {
      accepted.removeAllListeners('data')
      socket = tls.connect({ socket: accepted, rejectUnauthorized: false })
      listen()
      await new Promise((resolve) => socket.once('secureConnect', resolve))
    } else socket.write(write)
    expected += answers
    await answered()
  }
  if (leaves === 'resets') accepted.resetAndDestroy()
  else socket.end()
  await until(`the end (${name})`, () => isOver)
}

/** Without octets of output, which have our own words in them. */
const logoutFormat =
  'top=%t/%p retr=%r/%b del=%d/%{deleted_bytes} of %m size=%s in=%i uidl=%u' +
  ' %{top_count} %{top_bytes} %{retr_count} %{retr_bytes} %{deleted_count} %{message_count} %{message_bytes} %{input} %{uidl_change}'

/** What of a line does not change from time to time, or with the server. */
const comparable = (line: string): string =>
  line
    .replace(/^.*?(pop3(?:-login)?(?:\(u0\)<\d+><[^>]*>)?): (?:Info: )?/, '$1: ')
    .replace(/(pop3\(u0\))<\d+><[^>]*>/, '$1')
    .replace(/ \(?(in|waited) \d+ secs/, ' $1 N secs')
    .replace(/mpid=\d+/, 'mpid=N')
    .replace(/session=<[^>]+>/, 'session=<S>')
    .replace(/Disconnected: .* (?=\((?:no|auth|client|sent|tried|disc)|top=)/, 'Disconnected: ')
    .replace(/TLS handshaking: [^,]+/, 'TLS handshaking: WHY')

const missing = whyMissing(['dovecot'], { root: true })
test.skipIf(missing !== undefined)(
  `log lines are as Dovecot's${because(missing)}`,
  { timeout: 120_000 },
  async () => {
    const { cert, key } = await (await Authority.make()).issue({ names: ['localhost'] })
    const dir = tempDir()
    writeFileSync(join(dir, 'cert.pem'), cert)
    writeFileSync(join(dir, 'key.pem'), key)
    const [dovecot, service] = await Promise.all([
      startDovecot({
        USERS: '2',
        SETTINGS: `pop3_logout_format = ${logoutFormat}
auth_mechanisms = plain login cram-md5
auth_failure_delay = 0
ssl = yes
ssl_cert = <${dir}/cert.pem
ssl_key = <${dir}/key.pem
disable_plaintext_auth = yes
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
`,
      }),
      prepareService({
        listeners: ['pop3'],
        users: { u0: 'secret', u1: 'secret' },
        tables: `[tls]\ncert = "${dir}/cert.pem"\nkey = "${dir}/key.pem"\n[log]\nformat = "syslog"\n`,
        args: [
          ...['--set', `pop3.logout_format=${logoutFormat}`, '--set', `mail.path=${dir}/mail/%u`],
          ...['--set', 'auth.mechanisms=PLAIN LOGIN CRAM-MD5', '--set', 'auth.failure_delay=0'],
        ],
      }),
    ])
    const [ours0, theirs0] = [join(dir, 'mail', 'u0'), join(dovecot.dir, 'mail', 'u0')]
    makeMaildir(ours0, new Random(5))
    cpSync(ours0, theirs0, { recursive: true, preserveTimestamps: true })
    giveAway(theirs0)
    const plain = readFileSync(service.configFile, 'utf8')
    writeFileSync(service.configFile, plain.replace('tls = "off"', 'tls = "starttls"'))
    service.launch()
    await until('the service', () => / ready /.test(service.stdout))
    const theirs = () => readFileSync(join(dovecot.dir, 'log'), 'latin1')
    const ours = () => service.stdout
    for (const ending of endings) {
      const before = { theirs: theirs().length, ours: ours().length }
      await Promise.all([play(dovecot.port, ending), play(service.ports.pop3, ending)])
      const linesOf = (text: string) =>
        text
          .split('\n')
          // Dovecot names a mechanism that is none, or may not be used, in a line of its own as well.
          .filter(
            (line) => /pop3(-login|\()/.test(line) && !/Authenticate \S+ failed|Login failed/.test(line),
          )
          .map(comparable)
      const isDone = (lines: readonly string[]) => lines.some((line) => line.includes('Disconnected:'))
      const [said, expected] = await until(`the lines (${ending.name})`, () => {
        const both = [linesOf(ours().slice(before.ours)), linesOf(theirs().slice(before.theirs))] as const
        return both.every(isDone) && both
      })
      expect(said, ending.name).toEqual(expected)
      expect(said.length, ending.name).toBeGreaterThan(0)
    }
  },
)

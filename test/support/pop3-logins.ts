/** Random POP3 sessions before login, the same for the same seed; and what a server answers, in comparable form. */
import { createHash, createHmac } from 'node:crypto'
import net from 'node:net'
import tls from 'node:tls'
import type { Random } from '../../src/testing/random.ts'
import { within } from './until.ts'

export interface LoginScript {
  /** Each is one write: lines with their ends. `{apop}` and `{cram}` stand for what a server's challenge asks for. */
  readonly writes: readonly (readonly string[])[]
  readonly end: 'quit' | 'fin'
}

const base64 = (text: string): string => Buffer.from(text, 'latin1').toString('base64')

const users = [
  'u0',
  'u0',
  'u1',
  'U0',
  'nobody',
  'u0 ',
  'a b',
  '',
  'u0@x',
  'u\xe4',
  'u0/../u1',
  'x'.repeat(300),
]
const passwords = ['secret', 'secret', 'wrong', 'secret ', ' secret', '', 'SECRET', 'x'.repeat(400)]
const mechanisms = [
  'PLAIN',
  'LOGIN',
  'CRAM-MD5',
  'SCRAM-SHA-1',
  'SCRAM-SHA-256',
  'GSSAPI',
  'FOO',
  'PLAINX',
  '',
]

/** A message of some mechanism, right or wrong, in base64 or nearly. */
function message(random: Random): string {
  const user = random.pick(users)
  const password = random.pick(passwords)
  return random.pick([
    () => base64(`\0${user}\0${password}`),
    () => base64(`\0${user}\0${password}`),
    () => base64(`${user}\0${user}\0${password}`),
    () => base64(`u1\0u0\0secret`),
    () => base64(`${user}\0${password}`),
    () => base64(`\0\0${user}\0${password}`),
    () => base64(user),
    () => base64(password),
    // Of users that do not exist Dovecot says so at once.
    () => base64(`n,,n=${random.pick(['u0', 'u1'])},r=abcdefgh`),
    () => base64(`y,,n=u0,r=abcdefgh`),
    () => base64('p=tls-exporter,,n=u0,r=abcdefgh'),
    () => base64('c=biws,r=abcdefgh,p=AAAA'),
    () => '{cram}',
    () => '',
    () => '=',
    () => '*',
    () => '====',
    () => 'AAA=BBB',
    () => 'AGFubg=',
    () => 'AGFubg',
    () => '!!!!',
    () => `${base64('\0u0\0secret')} x`,
    () => base64('x'.repeat(random.pick([700, 900, 3_000]))),
    () => base64('x'.repeat(6_141)).slice(0, 8_188 + 4 * random.below(1)),
    // Of the mechanisms with several messages: what does not follow from the one before.
    () => base64(`n,,n=,r=abcdefgh`),
    () => base64(`n,,m=x,n=u0,r=abcdefgh`),
    () => base64(`c=biws,r=abcdefgh,p=`),
    () => base64(`u0 ${'0'.repeat(32)}`),
    () => base64('u0 x'),
    () => base64(''),
  ])()
}

/** Of XCLIENT; DESTADDR, DESTPORT, DESTNAME and CLIENT-TRANSPORT are newer than the Dovecot that is compared with. */
const clientFacts = [
  ...['ADDR=1.2.3.4', 'ADDR=127.0.0.1', 'ADDR=2001:db8::1', 'addr=::1', 'ADDR=', 'ADDR=x', 'ADDR=[::1]'],
  ...['ADDR=IPV6:::1', 'ADDR=1.2.3.4,5', 'DESTADDR=5.6.7.8', 'PORT=1', 'PORT=65535', 'PORT=65536'],
  ...['PORT=0', 'PORT=-1', 'PORT=+1', 'PORT=', 'PORT=1x', 'PORT=007', 'DESTPORT=110', 'SESSION=abc'],
  ...[
    `SESSION=${'s'.repeat(64)}`,
    `SESSION=${'s'.repeat(65)}`,
    'TTL=1',
    'TTL=0',
    'TTL=x',
    'TTL=-1',
    'TTL=',
    'FOO=bar',
  ],
  ...['FOO', 'ADDR', '=', '=x', '', 'FORWARD=YWI9Yw==', 'FORWARD=!'],
]

function command(random: Random): string {
  switch (random.below(14)) {
    case 0:
    case 1:
      return `USER ${random.pick(users)}`
    case 2:
    case 3:
      return `PASS ${random.pick(passwords)}`
    case 4:
      return random.pick(['USER', 'PASS', 'USER ', 'PASS ', 'USER  u0', 'PASS  secret', 'USER u0\t'])
    case 5:
    case 6:
      return `AUTH ${random.pick(mechanisms)}`
    case 7:
    case 8: {
      const mechanism = random.pick(mechanisms)
      // Dovecot passes over what has come before the challenge, and over long lines that name no mechanism.
      return `AUTH ${mechanism} ${mechanism === 'CRAM-MD5' || mechanism === '' ? '' : message(random)}`
    }
    case 9:
      return random.pick(['AUTH', 'AUTH ', 'AUTH  PLAIN', 'AUTH PLAIN ', 'AUTH PLAIN  =', 'AUTH *', 'AUTHX'])
    case 10:
      return random.pick([
        ...[
          'APOP',
          'APOP u0',
          'APOP u0 ',
          'APOP u0 zz',
          'APOP u0 {apop}',
          'APOP u1 {apop}',
          'APOP nobody {apop}',
        ],
        ...[`APOP u0 ${'0'.repeat(32)}`, `APOP u0 ${'g'.repeat(32)}`, `APOP u0 ${'0'.repeat(31)}`],
        ...['APOP u0 {APOP}', 'APOP u0 {apop} x', 'APOP  u0 {apop}'],
      ])
    case 11:
      return random.pick([
        'CAPA',
        'CAPA',
        'CAPA x',
        'capa',
        'STLS',
        'STLS x',
        'XCLIENT ADDR=1.2.3.4',
        'XCLIENT',
        `${random.pick(['XCLIENT', 'xclient'])} ${Array.from({ length: 1 + random.below(3) }, () => random.pick(clientFacts)).join(' ')}`,
        `XOIP ${random.pick(['1.2.3.4', '::1', '', 'x', '1.2.3.4 x'])}`,
      ])
    case 12:
      // Of a line that is too long the end of the connection can overtake the answer.
      return message(random).slice(0, 1_000)
    default:
      return random.pick([
        ...[
          '',
          ' ',
          'FOO',
          'NOOP',
          'STAT',
          'RSET',
          'LIST 1',
          'TOP',
          'HELO x',
          'GET / HTTP/1.1',
          ' CAPA',
          'CAPA\t',
        ],
        ...[
          'QUIT x',
          'US\rER u0',
          '\x80\xff',
          'x'.repeat(900),
          'y'.repeat(1_023),
          `USER ${'u'.repeat(1_024)}`,
          `PASS ${'p'.repeat(1_024)}`,
          `CAPA ${' '.repeat(1_024)}`,
          `NOOP ${'\xff'.repeat(1_024)}`,
          'user u0\r',
          'PASS secret\r',
          'USER\tu0',
          'QUIT\r',
          'EHLO',
          'A001 LOGIN u0 secret',
        ],
      ])
  }
}

export function makeLoginScript(random: Random): LoginScript {
  const writes: string[][] = []
  for (let write = 1 + random.below(10); write > 0; write--) {
    const count = random.below(4) === 0 ? 2 + random.below(3) : 1
    writes.push(
      Array.from({ length: count }, () => {
        const line = command(random)
        const cased = random.below(6) === 0 ? line.replace(/^[A-Z]+/, (verb) => verb.toLowerCase()) : line
        return `${cased}${random.below(12) === 0 ? '\n' : '\r\n'}`
      }),
    )
  }
  if (random.below(3) === 0) writes.push(['USER u0\r\n', 'PASS secret\r\n'])
  return { writes, end: random.pick(['quit', 'fin']) }
}

export interface LoginServer {
  readonly name: string
  readonly port: number
  /** Another one than the server's: then the connection is not one within a machine. */
  readonly localAddress: string
}

/** Lines of a connection that may turn to TLS. */
class Wire {
  #socket: net.Socket
  readonly #name: string
  #received = ''
  #isOver = false
  #wake: () => void = () => undefined

  constructor(socket: net.Socket, name: string) {
    this.#socket = socket
    this.#name = name
    this.#listen(socket)
  }

  #listen(socket: net.Socket): void {
    socket.on('data', (chunk: Buffer) => {
      this.#received += chunk.toString('latin1')
      this.#wake()
    })
    socket.on('error', () => undefined)
    for (const event of ['end', 'close']) {
      socket.on(event, () => {
        this.#isOver = true
        this.#wake()
      })
    }
  }

  write(text: string): void {
    this.#socket.write(text, 'latin1')
  }

  end(): void {
    this.#socket.end()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  /** Undefined: the connection has ended. */
  async line(): Promise<string | undefined> {
    const deadline = performance.now() + 40_000
    for (;;) {
      const at = this.#received.indexOf('\r\n')
      if (at !== -1) {
        const line = this.#received.slice(0, at)
        this.#received = this.#received.slice(at + 2)
        return line
      }
      if (this.#isOver) return undefined
      const woken = new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      await within(`a line of ${this.#name}`, woken, Math.max(1, deadline - performance.now()))
    }
  }

  async secure(): Promise<void> {
    this.#socket.removeAllListeners('data')
    for (const event of ['end', 'close']) this.#socket.removeAllListeners(event)
    const secured = tls.connect({ socket: this.#socket, rejectUnauthorized: false })
    this.#socket = secured
    this.#listen(secured)
    await within('TLS', new Promise((resolve) => secured.once('secureConnect', resolve)), 40_000)
  }
}

/** What servers have in common of a line. */
function comparable(line: string | undefined): string {
  if (line === undefined) return 'EOF'
  if (line.startsWith('-ERR')) return /^-ERR( \[[^\]]*\])?/.exec(line)![0]
  if (line.startsWith('+OK')) return '+OK'
  // Those of LOGIN, and the empty one, are fixed; others are new each time.
  if (line.startsWith('+ ')) return /^\+ (|VXNlcm5hbWU6|UGFzc3dvcmQ6)$/.test(line) ? line : '+ (challenge)'
  return line
}

/** Runs a session; returns what came back. */
export async function runLoginScript(server: LoginServer, script: LoginScript): Promise<string[]> {
  const { name, port, localAddress } = server
  const socket = net.connect({ host: '127.0.0.1', allowHalfOpen: true, port, localAddress })
  socket.setNoDelay(true)
  const wire = new Wire(socket, name)
  const transcript: string[] = []
  const greeting = await wire.line()
  const stamp = /<[^>]*>$/.exec(greeting ?? '')?.[0] ?? ''
  const digest = createHash('md5').update(`${stamp}secret`).digest('hex')
  let challenge = ''
  let isOver = false
  let isIn = false
  const filled = (line: string): string =>
    line
      .replace('{apop}', digest)
      .replace('{APOP}', digest.toUpperCase())
      .replace('{cram}', () => base64(`u0 ${createHmac('md5', 'secret').update(challenge).digest('hex')}`))
  const take = async (sent: string): Promise<void> => {
    const first = await wire.line()
    transcript.push(`${JSON.stringify(sent.slice(0, 60))} ${comparable(first)}`)
    if (first === undefined) {
      isOver = true
      return
    }
    if (first.startsWith('+ ')) challenge = Buffer.from(first.slice(2), 'base64').toString('latin1')
    if (!first.startsWith('+OK')) return
    if (/^(?:pass|apop|auth [^ \r\n])/i.test(sent)) isIn = true
    // Where no mechanism is named, which ones there are.
    if (!/^(?:capa(?: .*)?|auth(?: (?: .*)?)?)\r?\n$/i.test(sent)) return
    for (let next = await wire.line(); next !== '.'; next = await wire.line()) {
      if (next === undefined) {
        isOver = true
        return
      }
      // Dovecot shows a list without anything in it.
      if (next !== 'SASL') transcript.push(next)
    }
  }
  // What is said after a login has scripts of its own.
  for (const lines of script.writes) {
    if (isOver || isIn) break
    // TLS begins with what follows a STLS that was taken: nothing may follow it in clear.
    const isStls = lines.some((line) => /^stls/i.test(line))
    for (const write of isStls ? lines.map((line) => [line]) : [lines]) {
      if (isOver || isIn) break
      wire.write(write.map(filled).join(''))
      for (const line of write) if (!isOver && !isIn) await take(line)
      if (/^stls/i.test(write[0]!) && transcript.at(-1)?.endsWith('+OK') === true) await wire.secure()
    }
  }
  if (isIn) {
    wire.destroy()
    return transcript
  }
  if (!isOver && script.end === 'quit') {
    wire.write('QUIT\r\n')
    await take('QUIT')
  }
  wire.end()
  for (let line = await wire.line(); line !== undefined; line = await wire.line()) {
    transcript.push(`then ${comparable(line)}`)
  }
  wire.destroy()
  return transcript
}

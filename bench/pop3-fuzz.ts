/**
 * Random octets for the POP3 server: short sessions on many connections that say anything, in pieces of any size,
 * before and after login, in clear, in TLS by STLS and in the middle of a handshake, and leave in any way. The service has to survive, to end each one whose client has, to
 * forget all of them, and to be what it was before: as many actors, files and threads, and hardly more memory.
 *
 *     npm run bench -- pop3-fuzz          POP3_FUZZ_SESSIONS=100000 POP3_FUZZ_SEED=1 POP3_FUZZ_TLS=0
 *
 * Exit code 1: it crashed, an actor did, something stayed, or memory grew.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import tls from 'node:tls'
import { Random } from '../src/testing/random.ts'
import { selfSigned } from '../test/support/certificates.ts'
import { freePorts } from '../test/support/ports.ts'
import { Service } from '../test/support/service.ts'
import { until } from '../test/support/until.ts'
import { memory } from './harness/proc-tree.ts'
import { cleanUpOnSignals } from './harness/processes.ts'

const sessions = Number(process.env.POP3_FUZZ_SESSIONS ?? 20_000)
const seed = Number(process.env.POP3_FUZZ_SEED ?? Math.trunc(Math.random() * 1e9))
/** One session in so many begins TLS; 0: none does. */
const tlsEvery = Number(process.env.POP3_FUZZ_TLS ?? 8)
const CLIENTS = 100
/** Sizes are noted so many times on the way. */
const STEPS = 10
const USERS = 16
/** Who has said all and waits for the end this long has found a fault. */
const PATIENCE_MS = 15_000
/** Growth of the second half that the collector's laziness explains, whatever the number of sessions. */
const ALLOWED_MIB = 60

const words = [
  ...['USER', 'PASS', 'AUTH', 'AUTH PLAIN', 'AUTH LOGIN', 'APOP', 'CAPA', 'STLS', 'QUIT', 'STAT', 'LIST'],
  ...['RETR', 'DELE', 'NOOP', 'RSET', 'TOP', 'UIDL', 'LAST', 'XCLIENT', 'UTF8', 'LANG', 'u1', 'secret'],
  ...[' ', '  ', '\r\n', '\r\n', '\r\n', '\n', '\r', '\0', '*', '=', 'AHUxAHNlY3JldA==', '1', '2', '0', '-1'],
  ...[
    '4294967296',
    'AUTH CRAM-MD5',
    'AUTH SCRAM-SHA-256',
    'AUTH OAUTHBEARER',
    'biwsbj11MSxyPWFh',
    '\xff\xfe',
    '%s',
    '[AUTH]',
    'RETR 1\r\n',
    'TOP 2 1\r\n',
    'UIDL\r\n',
    'DELE 3\r\n',
  ],
]
const rare = [
  'x'.repeat(3_000),
  `AUTH PLAIN ${'A'.repeat(9_000)}`,
  'RETR 1\r\n'.repeat(200),
  'FOO\r\n'.repeat(30),
]
const noise = Buffer.from(Array.from({ length: 4_096 }, (_, i) => (i * 167 + (i >> 3)) & 0xff)).toString(
  'latin1',
)

function nonsense(random: Random): string {
  let text = random.below(2) === 0 ? `USER u${random.below(USERS)}\r\nPASS secret\r\n` : ''
  for (let part = random.below(16); part > 0; part--) {
    const kind = random.below(6)
    if (kind === 0) {
      const from = random.below(noise.length)
      text += noise.slice(from, from + random.below(40))
    } else text += random.below(40) === 0 ? random.pick(rare) : random.pick(words)
    if (kind > 2) text += random.below(2) === 0 ? '\r\n' : ' '
  }
  return text
}

/** Who sends FIN must be left alone soon. */
let late = 0

/** STLS and leave to begin; false: the connection has ended. */
function readyForTls(socket: net.Socket): Promise<boolean> {
  return new Promise((resolve) => {
    let said = ''
    const done = (isReady: boolean): void => {
      socket.off('data', received)
      socket.off('close', ended)
      resolve(isReady)
    }
    const ended = (): void => done(false)
    const received = (chunk: Buffer): void => {
      said += chunk.toString('latin1')
      if (said.split('\r\n').length > 2) done(true)
    }
    socket.on('data', received)
    socket.on('close', ended)
    socket.write('STLS\r\n')
  })
}

/** What to go on with after STLS: TLS, or what is none. */
async function beginTls(socket: net.Socket, random: Random): Promise<net.Socket> {
  if (!(await readyForTls(socket))) return socket
  if (random.below(4) === 0) {
    socket.write(`\x16\x03\x01${noise.slice(0, random.below(600))}`, 'latin1')
    return socket
  }
  const secured = tls.connect({ socket, rejectUnauthorized: false })
  secured.on('error', () => {})
  return new Promise((resolve) => {
    secured.once('secureConnect', () => resolve(secured))
    secured.once('close', () => resolve(secured))
    // Some leave before they are through.
    if (random.below(6) === 0) setImmediate(() => socket.resetAndDestroy())
  })
}

/** One client from its first octet to its end. */
function session(port: number, random: Random): Promise<void> {
  return new Promise((resolve) => {
    const raw = net.connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
    let socket: net.Socket = raw
    const octets = Buffer.from(nonsense(random), 'latin1')
    const ending = random.below(4)
    const inPieces = random.below(3) === 0
    let at = 0
    let impatient: NodeJS.Timeout | undefined
    const next = (): void => {
      if (socket.destroyed) return
      if (at < octets.length) {
        const length = inPieces ? 1 + random.below(random.below(3) === 0 ? 3 : 300) : octets.length
        socket.write(octets.subarray(at, at + length), () => setImmediate(next))
        at += length
      } else if (ending === 0) raw.resetAndDestroy()
      else if (ending === 1) raw.destroy()
      else {
        if (ending === 2) socket.write('\r\nQUIT\r\n')
        socket.end()
        socket.resume()
        impatient = setTimeout(() => {
          late++
          raw.resetAndDestroy()
        }, PATIENCE_MS)
      }
    }
    // Some read nothing until they have said all.
    const reads = random.below(8) > 0
    const isSecured = tlsEvery > 0 && random.below(tlsEvery) === 0
    raw.on('connect', async () => {
      if (isSecured) socket = await beginTls(raw, random)
      if (reads) socket.resume()
      next()
    })
    raw.on('error', () => {})
    raw.on('close', () => {
      clearTimeout(impatient)
      resolve()
    })
  })
}

interface Size {
  readonly sessions: number
  readonly actors: number
  readonly files: number
  readonly residentMib: number
  readonly heapMib: number
}

/** What the service consists of, as it says itself and as the system sees it. */
async function sizeOf(service: Service): Promise<Size> {
  const ask = async (...args: string[]): Promise<unknown> => {
    const { stdout, code } = await service.command(['status', ...args, '--json'])
    if (code !== 0) throw new Error('the service does not answer')
    return JSON.parse(stdout)
  }
  const { threads } = (await ask()) as { threads: { actors: number; heapBytes: number }[] }
  return {
    sessions: ((await ask('--sessions')) as unknown[]).length,
    actors: threads.reduce((sum, { actors }) => sum + actors, 0),
    files: readdirSync(`/proc/${service.pid}/fd`).length,
    residentMib: memory([service.pid]).rssKiB / 1024,
    heapMib: threads.reduce((sum, { heapBytes }) => sum + heapBytes, 0) / 2 ** 20,
  }
}

cleanUpOnSignals()
const { cert, key } = await selfSigned({ names: ['mail.peers.test'] })
const pem = join(mkdtempSync(join(tmpdir(), 'ma-fuzz-')), 'cert.pem')
writeFileSync(pem, cert + key)
const [port = 0] = await freePorts(1)
const users = Object.fromEntries(Array.from({ length: USERS }, (_, i) => [`u${i}`, 'secret']))
const service = await Service.prepare({
  users,
  tables: '[limits]\nmax_userip_connections = 0\n[log]\nlevel = "warn"\n',
  args: [
    ...['auth.failure_delay=0', 'auth.internal_failure_delay=0', `tls.cert=${pem}`].flatMap((each) => [
      '--set',
      each,
    ]),
    ...['--set', `listener=[{service="pop3",address="127.0.0.1:${port}",tls="starttls"}]`],
  ],
})
const maildirOf = (user: string) => join(service.dataDir, 'mail', user, 'Maildir')
let delivered = 0

/** Sessions remove mails: there is always something left to ask for. */
function fill(user: string): void {
  const maildir = maildirOf(user)
  const count = readdirSync(join(maildir, 'cur')).length + readdirSync(join(maildir, 'new')).length
  for (let mail = count; mail < 4; mail++) {
    const name = `${1_700_000_000 + ++delivered}.M1P1.h`
    writeFileSync(join(maildir, 'new', name), `Subject: ${delivered}\n\n.\n${'x\n'.repeat(900)}`)
  }
}
for (const user of Object.keys(users)) {
  for (const folder of ['tmp', 'new', 'cur']) mkdirSync(join(maildirOf(user), folder), { recursive: true })
}

let failure = ''
try {
  service.launch()
  // It logs nothing when it is ready, so as not to log each session.
  const answers = async () => (await service.command(['status'])).code === 0
  await until('the service to be ready', answers, { everyMs: 300 })
  const random = new Random(seed)
  const run = async (many: number): Promise<void> => {
    let toDo = many
    const one = async (): Promise<void> => {
      for (; toDo > 0; ) {
        if (toDo-- % 50 === 0) fill(`u${toDo % USERS}`)
        await session(port, random)
      }
    }
    await Promise.all(Array.from({ length: CLIENTS }, one))
    let left = 0
    const isEmpty = async () => {
      left = (await sizeOf(service)).sessions
      return left === 0
    }
    // On a busy machine the commands that ask take their time.
    const patient = { everyMs: 200, deadlineMs: 300_000, describe: () => ` (${left} are left)` }
    await until('all sessions to be forgotten', isEmpty, patient)
  }
  // The first ones open the mailboxes, fill caches and make code warm.
  await run(Math.max(2_000, Math.min(20_000, sessions / 5)))
  const before = await sizeOf(service)
  const began = performance.now()
  const sizes: Size[] = []
  for (let step = 0; step < STEPS; step++) {
    await run(Math.ceil(sessions / STEPS))
    sizes.push(await sizeOf(service))
  }
  // What is kept for reuse is there after the first half: a leak goes on.
  const middle = sizes[STEPS / 2 - 1]!
  const after = sizes.at(-1)!
  const seconds = (performance.now() - began) / 1000
  const log = readFileSync(join(service.dir, 'out.1.log'), 'utf8')
  const crashes = log.match(/"event":"actor\.terminated".*/g) ?? []
  const show = ({ actors, files, residentMib, heapMib }: Size) =>
    `${actors} actors, ${files} files, ${residentMib.toFixed(0)} MiB resident, ${heapMib.toFixed(0)} MiB heap`
  console.log(
    `pop3-fuzz: seed ${seed}, ${sessions} sessions in ${seconds.toFixed(0)} s (${(sessions / seconds).toFixed(0)} a second)\n` +
      `  before: ${show(before)}\n${sizes.map((size, i) => `  ${(i + 1) * (100 / STEPS)} %: ${show(size)}\n`).join('')}  ${crashes.length} crashes, ${late} sessions that did not end`,
  )
  if (crashes.length > 0) failure = crashes[0]!
  else if (late > 0) failure = 'sessions did not end when their clients had'
  else if (after.actors > before.actors) failure = 'actors stayed'
  else if (after.files > before.files) failure = 'files stayed open'
  else if (after.residentMib - middle.residentMib > ALLOWED_MIB) failure = 'memory grew'
} catch (error) {
  failure = (error as Error).message
}
if (failure !== '') console.error(`pop3-fuzz: seed ${seed}: ${failure}; kept for a look: ${service.dir}`)
await service.dispose({ keep: failure !== '' })
rmSync(dirname(pem), { recursive: true })
process.exitCode = failure === '' ? 0 : 1

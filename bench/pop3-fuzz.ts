/**
 * Random octets for the POP3 server: sessions that say anything, in pieces of any size, before and after login, and
 * leave in any way. The service has to survive, to forget every one of them, and to stay as large as it was.
 *
 *     npm run bench -- pop3-fuzz          POP3_FUZZ_SESSIONS=1000000 POP3_FUZZ_SEED=1
 *
 * Exit code 1: it crashed, an actor did, a session stayed, or memory grew.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { Random as Numbers } from '../src/testing/random.ts'
import { Service } from '../test/support/service.ts'
import { until } from '../test/support/until.ts'
import { memory } from './harness/proc-tree.ts'
import { cleanUpOnSignals } from './harness/processes.ts'

const sessions = Number(process.env.POP3_FUZZ_SESSIONS ?? 20_000)
const seed = Number(process.env.POP3_FUZZ_SEED ?? Math.trunc(Math.random() * 1e9))
const CLIENTS = 100
/** Growth that caches and the collector's laziness explain. */
const ALLOWED_MIB = 150

const words = [
  ...[
    'USER',
    'PASS',
    'AUTH',
    'AUTH PLAIN',
    'APOP',
    'CAPA',
    'STLS',
    'QUIT',
    'STAT',
    'LIST',
    'RETR',
    'DELE',
    'NOOP',
  ],
  ...[
    'RSET',
    'TOP',
    'UIDL',
    'LAST',
    'XCLIENT',
    'UTF8',
    'LANG',
    'ann',
    'secret',
    ' ',
    '  ',
    '\r\n',
    '\r\n',
    '\n',
    '\r',
  ],
  ...[
    '\0',
    '*',
    '=',
    'AGFubgBzZWNyZXQ=',
    '1',
    '2',
    '0',
    '-1',
    '4294967296',
    '\xff\xfe',
    '%s',
    '[AUTH]',
    'x'.repeat(3_000),
  ],
]

type Random = (below: number) => number

function nonsense(random: Random): string {
  let text = random(3) > 0 ? 'USER ann\r\nPASS secret\r\n' : ''
  for (let part = random(30); part > 0; part--) {
    const kind = random(6)
    if (kind === 0) text += String.fromCharCode(...Array.from({ length: random(40) }, () => random(256)))
    else text += words[random(words.length)]
    if (kind > 2) text += random(2) === 0 ? '\r\n' : ' '
  }
  return text
}

/** One client from its first octet to its end. */
function session(port: number, random: Random): Promise<void> {
  return new Promise((resolve) => {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
    const octets = Buffer.from(nonsense(random), 'latin1')
    const ending = random(4)
    let at = 0
    // A client that says nothing wrong and nothing more would wait for the server's timeout.
    const impatient = setTimeout(() => socket.resetAndDestroy(), 2_000)
    const next = (): void => {
      if (socket.destroyed) return
      if (at < octets.length) {
        const length = 1 + random(random(3) === 0 ? 3 : 4_000)
        socket.write(octets.subarray(at, at + length), () => setImmediate(next))
        at += length
      } else if (ending === 0) socket.resetAndDestroy()
      else if (ending === 1) socket.destroy()
      else socket.end()
    }
    if (random(20) === 0) socket.pause()
    else socket.resume()
    socket.on('connect', next)
    socket.on('error', () => {})
    socket.on('close', () => {
      clearTimeout(impatient)
      resolve()
    })
  })
}

async function count(service: Service): Promise<number> {
  const { stdout, code } = await service.command(['status', '--sessions', '--json'])
  if (code !== 0) throw new Error('the service does not answer')
  return (JSON.parse(stdout) as unknown[]).length
}

cleanUpOnSignals()
const service = await Service.prepare({ listeners: ['pop3'], users: { ann: 'secret' } })
const maildir = join(service.dataDir, 'mail', 'ann', 'Maildir')
for (const folder of ['tmp', 'new', 'cur']) mkdirSync(join(maildir, folder), { recursive: true })
for (let mail = 1; mail < 4; mail++) {
  writeFileSync(
    join(maildir, 'cur', `170000000${mail}.M1P1.h:2,S`),
    `Subject: ${mail}\n\n.\n${'x\n'.repeat(900)}`,
  )
}
let failure = ''
try {
  await service.run()
  const numbers = new Numbers(seed)
  const random: Random = (below) => numbers.below(below)
  const { port } = { port: service.ports.pop3 }
  const run = async (many: number): Promise<void> => {
    let left = many
    const one = async (): Promise<void> => {
      while (left-- > 0) await session(port, random)
    }
    await Promise.all(Array.from({ length: CLIENTS }, one))
    await until('all sessions to be forgotten', async () => (await count(service)) === 0, { everyMs: 200 })
  }
  const resident = (): number => memory([service.pid]).rssKiB / 1024
  // The first ones fill caches and make code warm.
  await run(Math.min(5_000, sessions))
  const before = resident()
  const began = performance.now()
  await run(sessions)
  const grown = resident() - before
  const crashes =
    readFileSync(join(service.dir, 'out.1.log'), 'utf8').match(/"event":"actor\.terminated".*/g) ?? []
  console.log(
    `pop3-fuzz: seed ${seed}, ${sessions} sessions in ${Math.round((performance.now() - began) / 1000)} s, ` +
      `memory ${grown.toFixed(1)} MiB more, ${crashes.length} crashes`,
  )
  if (crashes.length > 0) failure = crashes[0]!
  else if (grown > ALLOWED_MIB) failure = 'memory grew'
} catch (error) {
  failure = (error as Error).message
}
if (failure !== '') console.error(`pop3-fuzz: seed ${seed}: ${failure}; kept for a look: ${service.dir}`)
await service.dispose({ keep: failure !== '' })
process.exitCode = failure === '' ? 0 : 1

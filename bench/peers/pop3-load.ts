/**
 * Closed-loop POP3 load on any server.
 *
 *     node bench/peers/pop3-load.ts SCENARIO --port P [options]
 *
 *   session  C clients repeat: connect, USER, PASS, STAT, UIDL, LIST, RETR 1, QUIT, for T seconds after a warm-up.
 *            Sessions per second and latency.
 *   drain    each of C clients opens its own mailbox and RETRs every mail; repeated until T seconds have passed
 *            (T=0: once). MB/s on the wire.
 *   idle     opens C logged-in sessions, holds them T seconds, reports the server's memory per session.
 *   login    one client logs in K times in a row and reports the time of every step (for huge mailboxes).
 *
 *   --host 127.0.0.1  --port P
 *   --clients C     concurrent clients (1)
 *   --seconds T     length of the measurement (10; drain 0)
 *   --warmup S      session: not counted at the start (1)
 *   --users N       accounts <prefix>0 .. <prefix>N-1 (C). Client i only uses users i, i+C, i+2C, ..: with N >= C no
 *                   mailbox is ever open twice, so servers with an exclusive lock pass too
 *   --first F       first account number (0)
 *   --prefix u  --pass secret
 *   --pipeline D    drain: send D RETRs before reading the replies (1)
 *   --delete        drain: DELE every mail too (the mailbox is then empty)
 *   --repeat K      login: number of sessions (3)
 *   --pid PID|FILE  server process or its pid file; its whole tree is counted (repeatable)
 *
 * Prints one JSON object. cpu.server is CPU time of the server's process tree in the measured window, cpu.generator
 * that of this program, cpu.other what else ran on the machine (noise), all in seconds. Exit code 1 if any session
 * failed.
 */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { cpuSeconds, machineSeconds, memory, pidFrom } from '../harness/proc-tree.ts'
import { quantiles, round } from '../harness/statistics.ts'
import { Pop3Connection } from './pop3-connection.ts'

const { values: option, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string' },
    clients: { type: 'string', default: '1' },
    seconds: { type: 'string' },
    warmup: { type: 'string', default: '1' },
    users: { type: 'string' },
    first: { type: 'string', default: '0' },
    prefix: { type: 'string', default: 'u' },
    pass: { type: 'string', default: 'secret' },
    pipeline: { type: 'string', default: '1' },
    delete: { type: 'boolean', default: false },
    repeat: { type: 'string', default: '3' },
    pid: { type: 'string', multiple: true, default: [] },
  },
})
const scenario = positionals[0] ?? ''
const endpoint = { host: option.host, port: Number(option.port) }
const clients = Number(option.clients)
const seconds = Number(option.seconds ?? (scenario === 'drain' ? 0 : 10))
const users = Math.max(Number(option.users ?? clients), 1)
const first = Number(option.first)
const pids = option.pid.map(pidFrom)

interface WindowStart {
  readonly at: number
  readonly server: number
  readonly machine: number
  readonly own: NodeJS.CpuUsage
}

function startWindow(): WindowStart {
  return {
    at: performance.now(),
    server: cpuSeconds(pids),
    machine: machineSeconds(),
    own: process.cpuUsage(),
  }
}

function endWindow(start: WindowStart) {
  const elapsed = (performance.now() - start.at) / 1000
  const own = process.cpuUsage(start.own)
  const generator = (own.user + own.system) / 1e6
  const server = cpuSeconds(pids) - start.server
  const other = Math.max(0, machineSeconds() - start.machine - server - generator)
  return { elapsed, cpu: { server: round(server), generator: round(generator), other: round(other) } }
}

let errors = 0
let errorSample: string | undefined

function failed(error: unknown): void {
  errors += 1
  errorSample ??= error instanceof Error ? error.message : String(error)
}

/** The accounts of client `index`, in turn. */
function accounts(index: number): () => string {
  const mine: string[] = []
  for (let user = index % users; user < users; user += clients) mine.push(`${option.prefix}${first + user}`)
  let turn = 0
  return () => mine[turn++ % mine.length] ?? ''
}

const perClient = (run: (index: number) => Promise<void>): Promise<void[]> =>
  Promise.all(Array.from({ length: clients }, (_, index) => run(index)))

const perServerSecond = (count: number, server: number): number | undefined =>
  server > 0 ? round(count / server, 1) : undefined

async function session() {
  let isMeasuring = false
  let isRunning = true
  let octets = 0
  const latency: number[] = []

  const loop = perClient(async (index) => {
    const buffer = Buffer.allocUnsafe(65_536)
    const nextUser = accounts(index)
    while (isRunning) {
      const began = performance.now()
      const pop = new Pop3Connection(endpoint, buffer)
      try {
        await pop.login(nextUser(), option.pass)
        await pop.single('STAT')
        await pop.multi('UIDL')
        await pop.multi('LIST')
        await pop.multi('RETR 1')
        await pop.single('QUIT')
        if (isMeasuring) {
          latency.push(performance.now() - began)
          octets += pop.octets
        }
      } catch (error) {
        failed(error)
        // A server that refuses at once must not turn this into a busy loop.
        await sleep(10)
      } finally {
        pop.end()
      }
    }
  })

  await sleep(Number(option.warmup) * 1000)
  errors = 0
  isMeasuring = true
  const start = startWindow()
  await sleep(seconds * 1000)
  isMeasuring = false
  const { elapsed, cpu } = endWindow(start)
  isRunning = false
  await loop
  return {
    sessions: latency.length,
    sessionsPerSecond: round(latency.length / elapsed, 1),
    sessionsPerServerCpuSecond: perServerSecond(latency.length, cpu.server),
    latencyMs: quantiles(latency),
    megabytesPerSecond: round(octets / 1e6 / elapsed),
    elapsedSeconds: round(elapsed),
    cpu,
  }
}

async function drain() {
  const depth = Number(option.pipeline)
  let mails = 0
  let octets = 0
  let drains = 0
  const quit: number[] = []
  const start = startWindow()
  await perClient(async (index) => {
    const buffer = Buffer.allocUnsafe(262_144)
    const nextUser = accounts(index)
    do {
      const pop = new Pop3Connection(endpoint, buffer)
      try {
        await pop.login(nextUser(), option.pass)
        const total = Number((await pop.single('STAT')).split(' ')[1])
        const before = pop.octets
        for (let number = 1; number <= total; ) {
          const batch: number[] = []
          while (batch.length < depth && number <= total) batch.push(number++)
          await pop.multi(batch.map((each) => `RETR ${each}`).join('\r\n'), batch.length)
          mails += batch.length
          if (option.delete) for (const each of batch) await pop.single(`DELE ${each}`)
        }
        octets += pop.octets - before
        const quitting = performance.now()
        await pop.single('QUIT')
        quit.push(performance.now() - quitting)
        drains += 1
      } catch (error) {
        failed(error)
        break
      } finally {
        pop.end()
      }
    } while (performance.now() - start.at < seconds * 1000)
  })
  const { elapsed, cpu } = endWindow(start)
  return {
    drains,
    mails,
    pipeline: depth,
    megabytesPerSecond: round(octets / 1e6 / elapsed),
    mailsPerSecond: round(mails / elapsed, 1),
    megabytesPerServerCpuSecond: perServerSecond(octets / 1e6, cpu.server),
    quitMs: quantiles(quit),
    elapsedSeconds: round(elapsed, 3),
    cpu,
  }
}

async function idle() {
  const available = (): number =>
    Number(/^MemAvailable:\s+(\d+)/m.exec(readFileSync('/proc/meminfo', 'latin1'))?.[1])
  const buffer = Buffer.allocUnsafe(65_536)
  const before = memory(pids)
  const availableBefore = available()
  const open: Pop3Connection[] = []
  const start = startWindow()
  let next = 0
  // At most 20 log in at a time: login processes are often limited.
  await Promise.all(
    Array.from({ length: Math.min(20, clients) }, async () => {
      while (next < clients) {
        const index = next++
        const pop = new Pop3Connection(endpoint, buffer)
        try {
          await pop.login(`${option.prefix}${first + (index % users)}`, option.pass)
          await pop.single('STAT')
          open.push(pop)
        } catch (error) {
          failed(error)
          pop.end()
        }
      }
    }),
  )
  const opening = endWindow(start)
  await sleep(2000)
  const after = memory(pids)
  const availableAfter = available()
  const hold = startWindow()
  await sleep(seconds * 1000)
  const held = endWindow(hold)
  await Promise.all(open.map((pop) => pop.single('QUIT').catch(failed)))
  for (const pop of open) pop.end()
  const sessions = open.length
  return {
    sessions,
    perSession: {
      processes: round((after.processes - before.processes) / sessions, 3),
      rssKiB: round((after.rssKiB - before.rssKiB) / sessions, 1),
      pssKiB: round((after.pssKiB - before.pssKiB) / sessions, 1),
      pssKiBWithServer: round(after.pssKiB / sessions, 1),
      // The whole machine's view: kernel memory and this program's own sockets too.
      memAvailableKiB: round((availableBefore - availableAfter) / sessions, 1),
    },
    openSeconds: round(opening.elapsed),
    openCpu: opening.cpu,
    holdSeconds: round(held.elapsed),
    holdCpu: held.cpu,
  }
}

async function login() {
  const runs: object[] = []
  const buffer = Buffer.allocUnsafe(1 << 20)
  for (let turn = 0; turn < Number(option.repeat); turn++) {
    const start = startWindow()
    const stepMs: Record<string, number> = {}
    let last = start.at
    const mark = (name: string): void => {
      const now = performance.now()
      stepMs[name] = round(now - last)
      last = now
    }
    const pop = new Pop3Connection(endpoint, buffer)
    try {
      await pop.greeting()
      mark('greeting')
      await pop.single(`USER ${option.prefix}${first}`)
      await pop.single(`PASS ${option.pass}`)
      mark('login')
      await pop.single('STAT')
      mark('stat')
      await pop.multi('UIDL')
      mark('uidl')
      await pop.multi('LIST')
      mark('list')
      await pop.multi('RETR 1')
      mark('retr')
      await pop.single('QUIT')
      mark('quit')
    } catch (error) {
      failed(error)
    }
    pop.end()
    // Lets the process of this session end and be counted, where the server has one.
    await sleep(20)
    runs.push({ stepMs, totalMs: round(last - start.at), cpu: endWindow(start).cpu })
  }
  return { runs }
}

const scenarios: Readonly<Record<string, () => Promise<object>>> = { session, drain, idle, login }
const run = scenarios[scenario]
if (run === undefined || !Number.isInteger(endpoint.port)) {
  console.error(
    `usage: pop3-load.ts ${Object.keys(scenarios).join('|')} --port P [options]; see the head of the file`,
  )
  process.exit(64)
}
const result = await run()
console.log(JSON.stringify({ scenario, clients, users, ...result, errors, errorSample }))
process.exit(errors > 0 ? 1 : 0)

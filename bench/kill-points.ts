/**
 * A campaign: the whole service is killed (SIGKILL) at each change it makes to the disk, one after another, while mail comes
 * in for a user and a next hop at once and a session removes some. `strace` counts the changes of each thread, and kills
 * instead of the N-th. Then the service starts again: what was acknowledged is there and arrives, what was removed stays
 * away, no file is left over.
 *
 *     node bench/kill-points.ts [--from N] [--to N] [--step N] [--calls write,openat]
 *
 * It ends where three points in turn were not reached. Ends with code 1 when there was a fault; the directory is kept then.
 */
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { parseArgs } from 'node:util'
import { Pop3Client, SmtpClient } from '../test/support/clients.ts'
import { Service } from '../test/support/service.ts'
import { SmtpSink } from '../test/support/smtp-sink.ts'
import { until } from '../test/support/until.ts'

/** The calls by which files, and nothing but files, change. */
const changes =
  'pwrite64,pwritev,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,ftruncate,mkdir,mkdirat,rmdir,fallocate'

const { values } = parseArgs({
  options: {
    from: { type: 'string', default: '1' },
    to: { type: 'string', default: '400' },
    step: { type: 'string', default: '1' },
    calls: { type: 'string', default: changes },
  },
})
const mails = 4
const user = 'ann'

interface Told {
  /** Ids whose delivery was acknowledged. */
  readonly acknowledged: Set<string>
  readonly tried: Set<string>
  /** UIDLs by id, as a session saw them. */
  readonly uidls: Map<string, string>
  readonly removed: Map<string, 'asked' | 'done'>
}

async function traffic(service: Service, told: Told): Promise<void> {
  const client = await SmtpClient.connect(service.ports.smtp)
  await client.expect(250, 'EHLO c')
  for (let i = 1; i <= mails; i++) {
    const id = `mail-${i}`
    told.tried.add(id)
    const to = [`${user}@localhost`, `far${i}@away.test`]
    const content = `Subject: ${id}\r\n\r\n${'x'.repeat(i === 2 ? 200_000 : 500)}`
    const reply = await client.send({ from: 'a@b.test', to, content })
    if (reply.code === 250) told.acknowledged.add(id)
  }
  await client.expect(221, 'QUIT')
  await until('mail', async () => (await look(service)).size === mails)
  const pop3 = await Pop3Client.login(service.ports.pop3, user)
  const seen = await listed(pop3)
  for (const [id, uidl] of seen) told.uidls.set(id, uidl)
  await pop3.ok('RETR 3')
  for (;;) if ((await pop3.line()) === '.') break
  const gone = [...seen.keys()].slice(0, 2)
  for (const number of [1, 2]) await pop3.ok(`DELE ${number}`)
  for (const id of gone) told.removed.set(id, 'asked')
  await pop3.ok('QUIT')
  for (const id of gone) told.removed.set(id, 'done')
}

async function listed(pop3: Pop3Client): Promise<Map<string, string>> {
  const seen = new Map<string, string>()
  for (const line of await pop3.multi('UIDL')) {
    const [number = '', uidl = ''] = line.split(' ')
    const subject = (await pop3.multi(`TOP ${number} 0`)).find((field) => field.startsWith('Subject: '))
    const id = subject?.slice(9) ?? '?'
    if (seen.has(id)) throw new Error(`${id} is there twice`)
    seen.set(id, uidl)
  }
  return seen
}

async function look(service: Service): Promise<Map<string, string>> {
  const pop3 = await Pop3Client.login(service.ports.pop3, user)
  const seen = await listed(pop3)
  await pop3.ok('QUIT')
  return seen
}

/** `reached`: the service was killed before it had done all it had to. */
async function killAt(point: number): Promise<{ faults: string[]; reached: boolean }> {
  const sink = await SmtpSink.start({})
  const service = await Service.prepare({
    users: { [user]: 'secret' },
    tables: `[smtp]\nrelayhost = "${sink.nexthop}"\n[queue]\nminimal_backoff_time = "1s"\nrun_delay = "1s"\n`,
  })
  const faults: string[] = []
  const told: Told = { acknowledged: new Set(), tried: new Set(), uidls: new Map(), removed: new Map() }
  let reached = false
  try {
    await service.run()
    const args = ['-f', '-qq', '-o', '/dev/null', '-e', `trace=${values.calls}`]
    const tracer = spawn(
      'strace',
      [...args, '-e', `inject=${values.calls}:signal=SIGKILL:when=${point}`, '-p', String(service.pid)],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    )
    const over = new Promise<void>((resolve) => tracer.once('exit', () => resolve()))
    await attached(service.pid)
    let cutOff: unknown
    await traffic(service, told).catch((error) => {
      cutOff = error
    })
    // What is under way by then may be killed as well.
    await until('the end', () => !service.isRunning || sink.deliveries.size >= mails).catch(() =>
      faults.push('not delivered'),
    )
    if (service.isRunning) service.signal('SIGTERM')
    const { signal } = await service.exit()
    reached = signal === 'SIGKILL'
    if (!reached && cutOff !== undefined) faults.push(`traffic: ${cutOff}`)
    await over
    await service.run()
    await until('delivery', () =>
      [...told.acknowledged].every((id) =>
        sink.mails.some(({ content }) => content.includes(`Subject: ${id}\r\n`)),
      ),
    ).catch(() => faults.push('an acknowledged mail did not arrive at the next hop'))
    await until('an empty queue', async () => {
      const { stdout } = await service.command(['queue', 'list', '--json'])
      return stdout.trim() === '' || stdout.trim() === '[]'
    }).catch(() => faults.push('the queue did not become empty'))
    const seen = await look(service)
    for (const id of told.acknowledged)
      if (!seen.has(id) && !told.removed.has(id)) faults.push(`${id} is lost`)
    for (const [id, how] of told.removed) if (how === 'done' && seen.has(id)) faults.push(`${id} came back`)
    for (const [id, uidl] of told.uidls)
      if (seen.has(id) && seen.get(id) !== uidl) faults.push(`${id} was ${uidl}, is ${seen.get(id)}`)
    for (const line of service.log())
      if (Number(line.level) >= 40 || ['warn', 'error', 'fatal'].includes(String(line.level)))
        faults.push(`log: ${JSON.stringify(line).slice(0, 300)}`)
    await service.stop()
    for (const left of leftOver(service.dataDir)) faults.push(`left over: ${left}`)
  } catch (error) {
    faults.push(String(error))
  } finally {
    await sink.stop()
    await service.dispose({ keep: faults.length > 0 })
    if (faults.length > 0) faults.push(`kept: ${service.dir}`)
  }
  return { faults, reached }
}

/** Files of mails that are nobody's: by now the queue is empty. A Maildir's tmp is cleaned by age. */
const leftOver = (dir: string): string[] =>
  readdirSync(dir, { recursive: true, withFileTypes: true }).flatMap((entry) => {
    const path = relative(dir, join(entry.parentPath, entry.name))
    return entry.isFile() && /^queue\/content\//.test(path) ? [path] : []
  })

/** All threads are traced. */
async function attached(pid: number): Promise<void> {
  await until('the tracer', () =>
    readdirSync(`/proc/${pid}/task`).every((task) => {
      try {
        return !/TracerPid:\s+0\n/.test(readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8'))
      } catch {
        return true
      }
    }),
  )
}

let unreached = 0
let failed = 0
for (
  let point = Number(values.from);
  point <= Number(values.to) && unreached < 3;
  point += Number(values.step)
) {
  const { faults, reached } = await killAt(point)
  unreached = reached ? 0 : unreached + 1
  if (faults.length > 0) failed++
  console.log(
    `${point}: ${reached ? 'killed' : 'came to the end'}${faults.map((fault) => `\n  ${fault}`).join('')}`,
  )
}
console.log(failed === 0 ? 'no faults' : `${failed} points with faults`)
process.exitCode = failed === 0 ? 0 : 1

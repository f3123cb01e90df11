/** Pools of the real service are resized and recycled while mail goes through it. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Pop3Client, SmtpClient } from '../support/clients.ts'
import { startService, startSink, tempDir } from '../support/fixtures.ts'
import type { Service } from '../support/service.ts'
import { sendTraffic } from '../support/traffic.ts'
import { until } from '../support/until.ts'

interface Pool {
  readonly name: string
  readonly threads: number
  readonly minThreads: number
  readonly maxThreads: number
  readonly actorsPerThread: number
  readonly draining: number
  readonly recycled: number
  readonly crashes: number
}

interface Thread {
  readonly pool: string
  readonly thread: number
  readonly state: string
}

async function ok(service: Service, ...args: string[]): Promise<string> {
  const result = await service.command(args)
  expect(result, args.join(' ')).toMatchObject({ code: 0, stderr: '' })
  return result.stdout
}

async function list(service: Service): Promise<{ pools: Pool[]; threads: Thread[] }> {
  return JSON.parse(await ok(service, 'pools', 'list', '--json'))
}

const poolOf = async (service: Service, name: string): Promise<Pool> =>
  (await list(service)).pools.find((pool) => pool.name === name)!

const quick = '[queue]\nminimal_backoff_time = "1s"\nmaximal_backoff_time = "2s"\nrun_delay = "1s"\n'

describe('under traffic', () => {
  test('recycling and resizing every pool loses no acknowledged mail', { timeout: 120_000 }, async () => {
    const sink = await startSink()
    const service = await startService({ tables: `${quick}[smtp]\nrelayhost = "[127.0.0.1]:${sink.port}"\n` })
    const reader = await Pop3Client.login(service.ports.pop3, 'ann')
    await reader.ok('STAT')
    const count = 600
    let acknowledged = 0
    const traffic = sendTraffic({
      port: () => service.ports.smtp,
      count,
      sessions: 6,
      onAcknowledged: (_recipient, total) => {
        acknowledged = total
      },
    })
    const reached = (share: number) => until(`mail ${share * count}`, () => acknowledged >= share * count)
    await reached(0.1)
    await ok(service, 'pools', 'recycle', 'connections')
    await ok(service, 'pools', 'resize', 'deliveries', '--min', '2', '--max', '3')
    await reached(0.3)
    await ok(service, 'pools', 'recycle', 'storage')
    await ok(service, 'pools', 'recycle', 'deliveries')
    await reached(0.6)
    await ok(service, 'pools', 'resize', 'connections', '--min', '2', '--max', '2')
    await ok(service, 'pools', 'recycle', 'storage')
    await ok(service, 'pools', 'resize', 'connections', '--min', '1', '--max', '1')
    const result = await traffic
    expect(result.acknowledged.size).toBe(count)
    await until(
      'the arrival of all that was acknowledged',
      () => {
        const arrived = new Set(sink.mails.flatMap((mail) => mail.recipients))
        return [...result.acknowledged].every((recipient) => arrived.has(recipient))
      },
      { deadlineMs: 40_000 },
    )
    // The deliveries under way reported before the queue moved.
    expect([...sink.deliveries.values()].filter((times) => times !== 1)).toEqual([])
    // A session from before all this goes on where it was.
    await reader.ok('NOOP')
    await reader.ok('QUIT')
    const { pools, threads } = await list(service)
    expect(pools.filter(({ crashes }) => crashes > 0)).toEqual([])
    expect(threads.filter(({ pool, state }) => pool === 'storage' && state === 'running')).toHaveLength(1)
    expect((await service.stop()).code).toBe(0)
  })
})

describe('sessions', () => {
  test('finish on the thread they are on; new ones go to the new thread', async () => {
    const service = await startService()
    const smtp = await SmtpClient.connect(service.ports.smtp)
    await smtp.expect(250, 'EHLO client.test')
    await smtp.expect(250, 'MAIL FROM:<sender@peers.test>')
    const pop = await Pop3Client.login(service.ports.pop3, 'ann')
    await ok(service, 'pools', 'recycle', 'connections')
    expect(await poolOf(service, 'connections')).toMatchObject({ threads: 1, draining: 1 })
    const late = await Pop3Client.login(service.ports.pop3, 'bob')
    await late.ok('QUIT')
    const [first, second] = service.events('pop3.login')
    expect(second!.thread).not.toBe(first!.thread)

    await smtp.expect(250, 'RCPT TO:<ann@mail.peers.test>')
    await smtp.expect(354, 'DATA')
    smtp.write('Subject: late\r\n\r\nx\r\n.\r\n')
    expect((await smtp.reply()).code).toBe(250)
    await pop.ok('QUIT')
    await smtp.expect(221, 'QUIT')
    await until('the old thread ends', async () => (await poolOf(service, 'connections')).draining === 0)
    const reader = await Pop3Client.login(service.ports.pop3, 'ann')
    expect(await reader.ok('STAT')).toMatch(/^\+OK 1 |^1 /)
    await reader.ok('QUIT')
  })

  test('open while the storage moves read, delete and commit as before', async () => {
    const service = await startService()
    const smtp = await SmtpClient.connect(service.ports.smtp)
    await smtp.expect(250, 'EHLO client.test')
    for (let i = 0; i < 3; i++) {
      const mail = {
        from: 'sender@peers.test',
        to: ['ann@mail.peers.test'],
        content: `Subject: ${i}\r\n\r\nx`,
      }
      expect((await smtp.send(mail)).code).toBe(250)
    }
    const pop = await Pop3Client.login(service.ports.pop3, 'ann')
    const uidl = await pop.ok('UIDL 3')
    await ok(service, 'pools', 'recycle', 'storage')
    await until('the move', () => service.events('actor.restarted').length > 0)
    expect(await pop.ok('UIDL 3')).toBe(uidl)
    await pop.ok('DELE 1')
    await pop.ok('QUIT')
    expect((await smtp.send({ from: 'a@b.test', to: ['ann@mail.peers.test'], content: 'x' })).code).toBe(250)
    const again = await Pop3Client.login(service.ports.pop3, 'ann')
    expect(await again.ok('STAT')).toMatch(/\b3 /)
    await again.ok('QUIT')
    await until('the old thread ends', async () => (await poolOf(service, 'storage')).draining === 0)
    expect(await poolOf(service, 'storage')).toMatchObject({ threads: 1, recycled: 1, crashes: 0 })
  })
})

test('a thread that is stuck is named, ended and replaced, and nobody else waits for it', async () => {
  const sink = await startSink()
  const patterns = join(tempDir(), 'generic')
  // It takes for ever to find out that it does not match, and looks ahead, which only the matcher with backtracking can.
  writeFileSync(patterns, '/^(?=a)(a+)+$/ nobody@peers.test\n')
  const service = await startService({
    tables: `[smtp]\nrelayhost = "[127.0.0.1]:${sink.port}"\ngeneric_maps = ["pcre:${patterns}"]
[pools.deliveries]\ndaemon_timeout = "3s"\n[queue]\nminimal_backoff_time = "900s"\n`,
  })
  const reader = await Pop3Client.login(service.ports.pop3, 'ann')
  const smtp = await SmtpClient.connect(service.ports.smtp)
  await smtp.expect(250, 'EHLO client.test')
  const mail = (from: string, to: string) => ({ from, to: [to], content: 'Subject: x\r\n\r\nx' })
  expect((await smtp.send(mail(`${'a'.repeat(60)}!@peers.test`, 'stuck@dest.test'))).code).toBe(250)
  // A busy machine may have others stand still for a while.
  await until('the stall', () =>
    service
      .events('thread.stalled')
      .some(({ pool, component, message }) => pool === 'deliveries' && component === 'delivery' && message),
  )
  await reader.ok('NOOP')
  const recycled = await service.untilEvent('thread.recycled')
  expect(recycled).toMatchObject({ pool: 'deliveries', why: 'stalled', component: 'delivery' })
  // The mail is kept, and the next one goes out by the thread that took over.
  expect((await smtp.send(mail('sender@peers.test', 'after@dest.test'))).code).toBe(250)
  await until('the mail after it', () => sink.mails.some((one) => one.recipients.includes('after@dest.test')))
  const queued = JSON.parse(await ok(service, 'queue', 'list', '--json'))
  expect(JSON.stringify(queued)).toContain('stuck@dest.test')
  expect(await poolOf(service, 'deliveries')).toMatchObject({ threads: 1, crashes: 1 })
  await reader.ok('QUIT')
  expect((await service.stop()).code).toBe(0)
}, 60_000)

describe('the commands', () => {
  test('say what they did, and what cannot be done', async () => {
    const service = await startService()
    expect(await ok(service, 'pools')).toMatch(/^POOL .*\nconnections /)
    expect(await ok(service, 'pools', 'resize', 'connections', '--min', '2', '--max', '4')).toMatch(
      /^Pool connections: 2 to 4 threads/,
    )
    expect(await poolOf(service, 'connections')).toMatchObject({ threads: 2, minThreads: 2, maxThreads: 4 })
    for (const args of ['resize nowhere --min 1', 'recycle nowhere']) {
      expect(await service.command(['pools', ...args.split(' ')])).toMatchObject({
        code: 66,
        stderr: expect.stringMatching(/^mailactors: pool nowhere: .* \(there are .*jobs\)\n$/),
      })
    }
    const refused = [
      ['pools', 'resize', 'storage', '--max', '2'],
      ['pools', 'resize', 'connections', '--min', '9'],
      ['pools', 'resize', 'connections'],
      ['pools', 'resize', 'connections', '--min', 'two'],
      ['pools', 'resize'],
      ['pools', 'grow'],
    ]
    for (const args of refused) {
      const { code, stderr } = await service.command(args)
      expect(code, args.join(' ')).toBe(64)
      expect(stderr, args.join(' ')).toMatch(/^mailactors: [^\n]+\n$/)
    }
    const resized = await service.untilEvent('pool.resized')
    expect(resized).toMatchObject({ pool: 'connections', minThreads: 2, maxThreads: 4, threads: 2 })
  })

  test('top prints one screen when there is no terminal', async () => {
    const service = await startService()
    const text = await ok(service, 'top')
    expect(text).toMatch(/^\d+ actors\n/)
    expect(text).toMatch(/^POOL /m)
    expect(text).toMatch(/ queue /)
    expect(text).not.toContain('\u001b')
    const screens = JSON.parse(await ok(service, 'top', '--json'))
    expect(screens).toMatchObject({
      pools: expect.any(Array),
      threads: expect.any(Array),
      actors: expect.any(Array),
    })
  })

  test('without a service say so', async () => {
    const service = await startService()
    await service.stop()
    for (const args of [['pools'], ['pools', 'recycle', 'connections'], ['top']]) {
      expect((await service.command(args)).code, args.join(' ')).toBe(69)
    }
  })
})

test('a reload gives the pools their new size', async () => {
  const service = await startService({ tables: '[pools.connections]\nmin_threads = 1\nmax_threads = 1\n' })
  const before = readFileSync(service.configFile, 'utf8')
  writeFileSync(
    service.configFile,
    before.replace('min_threads = 1\nmax_threads = 1', 'min_threads = 2\nmax_threads = 3'),
  )
  service.signal('SIGHUP')
  await service.untilEvent('reloaded')
  await until('the size', async () => (await poolOf(service, 'connections')).threads === 2)
  expect(await poolOf(service, 'connections')).toMatchObject({ minThreads: 2, maxThreads: 3 })
})

test('no thread for jobs is started as long as there are none', async () => {
  const service = await startService()
  expect(await poolOf(service, 'jobs')).toMatchObject({ threads: 0, minThreads: 0 })
})

test('metrics tell of pools, threads and kinds of actors', async () => {
  const service = await startService({ listeners: ['smtp', 'admin'] })
  const text = await (await fetch(`http://127.0.0.1:${service.ports.admin}/metrics`)).text()
  for (const line of [
    'mailactors_pool_threads{pool="connections",state="active"} 1',
    'mailactors_pool_threads_limit{pool="storage"} 1',
    'mailactors_pool_recycled_total{pool="deliveries"} 0',
    'mailactors_actors{kind="queue"} 1',
    'mailactors_actor_queue_messages{kind="queue"} 0',
  ]) {
    expect(text).toContain(line)
  }
})

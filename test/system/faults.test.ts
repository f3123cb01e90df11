/** The machine's faults: a full disk, a mailbox that cannot be read, a thread that dies. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Pop3Client, SmtpClient } from '../support/clients.ts'
import { prepareService, startService, startSink } from '../support/fixtures.ts'
import { because, whyNotMount } from '../support/privileges.ts'
import type { Service } from '../support/service.ts'
import { inspectable, ThreadInspector } from '../support/threads.ts'
import { sendTraffic } from '../support/traffic.ts'
import { until } from '../support/until.ts'

const eager = '[queue]\nminimal_backoff_time = "1s"\nmaximal_backoff_time = "2s"\nrun_delay = "1s"\n'

async function smtp(service: Service): Promise<SmtpClient> {
  const client = await SmtpClient.connect(service.ports.smtp)
  await client.expect(250, 'EHLO client.test')
  return client
}

async function countOf(service: Service, user: string): Promise<number> {
  const pop = await Pop3Client.login(service.ports.pop3, user)
  const [, count] = (await pop.ok('STAT')).split(' ')
  await pop.ok('QUIT')
  return Number(count)
}

const cannotMount = whyNotMount()

describe.skipIf(cannotMount !== undefined)(`a full disk${because(cannotMount)}`, () => {
  /** A service whose data is on a file system of 48 MiB. */
  async function onSmallDisk(tables: string): Promise<Service> {
    const service = await prepareService({ tables })
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=48m', 'tmpfs', service.dataDir])
    onTestFinished(async () => {
      if (service.isRunning) await service.kill()
      execFileSync('umount', ['-l', service.dataDir])
    })
    await service.run()
    return service
  }

  const ballast = (service: Service): string => join(service.dataDir, 'ballast')

  /** Takes all the room but `leave` octets. */
  function fillDisk(service: Service, leave: number): void {
    const { bavail, bsize } = statfsSync(service.dataDir)
    try {
      writeFileSync(ballast(service), Buffer.alloc(Math.max(0, bavail * bsize - leave)))
    } catch (error) {
      // The service wrote something meanwhile: full is full.
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
    }
  }

  /** One mail of 100 KB; returns its refusal, undefined when it was acknowledged. */
  async function sendLarge(service: Service, to: string): Promise<string | undefined> {
    const client = await smtp(service)
    try {
      const mail = await client.command('MAIL FROM:<sender@peers.test>')
      if (mail.code !== 250) return `${mail.code} ${mail.text}`
      await client.expect(250, `RCPT TO:<${to}>`)
      const data = await client.command('DATA')
      if (data.code !== 354) return `${data.code} ${data.text}`
      client.write(`Subject: large\r\n\r\n${`${'x'.repeat(98)}\r\n`.repeat(1000)}\r\n.\r\n`)
      const reply = await client.reply(30_000)
      return reply.code === 250 ? undefined : `${reply.code} ${reply.text}`
    } finally {
      client.close()
    }
  }

  /** Sends until one is refused. */
  async function sendUntilRefused(
    service: Service,
    to: string,
  ): Promise<{ acknowledged: number; refusal: string }> {
    for (let acknowledged = 0; acknowledged < 500; acknowledged++) {
      const refusal = await sendLarge(service, to)
      if (refusal !== undefined) return { acknowledged, refusal }
    }
    throw new Error('the disk never filled')
  }

  const temporary = /^4(52 4\.3\.1|5[0-9] 4\.[23]\.[0-9])/

  test('mail for a mailbox is refused for now, and taken again when there is room', {
    timeout: 60_000,
  }, async () => {
    // Without it the queue's own reserve would be asked for first.
    const service = await onSmallDisk('[queue]\nminfree = 0\n')
    fillDisk(service, 4 * 1024 * 1024)
    const { acknowledged, refusal } = await sendUntilRefused(service, 'ann@mail.peers.test')
    expect(refusal).toMatch(temporary)
    expect(service.isRunning).toBe(true)
    // What was acknowledged can be fetched while the disk is full.
    expect(await countOf(service, 'ann')).toBe(acknowledged)
    rmSync(ballast(service))
    await until(
      'mail taken again',
      async () => (await sendLarge(service, 'ann@mail.peers.test')) === undefined,
    )
    expect(await countOf(service, 'ann')).toBe(acknowledged + 1)
  })

  test('mail for the queue is refused for now, and all that was taken goes out', {
    timeout: 60_000,
  }, async () => {
    let isClosed = true
    const sink = await startSink((verb) => (verb === 'RCPT' && isClosed ? '450 4.2.1 later' : undefined))
    // The second attempt of each comes after the sink has opened: what one that finds it closed learns cannot be
    // written, and holds its mail in memory until there is room.
    const later = eager.replace(/(m..imal_backoff_time) = "\d+s"/g, '$1 = "5s"')
    const service = await onSmallDisk(`[smtp]\nrelayhost = "${sink.nexthop}"\n${later}`)
    const taken = 20
    for (let index = 0; index < taken; index++) {
      expect(await sendLarge(service, `m${index}@dest.test`)).toBeUndefined()
    }
    // Nothing left at all: not for mail, and not for the result of a delivery either.
    fillDisk(service, 0)
    const { acknowledged, refusal } = await sendUntilRefused(service, 'late@dest.test')
    expect(refusal).toMatch(temporary)
    isClosed = false
    await until('a delivery from a full disk', () => sink.deliveries.size > 0, { deadlineMs: 20_000 })
    expect(service.isRunning).toBe(true)
    rmSync(ballast(service))
    const arrived = (): number => sink.deliveries.size
    await until('every acknowledged mail', () => arrived() >= taken + Math.min(acknowledged, 1), {
      deadlineMs: 30_000,
      describe: () => `${arrived()} of ${taken}`,
    })
    await until('mail taken again', async () => (await sendLarge(service, 'new@dest.test')) === undefined)
    await until('the new mail', () => sink.deliveries.has('new@dest.test'))
  })
})

test('a Maildir that cannot be read refuses its user alone', async () => {
  const service = await prepareService()
  // A file where a directory should be: unreadable for root too.
  mkdirSync(join(service.dataDir, 'mail', 'ann'), { recursive: true })
  writeFileSync(join(service.dataDir, 'mail', 'ann', 'Maildir'), 'not a directory')
  await service.run()
  const pop = await Pop3Client.connect(service.ports.pop3)
  await pop.ok('USER ann')
  expect(await pop.command('PASS secret')).toMatch(/^-ERR \[(SYS|IN-USE)/)
  pop.close()
  const client = await smtp(service)
  const mail = { from: 'sender@peers.test', content: 'Subject: x\r\n\r\nx' }
  const refused = await client.send({ ...mail, to: ['ann@mail.peers.test'] })
  expect(`${refused.code} ${refused.text}`).toMatch(/^4[0-9]{2} 4\./)
  // No path of ours is told to a peer.
  expect(refused.text).not.toContain(service.dataDir)
  expect((await client.send({ ...mail, to: ['bob@mail.peers.test'] })).code).toBe(250)
  client.close()
  expect(await countOf(service, 'bob')).toBe(1)
  rmSync(join(service.dataDir, 'mail', 'ann', 'Maildir'))
  expect(await countOf(service, 'ann')).toBe(0)
})

describe('threads that die', () => {
  test('each in turn under traffic: nothing acknowledged is lost and the tree is whole again', {
    timeout: 180_000,
  }, async () => {
    const sink = await startSink()
    const service = await startService({
      nodeArgs: inspectable,
      tables: [
        `[smtp]\nrelayhost = "${sink.nexthop}"\n${eager}`,
        '[pools.connections]\nmin_threads = 2\nmax_threads = 2\n',
        '[pools.deliveries]\nmin_threads = 1\nmax_threads = 1\n',
      ].join('\n'),
    })
    const inspector = await ThreadInspector.attach(service)
    onTestFinished(() => inspector.detach())
    const tree = async (): Promise<string> => {
      const { code, stdout, stderr } = await service.command(['tree'])
      expect(stderr).toBe('')
      expect(code).toBe(0)
      return stdout
    }
    console.log(`before:\n${await tree()}`)
    const victims = await inspector.workers(4)
    const pid = service.pid
    for (const [turn, victim] of victims.entries()) {
      let isEnded = false
      let ending: Promise<void> | undefined
      const { acknowledged, setbacks } = await sendTraffic({
        port: () => service.ports.smtp,
        count: 120,
        recipient: (index) => `t${turn}m${index}@dest.test`,
        onAcknowledged: (_, total) => {
          if (total < 40 || isEnded) return
          isEnded = true
          ending = victim.end()
        },
      })
      expect(isEnded).toBe(true)
      await ending
      const missing = (): string[] => [...acknowledged].filter((recipient) => !sink.deliveries.has(recipient))
      await until(`every mail after the end of ${victim.title}`, () => missing().length === 0, {
        deadlineMs: 30_000,
        describe: () => `missing ${missing().length}: ${missing().slice(0, 5)}`,
      })
      // A thread of the pool took its place, and local mail works through it.
      const client = await smtp(service)
      const mail = { from: 'sender@peers.test', to: ['ann@mail.peers.test'], content: 'Subject: x\r\n\r\nx' }
      await until('local mail', async () => (await client.send(mail)).code === 250)
      client.close()
      expect(await countOf(service, 'ann')).toBeGreaterThan(turn)
      console.log(`after the end of ${victim.title} (${setbacks} connections cut):\n${await tree()}`)
    }
    expect(service.pid).toBe(pid)
    expect(service.isRunning).toBe(true)
    expect((await inspector.workers(victims.length)).length).toBeGreaterThanOrEqual(victims.length)
    expect(
      service.events('actor.restarted').length + service.events('actor.terminated').length,
    ).toBeGreaterThan(0)
  })

  test('sessions on the other thread do not notice', { timeout: 60_000 }, async () => {
    const service = await startService({
      nodeArgs: inspectable,
      tables: '[pools.connections]\nmin_threads = 2\nmax_threads = 2\n',
    })
    const inspector = await ThreadInspector.attach(service)
    onTestFinished(() => inspector.detach())
    const clients = await Promise.all(
      Array.from({ length: 8 }, (_, index) =>
        Pop3Client.login(service.ports.pop3, index % 2 === 0 ? 'ann' : 'bob'),
      ),
    )
    await until('eight logins', () => service.events('pop3.login').length === 8)
    expect(new Set(service.events('pop3.login').map((line) => line.thread)).size).toBe(2)
    const gone = clients.map(() => false)
    for (const [index, client] of clients.entries()) {
      void client.closed.then(() => {
        gone[index] = true
      })
    }
    // Whichever worker it is: not all sessions may go with it.
    for (const worker of await inspector.workers(4)) {
      await worker.end()
      if (gone.some(Boolean)) break
    }
    await until('cut connections', () => gone.some(Boolean))
    const alive = clients.filter((_, index) => gone[index] === false)
    expect(alive.length).toBeGreaterThan(0)
    for (const client of alive) expect(await client.ok('NOOP')).toMatch(/^\+OK/)
    // And new ones are served by the thread that took the place.
    const fresh: Pop3Client[] = []
    await until('new logins', async () => {
      // The storage thread may have ended as well; until it is back a login gets a temporary refusal.
      const client = await Pop3Client.login(service.ports.pop3, 'bob').catch((error: Error) => error.message)
      if (typeof client === 'string') expect(client).toContain('[SYS/TEMP]')
      else fresh.push(client)
      return fresh.length === 4
    })
    for (const client of [...fresh, ...alive]) client.close()
  })
})

test('a content file with other octets than were queued is set aside, named and kept; other mail flows', async () => {
  const sink = await startSink()
  const service = await prepareService({
    tables: `[smtp]\nrelayhost = "[127.0.0.1]:${sink.port}"\n[queue]\ndefer_transports = ["smtp"]\n`,
  })
  await service.run()
  const client = await smtp(service)
  const large = `Subject: large\r\n\r\n${`${'x'.repeat(98)}\r\n`.repeat(3_000)}`
  for (const to of ['a@dest.test', 'b@dest.test'])
    await client.send({ from: 's@client.test', to: [to], content: large })
  client.close()
  const folder = join(service.dataDir, 'queue', 'content')
  const [damaged] = await until('both content files', () => {
    const files = readdirSync(folder)
    return files.length === 2 && files
  })
  const bytes = readFileSync(join(folder, damaged!))
  bytes[200_000]! ^= 1
  writeFileSync(join(folder, damaged!), bytes)
  await service.command(['queue', 'flush'])
  await until('the other mail', () => sink.count === 1)
  const corrupt = await service.untilEvent('mail.corrupt', () => true)
  expect(corrupt.queueId).toBe(damaged)
  expect(readFileSync(join(folder, damaged!)).equals(bytes)).toBe(true)
  const { stdout } = await service.command(['queue', 'list', '--json'])
  expect(JSON.parse(stdout)).toMatchObject({ queue_id: damaged, queue_name: 'corrupt' })
  expect(sink.count).toBe(1)
})

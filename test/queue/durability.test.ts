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
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { silentLog } from '../../src/actors/index.ts'
import { QueueStore } from '../../src/queue/store.ts'
import { Random } from '../../src/testing/random.ts'
import { chosenSeed } from '../support/seed.ts'
import { Harness } from './harness.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'mailactors-durable-'))
})
afterEach(({ task }) => {
  if (task.result?.state === 'pass') rmSync(directory, { recursive: true, force: true })
})

/** Runs the victim until it acknowledged `count` mails, and kills it at that moment. */
async function runAndKill(count: number): Promise<{ queued: string[]; delivered: string[] }> {
  const child = spawn(
    process.execPath,
    ['--no-warnings', join(import.meta.dirname, 'victim.ts'), directory],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  let text = ''
  let seen = 0
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString()
    seen += chunk.toString().split('Q ').length - 1
    if (seen >= count) child.kill('SIGKILL')
  })
  const [, signal] = await once(child, 'close')
  // A victim that fell by itself proves nothing.
  expect(signal).toBe('SIGKILL')
  // What was written to the pipe counts, all of it; a line that is cut does not.
  const lines = text.split('\n').slice(0, -1)
  const of = (kind: string): string[] =>
    lines.filter((line) => line.startsWith(`${kind} `)).map((line) => line.slice(2))
  return { queued: of('Q'), delivered: of('D') }
}

test('every acknowledged mail is there or was delivered after kill -9, again and again', async () => {
  const seed = chosenSeed()
  const queued = new Set<string>()
  const delivered = new Set<string>()
  for (let round = 0; round < 4; round++) {
    const result = await runAndKill(100 + ((seed * (round + 7)) % 900))
    for (const id of result.queued) queued.add(id)
    for (const id of result.delivered) delivered.add(id)
  }
  const store = QueueStore.open(join(directory, 'queue'), { log: silentLog, now: Date.now() })
  const lost: string[] = []
  let kept = 0
  for (const id of queued) {
    const mail = store.mailByQueueId(id)
    if (mail === undefined) {
      if (!delivered.has(id)) lost.push(id)
      continue
    }
    kept += 1
    const content = store.content(mail)
    expect(Buffer.from(content ?? []).toString()).toContain(`X-Id: ${id}\r\n`)
    expect(store.recipientsOf(mail).map(({ address }) => address[0])).toEqual(['a', 'b'])
  }
  store.close()
  expect(lost).toEqual([])
  expect(kept).toBeGreaterThan(0)
  expect(delivered.size).toBeGreaterThan(0)
}, 60_000)

describe('a full disk', () => {
  test('refuses new mail for the time being, keeps what is there, and goes on when there is room', async () => {
    await using harness = await Harness.start({ directory, args: { directory, maxPages: 60 } })
    const accepted: string[] = []
    let refused: unknown
    for (let count = 0; count < 200 && refused === undefined; count++) {
      const mail = harness.mail(['a@d.test'], { content: { bytes: Buffer.alloc(3000, 'x') } })
      const result = await harness.result(mail)
      if (result.status === 'queued') accepted.push(mail.queueId)
      else refused = result
    }
    expect(refused).toMatchObject({ status: 'refused', temporary: true, dsn: '4.3.1' })
    expect(accepted.length).toBeGreaterThan(10)
    expect((await harness.queue.ask('list', '', 1000)).map(({ queueId }) => queueId)).toEqual(accepted)
    expect(harness.events('queue.write-failed').length).toBeGreaterThan(0)
    // Deliveries make room, and mail is taken again.
    harness.auto = () => ({})
    for (const delivery of harness.open) delivery.report({})
    await harness.system.advance(5_000)
    expect(await harness.queue.ask('list', '', 10)).toEqual([])
    expect(await harness.result(harness.mail(['a@d.test']))).toEqual({ status: 'queued' })
    expect(harness.system.restarted).toEqual([])
  })
})

describe('a damaged database', () => {
  test('is set aside with a name and an error, and an empty queue is started', async () => {
    mkdirSync(join(directory, 'queue'))
    writeFileSync(join(directory, 'queue', 'queue.db'), Buffer.alloc(8192, 'no database '))
    await using harness = await Harness.start({ directory })
    expect(harness.events('queue.damaged')).toHaveLength(1)
    const aside = readdirSync(join(directory, 'queue')).filter((file) => file.includes('.damaged-'))
    expect(aside).toHaveLength(1)
    expect(
      readFileSync(join(directory, 'queue', aside[0]!))
        .subarray(0, 11)
        .toString(),
    ).toBe('no database')
    expect(await harness.result(harness.mail(['a@d.test']))).toEqual({ status: 'queued' })
  })

  test('with pages overwritten is found out at the start', async () => {
    const first = await Harness.start({ directory })
    for (let count = 0; count < 50; count++) await first.enqueue(['a@d.test'])
    await first.halt()
    const file = openSync(join(directory, 'queue', 'queue.db'), 'r+')
    for (let page = 2; page < 8; page++) writeSync(file, Buffer.alloc(2000, 0xa5), 0, 2000, page * 4096)
    closeSync(file)
    await using second = await Harness.start({ directory })
    expect(second.events('queue.damaged')).toHaveLength(1)
    expect(await second.result(second.mail(['a@d.test']))).toEqual({ status: 'queued' })
  })

  test('of a later version is left alone', async () => {
    const store = QueueStore.open(join(directory, 'queue'), { log: silentLog, now: 0 })
    store.close()
    const { DatabaseSync } = await import('node:sqlite')
    const database = new DatabaseSync(join(directory, 'queue', 'queue.db'))
    database.exec('PRAGMA user_version = 99')
    database.close()
    expect(() => QueueStore.open(join(directory, 'queue'), { log: silentLog, now: 0 })).toThrow(
      expect.objectContaining({ code: 'MA_QUEUE_VERSION' }),
    )
  })
})

describe('what can be read of a damaged database', () => {
  const file = (): string => join(directory, 'queue', 'queue.db')

  /** Mails of which each knows its content; returns their ids. */
  async function fill(count: number): Promise<string[]> {
    const harness = await Harness.start({ directory })
    harness.auto = () => ({ status: 'deferred', dsn: '4.2.0', reply: '450 later' })
    const ids: string[] = []
    for (let mail = 0; mail < count; mail++) {
      const queued = harness.mail([`a${mail}@d.test`, `b${mail}@d.test`])
      const bytes = Buffer.from(`X-Id: ${queued.queueId}\r\n\r\n${'x'.repeat(mail % 7 === 0 ? 9000 : 300)}`)
      await harness.queue.ask('enqueue', { ...queued, content: { bytes } })
      ids.push(queued.queueId)
    }
    await harness.system.settle()
    await harness.halt()
    return ids
  }

  test('is taken over: one page lost costs the mails on it and no others', async () => {
    const ids = await fill(200)
    const bytes = readFileSync(file())
    const page = Number(bytes.readUInt16BE(16))
    // The first leaf page that is full of contents.
    let at = page
    while (!(bytes[at] === 0x0d && bytes.subarray(at, at + page).includes('X-Id: '))) at += page
    bytes.fill(0xff, at, at + page)
    writeFileSync(file(), bytes)
    await using harness = await Harness.start({ directory, startTime: Date.now() + 3_600_000 })
    const [damaged] = harness.events('queue.damaged')
    expect(damaged).toMatchObject({ level: 'error', mails: 200 })
    expect(readFileSync(String(damaged!.aside))).toEqual(bytes)
    const lost = Number(damaged!.corrupt)
    expect(lost).toBeGreaterThan(0)
    expect(lost).toBeLessThan(20)
    harness.auto = () => ({})
    for (const delivery of harness.open) delivery.report({})
    await harness.system.settle()
    expect(new Set(harness.started.map(({ request }) => request.queueId)).size).toBe(200 - lost)
    for (const { request } of harness.started) {
      expect(Buffer.from((request.content as { bytes: Uint8Array }).bytes).toString()).toContain(
        `X-Id: ${request.queueId}\r\n`,
      )
    }
    const left = await harness.queue.ask('list', '', 1000)
    expect(left.every(({ queueName }) => queueName === 'corrupt')).toBe(true)
    expect(left.every(({ queueId }) => ids.includes(queueId))).toBe(true)
  })

  test('wherever bits flip, the queue starts, and what is delivered is what was queued', async () => {
    const seed = chosenSeed()
    const numbers = new Random(seed)
    const random = (below: number): number => numbers.below(below)
    const ids = new Set(await fill(60))
    const good = readFileSync(file())
    for (let round = 0; round < 12; round++) {
      for (const name of readdirSync(join(directory, 'queue'))) {
        if (name.startsWith('queue.db')) rmSync(join(directory, 'queue', name))
      }
      const bytes = Buffer.from(good)
      for (let flip = 0; flip < 1 + random(20); flip++) {
        const at = random(bytes.length)
        bytes[at] = bytes[at]! ^ (1 << random(8))
      }
      if (round % 4 === 3) bytes.fill(0, random(bytes.length))
      writeFileSync(file(), round % 5 === 4 ? bytes.subarray(0, random(bytes.length)) : bytes)
      const harness = await Harness.start({ directory, startTime: Date.now() + 3_600_000 })
      harness.auto = () => ({})
      for (const delivery of harness.open) delivery.report({})
      await harness.system.settle()
      for (const { request } of harness.started) {
        const text = Buffer.from((request.content as { bytes: Uint8Array }).bytes).toString()
        // A queue id may have flipped itself; the content is whole in any case, or was not sent.
        const id = /^X-Id: (\S+)\r\n/.exec(text)?.[1]
        expect({ seed, round, known: ids.has(String(id)) }).toEqual({ seed, round, known: true })
      }
      await harness.halt()
    }
  }, 60_000)
})

describe('content files', () => {
  const write = (name: string, text: string): string => {
    const folder = join(directory, 'queue', 'content')
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }

  test('are delivered by name and removed with their mail', async () => {
    await using harness = await Harness.start({ directory })
    const mail = harness.mail(['a@d.test'])
    const file = write(mail.queueId, 'large content')
    expect(await harness.result({ ...mail, content: { file, size: 13 } })).toEqual({ status: 'queued' })
    expect(harness.open[0]!.request).toMatchObject({ content: { file, size: 13 }, size: 13 })
    harness.open[0]!.report({})
    await harness.system.settle()
    expect(existsSync(file)).toBe(false)
  })

  test('keep their checksum, over a restart and when queued again', async () => {
    await using harness = await Harness.start({ directory })
    const mail = harness.mail(['a@d.test'])
    const file = write(mail.queueId, 'large content')
    await harness.result({ ...mail, content: { file, size: 13, crc: crc32('large content') } })
    expect(harness.open[0]!.request.content).toEqual({ file, size: 13, crc: crc32('large content') })
    await harness.halt()
    await harness.boot()
    expect(harness.open[0]!.request.content).toEqual({ file, size: 13, crc: crc32('large content') })
    harness.open[0]!.report({ status: 'deferred', dsn: '4.2.0' })
    await harness.system.settle()
    await harness.operate('requeue', [mail.queueId])
    const again = harness.open[0]!.request.content as { file: string; size: number; crc: number }
    const stored = readFileSync(again.file)
    expect(stored.toString()).toMatch(/^Received: .*\r\n\t.*\r\nlarge content$/)
    expect(again).toMatchObject({ size: stored.length, crc: crc32(stored) })
    expect(existsSync(file)).toBe(false)
  })

  test('that are not there, or not whole, are refused', async () => {
    await using harness = await Harness.start({ directory })
    const mail = harness.mail(['a@d.test'])
    const file = write(mail.queueId, 'large')
    expect(await harness.result({ ...mail, content: { file, size: 13 } })).toMatchObject({
      status: 'refused',
      temporary: true,
    })
  })

  test('that no mail refers to are removed at the start, those of a mail stay', async () => {
    const first = await Harness.start({ directory })
    const mail = first.mail(['a@d.test'])
    const file = write(mail.queueId, 'large content')
    await first.result({ ...mail, content: { file, size: 13 } })
    await first.halt()
    const orphan = write('ORPHAN', 'left behind')
    // Another process: the same one leaves young files alone, because a session may be writing them.
    const store = QueueStore.open(join(directory, 'queue'), { log: silentLog, now: 0 })
    store.exchangeWriter('pid 0')
    store.close()
    await using second = await Harness.start({ directory })
    expect(existsSync(orphan)).toBe(false)
    expect(existsSync(file)).toBe(true)
    expect(second.open[0]!.request).toMatchObject({ content: { file, size: 13 } })
  })

  test('that vanished make their mail corrupt: kept, named in the log, others go on', async () => {
    await using harness = await Harness.start({
      directory,
      config: { queue: { initial_destination_concurrency: 1 } },
    })
    await harness.enqueue(['first@d.test'])
    const mail = harness.mail(['a@d.test'])
    const file = write(mail.queueId, 'large content')
    await harness.result({ ...mail, content: { file, size: 13 } })
    rmSync(file)
    await harness.enqueue(['last@d.test'])
    harness.auto = () => ({})
    harness.open[0]!.report({})
    await harness.system.settle()
    expect(harness.events('mail.corrupt')).toEqual([expect.objectContaining({ queueId: mail.queueId })])
    expect(await harness.queue.ask('counts')).toEqual({
      incoming: 0,
      active: 0,
      deferred: 0,
      hold: 0,
      corrupt: 1,
    })
    expect(harness.events('delivery').map(({ to }) => to)).toEqual(['first@d.test', 'last@d.test'])
  })
})

test('mail that was active when the process died is delivered again, in order', async () => {
  const first = await Harness.start({ directory })
  const ids: string[] = []
  for (let count = 0; count < 3; count++) ids.push(await first.enqueue(['a@d.test']))
  await first.halt()
  await using second = await Harness.start({ directory })
  expect(second.open.map(({ request }) => request.queueId)).toEqual(ids)
  expect(await second.queue.ask('counts')).toMatchObject({ active: 3, incoming: 0, deferred: 0 })
})

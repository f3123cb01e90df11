/** What operators ask for: operations by id and by pattern, the listing, why a mail waits. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest'
import { commands } from '../../src/admin/commands.ts'
import type { Administered } from '../../src/admin/contract.ts'
import { AgeTable } from '../../src/cli/commands/queue-age.ts'
import { intakeText, whyText } from '../../src/cli/commands/queue-why.ts'
import type { QueueListing, WaitsFor } from '../../src/queue/contract.ts'
import { addressPattern } from '../../src/queue/selection.ts'
import { runCommand } from '../support/service.ts'
import { Harness, type HarnessOptions, hard, soft, trouble } from './harness.ts'

let harness: Harness
const start = async (options: HarnessOptions = {}): Promise<void> => {
  await harness?.[Symbol.asyncDispose]()
  harness = await Harness.start(options)
}
beforeEach(() => start())
afterEach(() => harness[Symbol.asyncDispose]())

const names = async (): Promise<string[]> =>
  (await harness.queue.ask('list', '', 1000)).map(({ recipients }) => recipients[0]!.address)

describe('patterns', () => {
  test.each([
    { pattern: 'User@d.test', fits: ['user@D.test'], not: ['xuser@d.test', 'user@d.test.x'] },
    { pattern: '@d.test', fits: ['a@d.test'], not: ['a@x.d.test', 'ad.test'] },
    { pattern: '*.d.test', fits: ['a@x.d.test'], not: ['a@d.test'] },
    { pattern: 'news-*@*', fits: ['news-1@d.test'], not: ['news@d.test'] },
    { pattern: '<>', fits: [''], not: ['a@d.test'] },
    { pattern: 'a.b@d.test', fits: ['a.b@d.test'], not: ['axb@d.test'] },
    { pattern: '*(+)*', fits: ['x(+)y@d.test'], not: ['x@d.test'] },
  ])('$pattern', ({ pattern, fits, not }) => {
    const matches = addressPattern(pattern)
    expect(fits.filter((address) => !matches(address))).toEqual([])
    expect(not.filter((address) => matches(address))).toEqual([])
  })
})

describe('operations', () => {
  beforeEach(async () => {
    harness.auto = () => soft
    await harness.enqueue(['a@d.test'], { sender: 'one@client.test' })
    await harness.enqueue(['b@e.test', 'x@d.test'], { sender: 'two@client.test' })
    await harness.enqueue(['c@e.test'], { sender: '' })
    harness.auto = undefined
  })

  test('by site, sender, recipient and queue, and all together', async () => {
    const dry = async (selection: object): Promise<number> =>
      (await harness.operate('delete', selection, { dryRun: true })).length
    expect(await dry({ site: 'e.test' })).toBe(2)
    expect(await dry({ site: 'smtp:d.test' })).toBe(2)
    expect(await dry({ sender: '<>' })).toBe(1)
    expect(await dry({ sender: '@client.test' })).toBe(2)
    expect(await dry({ recipient: '*@d.test', sender: 'two@*' })).toBe(1)
    expect(await dry({ queues: ['deferred'] })).toBe(3)
    expect(await dry({ queues: ['hold'] })).toBe(0)
    expect(await names()).toHaveLength(3)
  })

  test('page by page over a queue of any length', async () => {
    const seen: string[] = []
    let after = ''
    for (let page = 0; page < 10; page++) {
      const result = await harness.queue.ask('operate', 'delete', {}, { after, limit: 1, dryRun: true })
      seen.push(...result.done.map(({ queueId }) => queueId))
      after = result.next
      if (after === '') break
    }
    expect(new Set(seen).size).toBe(3)
    expect(after).toBe('')
  })

  test('mail that comes while they go on, or through them, is left alone', async () => {
    const before = (await harness.queue.ask('list', '', 10)).map(({ queueId }) => queueId)
    const done: string[] = []
    let where: { after: string; until?: string } = { after: '' }
    for (let page = 0; page < 10; page++) {
      const result = await harness.queue.ask('operate', 'requeue', {}, { ...where, limit: 1 })
      done.push(...result.done.map(({ queueId }) => queueId))
      if (result.next === '') break
      where = { after: result.next, until: result.until }
      await harness.system.advance(1)
    }
    expect(done).toEqual(before)
  })

  test('names those that are not there, or not in a state it is for', async () => {
    const [first] = await harness.queue.ask('list', '', 1)
    const ids = [first!.queueId, 'NOSUCHID']
    const result = await harness.queue.ask('operate', 'release', { ids }, { after: '', limit: 10 })
    expect(result).toEqual({ done: [], missing: ids, next: '', until: expect.any(String) })
  })

  test('flush of one mail tries it now and no other', async () => {
    const [first] = await harness.queue.ask('list', '', 1)
    await harness.operate('flush', [first!.queueId])
    expect(harness.open.map(({ request }) => request.queueId)).toEqual([first!.queueId])
  })

  test('expire --now returns mail at once, held mail too', async () => {
    const ids = (await harness.queue.ask('list', '', 10)).map(({ queueId }) => queueId)
    await harness.operate('hold', [ids[0]!])
    harness.auto = () => ({})
    await harness.operate('expire', {}, { now: true })
    expect(harness.events('delivery').filter(({ status }) => status === 'force-expired')).toHaveLength(4)
    expect(await names()).toEqual([])
  })

  test('requeue of mail that is being delivered leaves that recipient alone', async () => {
    const queueId = await harness.enqueue(['busy@d.test', 'soft@f.test'])
    harness.open.find(({ request }) => request.nexthop === 'f.test')!.report(soft)
    await harness.system.settle()
    const { done } = await harness.queue.ask(
      'operate',
      'requeue',
      { ids: [queueId] },
      { after: '', limit: 10 },
    )
    await harness.system.settle()
    const again = harness.open.filter(({ request }) => request.queueId === done[0]!.newId)
    expect(again.flatMap(({ request }) => request.recipients.map(({ address }) => address))).toEqual([
      'soft@f.test',
    ])
    harness.open.find(({ request }) => request.queueId === queueId)!.report({})
    await harness.system.settle()
    expect(await harness.queue.ask('show', queueId)).toBeNull()
  })

  test('a failure that is not told yet is told after a requeue of the rest', async () => {
    const queueId = await harness.enqueue(['bad@d.test', 'slow@f.test'])
    harness.open.find(({ request }) => request.nexthop === 'd.test')!.report(hard)
    await harness.system.settle()
    expect((await harness.queue.ask('show', queueId))!.recipients[0]).toMatchObject({
      address: 'bad@d.test',
      reason: null,
      bounceReason: '5.1.1 550 5.1.1 no such user',
    })
    await harness.operate('requeue', [queueId])
    harness.open
      .find(({ request }) => request.nexthop === 'f.test' && request.queueId === queueId)!
      .report({})
    await harness.system.settle()
    expect(
      harness.started.some(({ request }) => request.sender === '' && request.nexthop === 'client.test'),
    ).toBe(true)
    expect(await harness.queue.ask('show', queueId)).toBeNull()
  })
})

describe('why', () => {
  const waits = async (queueId: string): Promise<WaitsFor[]> =>
    (await harness.queue.ask('why', queueId))!.recipients.map(({ waitsFor }) => waitsFor)

  test('backoff: the next attempt, the last reply word for word, when it is returned', async () => {
    harness.auto = () => ({ ...soft, relay: 'mx.test[192.0.2.1]:25', remoteMta: 'mx.test' })
    const arrivedAt = harness.system.now()
    const queueId = await harness.enqueue(['a@d.test'])
    const { recipients } = (await harness.queue.ask('why', queueId))!
    expect(recipients).toEqual([
      expect.objectContaining({
        address: 'a@d.test',
        destination: 'smtp:d.test',
        attempts: 1,
        waitsFor: { kind: 'backoff', until: arrivedAt + 300_000 },
        last: {
          at: arrivedAt,
          relay: 'mx.test[192.0.2.1]:25',
          reply: '4.2.0 450 4.2.0 later',
          remoteMta: 'mx.test',
        },
      }),
    ])
    const returnedAt = recipients[0]!.returnedAt!
    expect(returnedAt).toBeGreaterThanOrEqual(arrivedAt + 432_000_000)
    // What it foretells is what happens.
    harness.auto = ({ nexthop }) => (nexthop === 'd.test' ? soft : {})
    await harness.system.advance(returnedAt - arrivedAt - 60_000)
    expect(harness.events('delivery').some(({ status }) => status === 'expired')).toBe(false)
    await harness.system.advance(120_000)
    expect(harness.events('delivery').some(({ status }) => status === 'expired')).toBe(true)
  })

  test('delivery, window, and a dead site', async () => {
    const ids: string[] = []
    for (let mail = 0; mail < 6; mail++) ids.push(await harness.enqueue([`u${mail}@d.test`]))
    expect(await waits(ids[0]!)).toEqual([{ kind: 'delivery', since: harness.system.now() }])
    expect(await waits(ids[5]!)).toEqual([{ kind: 'window', running: 5, width: 5 }])
    for (let failure = 0; failure < 3; failure++) {
      harness.open[0]!.report(soft, trouble)
      await harness.system.settle()
    }
    expect(await waits(ids[5]!)).toEqual([
      { kind: 'dead-site', until: harness.system.now() + 300_000, reason: 'connection refused' },
    ])
  })

  test('pauses of destination and transport', async () => {
    await start({
      config: {
        transports: {
          slow: { protocol: 'smtp', destination_rate_delay: 10_000 },
          paced: { protocol: 'smtp', transport_rate_delay: 5_000 },
        },
        transport: { 'd.test': 'slow:', 'e.test': 'paced:', 'f.test': 'paced:' },
      },
    })
    await harness.enqueue(['a@d.test'])
    const second = await harness.enqueue(['b@d.test'])
    await harness.enqueue(['a@e.test'])
    const third = await harness.enqueue(['a@f.test'])
    expect(await waits(second)).toEqual([{ kind: 'window', running: 1, width: 1 }])
    expect(await waits(third)).toEqual([{ kind: 'transport-pause', until: harness.system.now() + 5_000 }])
    harness.open.find(({ request }) => request.nexthop === 'd.test')!.report({})
    await harness.system.settle()
    expect(await waits(second)).toEqual([{ kind: 'destination-pause', until: harness.system.now() + 10_000 }])
    await harness.system.advance(9_900)
    expect(harness.started.filter(({ request }) => request.nexthop === 'd.test')).toHaveLength(1)
    await harness.system.advance(200)
    expect(harness.started.filter(({ request }) => request.nexthop === 'd.test')).toHaveLength(2)
  })

  test('processes of the transport, memory, hold, defer_transports', async () => {
    await start({
      config: {
        queue: { default_process_limit: 1, qmgr_message_active_limit: 2, defer_transports: ['lmtp'] },
        transport: { 'l.test': 'lmtp:store.test' },
      },
    })
    await harness.enqueue(['a@d.test'])
    const second = await harness.enqueue(['b@e.test'])
    const third = await harness.enqueue(['c@f.test'])
    expect(await waits(second)).toEqual([{ kind: 'processes', running: 1, limit: 1 }])
    expect(await waits(third)).toEqual([
      { kind: 'memory', mails: 2, mailLimit: 2, recipients: 2, recipientLimit: 20_000 },
    ])
    await harness.operate('hold', [third])
    expect(await waits(third)).toEqual([{ kind: 'hold' }])
    expect((await harness.queue.ask('why', third))!.recipients[0]!.returnedAt).toBeNull()
    harness.open[0]!.report({})
    await harness.system.settle()
    const fourth = await harness.enqueue(['x@l.test'])
    expect(await waits(fourth)).toEqual([
      { kind: 'defer-transports', until: expect.any(Number), transport: 'lmtp' },
    ])
  })

  test('flow control: what new mail waits for, and which of it', async () => {
    await start({ config: { queue: { qmgr_message_active_limit: 1 }, service: { in_flow_delay: 1_000 } } })
    await harness.enqueue(['a@d.test'])
    const mail = harness.mail(['b@e.test'])
    const answer = harness.queue.ask('enqueue', mail)
    await harness.system.settle()
    expect((await harness.queue.ask('why', mail.queueId))!).toMatchObject({ isHeldUp: true })
    const state = await harness.queue.ask('intake')
    expect(state).toMatchObject({ refusal: null, heldUp: 1, delayMs: 1_000, incoming: 1, mails: 1 })
    expect(intakeText(state)).toMatch(/^new mail {6}taken, and acknowledged 1s later/)
    await harness.system.advance(1_000)
    expect(await answer).toEqual({ status: 'queued' })
    expect((await harness.queue.ask('why', mail.queueId))!).toMatchObject({ isHeldUp: false })
    await start({ config: { queue: { max_messages: 1 } } })
    await harness.enqueue(['a@d.test'])
    expect(intakeText(await harness.queue.ask('intake'))).toMatch(/refused for now: the mail queue is full/)
  })

  test('a mail that is not there', async () => {
    expect(await harness.queue.ask('why', 'NOSUCHID')).toBeNull()
  })

  test('for people', async () => {
    harness.auto = () => soft
    const queueId = await harness.enqueue([{ address: 'a@d.test', origTo: 'alias@here.test' }])
    const mail = (await harness.queue.ask('why', queueId))!
    const text = whyText(mail, harness.system.now())
    expect(text).toMatch(/a@d\.test \(written to alias@here\.test\)/)
    expect(text).toMatch(/waits for {6}the next attempt, in 5m \(/)
    expect(text).toContain('4.2.0 450 4.2.0 later')
    expect(text).toMatch(/is returned {4}in 5d/)
  })
})

describe('the listing', () => {
  const config = (directory: string): string[] => ['--set', `data_dir=${directory}`]

  it('N32 as JSON: one object a line with the keys of postqueue -j; without a service too', async () => {
    harness.auto = ({ recipients }) => (recipients[0]!.address.startsWith('bad') ? undefined : soft)
    const queueId = await harness.enqueue([{ address: 'a@d.test', origTo: 'alias@here.test' }])
    await harness.operate('expire', [queueId])
    await harness.halt()
    const { stdout, code } = await runCommand(['queue', 'list', '--json', ...config(harness.directory)])
    expect(code).toBe(0)
    const lines = stdout.trimEnd().split('\n')
    expect(lines).toHaveLength(1)
    expect(JSON.parse(lines[0]!)).toEqual({
      queue_name: 'deferred',
      queue_id: queueId,
      arrival_time: expect.any(Number),
      message_size: expect.any(Number),
      forced_expire: true,
      sender: 'sender@client.test',
      recipients: [
        {
          address: 'a@d.test',
          orig_address: 'alias@here.test',
          delay_reason: '4.2.0 450 4.2.0 later',
          destination: 'smtp:d.test',
          attempts: 1,
          next_attempt: expect.any(Number),
        },
      ],
    })
    await harness.boot()
  })

  test('has all mails when they have so many recipients that pages are short', async () => {
    await start({ config: { queue: { defer_transports: ['smtp'] } } })
    const many = Array.from({ length: 2_600 }, (_, at) => `u${at}@d.test`)
    for (let mail = 0; mail < 3; mail++) await harness.enqueue(many)
    const seen: string[] = []
    await commands['queue.list']!(
      { queue: () => harness.queue } as unknown as Administered,
      { args: {}, content: new Uint8Array() },
      async (mail) => void seen.push((mail as QueueListing).queueId),
    )
    expect(new Set(seen).size).toBe(3)
  })

  test('operations work without a service, with ids from stdin', async () => {
    harness.auto = () => soft
    const first = await harness.enqueue(['a@d.test'])
    const second = await harness.enqueue(['b@d.test'])
    await harness.halt()
    const held = await runCommand(['queue', 'hold', '-', ...config(harness.directory)], {
      input: `${first}*  1m\n`,
    })
    expect(held).toMatchObject({ code: 0, stdout: '1 mail on hold.\n' })
    const dry = await runCommand([
      'queue',
      'delete',
      'ALL',
      'hold',
      '--dry-run',
      ...config(harness.directory),
    ])
    expect(dry).toMatchObject({ code: 0, stdout: `${first}\n1 mail removed (nothing was done).\n` })
    const gone = await runCommand(['queue', 'delete', second, 'NOSUCHID', ...config(harness.directory)])
    expect(gone).toMatchObject({ code: 66, stdout: '1 mail removed.\n' })
    expect(gone.stderr).toContain('NOSUCHID: no such mail')
    expect((await runCommand(['queue', 'delete', ...config(harness.directory)])).code).toBe(64)
    await harness.boot()
    expect(await harness.queue.ask('counts')).toMatchObject({ hold: 1, deferred: 0, active: 0 })
  })

  test('of an empty queue', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'mailactors-empty-'))
    try {
      expect(await runCommand(['queue', 'delete', 'ALL', ...config(directory)])).toMatchObject({
        code: 0,
        stdout: '0 mails removed.\n',
      })
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
})

test('age: domains by the number of recipients, in buckets of minutes', () => {
  const now = 10_000_000_000
  const mail = (minutes: number, ...to: string[]): QueueListing => ({
    queueId: 'X',
    queueName: 'deferred',
    arrivedAt: now - minutes * 60_000,
    size: 1,
    sender: 'news@List.test',
    forcedExpire: false,
    recipients: to.map((address) => ({
      address,
      destination: '',
      attempts: 0,
      nextAttempt: 0,
      reason: null,
      bounceReason: null,
    })),
  })
  const table = new AgeTable(now, false)
  for (const each of [
    mail(0, 'a@D.test'),
    mail(5, 'b@d.test', 'c@e.test'),
    mail(1279, 'd@d.test'),
    mail(1280, 'x@d.test'),
  ]) {
    table.add(each)
  }
  const lines = table
    .text(1)
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
  expect(lines[0]).toEqual(['T', '5', '10', '20', '40', '80', '160', '320', '640', '1280', '1280+'])
  expect(lines[1]).toEqual(['TOTAL', '5', '1', '2', '0', '0', '0', '0', '0', '0', '1', '1'])
  expect(lines[2]).toEqual(['d.test', '4', '1', '1', '0', '0', '0', '0', '0', '0', '1', '1'])
  expect(lines[3]!.join(' ')).toBe('and 1 domains more (--top)')
  const senders = new AgeTable(now, true)
  senders.add(mail(1, 'a@d.test', 'b@d.test'))
  expect(senders.data()).toEqual([expect.objectContaining({ domain: 'list.test', total: 1 })])
})

/**
 * Cases N of the acceptance list: scheduler, notifications, operators. Left out here:
 * N09, N10: the arithmetic of windows is in window.test.ts, by their ids.
 * N32: in operators.test.ts, with the command line that prints it.
 */

import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { ActorRef } from '../../src/actors/index.ts'
import type { DeliveryRequest } from '../../src/queue/contract.ts'
import type { DeliveryOwnerContract } from '../../src/queue/deliveries.ts'
import { Harness, type HarnessOptions, hard, soft, trouble } from './harness.ts'

const minutes = 60_000
const hours = 60 * minutes
const days = 24 * hours

let harness: Harness
const start = async (options: HarnessOptions = {}): Promise<void> => {
  await harness?.[Symbol.asyncDispose]()
  harness = await Harness.start(options)
}
beforeEach(() => start())
afterEach(() => harness[Symbol.asyncDispose]())

const settle = (): Promise<unknown> => harness.system.settle()
const textOf = ({ content }: DeliveryRequest): string =>
  Buffer.from((content as { bytes: Uint8Array }).bytes).toString()
const fields = (text: string, name: string): string[] =>
  [...text.matchAll(new RegExp(`^${name}: (.*(?:\\r\\n[ \\t].*)*)`, 'gm'))].map(([, value]) => value!)

/** Notices that were handed to a delivery, oldest first. */
const notices = (): DeliveryRequest[] =>
  harness.started
    .map(({ request }) => request)
    .filter(
      ({ sender, recipients }) =>
        sender === '' ||
        sender.startsWith('double-bounce@') ||
        recipients[0]!.address.startsWith('postmaster@'),
    )

describe('backoff and lifetime', () => {
  it('N01 deferred at age 10 s, 1000 s, 9000 s: next attempt after 300 s, 1000 s, 4000 s', async () => {
    const now = harness.system.now()
    harness.auto = () => soft
    const waits: number[] = []
    for (const age of [10_000, 1_000_000, 9_000_000]) {
      const queueId = await harness.enqueue(['a@d.test'], { arrivedAt: now - age })
      const shown = await harness.queue.ask('show', queueId)
      waits.push(shown!.recipients[0]!.nextAttempt - now)
    }
    expect(waits).toEqual([300_000, 1_000_000, 4_000_000])
  })

  it('N02 still deferred at five days: expired, a notice with the last reason, the file is gone', async () => {
    harness.auto = ({ nexthop }) => (nexthop === 'd.test' ? soft : {})
    const queueId = await harness.enqueue(['a@d.test'], { arrivedAt: harness.system.now() - 5 * days })
    expect(harness.events('delivery')[0]).toMatchObject({ queueId, status: 'expired', dsn: '4.2.0' })
    const text = textOf(notices()[0]!)
    expect(fields(text, 'Action')).toEqual(['failed'])
    expect(fields(text, 'Status')).toEqual(['4.2.0'])
    expect(text).toContain('450 4.2.0 later')
    expect(await harness.queue.ask('show', queueId)).toBeNull()
  })

  it('N04 a lifetime of 0: one attempt, then the notice', async () => {
    await start({ config: { queue: { maximal_queue_lifetime: 0 } } })
    harness.auto = ({ nexthop }) => (nexthop === 'd.test' ? soft : undefined)
    await harness.enqueue(['a@d.test'])
    expect(harness.events('delivery')).toEqual([expect.objectContaining({ status: 'expired' })])
    expect(notices()).toHaveLength(1)
  })

  it('N34 held for six days and released: not expired meanwhile; expiry is decided at the next attempt', async () => {
    harness.auto = () => soft
    const queueId = await harness.enqueue(['a@d.test'])
    await harness.operate('hold', [queueId])
    await harness.system.advance(6 * days)
    expect(harness.events('delivery')).toHaveLength(1)
    await harness.operate('release', [queueId])
    expect(
      harness
        .events('delivery')
        .map(({ status }) => status)
        .slice(0, 2),
    ).toEqual(['deferred', 'expired'])
  })
})

describe('windows and dead sites', () => {
  it('N05 three hop results in a row: dead, what waits is deferred as suspended, nothing starts for 300 s', async () => {
    for (let mail = 0; mail < 10; mail++) await harness.enqueue([`u${mail}@d.test`])
    expect(harness.open).toHaveLength(5)
    const widths: number[] = []
    for (let failure = 0; failure < 3; failure++) {
      harness.open[0]!.report(soft, trouble)
      await settle()
      widths.push(harness.open.length)
    }
    // Window 3, then 2: fewer than run already, so none is started.
    expect(widths).toEqual([4, 3, 2])
    expect(harness.events('queue.site-dead')).toHaveLength(1)
    const suspended = harness.events('delivery').filter(({ reply }) => String(reply).includes('suspended'))
    expect(suspended).toHaveLength(5)
    expect(suspended.every(({ dsn, relay }) => dsn === '4.4.1' && relay === 'none')).toBe(true)
    for (const delivery of harness.open) delivery.report(soft, trouble)
    await settle()
    const before = harness.started.length
    await harness.enqueue(['late@d.test'])
    await harness.system.advance(290_000)
    expect(harness.started).toHaveLength(before)
    await harness.system.advance(20_000)
    expect(harness.started.length).toBeGreaterThan(before)
  })

  it('destination_concurrency_feedback_debug: each change of a window is in the log', async () => {
    await start({ config: { log: { destination_concurrency_feedback_debug: true } } })
    for (let mail = 0; mail < 5; mail++) await harness.enqueue([`u${mail}@d.test`])
    for (let failure = 0; failure < 3; failure++) {
      harness.open[0]!.report(soft, trouble)
      await settle()
    }
    const changes = harness.events('queue.window').map(({ level, from, to }) => ({ level, from, to }))
    expect(changes).toEqual([
      { level: 'info', from: 5, to: 3 },
      { level: 'info', from: 3, to: 2 },
      { level: 'info', from: 2, to: 0 },
    ])
  })

  it('N06 a delivery that was under way succeeds at a dead site: it lives again at once', async () => {
    for (let mail = 0; mail < 5; mail++) await harness.enqueue([`u${mail}@d.test`])
    for (let failure = 0; failure < 3; failure++) {
      harness.open[0]!.report(soft, trouble)
      await settle()
    }
    await harness.enqueue(['suspended@d.test'])
    expect(harness.open).toHaveLength(2)
    harness.open[0]!.report({})
    await harness.enqueue(['next@d.test'])
    expect(harness.started.at(-1)!.request.recipients[0]!.address).toBe('next@d.test')
  })

  it('N07 all recipients 4xx without a hop result: the window grows, the site lives', async () => {
    for (let mail = 0; mail < 20; mail++) await harness.enqueue([`u${mail}@d.test`])
    const open: number[] = []
    for (let done = 0; done < 4; done++) {
      harness.open[0]!.report(soft)
      await settle()
      open.push(harness.open.length)
    }
    expect(open).toEqual([6, 7, 8, 9])
    expect(harness.events('queue.site-dead')).toEqual([])
  })

  it('N14 no delivery can be started: the transport is dead for 60 s, its mail deferred with 4.3.0', async () => {
    await start({ config: { queue: { transport_retry_time: 60_000 } } })
    for (let mail = 0; mail < 7; mail++) await harness.enqueue([`u${mail}@d.test`])
    const attempts = harness.started.length
    const owner = harness.queue as unknown as ActorRef<DeliveryOwnerContract>
    owner.tell('deliveryEnded', 1, { kind: 'no_actor', message: 'quarantined' })
    await settle()
    const deferred = harness.events('delivery').filter(({ status }) => status === 'deferred')
    // The one that was not started, and the two that waited behind the window.
    expect(deferred.map(({ dsn }) => dsn)).toEqual(['4.3.0', '4.3.0', '4.3.0'])
    expect(harness.events('queue.transport-dead')).toHaveLength(1)
    await harness.enqueue(['later@other.test'])
    expect(harness.started).toHaveLength(attempts)
    await harness.system.advance(60_000)
    await harness.enqueue(['now@other.test'])
    expect(harness.started).toHaveLength(attempts + 1)
  })

  it('N15 a delivery crashes: its recipients are deferred with 4.3.0, and it counts against the site', async () => {
    const queueId = await harness.enqueue(['a@d.test', 'b@d.test'])
    harness.open[0]!.crash()
    await settle()
    expect(harness.events('delivery').map(({ dsn, status }) => [dsn, status])).toEqual([
      ['4.3.0', 'deferred'],
      ['4.3.0', 'deferred'],
    ])
    expect(await harness.queue.ask('show', queueId)).toMatchObject({ queueName: 'deferred' })
    for (let crash = 0; crash < 2; crash++) {
      await harness.enqueue(['c@d.test'])
      harness.open[0]!.crash()
      await settle()
    }
    expect(harness.events('queue.site-dead')).toHaveLength(1)
  })

  it('N41 one site has more than a fifth of the active mails: one warning in 300 s', async () => {
    await start({ config: { queue: { qmgr_message_active_limit: 50 } } })
    for (let mail = 0; mail < 30; mail++) await harness.enqueue(['a@d.test'])
    expect(harness.events('queue.clogged')).toEqual([
      expect.objectContaining({ level: 'warn', site: 'smtp:d.test', limit: 50 }),
    ])
    await harness.system.advance(299_000)
    await harness.enqueue(['a@d.test'])
    expect(harness.events('queue.clogged')).toHaveLength(1)
    await harness.system.advance(2_000)
    await harness.enqueue(['a@d.test'])
    expect(harness.events('queue.clogged')).toHaveLength(2)
  })
})

describe('recipients and order', () => {
  it('N11 120 recipients of one site with a limit of 50: requests of 50, 50 and 20', async () => {
    await harness.enqueue(Array.from({ length: 120 }, (_, index) => `u${index}@d.test`))
    expect(harness.open.map(({ request }) => request.recipients.length)).toEqual([50, 50, 20])
  })

  it('N12 a recipient limit of 1: one request each, the window counts for each recipient without extension', async () => {
    await start({
      config: {
        queue: { initial_destination_concurrency: 1, default_destination_concurrency_limit: 1 },
        transports: { smtp: { protocol: 'smtp', destination_recipient_limit: 1 } },
      },
    })
    await harness.enqueue(['a@d.test', 'b@d.test', 'a+list@d.test'])
    expect(harness.open.map(({ request }) => request.recipients.map(({ address }) => address))).toEqual([
      ['a@d.test'],
      ['b@d.test'],
    ])
    harness.open[0]!.report({})
    await settle()
    expect(harness.open.map(({ request }) => request.recipients[0]!.address)).toEqual([
      'b@d.test',
      'a+list@d.test',
    ])
  })

  it('N16 a mail to one recipient comes while one of 10 000 is sent: among the next few selections', async () => {
    await harness.enqueue(Array.from({ length: 10_000 }, (_, index) => `u${index}@d.test`))
    for (let done = 0; done < 20; done++) {
      harness.open[0]!.report({})
      await settle()
    }
    const before = harness.started.length
    const small = await harness.enqueue(['one@d.test'])
    while (!harness.started.some(({ request }) => request.queueId === small)) {
      harness.open[0]!.report({})
      await settle()
    }
    expect(harness.started.length - before).toBeLessThan(24)
  })

  it('N17 restart with active mail: delivered once each', async () => {
    const ids = [await harness.enqueue(['a@d.test']), await harness.enqueue(['b@d.test'])]
    const now = harness.system.now()
    await harness.halt()
    await harness.boot(now + 1000)
    expect(harness.open.map(({ request }) => request.queueId)).toEqual(ids)
    for (const delivery of harness.open) delivery.report({})
    await settle()
    await harness.system.advance(10 * minutes)
    expect(harness.started).toHaveLength(2)
  })

  it('N39 memory is full, new and deferred mail waits: new mail comes first when there is room', async () => {
    await start({ config: { queue: { qmgr_message_active_limit: 2, initial_destination_concurrency: 2 } } })
    harness.auto = () => soft
    await harness.enqueue(['old1@d.test'])
    await harness.enqueue(['old2@d.test'])
    harness.auto = undefined
    await harness.system.advance(299_000)
    await harness.enqueue(['busy1@d.test'])
    await harness.enqueue(['busy2@d.test'])
    await harness.system.advance(10_000)
    await harness.enqueue(['new1@d.test'])
    await harness.enqueue(['new2@d.test'])
    for (const delivery of harness.open) delivery.report({})
    await settle()
    expect(harness.open.map(({ request }) => request.recipients[0]!.address)).toEqual([
      'new1@d.test',
      'new2@d.test',
    ])
    for (const delivery of harness.open) delivery.report({})
    await settle()
    expect(harness.open.map(({ request }) => request.recipients[0]!.address)).toEqual([
      'old1@d.test',
      'old2@d.test',
    ])
  })

  it('N42 hard and soft recipients: a notice for the hard ones at the end of the pass, the mail stays', async () => {
    const queueId = await harness.enqueue(['hard@d.test', 'soft@d.test'])
    harness.open[0]!.report([hard, soft])
    await settle()
    expect(fields(textOf(notices()[0]!), 'Final-Recipient')).toEqual(['rfc822; hard@d.test'])
    expect((await harness.queue.ask('show', queueId))!.recipients.map(({ address }) => address)).toEqual([
      'soft@d.test',
    ])
  })
})

describe('what the queue decides itself', () => {
  it('N19 a damaged mail: set aside as corrupt with a warning, others go on', async () => {
    harness.auto = () => soft
    const bad = await harness.enqueue(['a@d.test'])
    const flipped = await harness.enqueue(['b@d.test'])
    const good = await harness.enqueue(['c@d.test'])
    const now = harness.system.now()
    await harness.halt()
    const database = new DatabaseSync(join(harness.directory, 'queue', 'queue.db'))
    database.prepare("UPDATE message SET envelope = '{broken' WHERE queue_id = ?").run(bad)
    database
      .prepare(
        "UPDATE content SET bytes = CAST(replace(CAST(bytes AS TEXT), 'body', 'bodi') AS BLOB) WHERE id = (SELECT id FROM message WHERE queue_id = ?)",
      )
      .run(flipped)
    database.close()
    harness.auto = undefined
    await harness.boot(now + 301_000)
    expect(harness.open.map(({ request }) => request.queueId)).toEqual([good])
    expect(harness.events('mail.corrupt').map(({ queueId }) => queueId)).toEqual([bad, flipped])
    expect(await harness.queue.ask('counts')).toMatchObject({ corrupt: 2, active: 1 })
    const listed = await harness.queue.ask('list', '', 10)
    expect(listed.map(({ queueId, queueName }) => [queueId, queueName])).toEqual([
      [bad, 'corrupt'],
      [flipped, 'corrupt'],
      [good, 'active'],
    ])
  })

  it('N19 a delivery finds the content damaged: the mail is corrupt, nobody is told, what was sent is sent', async () => {
    const queueId = await harness.enqueue(['a@d.test', 'b@d.test'])
    harness.open[0]!.report([{}, { status: 'bounced', dsn: '5.3.0', reply: 'unreadable' }], { damaged: true })
    await settle()
    expect(await harness.queue.ask('show', queueId)).toMatchObject({
      queueName: 'corrupt',
      recipients: [expect.objectContaining({ address: 'b@d.test' })],
    })
    expect(notices()).toEqual([])
  })

  it('N20 defer_transports has smtp: 4.3.2, nothing is started; a flush overrides', async () => {
    await start({ config: { queue: { defer_transports: ['smtp'] } } })
    await harness.enqueue(['a@d.test'])
    expect(harness.events('delivery')).toEqual([
      expect.objectContaining({ status: 'deferred', dsn: '4.3.2' }),
    ])
    expect(harness.started).toEqual([])
    await harness.queue.ask('flush', '')
    await settle()
    expect(harness.open).toHaveLength(1)
  })

  it('N21 mail to our own double-bounce address is discarded as sent', async () => {
    await harness.enqueue(['Double-Bounce@queue.test'])
    expect(harness.events('delivery')).toEqual([
      expect.objectContaining({ status: 'sent', relay: 'none', dsn: '2.0.0' }),
    ])
    expect(harness.started).toEqual([])
    expect(harness.events('mail.removed')).toHaveLength(1)
  })
})

describe('notices', () => {
  it('N22 a bounce: three parts, the required fields, null sender, to the original sender', async () => {
    const queueId = await harness.enqueue(['a@d.test'])
    harness.open[0]!.report(hard)
    await settle()
    const [notice] = notices()
    expect(notice).toMatchObject({ sender: '', recipients: [{ address: 'sender@client.test' }] })
    const text = textOf(notice!)
    expect(text).toMatch(/^Content-Type: multipart\/report; report-type=delivery-status;/m)
    expect(fields(text, 'Content-Type').slice(1)).toEqual([
      'text/plain; charset=us-ascii',
      'message/delivery-status',
      'message/rfc822',
    ])
    expect(fields(text, 'Auto-Submitted')).toEqual(['auto-replied'])
    expect(fields(text, 'To')).toEqual(['sender@client.test'])
    expect(fields(text, 'Reporting-MTA')).toEqual(['dns; queue.test'])
    expect(fields(text, 'X-Mailactors-Queue-ID')).toEqual([queueId])
    expect(fields(text, 'X-Mailactors-Sender')).toEqual(['rfc822; sender@client.test'])
    expect(fields(text, 'Arrival-Date')).toHaveLength(1)
    expect(fields(text, 'Final-Recipient')).toEqual(['rfc822; a@d.test'])
    expect(fields(text, 'Original-Recipient')).toEqual(['rfc822;a@d.test'])
    expect(fields(text, 'Action')).toEqual(['failed'])
    expect(fields(text, 'Status')).toEqual(['5.1.1'])
    expect(fields(text, 'Remote-MTA')).toEqual(['dns; mx.test'])
    expect(fields(text, 'Diagnostic-Code')).toEqual(['smtp; 550 5.1.1 no such user'])
    expect(fields(text, 'Return-Path')).toEqual(['<sender@client.test>'])
    expect(text).toContain('The body.')
  })

  it('N24 RET=HDRS: the header; RET=FULL of a small mail: all', async () => {
    for (const ret of ['HDRS', 'FULL'] as const) {
      await harness.enqueue(['a@d.test'], {
        envelope: { sender: 'sender@client.test', recipients: [{ address: 'a@d.test' }], ret },
      })
      harness.open.at(-1)!.report(hard)
      await settle()
    }
    const [header, full] = notices().map(textOf)
    expect(header).not.toContain('The body.')
    expect(fields(header!, 'Content-Type').at(-1)).toBe('text/rfc822-headers')
    expect(full).toContain('The body.')
  })

  it('N25 NEVER and FAILURE, both bounced: the notice names the second alone', async () => {
    await harness.enqueue([
      { address: 'a@d.test', notify: ['NEVER'] },
      { address: 'b@d.test', notify: ['FAILURE'] },
    ])
    harness.open[0]!.report(hard)
    await settle()
    expect(fields(textOf(notices()[0]!), 'Final-Recipient')).toEqual(['rfc822; b@d.test'])
  })

  it('N26 all NEVER: no notice, and nothing stays in the queue', async () => {
    await harness.enqueue([{ address: 'a@d.test', notify: ['NEVER'] }])
    harness.open[0]!.report(hard)
    await settle()
    expect(notices()).toEqual([])
    expect(await harness.queue.ask('list', '', 10)).toEqual([])
  })

  it('N27 a notice bounces: with 2bounce the postmaster is told by double-bounce, by default nobody', async () => {
    for (const classes of [['2bounce'], ['resource', 'software']]) {
      await start({ config: { notify: { classes } } })
      await harness.enqueue(['gone@d.test'], { sender: '' })
      harness.open[0]!.report(hard)
      await settle()
      const told = notices().filter(({ sender }) => sender !== '')
      if (classes.includes('2bounce')) {
        expect(told).toEqual([
          expect.objectContaining({
            sender: 'double-bounce@queue.test',
            recipients: [expect.objectContaining({ address: 'postmaster@queue.test' })],
          }),
        ])
        // And when that fails, it ends there.
        harness.open[0]!.report(hard)
        await settle()
        expect(harness.events('notice.dropped')).toHaveLength(1)
      } else expect(told).toEqual([])
      expect(await harness.queue.ask('list', '', 10)).toEqual([])
    }
  })

  it('N29 delay_warning_time of 4 h: one notice at the first attempt after it, never for the null sender', async () => {
    await start({ config: { queue: { delay_warning_time: 4 * hours } } })
    harness.auto = ({ nexthop }) => (nexthop === 'd.test' ? soft : {})
    const arrivedAt = harness.system.now()
    await harness.enqueue(['a@d.test'])
    await harness.enqueue(['b@d.test'], { sender: '' })
    await harness.system.advance(3 * hours)
    expect(notices().filter(({ nexthop }) => nexthop === 'client.test')).toEqual([])
    await harness.system.advance(20 * hours)
    const delays = notices().filter(({ nexthop }) => nexthop === 'client.test')
    expect(delays).toHaveLength(1)
    const text = textOf(delays[0]!)
    expect(fields(text, 'Action')).toEqual(['delayed'])
    expect(new Date(fields(text, 'Will-Retry-Until')[0]!).getTime()).toBe(
      Math.floor((arrivedAt + 5 * days) / 1000) * 1000,
    )
    expect(fields(text, 'Content-Type').at(-1)).toBe('text/rfc822-headers')
  })

  it('N30 confirm_delay_cleared: who was warned is told of the success', async () => {
    await start({ config: { queue: { delay_warning_time: hours, confirm_delay_cleared: true } } })
    harness.auto = ({ nexthop }) => (nexthop === 'd.test' ? soft : {})
    await harness.enqueue(['a@d.test'])
    await harness.enqueue(['fast@e.test'])
    await harness.system.advance(2 * hours)
    harness.auto = () => ({})
    await harness.system.advance(3 * hours)
    const told = notices().map(textOf)
    expect(told.map((text) => fields(text, 'Action')[0])).toEqual(['delayed', 'relayed'])
    expect(fields(told[1]!, 'Final-Recipient')).toEqual(['rfc822; a@d.test'])
  })

  it('N31 the disk is full when a result is to be written: nothing changes, the recipient stays', async () => {
    await start({ args: { maxPages: 40 } })
    const queueId = await harness.enqueue(['a@d.test'])
    const before = harness.open[0]!
    // What is left of the disk is used up by others.
    let refused = 0
    for (let mail = 0; mail < 600 && refused === 0; mail++) {
      const result = await harness.result(
        harness.mail(['x@other.test'], { content: { bytes: Buffer.alloc(2_000, 'x') } }),
      )
      if (result.status === 'refused') refused += 1
    }
    expect(refused).toBe(1)
    before.report({ ...hard, reply: `550 5.1.1 ${'x'.repeat(900)}` })
    await settle()
    expect((await harness.queue.ask('show', queueId))!.recipients).toHaveLength(1)
    expect(harness.events('delivery').filter(({ queueId: id }) => id === queueId)).toEqual([])
    expect(harness.events('queue.write-failed').length).toBeGreaterThan(1)
  })

  it('N40 an SMTPUTF8 mail bounces: message/global types, addresses of type utf-8', async () => {
    await harness.enqueue([], {
      envelope: { sender: 'sénder@client.test', recipients: [{ address: 'é@d.test' }], smtputf8: true },
    })
    harness.open[0]!.report(hard)
    await settle()
    const text = textOf(notices()[0]!)
    expect(fields(text, 'Content-Type').slice(2)).toEqual([
      'message/global-delivery-status',
      'message/global',
    ])
    expect(fields(text, 'Final-Recipient')).toEqual(['utf-8; é@d.test'])
    expect(notices()[0]).toMatchObject({ smtputf8: true })
  })
})

describe('operators', () => {
  it('N35 requeue: a new id, and the address before rewriting', async () => {
    harness.auto = () => soft
    const arrivedAt = harness.system.now()
    const queueId = await harness.enqueue([{ address: 'new@d.test', origTo: 'old@alias.test' }])
    harness.auto = undefined
    await harness.system.advance(60_000)
    const { done } = await harness.queue.ask(
      'operate',
      'requeue',
      { ids: [queueId] },
      { after: '', limit: 10 },
    )
    await settle()
    const { newId } = done[0]!
    expect(newId).not.toBe(queueId)
    expect(await harness.queue.ask('show', queueId)).toBeNull()
    expect(harness.open[0]!.request).toMatchObject({
      queueId: newId,
      recipients: [expect.objectContaining({ address: 'old@alias.test' })],
    })
    const text = textOf(harness.open[0]!.request)
    expect(text).toContain('The body.')
    expect(text.startsWith(`Received: by queue.test (mailactors) id ${newId};\r\n\t`)).toBe(true)
    expect(harness.open[0]!.request.arrivedAt).toBe(arrivedAt)
    expect(await harness.queue.ask('counts')).toMatchObject({ active: 1, deferred: 0 })
  })

  it('N36 delete while a delivery runs: nothing crashes, the mail is gone', async () => {
    const queueId = await harness.enqueue(['a@d.test'])
    expect(await harness.operate('delete', [queueId])).toEqual([queueId])
    harness.open[0]!.report({})
    await settle()
    expect(await harness.queue.ask('list', '', 10)).toEqual([])
    expect(await harness.queue.ask('counts')).toMatchObject({ active: 0, deferred: 0 })
  })

  it('N37 expire: the next attempt returns the mail with its reason; never tried: 4.7.0', async () => {
    await start({ config: { queue: { initial_destination_concurrency: 1 } } })
    harness.auto = ({ nexthop }) => (nexthop === 'd.test' ? soft : nexthop === 'client.test' ? {} : undefined)
    const tried = await harness.enqueue(['a@d.test'])
    const busy = await harness.enqueue(['busy@e.test'])
    const waiting = await harness.enqueue(['never@e.test'])
    expect(await harness.operate('expire', [tried, waiting])).toEqual([tried, waiting])
    // What was to be tried now is returned now, the other at its time.
    const expired = () => harness.events('delivery').filter(({ status }) => status === 'force-expired')
    expect(expired()).toEqual([expect.objectContaining({ queueId: waiting, dsn: '4.7.0' })])
    expect((await harness.queue.ask('show', tried))!.forcedExpire).toBe(true)
    await harness.system.advance(301_000)
    expect(expired().at(-1)).toMatchObject({ queueId: tried, dsn: '4.2.0', reply: '450 4.2.0 later' })
    expect(notices().map((notice) => fields(textOf(notice), 'Status')[0])).toEqual(['4.7.0', '4.2.0'])
    expect((await harness.queue.ask('list', '', 10)).map(({ queueId }) => queueId)).toEqual([busy])
  })
})

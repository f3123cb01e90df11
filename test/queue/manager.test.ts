import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Harness, type HarnessOptions, hard, soft, trouble } from './harness.ts'

let harness: Harness
const start = async (options: HarnessOptions = {}): Promise<Harness> => {
  await harness?.[Symbol.asyncDispose]()
  harness = await Harness.start(options)
  return harness
}
beforeEach(() => start())
afterEach(() => harness[Symbol.asyncDispose]())

const minutes = 60_000

describe('a mail that is delivered', () => {
  test('goes to its next hop at once and leaves the queue', async () => {
    const queueId = await harness.enqueue(['a@d.test'])
    expect(harness.open).toHaveLength(1)
    const { request } = harness.open[0]!
    expect(request).toMatchObject({ queueId, transport: 'smtp', nexthop: 'd.test', cacheConnection: false })
    expect(Buffer.from((request.content as { bytes: Uint8Array }).bytes).toString()).toContain('The body.')
    expect(await harness.queue.ask('counts')).toMatchObject({ active: 1 })
    harness.open[0]!.report({})
    await harness.system.settle()
    expect(await harness.queue.ask('list', '', 10)).toEqual([])
    expect(await harness.queue.ask('counts')).toEqual({
      incoming: 0,
      active: 0,
      deferred: 0,
      hold: 0,
      corrupt: 0,
    })
  })

  test('is logged once per recipient, and when it is removed', async () => {
    const queueId = await harness.enqueue(['a@d.test', 'b@d.test'])
    await harness.system.advance(250)
    harness.open[0]!.report([{}, { reply: '250 fine' }], { connUse: 3, tls: 'TLSv1.3' })
    await harness.system.settle()
    expect(harness.events('delivery')).toEqual([
      expect.objectContaining({
        event: 'delivery',
        queueId,
        to: 'a@d.test',
        relay: 'mx.test[192.0.2.1]:25',
        delay: 0.25,
        delays: '0/0/0/0.25',
        dsn: '2.0.0',
        status: 'sent',
        reply: '250 2.0.0 ok',
        connUse: 3,
        tls: 'TLSv1.3',
      }),
      expect.objectContaining({ to: 'b@d.test', reply: '250 fine' }),
    ])
    expect(harness.events('mail.removed')).toEqual([expect.objectContaining({ queueId })])
  })

  test('is split by next hop, and by 50 recipients', async () => {
    await harness.enqueue([...Array.from({ length: 120 }, (_, index) => `u${index}@D.test`), 'x@other.test'])
    const sizes = harness.open
      .filter(({ request }) => request.nexthop === 'd.test')
      .map(({ request }) => request.recipients.length)
    expect(sizes).toEqual([50, 50, 20])
    expect(harness.open).toHaveLength(4)
    for (const delivery of harness.open) delivery.report({})
    await harness.system.settle()
    expect(harness.events('delivery')).toHaveLength(121)
    expect(harness.events('mail.removed')).toHaveLength(1)
  })

  test('with a recipient limit of 1 each recipient is a site of its own', async () => {
    await start({
      config: { queue: { default_destination_recipient_limit: 1, initial_destination_concurrency: 1 } },
    })
    await harness.enqueue(['a@d.test', 'b@d.test'])
    await harness.enqueue(['a@d.test'])
    expect(harness.open.map(({ request }) => request.recipients.map(({ address }) => address))).toEqual([
      ['a@d.test'],
      ['b@d.test'],
    ])
  })

  test('to a local domain goes by the local transport', async () => {
    await harness.enqueue(['user@queue.test'])
    expect(harness.open[0]!.request).toMatchObject({ transport: 'local', nexthop: 'queue.test' })
  })
})

describe('a mail that is deferred', () => {
  test('is tried again after as long as it is old, within the limits', async () => {
    harness.auto = () => soft
    const queueId = await harness.enqueue(['a@d.test'])
    const from = harness.system.now()
    expect(await harness.queue.ask('show', queueId)).toMatchObject({
      queueName: 'deferred',
      recipients: [
        {
          address: 'a@d.test',
          destination: 'smtp:d.test',
          attempts: 1,
          nextAttempt: from + 300_000,
          reason: '4.2.0 450 4.2.0 later',
        },
      ],
    })
    const attempts = (): number => harness.started.length
    await harness.system.advance(299_000)
    expect(attempts()).toBe(1)
    await harness.system.advance(2_000)
    expect(attempts()).toBe(2)
    // 300 s old: again in 300, then in 600, 1200, 2400, then 4000.
    await harness.system.advance(300_000)
    expect(attempts()).toBe(3)
    await harness.system.advance(597_000)
    expect(attempts()).toBe(3)
    await harness.system.advance(5_000)
    expect(attempts()).toBe(4)
    expect(harness.events('delivery').every(({ status }) => status === 'deferred')).toBe(true)
  })

  test('survives a restart with its time', async () => {
    harness.auto = () => soft
    const queueId = await harness.enqueue(['a@d.test'])
    const now = harness.system.now()
    await harness.halt()
    harness.auto = undefined
    await harness.boot(now + 1000)
    expect(harness.open).toHaveLength(0)
    expect(await harness.queue.ask('counts')).toMatchObject({ deferred: 1 })
    await harness.system.advance(300_000)
    expect(harness.open.map(({ request }) => request.queueId)).toEqual([queueId])
  })

  test('is tried at once when it is flushed', async () => {
    harness.auto = () => soft
    await harness.enqueue(['a@d.test'])
    await harness.enqueue(['a@e.test'])
    harness.auto = undefined
    expect(await harness.queue.ask('flush', 'd.test')).toBe(1)
    await harness.system.settle()
    expect(harness.open.map(({ request }) => request.nexthop)).toEqual(['d.test'])
    expect(await harness.queue.ask('flush', '')).toBe(1)
    await harness.system.settle()
    expect(harness.open.map(({ request }) => request.nexthop)).toEqual(['d.test', 'e.test'])
  })

  test('is tried at once when its domain is flushed, whatever its next hop is', async () => {
    await start({ config: { smtp: { relayhost: '[relay.test]:25' } } })
    harness.auto = () => soft
    await harness.enqueue(['a@D.test', 'b@sub.d.test'])
    harness.auto = undefined
    expect(await harness.queue.ask('flush', 'test')).toBe(0)
    expect(await harness.queue.ask('flush', 'd.test')).toBe(1)
    await harness.system.settle()
    const [tried] = harness.open.map(({ request }) => request)
    expect(tried?.recipients.map(({ address }) => address)).toEqual(['a@D.test'])
    expect(tried?.nexthop).toBe('[relay.test]:25')
  })

  test('expires after maximal_queue_lifetime: the sender is told, and it is gone', async () => {
    await start({ config: { queue: { maximal_queue_lifetime: 10 * minutes } } })
    harness.auto = ({ nexthop }) => (nexthop === 'd.test' ? soft : undefined)
    const queueId = await harness.enqueue(['a@d.test'])
    await harness.system.advance(16 * minutes)
    expect(harness.events('delivery').map(({ status }) => status)).toEqual([
      'deferred',
      'deferred',
      'expired',
    ])
    expect(await harness.queue.ask('show', queueId)).toBeNull()
    const notice = harness.open[0]!.request
    expect(notice).toMatchObject({
      sender: '',
      nexthop: 'client.test',
      recipients: [{ address: 'sender@client.test' }],
    })
    expect(Buffer.from((notice.content as { bytes: Uint8Array }).bytes).toString()).toMatch(
      /Action: failed\r\nStatus: 4\.2\.0\r\n/,
    )
  })

  test('with a lifetime of 0 has one attempt', async () => {
    await start({ config: { queue: { maximal_queue_lifetime: 0 } } })
    harness.auto = ({ nexthop }) => (nexthop === 'd.test' ? soft : undefined)
    await harness.enqueue(['a@d.test'])
    expect(harness.events('delivery')).toEqual([expect.objectContaining({ status: 'expired' })])
    expect(harness.open).toHaveLength(1)
  })

  test('waits without an attempt while its transport is in defer_transports; flush overrides', async () => {
    await start({ config: { queue: { defer_transports: ['smtp'] } } })
    await harness.enqueue(['a@d.test'])
    expect(harness.started).toHaveLength(0)
    expect(harness.events('delivery')).toEqual([
      expect.objectContaining({ status: 'deferred', dsn: '4.3.2', relay: 'none' }),
    ])
    await harness.queue.ask('flush', '')
    await harness.system.settle()
    expect(harness.open).toHaveLength(1)
  })
})

describe('a mail that is set aside as it comes in', () => {
  const setAside = { config: { queue: { defer_transports: ['smtp'] } } }
  const facts = async () => {
    const { accepted, commits, results } = await harness.queue.ask('stats')
    const { incoming, active, deferred, hold } = await harness.queue.ask('counts')
    return { accepted, commits, results, incoming, active, deferred, hold }
  }

  test('is written once, with the reason', async () => {
    await start(setAside)
    const queueId = await harness.enqueue(['a@d.test', 'b@e.test'])
    const counted = { accepted: 1, commits: 1, results: { deferred: 2 } }
    expect(await facts()).toEqual({ ...counted, incoming: 0, active: 0, deferred: 1, hold: 0 })
    expect(await harness.queue.ask('show', queueId)).toMatchObject({
      queueName: 'deferred',
      recipients: [
        { address: 'a@d.test', reason: expect.stringContaining('4.3.2') },
        { address: 'b@e.test', reason: expect.stringContaining('4.3.2') },
      ],
    })
  })

  test('is not when one of its recipients is to be delivered', async () => {
    const transport = { 'e.test': 'lmtp:inet:[127.0.0.1]:24' }
    await start({ config: { ...setAside.config, transport } })
    await harness.enqueue(['a@d.test', 'b@e.test'])
    expect(harness.open.map(({ request }) => request.recipients.map(({ address }) => address))).toEqual([
      ['b@e.test'],
    ])
    harness.open[0]!.report({})
    await harness.system.settle()
    expect(await facts()).toMatchObject({ results: { deferred: 1, sent: 1 }, active: 0, deferred: 1 })
  })

  test('is returned at once when nothing may wait', async () => {
    const queue = { ...setAside.config.queue, maximal_queue_lifetime: 0, bounce_queue_lifetime: 86_400_000 }
    await start({ config: { queue } })
    await harness.enqueue(['a@d.test'])
    expect(harness.events('delivery').map(({ status }) => status)).toContain('expired')
    expect(harness.events('notice.queued')).toHaveLength(1)
  })
})

describe('a mail that bounces', () => {
  test('is returned in one notice at the end of the pass; soft recipients stay', async () => {
    const queueId = await harness.enqueue(['bad@d.test', 'soft@d.test', 'bad@e.test'])
    harness.open[0]!.report([hard, soft])
    await harness.system.settle()
    expect(harness.open.map(({ request }) => request.nexthop)).toEqual(['e.test'])
    harness.open[0]!.report(hard)
    await harness.system.settle()
    expect(harness.open).toHaveLength(1)
    const text = Buffer.from((harness.open[0]!.request.content as { bytes: Uint8Array }).bytes).toString()
    expect(text.match(/^Final-Recipient: .*$/gm)).toEqual(
      ['Final-Recipient: rfc822; bad@d.test\r'.trim(), 'Final-Recipient: rfc822; bad@e.test'].map((line) =>
        expect.stringContaining(line),
      ),
    )
    expect(await harness.queue.ask('show', queueId)).toMatchObject({
      queueName: 'deferred',
      recipients: [{ address: 'soft@d.test' }],
    })
  })

  test('the notice survives a crash between two results', async () => {
    await harness.enqueue(['bad@d.test', 'slow@e.test'])
    harness.open[0]!.report(hard)
    await harness.system.settle()
    const now = harness.system.now()
    await harness.halt()
    await harness.boot(now)
    // The recipient that bounced is not tried again; the other one is.
    expect(harness.open.map(({ request }) => request.nexthop)).toEqual(['e.test'])
    harness.open[0]!.report({})
    await harness.system.settle()
    expect(harness.open.map(({ request }) => request.recipients[0]!.address)).toEqual(['sender@client.test'])
  })

  test('NOTIFY=NEVER is not told, and all NEVER sends no notice', async () => {
    await harness.enqueue([
      { address: 'a@d.test', notify: ['NEVER'] },
      { address: 'b@d.test', notify: ['FAILURE'] },
    ])
    harness.open[0]!.report(hard)
    await harness.system.settle()
    const text = Buffer.from((harness.open[0]!.request.content as { bytes: Uint8Array }).bytes).toString()
    expect(text).toContain('b@d.test')
    expect(text).not.toContain('a@d.test')
    harness.open[0]!.report({})
    await harness.enqueue([{ address: 'a@d.test', notify: ['NEVER'] }])
    harness.open[0]!.report(hard)
    await harness.system.settle()
    expect(harness.open).toHaveLength(0)
    expect(await harness.queue.ask('list', '', 10)).toEqual([])
  })

  test('of the null sender is dropped; with class 2bounce the postmaster hears of it', async () => {
    await harness.enqueue(['a@d.test'], { sender: '' })
    harness.open[0]!.report(hard)
    await harness.system.settle()
    expect(harness.open).toHaveLength(0)
    await start({ config: { notify: { classes: ['2bounce'] } } })
    await harness.enqueue(['a@d.test'], { sender: '' })
    harness.open[0]!.report(hard)
    await harness.system.settle()
    expect(harness.open[0]!.request).toMatchObject({
      sender: 'double-bounce@queue.test',
      recipients: [{ address: 'postmaster@queue.test' }],
    })
    harness.open[0]!.report(hard)
    await harness.system.settle()
    expect(harness.open).toHaveLength(0)
    expect(await harness.queue.ask('list', '', 10)).toEqual([])
  })

  test('mail to the double bounce address is dropped as sent', async () => {
    await harness.enqueue(['double-bounce@queue.test'])
    expect(harness.events('delivery')).toEqual([expect.objectContaining({ status: 'sent', relay: 'none' })])
    expect(harness.started).toHaveLength(0)
  })

  test('an address without a domain part bounces without a delivery', async () => {
    await harness.enqueue(['nobody@'])
    expect(harness.events('delivery')).toEqual([expect.objectContaining({ status: 'bounced', dsn: '5.1.3' })])
  })
})

describe('success and delay notices', () => {
  test('NOTIFY=SUCCESS is answered by us only when the next hop does not', async () => {
    await harness.enqueue([
      { address: 'a@d.test', notify: ['SUCCESS'], orcpt: 'rfc822;A+40d.test' },
      { address: 'b@d.test', notify: ['SUCCESS'] },
    ])
    harness.open[0]!.report([{}, { dsnRelayed: true }])
    await harness.system.settle()
    const text = Buffer.from((harness.open[0]!.request.content as { bytes: Uint8Array }).bytes).toString()
    expect(text).toContain('Action: relayed')
    expect(text).toContain('Original-Recipient: rfc822;A@d.test')
    expect(text).not.toContain('b@d.test')
  })

  test('one delay warning after delay_warning_time, none for the null sender', async () => {
    await start({ config: { queue: { delay_warning_time: 15 * minutes } } })
    harness.auto = ({ nexthop }) => (nexthop === 'd.test' ? soft : {})
    await harness.enqueue(['a@d.test'])
    await harness.enqueue(['a@d.test'], { sender: '' })
    await harness.system.advance(14 * minutes)
    expect(harness.events('notice.queued')).toHaveLength(0)
    await harness.system.advance(180 * minutes)
    expect(harness.events('notice.queued')).toEqual([expect.objectContaining({ kind: 'delay' })])
    const notice = harness.started.find(({ request }) => request.nexthop === 'client.test')!
    const text = Buffer.from((notice.request.content as { bytes: Uint8Array }).bytes).toString()
    expect(text).toContain('Action: delayed')
    expect(text).toMatch(/Will-Retry-Until: .*2026/)
  })
})

describe('windows', () => {
  test('a site gets 5 deliveries at first, one more for each that goes well', async () => {
    for (let mail = 0; mail < 40; mail++) await harness.enqueue(['a@d.test'])
    expect(harness.open).toHaveLength(5)
    harness.open[0]!.report({})
    await harness.system.settle()
    expect(harness.open).toHaveLength(6)
    for (let done = 0; done < 10; done++) {
      harness.open[0]!.report(soft)
      await harness.system.settle()
    }
    expect(harness.open).toHaveLength(16)
  })

  test('three failures of the site in a row suspend it: what waits is deferred without a connection', async () => {
    for (let mail = 0; mail < 20; mail++) await harness.enqueue(['a@d.test'])
    for (let failure = 0; failure < 3; failure++) {
      harness.open[0]!.report(soft, trouble)
      await harness.system.settle()
    }
    // Two of the first five run still.
    expect(harness.open).toHaveLength(2)
    expect(harness.started).toHaveLength(5)
    expect(harness.events('queue.site-dead')).toHaveLength(1)
    const suspended = harness.events('delivery').filter(({ relay }) => relay === 'none')
    expect(suspended).toHaveLength(15)
    expect(suspended[0]).toMatchObject({ dsn: '4.4.1', status: 'deferred' })
    expect(suspended[0]!.reply).toContain('suspended')
    await harness.enqueue(['late@d.test'])
    expect(harness.started).toHaveLength(5)
    // Another site is not concerned.
    await harness.enqueue(['a@e.test'])
    expect(harness.started).toHaveLength(6)
  })

  test('a dead site is back when a delivery that was still running goes well', async () => {
    for (let mail = 0; mail < 5; mail++) await harness.enqueue(['a@d.test'])
    for (let failure = 0; failure < 3; failure++) {
      harness.open[0]!.report(soft, trouble)
      await harness.system.settle()
    }
    harness.open[0]!.report({})
    await harness.enqueue(['new@d.test'])
    expect(harness.open.at(-1)!.request.recipients[0]!.address).toBe('new@d.test')
  })

  test('a dead site is tried again after minimal_backoff_time', async () => {
    for (let mail = 0; mail < 3; mail++) await harness.enqueue(['a@d.test'])
    for (let failure = 0; failure < 3; failure++) {
      harness.open[0]!.report(soft, trouble)
      await harness.system.settle()
    }
    await harness.system.advance(301_000)
    expect(harness.open).toHaveLength(3)
  })

  test('all sites together get default_process_limit deliveries', async () => {
    await start({ config: { queue: { default_process_limit: 7 } } })
    for (let mail = 0; mail < 20; mail++) await harness.enqueue([`a@d${mail}.test`])
    expect(harness.open).toHaveLength(7)
    harness.open[0]!.report({})
    await harness.system.settle()
    expect(harness.open).toHaveLength(7)
  })
})

describe('fairness', () => {
  test('a mail with one recipient passes a mailing of 10 000 to the same site', async () => {
    await harness.enqueue(Array.from({ length: 10_000 }, (_, index) => `u${index}@d.test`))
    const small = await harness.enqueue(['x@d.test'])
    let done = 0
    while (!harness.open.some(({ request }) => request.queueId === small)) {
      harness.open[0]!.report({})
      await harness.system.settle()
      done += 1
    }
    expect(done).toBeLessThan(5)
  })

  test('mail goes in order of arrival over all sites, passing those whose window is full', async () => {
    await start({ config: { queue: { default_process_limit: 3, initial_destination_concurrency: 2 } } })
    for (const to of ['a@d.test', 'b@d.test', 'c@d.test', 'a@e.test', 'a@f.test']) await harness.enqueue([to])
    const order = (): string[] => harness.started.map(({ request }) => request.recipients[0]!.address)
    expect(order()).toEqual(['a@d.test', 'b@d.test', 'a@e.test'])
    harness.open[0]!.report({})
    await harness.system.settle()
    expect(order()).toEqual(['a@d.test', 'b@d.test', 'a@e.test', 'c@d.test'])
  })

  test('mail that was put off is tried when it is due, whatever else is looked for later or sooner', async () => {
    const limits = { minimal_backoff_time: 300_000, maximal_backoff_time: 4_000_000, run_delay: 100_000_000 }
    await start({ config: { queue: { ...limits, default_destination_concurrency_failed_cohort_limit: 0 } } })
    const began = harness.system.now()
    const tried: string[] = []
    harness.auto = ({ recipients }) => {
      tried.push(`${recipients[0]!.address} ${Math.round((harness.system.now() - began) / 1000)}`)
      return soft
    }
    await harness.enqueue(['old@d.test'])
    await harness.system.advance(700_000)
    await harness.enqueue(['new@e.test'])
    await harness.system.advance(590_000)
    expect(tried).toEqual([
      'old@d.test 0',
      'old@d.test 300',
      'old@d.test 600',
      'new@e.test 700',
      'new@e.test 1000',
      'old@d.test 1200',
    ])
  })

  test('mail to one site goes in order of arrival', async () => {
    await start({ config: { queue: { initial_destination_concurrency: 1 } } })
    const ids: string[] = []
    for (let mail = 0; mail < 12; mail++) ids.push(await harness.enqueue(['a@d.test']))
    harness.auto = () => ({})
    harness.open[0]!.report({})
    await harness.system.settle()
    expect(harness.started.map(({ request }) => request.queueId)).toEqual(ids)
  })
})

describe('deliveries that fail', () => {
  test('a delivery that crashes defers its recipients with 4.3.0 and counts against the site', async () => {
    const queueId = await harness.enqueue(['a@d.test'])
    harness.open[0]!.crash()
    await harness.system.settle()
    expect(harness.events('delivery')).toEqual([
      expect.objectContaining({ dsn: '4.3.0', status: 'deferred' }),
    ])
    expect(await harness.queue.ask('show', queueId)).toMatchObject({ queueName: 'deferred' })
    for (let crash = 0; crash < 2; crash++) {
      await harness.enqueue(['a@d.test'])
      harness.open[0]!.crash()
      await harness.system.settle()
    }
    expect(harness.events('queue.site-dead')).toHaveLength(1)
  })

  test('a delivery that does not end is killed after the daemon timeout', async () => {
    await start({ config: { queue: { qmgr_daemon_timeout: 60_000 } } })
    await harness.enqueue(['a@d.test'])
    await harness.system.advance(75_000)
    expect(harness.events('delivery')).toEqual([
      expect.objectContaining({ dsn: '4.3.0', status: 'deferred' }),
    ])
    expect(harness.system.terminated.some(({ reason }) => reason.kind === 'killed')).toBe(true)
  })

  test('a recipient that a report forgets is tried again', async () => {
    await harness.enqueue(['a@d.test', 'b@d.test'])
    const { request, report } = harness.open[0]!
    report(
      {},
      { results: [{ id: request.recipients[1]!.id, status: 'sent', dsn: '2.0.0', reply: 'ok', relay: 'x' }] },
    )
    await harness.system.settle()
    expect(harness.events('delivery').map(({ to, status }) => [to, status])).toEqual([
      ['a@d.test', 'deferred'],
      ['b@d.test', 'sent'],
    ])
  })
})

describe('the cache is used on demand', () => {
  test('only once deliveries to a site follow each other within a second', async () => {
    for (let mail = 0; mail < 5; mail++) await harness.enqueue(['a@d.test'])
    expect(harness.started.every(({ request }) => !request.cacheConnection)).toBe(true)
    harness.open[0]!.report({})
    await harness.enqueue(['a@d.test'])
    expect(harness.started.at(-1)!.request.cacheConnection).toBe(true)
  })

  test('no longer for a single delivery after a pause', async () => {
    await harness.enqueue(['a@d.test'])
    harness.open[0]!.report({})
    await harness.enqueue(['a@d.test'])
    harness.open[0]!.report({})
    await harness.system.settle()
    await harness.system.advance(5_000)
    await harness.enqueue(['a@d.test'])
    expect(harness.started.map(({ request }) => request.cacheConnection)).toEqual([false, true, false])
  })

  test('always for listed destinations', async () => {
    await start({ config: { smtp: { connection_cache_destinations: ['d.test'] } } })
    await harness.enqueue(['a@d.test'])
    expect(harness.started[0]!.request.cacheConnection).toBe(true)
  })
})

describe('operators', () => {
  test('list pages in order of arrival', async () => {
    const ids: string[] = []
    for (let mail = 0; mail < 7; mail++) ids.push(await harness.enqueue(['a@d.test']))
    const first = await harness.queue.ask('list', '', 5)
    const second = await harness.queue.ask('list', first.at(-1)!.queueId, 5)
    expect([...first, ...second].map(({ queueId }) => queueId)).toEqual(ids)
    expect(first[0]).toMatchObject({ queueName: 'active', sender: 'sender@client.test', size: 51 })
  })

  test('content gives the beginning of a mail', async () => {
    const queueId = await harness.enqueue(['a@d.test'])
    expect(Buffer.from((await harness.queue.ask('content', queueId, 8))!).toString()).toBe('Subject:')
    expect(await harness.queue.ask('content', 'NOSUCHID', 8)).toBeNull()
  })

  test('a mail that is removed while it is delivered is gone, whatever the delivery says', async () => {
    const queueId = await harness.enqueue(['a@d.test'])
    expect(await harness.operate('delete', [queueId, 'NOSUCHID'])).toEqual([queueId])
    expect(await harness.queue.ask('show', queueId)).toBeNull()
    harness.open[0]!.report(soft)
    await harness.system.settle()
    expect(await harness.queue.ask('counts')).toEqual({
      incoming: 0,
      active: 0,
      deferred: 0,
      hold: 0,
      corrupt: 0,
    })
    expect(await harness.operate('delete', [])).toEqual([])
  })

  test('mail on hold is neither tried nor expired until it is released', async () => {
    harness.auto = () => soft
    const queueId = await harness.enqueue(['a@d.test'])
    expect(await harness.operate('hold', [queueId])).toEqual([queueId])
    await harness.system.advance(6 * 24 * 60 * minutes)
    expect(harness.started).toHaveLength(1)
    expect(await harness.queue.ask('counts')).toMatchObject({ hold: 1, deferred: 0 })
    harness.auto = undefined
    expect(await harness.operate('release', [queueId])).toEqual([queueId])
    await harness.system.settle()
    expect(harness.open).toHaveLength(1)
    harness.open[0]!.report({})
    await harness.system.settle()
    expect(await harness.queue.ask('counts')).toEqual({
      incoming: 0,
      active: 0,
      deferred: 0,
      hold: 0,
      corrupt: 0,
    })
  })

  test('mail put on hold while it is delivered is not tried twice when it is released before the end', async () => {
    const queueId = await harness.enqueue(['a@d.test'])
    await harness.operate('hold', [queueId])
    await harness.operate('release', [queueId])
    await harness.system.settle()
    expect(harness.started).toHaveLength(1)
    harness.open[0]!.report({})
    await harness.system.settle()
    expect(harness.started).toHaveLength(1)
    expect(await harness.queue.ask('counts')).toEqual({
      incoming: 0,
      active: 0,
      deferred: 0,
      hold: 0,
      corrupt: 0,
    })
  })

  test('drain answers when the last delivery is stored, and starts no other', async () => {
    for (let mail = 0; mail < 7; mail++) await harness.enqueue(['a@d.test'])
    let drained = false
    const drain = harness.queue.askWith({ timeoutMs: Number.POSITIVE_INFINITY }, 'drain').then(() => {
      drained = true
    })
    await harness.system.settle()
    for (const delivery of harness.open.slice(0, 4)) delivery.report({})
    await harness.system.settle()
    expect(drained).toBe(false)
    harness.open[0]!.report({})
    await drain
    expect(harness.started).toHaveLength(5)
    expect(await harness.queue.ask('list', '', 10)).toHaveLength(2)
  })
})

describe('limits', () => {
  test('mail beyond the active limits waits on disk and follows in order', async () => {
    await start({ config: { queue: { qmgr_message_active_limit: 3, initial_destination_concurrency: 1 } } })
    const ids: string[] = []
    for (let mail = 0; mail < 10; mail++) ids.push(await harness.enqueue(['a@d.test']))
    expect(await harness.queue.ask('counts')).toMatchObject({ active: 3, incoming: 7 })
    harness.auto = () => ({})
    harness.open[0]!.report({})
    await harness.system.settle()
    expect(harness.started.map(({ request }) => request.queueId)).toEqual(ids)
    expect(
      Buffer.from((harness.started.at(-1)!.request.content as { bytes: Uint8Array }).bytes).toString(),
    ).toContain('The body.')
  })

  test('a mail with more recipients than fit gets all of them tried, and one notice', async () => {
    await start({ config: { queue: { qmgr_message_recipient_limit: 30 } } })
    harness.auto = ({ nexthop }) => (nexthop === 'd.test' ? hard : undefined)
    await harness.enqueue(Array.from({ length: 100 }, (_, index) => `u${index}@d.test`))
    expect(harness.events('delivery')).toHaveLength(100)
    expect(harness.open).toHaveLength(1)
    const text = Buffer.from((harness.open[0]!.request.content as { bytes: Uint8Array }).bytes).toString()
    expect(text.match(/^Final-Recipient/gm)).toHaveLength(100)
  })

  test('its notice survives that parts of it wait for memory behind mail that is due', async () => {
    await start({ config: { queue: { qmgr_message_recipient_limit: 30 } } })
    // The place up to which deferred recipients were read is beyond the time of recorded outcomes.
    harness.auto = () => soft
    await harness.enqueue(['early@e.test'])
    await harness.system.advance(301_000)
    harness.auto = ({ nexthop }) => (nexthop === 'd.test' ? hard : undefined)
    const queueId = await harness.enqueue(Array.from({ length: 100 }, (_, index) => `u${index}@d.test`))
    expect(harness.events('notice.queued')).toHaveLength(1)
    expect(await harness.queue.ask('show', queueId)).toBeNull()
  })

  test('beyond max_messages new mail is refused for the time being', async () => {
    await start({ config: { queue: { max_messages: 2 } } })
    await harness.enqueue(['a@d.test'])
    await harness.enqueue(['a@d.test'])
    expect(await harness.result(harness.mail(['a@d.test']))).toMatchObject({
      status: 'refused',
      temporary: true,
      dsn: '4.3.1',
    })
    harness.open[0]!.report({})
    await harness.system.settle()
    expect(await harness.result(harness.mail(['a@d.test']))).toEqual({ status: 'queued' })
  })

  test('below minfree new mail is refused for the time being', async () => {
    await start({ config: { queue: { minfree: Number.MAX_SAFE_INTEGER } } })
    expect(await harness.result(harness.mail(['a@d.test']))).toMatchObject({ temporary: true, dsn: '4.3.1' })
  })

  test('the same queue id twice is refused, the mail beside it is not', async () => {
    const mail = harness.mail(['a@d.test'])
    const [first, second, third] = await Promise.all([
      harness.queue.ask('enqueue', mail),
      harness.queue.ask('enqueue', mail),
      harness.queue.ask('enqueue', harness.mail(['b@d.test'])),
    ])
    expect([first.status, second.status, third.status]).toEqual(['queued', 'refused', 'queued'])
  })

  test.each([
    { name: 'no recipients', change: { envelope: { sender: 'a', recipients: [] } } },
    { name: 'a queue id that is a path', change: { queueId: '../x' } },
  ])('a mail with $name is refused', async ({ change }) => {
    expect(await harness.result({ ...harness.mail(['a@d.test']), ...change })).toMatchObject({
      status: 'refused',
      temporary: false,
    })
  })
})

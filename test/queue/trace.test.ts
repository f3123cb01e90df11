/** Reports that a sender asked for: of an address alone (`send -bv`), of the first attempt (`send -v`). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Trace } from '../../src/queue/contract.ts'
import { Harness, type HarnessOptions, hard, soft } from './harness.ts'

let harness: Harness
const start = async (options: HarnessOptions = {}): Promise<void> => {
  await harness?.[Symbol.asyncDispose]()
  harness = await Harness.start(options)
}
beforeEach(() => start())
afterEach(() => harness[Symbol.asyncDispose]())

const enqueue = (trace: Trace, addresses: readonly string[], sender = 'sender@client.test') =>
  harness.enqueue(addresses, {
    envelope: { sender, recipients: addresses.map((address) => ({ address })), trace },
  })

/** Texts of the notices that were started, oldest first. */
const notices = (): readonly string[] =>
  harness.started
    .filter(({ request }) => request.sender === '')
    .map(({ request: { content } }) => ('bytes' in content ? Buffer.from(content.bytes).toString() : ''))

const openFor = (address: string) =>
  harness.open.find(({ request }) => request.recipients[0]!.address === address)!

const fields = (text: string, name: string): readonly string[] =>
  Array.from(text.matchAll(new RegExp(`^${name}: (.*)\\r$`, 'gm')), ([, value]) => value!)

describe('an address is asked for', () => {
  test('nobody is sent anything, and one report says what became of it', async () => {
    await enqueue('verify', ['a@d.test', 'b@e.test', 'c@f.test'])
    expect(harness.open.map(({ request }) => request.probe)).toEqual([true, true, true])
    const [a, b, c] = ['a@d.test', 'b@e.test', 'c@f.test'].map(openFor)
    a!.report({ status: 'deliverable', dsn: '2.1.5', reply: '250 2.1.5 ok', remoteMta: 'mx.test' })
    b!.report({ ...hard, status: 'undeliverable' })
    c!.report({ ...soft, status: 'undeliverable' })
    await harness.system.settle()
    const [report, ...more] = notices()
    expect(more).toEqual([])
    expect(fields(report!, 'Action')).toEqual(['deliverable', 'undeliverable', 'undeliverable'])
    expect(fields(report!, 'Status')).toEqual(['2.1.5', '5.1.1', '4.2.0'])
    expect(report).toMatch(/<a@d\.test>: taken by mx\.test\[192\.0\.2\.1\]:25: 250 2\.1\.5 ok/)
    expect(fields(report!, 'Content-Type').at(-1)).toBe('text/rfc822-headers')
    expect(harness.events('delivery').map(({ status }) => status)).toEqual([
      'deliverable',
      'undeliverable',
      'undeliverable',
    ])
    for (const { request, report: end } of harness.open) if (request.sender === '') end({})
    await harness.system.settle()
    expect(await harness.queue.ask('list', '', 10)).toEqual([])
  })

  test('what the queue decides itself is reported too: a dead destination, a transport that returns mail', async () => {
    await start({ config: { transport: { 'e.test': 'error:5.1.6 moved', 'r.test': 'retry:4.3.2 later' } } })
    await enqueue('verify', ['a@e.test', 'a@r.test'])
    const [report] = notices()
    expect(fields(report!, 'Action')).toEqual(['undeliverable', 'undeliverable'])
    expect(fields(report!, 'Status')).toEqual(['5.1.6', '4.3.2'])
  })

  test('of a mailbox of this service', async () => {
    await start({ config: { transport: { 'l.test': 'local:' } } })
    await enqueue('verify', ['a@l.test'])
    expect(harness.open[0]!.request).toMatchObject({ transport: 'local', probe: true })
  })

  test('address_verify_pending_request_limit: those beyond it are reported as undeliverable for now', async () => {
    await start({ config: { queue: { address_verify_pending_request_limit: 2 } } })
    await enqueue('verify', ['a@d.test', 'b@d.test', 'c@d.test', 'd@d.test'])
    expect(harness.open.flatMap(({ request }) => request.recipients)).toHaveLength(2)
    expect(harness.events('delivery')).toMatchObject([
      { to: 'c@d.test', status: 'undeliverable', dsn: '4.3.2' },
      { to: 'd@d.test', status: 'undeliverable', dsn: '4.3.2' },
    ])
  })

  test('after a restart in the middle it is asked again, and reported once', async () => {
    await enqueue('verify', ['a@d.test', 'b@e.test'])
    openFor('a@d.test').report({ status: 'deliverable', dsn: '2.1.5', reply: '250 ok' })
    await harness.system.settle()
    await harness.halt()
    await harness.boot()
    expect(harness.open.map(({ request }) => request.recipients[0]!.address)).toEqual(['b@e.test'])
    harness.open[0]!.report({ ...hard, status: 'undeliverable' })
    await harness.system.settle()
    const [report] = notices()
    expect(fields(report!, 'Action')).toEqual(['deliverable', 'undeliverable'])
  })
})

describe('the first attempt is reported', () => {
  test('whatever became of each recipient; later ones are not', async () => {
    await enqueue('record', ['a@d.test', 'b@e.test', 'c@f.test'])
    expect(harness.open.map(({ request }) => request.probe)).toEqual([undefined, undefined, undefined])
    const [a, b, c] = ['a@d.test', 'b@e.test', 'c@f.test'].map(openFor)
    a!.report({})
    b!.report(hard)
    c!.report(soft)
    await harness.system.settle()
    const [failure, report, ...more] = notices()
    expect(more).toEqual([])
    expect(fields(failure!, 'Action')).toEqual(['failed'])
    expect(fields(report!, 'Action')).toEqual(['relayed', 'failed', 'delayed'])
    await harness.system.advance(301_000)
    harness.open.at(-1)!.report({})
    await harness.system.settle()
    expect(notices()).toHaveLength(2)
  })

  test('of one recipient that waits', async () => {
    await enqueue('record', ['a@d.test'])
    harness.open[0]!.report(soft)
    await harness.system.settle()
    expect(notices().flatMap((text) => fields(text, 'Action'))).toEqual(['delayed'])
  })

  test('to nobody when the sender is null', async () => {
    await enqueue('record', ['a@d.test'], '')
    harness.open[0]!.report({})
    await harness.system.settle()
    expect(harness.started).toHaveLength(1)
  })
})

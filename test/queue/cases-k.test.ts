/**
 * Cases K of the acceptance list that are the queue's: bookkeeping and notices. The others are with the SMTP client.
 * K09: a success is recorded in the commit of the result, there is no store of its own that could fail: the case is that
 *   of a commit that fails, as in K07.
 * K14, K16, K17: the delivery status filter, enhanced codes and QUIT are the client's.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { DeliveryRequest, Transcript } from '../../src/queue/contract.ts'
import { Harness, type HarnessOptions, soft } from './harness.ts'

let harness: Harness
const start = async (options: HarnessOptions = {}): Promise<void> => {
  await harness?.[Symbol.asyncDispose]()
  harness = await Harness.start(options)
}
beforeEach(() => start())
afterEach(() => harness[Symbol.asyncDispose]())

const textOf = ({ content }: DeliveryRequest): string =>
  Buffer.from((content as { bytes: Uint8Array }).bytes).toString()

describe('bookkeeping', () => {
  it('K05 three recipients, one reply: the same delays in three records', async () => {
    await harness.enqueue(['a@d.test', 'b@d.test', 'c@d.test'])
    await harness.system.advance(1_240)
    harness.open[0]!.report({})
    await harness.system.settle()
    const records = harness.events('delivery')
    expect(records).toHaveLength(3)
    expect(new Set(records.map(({ delay, delays }) => `${delay} ${delays}`)).size).toBe(1)
  })

  it('K07 the result was not committed when the process died: delivered again, never lost', async () => {
    const queueId = await harness.enqueue(['a@d.test', 'b@e.test'])
    const now = harness.system.now()
    harness.open[0]!.report({})
    await harness.system.settle()
    // The second one is with its server when everything ends.
    await harness.halt()
    await harness.boot(now + 1_000)
    expect(harness.open.map(({ request }) => [request.queueId, request.recipients[0]!.address])).toEqual([
      [queueId, 'b@e.test'],
    ])
    harness.open[0]!.report({})
    await harness.system.settle()
    expect(await harness.queue.ask('list', '', 10)).toEqual([])
  })
})

describe('notices', () => {
  const transcript: Transcript = {
    relay: 'mx.test[192.0.2.1]:25',
    lines: ['Out: RCPT TO:<a@d.test>', 'In:  500 5.5.1 what?'],
  }

  it('K10 the session had a protocol error, notify_classes has protocol: its transcript goes to the postmaster', async () => {
    await start({ config: { notify: { classes: ['protocol'], error_notice_recipient: 'errors' } } })
    await harness.enqueue(['a@d.test'])
    harness.open[0]!.report(soft, { transcripts: [transcript] })
    await harness.system.settle()
    const notice = harness.open
      .map(({ request }) => request)
      .find(({ sender }) => sender !== 'sender@client.test')
    expect(notice).toMatchObject({
      sender: 'double-bounce@queue.test',
      recipients: [expect.objectContaining({ address: 'errors@queue.test' })],
    })
    expect(textOf(notice!)).toContain('500 5.5.1 what?')
  })

  it('K15 NOTIFY=SUCCESS, the server does not offer DSN: a notice with the action relayed', async () => {
    await harness.enqueue([{ address: 'a@d.test', notify: ['SUCCESS'] }])
    harness.open[0]!.report({})
    await harness.system.settle()
    const [notice] = harness.open.map(({ request }) => request)
    expect(notice).toMatchObject({ sender: '', recipients: [{ address: 'sender@client.test' }] })
    expect(textOf(notice!)).toMatch(/^Action: relayed\r\n/m)
  })

  it('K15 NOTIFY=SUCCESS, the server offers DSN: the duty is passed on', async () => {
    await harness.enqueue([{ address: 'a@d.test', notify: ['SUCCESS'] }])
    harness.open[0]!.report({ dsnRelayed: true })
    await harness.system.settle()
    expect(harness.open).toEqual([])
    expect(await harness.queue.ask('list', '', 10)).toEqual([])
  })
})

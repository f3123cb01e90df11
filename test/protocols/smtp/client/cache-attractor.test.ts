/**
 * A server that fails fast is idle more often than its equals. Found time and again, its connections would draw all mail of the
 * destination: counted here, as shares of four servers of which one is bad.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { destinationLabel } from '../../../../src/cache/labels.ts'
import { type Answer, NameServer } from '../../../dns/name-server.ts'
import { SmtpSink } from '../../../support/smtp-sink.ts'
import { cache, reported, run, start, startKeeper, system } from './cached-deliveries.ts'

/** Four sinks on one port, at 127.0.0.1 to 127.0.0.4; the first has `bad` answers, the others take their time. */
async function farm(bad: Readonly<Record<string, string>>): Promise<{ port: number; visits: number[] }> {
  const visits = [0, 0, 0, 0]
  const sinks: SmtpSink[] = []
  for (const index of visits.keys()) {
    const sink = await SmtpSink.start({
      host: `127.0.0.${index + 1}`,
      port: sinks[0]?.port ?? 0,
      misbehave(verb) {
        if (verb === 'MAIL') visits[index]! += 1
        if (index === 0) return bad[verb]
        return verb === '.' ? sleep(20).then(() => undefined) : undefined
      },
    })
    sinks.push(sink)
    onTestFinished(() => sink.stop())
  }
  return { port: sinks[0]!.port, visits }
}

test.each<[string, Readonly<Record<string, string>>]>([
  ['refuses all recipients', { RCPT: '550 5.1.1 nobody of that name' }],
  ['refuses all content', { '.': '554 5.7.1 we do not like it' }],
  ['puts off all recipients', { RCPT: '450 4.2.1 later' }],
  ['hangs up', { MAIL: 'drop' }],
  ['does not like RSET', { RSET: '500 what' }],
])('one that %s does not draw the mail', async (_, bad) => {
  const zone: Record<string, Answer> = { 'MX d.test': { records: [] as string[] } }
  for (const n of [1, 2, 3, 4]) {
    zone[`A m${n}.test`] = { records: [`A 127.0.0.${n}`] }
    ;(zone['MX d.test'] as { records: string[] }).records.push(`MX 10 m${n}.test`)
  }
  const dns = await NameServer.start(zone)
  const { port, visits } = await farm(bad)
  await start({ dns: { servers: [dns.address] }, smtp: { randomize_addresses: true } })
  onTestFinished(async () => {
    await system.stop()
    await dns[Symbol.asyncDispose]()
  })
  await startKeeper()
  const nexthop = `d.test:${port}`
  const mails = 80
  let given = 0
  const give = async () => {
    given += 1
    const lease = await cache().ask('findDestination', destinationLabel({ transport: 'smtp', nexthop }))
    run({ nexthop, cacheConnection: true, reuseConnection: true, ...(lease === null ? {} : { lease }) })
  }
  for (let n = 0; n < 5; n++) await give()
  for (let ended = 1; ended <= mails; ended++) {
    await reported.next(1 + ended)
    if (given < mails) await give()
  }
  // Without a cache it would be the first of four in a quarter of all cases.
  expect(visits[0]! / mails, `MAIL at each server: ${visits}`).toBeLessThan(0.5)
  expect(visits.slice(1).reduce((sum, count) => sum + count)).toBeGreaterThan(mails / 2)
})

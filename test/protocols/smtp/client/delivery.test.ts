/** The delivery actor on a real system of one thread. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { living, reported, run, start, system, until } from './cached-deliveries.ts'
import { outcome, recipients } from './harness.ts'
import { ScriptedServer } from './scripted-server.ts'

describe('a delivery', () => {
  beforeEach(() => start())
  afterEach(() => system.stop())

  test('tells the queue one result per recipient and ends', async () => {
    await using server = await ScriptedServer.start({ answers: { 'RCPT TO:<b': '550 5.1.1 no' } })
    run({ nexthop: `[127.0.0.1]:${server.port}`, recipients: recipients('a@d.test', 'b@d.test') })
    const report = await reported.next(1)
    expect(outcome(report)).toEqual(['sent', 'bounced 5.1.1'])
    expect(report.connUse).toBe(1)
    expect(report.startedAt).toBeGreaterThan(0)
    expect(report.setupAt).toBeGreaterThanOrEqual(report.startedAt)
    await until(async () => !(await living()).includes('delivery'))
  })

  test('offers its report again until the queue takes it', async () => {
    await using server = await ScriptedServer.start({})
    // The message queue of the stand-in holds one report: many at once are refused at first.
    for (let i = 0; i < 20; i++) run({ queueId: `q${i}`, nexthop: `[127.0.0.1]:${server.port}` })
    await reported.next(20)
    expect(new Set(reported.reports.map(({ queueId }) => queueId)).size).toBe(20)
  })

  test('finishes what is under way when the system stops', async () => {
    await using server = await ScriptedServer.start({ trickle: true })
    run({ nexthop: `[127.0.0.1]:${server.port}` })
    await server.until(() => server.commands.some((command) => command.startsWith('MAIL')))
    await system.stop()
    expect(server.commands).toContain('CONTENT')
  })
})

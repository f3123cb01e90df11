/** A delivery actor that goes on to the next request over the connection it has. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  idle,
  living,
  reported,
  run,
  start,
  startKeeper,
  system,
  until,
  untilIdle,
} from './cached-deliveries.ts'
import { outcome, request } from './harness.ts'
import { type Script, ScriptedServer } from './scripted-server.ts'

beforeEach(async () => {
  await start()
  await startKeeper()
})
afterEach(() => system.stop())

const kept = { cacheConnection: true, reuseConnection: true }
const staying = { ...kept, stays: true }
/** The first report is that of `startKeeper`. */
const nth = (report: number) => reported.next(report + 1)

async function serverOf(...scripts: Script[]): Promise<{ server: ScriptedServer; nexthop: string }> {
  const server = await ScriptedServer.start(...scripts)
  return { server, nexthop: `[127.0.0.1]:${server.port}` }
}

const isGone = () => until(async () => !(await living()).includes('delivery'))

test('what it is given while it works it begins at once, and says so', async () => {
  const { server, nexthop } = await serverOf({ keywords: ['PIPELINING'] })
  await using _ = server
  const delivery = run({ nexthop, ...staying })
  delivery.tell('next', request({ nexthop, ...kept, queueId: 'q2' }))
  expect(outcome(await nth(1))).toEqual(['sent'])
  const second = await nth(2)
  expect([second.queueId, second.connUse, outcome(second)]).toEqual(['q2', 2, ['sent']])
  expect(reported.onward.map(({ hasBegun }) => hasBegun)).toEqual([true])
  expect(server.sessions).toHaveLength(1)
  expect(server.sessions[0]!.flights.slice(3)).toEqual(['RSET MAIL RCPT DATA', 'CONTENT'])
  await untilIdle(1)
  await isGone()
})

test('with nothing to do it waits, and leaves its connection to others when there is nothing more', async () => {
  const { server, nexthop } = await serverOf({})
  await using _ = server
  const delivery = run({ nexthop, ...staying })
  await nth(1)
  expect(reported.onward.map(({ hasBegun }) => hasBegun)).toEqual([false])
  expect(await idle()).toEqual([])
  delivery.tell('next', request({ nexthop, ...staying }))
  expect((await nth(2)).connUse).toBe(2)
  delivery.tell('end')
  await untilIdle(1)
  await isGone()
  expect(server.sessions).toHaveLength(1)
})

test('nobody tells it anything: it does not wait for ever', async () => {
  const { server, nexthop } = await serverOf({})
  await using _ = server
  run({ nexthop, ...staying })
  await nth(1)
  await isGone()
  await untilIdle(1)
})

test('a request that it does not get to it gives back, and does not do', async () => {
  const { server, nexthop } = await serverOf({ answers: { DATA: null } })
  await using _ = server
  const delivery = run({ nexthop, ...staying })
  delivery.tell('next', request({ nexthop, ...kept, recipients: [{ id: 7, address: 'b@d.test' }] }))
  await until(async () => reported.returned.length > 0)
  expect(reported.returned).toEqual([7])
  expect(server.sessions).toHaveLength(1)
})

test.each<[string, Script, string[]]>([
  ['a failure of the server', { answers: { MAIL: '421 4.3.2 later' } }, ['deferred 4.3.2']],
  ['a hang-up', { answers: { RCPT: { close: '' } } }, ['deferred 4.4.2']],
])(
  'after %s it does not go on: the request is for the queue to give to another one',
  async (_, script, first) => {
    const { server, nexthop } = await serverOf(script)
    await using _server = server
    const delivery = run({ nexthop, ...staying })
    delivery.tell('next', request({ nexthop, ...kept, queueId: 'q2' }))
    expect(outcome(await nth(1))).toEqual(first)
    await isGone()
    expect(reported.reports).toHaveLength(2)
    expect(reported.onward).toEqual([])
  },
)

test('a server that has hung up meanwhile costs the next mail nothing but a connection', async () => {
  const { server, nexthop } = await serverOf({ answers: { RSET: { close: '421 4.3.2 enough' } } }, {})
  await using _ = server
  const delivery = run({ nexthop, ...staying })
  delivery.tell('next', request({ nexthop, ...kept }))
  expect(outcome(await nth(2))).toEqual(['sent'])
  expect(reported.reports[2]!.hopStatus).toBeUndefined()
  expect(server.sessions).toHaveLength(2)
})

test('a request for another next hop does not go over the connection it has', async () => {
  const one = await serverOf({})
  const other = await serverOf({})
  await using _ = one.server
  await using __ = other.server
  const delivery = run({ nexthop: one.nexthop, ...staying })
  delivery.tell('next', request({ nexthop: other.nexthop, ...kept }))
  expect(outcome(await nth(2))).toEqual(['sent'])
  expect([one.server.sessions.length, other.server.sessions.length]).toEqual([1, 1])
})

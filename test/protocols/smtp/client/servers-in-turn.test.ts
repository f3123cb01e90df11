/** Which servers are tried, in which order, and what is concluded: several scripted servers behind one next hop. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Farm, zoneOf } from './farm.ts'
import { deliver, type LogLine, outcome, recipients, type Setup } from './harness.ts'
import { type Script, ScriptedServer } from './scripted-server.ts'

interface Case {
  readonly name: string
  readonly scripts: readonly (Script | null)[]
  readonly setup?: Setup
  readonly equal?: boolean
  readonly outcome: readonly string[]
  readonly visits: readonly number[]
  readonly hop?: string
}

const two = { request: { recipients: recipients('a@d.test', 'b@d.test') } }

describe('next servers', () => {
  test.each<Case>([
    {
      name: 'A11-like: the first server takes it',
      scripts: [{}, {}],
      outcome: ['sent'],
      visits: [1, 0],
    },
    {
      name: 'a hard refusal is final: no hopping on 5xx',
      scripts: [{ answers: { RCPT: '550 5.1.1 no' } }, {}],
      outcome: ['bounced 5.1.1'],
      visits: [1, 0],
    },
  ])('$name', async ({ scripts, setup = {}, equal, outcome: wanted, visits, hop }) => {
    await using farm = await Farm.start(scripts)
    const report = await deliver({
      zone: zoneOf(scripts.length, equal),
      ...setup,
      request: { nexthop: `d.test:${farm.port}`, ...setup.request },
    })
    expect(outcome(report)).toEqual(wanted)
    expect(farm.visits).toEqual(visits)
    expect(report.hopStatus?.dsn).toBe(hop)
    expect(report.results).toHaveLength(setup.request?.recipients?.length ?? 1)
  })

  test.each([
    ['A12 unix sockets are not for SMTP', 'smtp', 'unix:/run/s'],
    ['A16 a socket path that is too long', 'lmtp', `unix:/${'x'.repeat(200)}`],
    ['an empty next hop', 'smtp', ' , '],
    ['a port that is none', 'smtp', 'd.test:99999'],
  ])('%s: 4.3.5', async (_, transport, nexthop) => {
    const report = await deliver({ request: { transport, nexthop } })
    expect(outcome(report)).toEqual(['deferred 4.3.5'])
    expect(report.hopStatus?.dsn).toBe('4.3.5')
  })
})

describe('LMTP', () => {
  test('all refused but DATA accepted: an empty mail without a reply', async () => {
    await using server = await ScriptedServer.start({
      keywords: ['PIPELINING'],
      answers: { RCPT: '550 5.1.1 no' },
    })
    const report = await deliver({
      request: { ...two.request, transport: 'lmtp', nexthop: `[127.0.0.1]:${server.port}` },
    })
    expect(outcome(report)).toEqual(['bounced 5.1.1', 'bounced 5.1.1'])
  })

  test('a unix socket; A17 one that is not there, whose fallback relay is ignored', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'mailactors-lmtp-'))
    try {
      const path = join(dir, 'l')
      await using server = await ScriptedServer.startAt(path, {})
      const report = await deliver({ request: { transport: 'lmtp', nexthop: `unix:${path}` } })
      expect(outcome(report)).toEqual(['sent'])
      expect(report.results[0]!.relay).toBe(`client.test[${path}]`)
      const log: LogLine[] = []
      const absent = await deliver({
        log,
        settings: { fallback_relay: ['[127.0.0.1]:1'] },
        request: { transport: 'lmtp', nexthop: `unix:${path}x` },
      })
      expect(outcome(absent)).toEqual(['deferred 4.4.1'])
      expect(log.map(({ event }) => event)).toContain('delivery.fallback-ignored')
      expect(server.sessions).toHaveLength(1)
    } finally {
      await rm(dir, { recursive: true })
    }
  })
})

/** Runs one acceptance case: servers behind `d.test`, the default mail, and what all of them did. */
import { expect } from 'vitest'
import type { DeliveryReport } from '../../../../src/queue/contract.ts'
import { Farm, zoneOf } from './farm.ts'
import { deliver, type LogLine, outcome, type Setup } from './harness.ts'
import type { Recorded, Script } from './scripted-server.ts'

export interface CaseRow {
  readonly id: string
  readonly title: string
  /** m1, m2 … by preference; null: refuses connections. Default: one that takes everything. */
  readonly servers?: readonly (Script | null)[]
  readonly setup?: Setup
  readonly outcome: readonly string[]
  /** Code of the hop status; absent: none. */
  readonly hop?: string
  /** Verbs per server; ` | ` where the client waited, blanks within one flight. Undefined: not looked at. */
  readonly flights?: readonly (string | undefined)[]
  /** Whole commands that have to be among those of the first server. */
  readonly commands?: readonly string[]
  readonly absent?: readonly string[]
  /** Events of the log that have to be there. */
  readonly events?: readonly string[]
}

export interface CaseRun {
  readonly report: DeliveryReport
  readonly log: readonly LogLine[]
  /** Of all servers, in order. */
  readonly sessions: readonly Recorded[]
}

export async function runCase(row: CaseRow): Promise<CaseRun> {
  const scripts = row.servers ?? [{}]
  await using farm = await Farm.start(scripts)
  const log: LogLine[] = []
  const lmtp = row.setup?.request?.transport === 'lmtp'
  const nexthop = lmtp ? `inet:127.0.0.1:${farm.port}` : `d.test:${farm.port}`
  const report = await deliver({
    zone: zoneOf(scripts.length),
    log,
    ...row.setup,
    request: { nexthop, ...row.setup?.request },
  })
  const servers = scripts.map((_, index) => farm.servers[index + 1])
  for (const [index, wanted] of (row.flights ?? []).entries()) {
    if (wanted === undefined) continue
    const seen = () => servers[index]?.sessions.map(({ flights }) => flights.join(' | ')).join(' || ') ?? ''
    await servers[index]?.until(() => seen().length >= wanted.length)
    expect(seen()).toBe(wanted)
  }
  const sessions = servers.flatMap((server) => server?.sessions ?? [])
  const commands = sessions.flatMap((session) => session.commands)
  expect(outcome(report)).toEqual(row.outcome)
  expect(report.hopStatus?.dsn).toBe(row.hop)
  for (const command of row.commands ?? []) expect(commands).toContain(command)
  for (const verb of row.absent ?? []) expect(commands.filter((line) => line.startsWith(verb))).toEqual([])
  for (const event of row.events ?? []) expect(log.map((line) => line.event)).toContain(event)
  return { report, log, sessions }
}

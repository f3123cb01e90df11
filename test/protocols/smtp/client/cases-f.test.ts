/** Acceptance cases of group F: LMTP. No published id is left out. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type CaseRow, runCase } from './cases.ts'
import { deliver, outcome, recipients, type Setup } from './harness.ts'
import { ScriptedServer } from './scripted-server.ts'

const lmtp = (setup: Setup = {}): Setup => ({
  ...setup,
  request: { transport: 'lmtp', ...setup.request },
  environment: { protocol: 'lmtp', ...setup.environment },
})
const three = recipients('a@d.test', 'b@d.test', 'c@d.test')
const pair = recipients('a@d.test', 'c@d.test')
const wantsSuccess = [{ id: 1, address: 'a@d.test', notify: ['SUCCESS'] as const }]

const rows: readonly CaseRow[] = [
  {
    id: 'F01',
    title: 'replies come in the order of acceptance',
    servers: [
      {
        keywords: ['PIPELINING'],
        answers: { 'RCPT TO:<b': '550 5.1.1 no' },
        dot: ['250 2.0.0 ok', '452 4.2.2 full'],
      },
    ],
    setup: lmtp({ request: { recipients: three } }),
    outcome: ['sent', 'bounced 5.1.1', 'deferred 4.2.2'],
    flights: ['LHLO | MAIL RCPT RCPT RCPT DATA | CONTENT QUIT'],
  },
  {
    id: 'F02',
    title: 'the connection is lost between two replies',
    servers: [{ dot: { close: '250 2.0.0 ok' } }],
    setup: lmtp({ request: { recipients: pair } }),
    outcome: ['sent', 'deferred 4.4.2'],
    hop: '4.4.2',
  },
  {
    id: 'F03',
    title: 'all refused',
    servers: [{ answers: { RCPT: '550 5.1.1 no' } }],
    setup: lmtp({ request: { recipients: pair } }),
    outcome: ['bounced 5.1.1', 'bounced 5.1.1'],
    flights: ['LHLO | MAIL | RCPT | RCPT | RSET | QUIT'],
  },
  {
    id: 'F05',
    title: 'QUIT is not answered',
    servers: [{ answers: { QUIT: null } }],
    setup: lmtp(),
    outcome: ['sent'],
    flights: ['LHLO | MAIL | RCPT | DATA | CONTENT | QUIT'],
  },
  {
    id: 'F08',
    title: 'no detection of loops',
    setup: lmtp({ environment: { isOwnAddress: () => true } }),
    outcome: ['sent'],
  },
  {
    id: 'F11',
    title: 'Delivered-To for two recipients at once',
    setup: lmtp({ request: { recipients: pair }, environment: { flags: 'D' } }),
    outcome: ['deferred 4.3.5', 'deferred 4.3.5'],
    absent: ['LHLO'],
    events: ['delivery.flags-unusable'],
  },
  {
    id: 'F12',
    title: 'a mail that has been there',
    setup: lmtp({
      request: { content: { bytes: Buffer.from('Subject: x\r\nDelivered-To: A@D.test\r\n\r\nx\r\n') } },
      environment: { flags: 'D' },
    }),
    outcome: ['bounced 5.4.6'],
    absent: ['LHLO'],
  },
]

describe('LMTP', () => {
  it.each(rows.map((row) => [`${row.id} ${row.title}`, row] as const))('%s', async (_, row) => {
    await runCase(row)
  })

  it.each([
    ['X', true],
    ['', undefined],
  ])('F06 no DSN at the server, flags "%s": is it final?', async (flags, isFinal) => {
    const setup = lmtp({ request: { recipients: wantsSuccess }, environment: { flags } })
    const { report } = await runCase({ id: 'F06', title: '', setup, outcome: ['sent'] })
    expect(report.results[0]!.isFinal).toBe(isFinal)
    expect(report.results[0]!.dsnRelayed).toBe(undefined)
  })

  it('F07 a server with DSN takes the duty over', async () => {
    const setup = lmtp({ request: { recipients: wantsSuccess }, environment: { flags: 'X' } })
    const { report, sessions } = await runCase({
      id: 'F07',
      title: '',
      servers: [{ keywords: ['DSN'] }],
      setup,
      outcome: ['sent'],
    })
    expect(sessions[0]!.commands[2]).toBe('RCPT TO:<a@d.test> ORCPT=rfc822;a@d.test NOTIFY=SUCCESS')
    expect(report.results[0]).toMatchObject({ dsnRelayed: true })
    expect(report.results[0]!.isFinal).toBe(undefined)
  })

  it.each([
    ['DR', ['Return-Path: <s@client.test>', 'Delivered-To: a@d.test']],
    ['DOR', ['Return-Path: <s@client.test>', 'X-Original-To: o@d.test', 'Delivered-To: a@d.test']],
  ])('F10 fields in front by flags %s', async (flags, fields) => {
    const request = { recipients: [{ id: 1, address: 'a@d.test', origTo: 'o@d.test' }] }
    const { sessions } = await runCase({
      id: 'F10',
      title: '',
      setup: lmtp({ request, environment: { flags } }),
      outcome: ['sent'],
    })
    expect(sessions[0]!.content[0]!.split('\r\n').slice(0, fields.length + 1)).toEqual([
      ...fields,
      'Subject: test',
    ])
  })

  it('a unix socket', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'ma-lmtp-'))
    const path = join(directory, 'l')
    await using _server = await ScriptedServer.startAt(path, {})
    const report = await deliver(lmtp({ request: { nexthop: `unix:${path}` } }))
    expect(outcome(report)).toEqual(['sent'])
    expect(report.results[0]!.relay).toBe(`client.test[${path}]`)
    rmSync(directory, { recursive: true })
  })
})

/** The transaction engine against scripted servers, beside the acceptance cases in `cases-*.test.ts`. */
import { describe, expect, test } from 'vitest'
import { deliver, type LogLine, outcome, recipients, type Setup } from './harness.ts'
import { type Script, ScriptedServer } from './scripted-server.ts'

interface Case {
  readonly name: string
  readonly script: Script
  readonly setup?: Setup
  readonly outcome: readonly string[]
  /** Flights of the first session, joined by ` | `. */
  readonly flights?: string
  readonly commands?: readonly string[]
  readonly hop?: boolean
}

async function run(row: Case): Promise<void> {
  await using server = await ScriptedServer.start(row.script)
  const report = await deliver({
    ...row.setup,
    request: { nexthop: `[127.0.0.1]:${server.port}`, ...row.setup?.request },
  })
  expect(outcome(report)).toEqual(row.outcome)
  expect(report.hopStatus !== undefined).toBe(row.hop ?? false)
  if (row.flights !== undefined) {
    const wanted = row.flights
    await server.until(() => server.sessions[0]!.flights.join(' | ').length >= wanted.length)
    expect(server.sessions[0]!.flights.join(' | ')).toBe(wanted)
  }
  if (row.commands !== undefined) {
    const wanted = row.commands
    await server.until(() => server.commands.length >= wanted.length)
    expect(server.commands.slice(0, wanted.length)).toEqual(wanted)
  }
  expect(server.sessions.length).toBe(1)
}

const three = { request: { recipients: recipients('a@d.test', 'b@d.test', 'c@d.test') } }
const pipelining = ['PIPELINING']

describe('transactions', () => {
  test.each<Case>([
    {
      name: 'replies split at every octet',
      script: { keywords: pipelining, trickle: true },
      setup: three,
      outcome: ['sent', 'sent', 'sent'],
    },
    {
      name: 'replies split at every octet, failures too',
      script: {
        keywords: pipelining,
        trickle: true,
        answers: { 'RCPT TO:<b': '550-5.1.1 no\n550 5.1.1 really' },
      },
      setup: three,
      outcome: ['sent', 'bounced 5.1.1', 'sent'],
    },
    {
      name: 'SES-11 the order of parameters, with DSN',
      script: { keywords: ['SIZE', '8BITMIME', 'SMTPUTF8', 'DSN'] },
      setup: {
        request: {
          body: '8BITMIME',
          smtputf8: true,
          envid: 'a+b=c',
          ret: 'HDRS',
          recipients: [{ id: 1, address: 'a@d.test', notify: ['SUCCESS', 'DELAY'], origTo: 'x y@old.test' }],
        },
      },
      outcome: ['sent'],
      commands: [
        'EHLO client.test',
        'MAIL FROM:<s@client.test> SIZE=1000 BODY=8BITMIME ENVID=a+2Bb+3Dc RET=HDRS SMTPUTF8',
        'RCPT TO:<a@d.test> ORCPT=rfc822;"x+20y"@old.test NOTIFY=SUCCESS,DELAY',
      ],
    },
    {
      name: 'an address cannot smuggle a command',
      script: {},
      setup: { request: { recipients: recipients('a@d.test>\r\nRSET') } },
      outcome: ['sent'],
      flights: 'EHLO | MAIL | RCPT | DATA | CONTENT | QUIT',
    },
  ])('$name', run)

  test('peer text is printable and one line in the result', async () => {
    await using server = await ScriptedServer.start({
      answers: { RCPT: '550-5.1.1 \u001b[31mred\t\u0007\n550 5.1.1 gone' },
    })
    const report = await deliver({ request: { nexthop: `[127.0.0.1]:${server.port}` } })
    expect(report.results[0]!.reply).toBe('550-5.1.1 ?[31mred?? 550 5.1.1 gone')
    expect(report.results[0]!.remoteMta).toBe('127.0.0.1')
  })

  test('a session with garbage in it is logged', async () => {
    const log: LogLine[] = []
    await using server = await ScriptedServer.start({ dot: 'what?\n250 ok' })
    await deliver({ log, request: { nexthop: `[127.0.0.1]:${server.port}` } })
    expect(log.map(({ event }) => event)).toContain('delivery.garbage-replies')
  })
})

describe('lost connections and silence', () => {
  const tiny = {
    helo_timeout: 40,
    mail_timeout: 40,
    rcpt_timeout: 40,
    data_init_timeout: 40,
    data_done_timeout: 40,
    data_xfer_timeout: 150,
    rset_timeout: 40,
  }
  const stages: readonly [string, Script['answers'] & object, RegExp][] = [
    ['EHLO', { EHLO: null }, /EHLO/],
    ['MAIL', { MAIL: null }, /MAIL FROM/],
    ['RCPT', { RCPT: null }, /RCPT TO/],
    ['DATA', { DATA: null }, /DATA/],
  ]
  test.each(stages)('connection lost at %s', async (_, answers, words) => {
    const closing = Object.fromEntries(Object.keys(answers).map((key) => [key, { close: '' }]))
    await using server = await ScriptedServer.start({ answers: closing })
    const report = await deliver({ request: { nexthop: `[127.0.0.1]:${server.port}` } })
    expect(outcome(report)).toEqual(['deferred 4.4.2'])
    expect(report.results[0]!.reply).toMatch(/lost connection/)
    expect(report.results[0]!.reply).toMatch(words)
  })

  test('the slowest server is waited for no longer than its timeout once replies stop', async () => {
    await using server = await ScriptedServer.start({ greeting: null })
    const report = await deliver({ settings: tiny, request: { nexthop: `[127.0.0.1]:${server.port}` } })
    expect(outcome(report)).toEqual(['deferred 4.4.2'])
    expect(report.results[0]!.reply).toMatch(/greeting/)
  })
})

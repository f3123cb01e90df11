/** The transaction engine against scripted servers; ids are those of the acceptance cases. */
import { describe, expect, test } from 'vitest'
import { bodyOf, deliver, type LogLine, outcome, recipients, type Setup } from './harness.ts'
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

const two = { request: { recipients: recipients('a@d.test', 'b@d.test') } }
const three = { request: { recipients: recipients('a@d.test', 'b@d.test', 'c@d.test') } }
const pipelining = ['PIPELINING']

describe('transactions', () => {
  test.each<Case>([
    {
      name: 'E01 without pipelining each command waits for its reply',
      script: {},
      outcome: ['sent'],
      flights: 'EHLO | MAIL | RCPT | DATA | CONTENT | QUIT',
    },
    {
      name: 'E02 with pipelining the envelope is one flight, and QUIT travels with the content',
      script: { keywords: pipelining },
      outcome: ['sent'],
      flights: 'EHLO | MAIL RCPT DATA | CONTENT QUIT',
    },
    {
      name: 'E05 all recipients refused, no pipelining: DATA is never sent',
      script: { answers: { RCPT: '550 5.1.1 no' } },
      setup: two,
      outcome: ['bounced 5.1.1', 'bounced 5.1.1'],
      flights: 'EHLO | MAIL | RCPT | RCPT | RSET | QUIT',
    },
    {
      name: 'E06 all recipients refused, pipelined DATA refused: the RCPT replies count',
      script: { keywords: pipelining, answers: { RCPT: '550 5.1.1 no', DATA: '554 5.5.1 nobody' } },
      setup: two,
      outcome: ['bounced 5.1.1', 'bounced 5.1.1'],
      flights: 'EHLO | MAIL RCPT RCPT DATA | RSET QUIT',
    },
    {
      name: 'E07 all recipients refused but DATA accepted: an empty mail, its reply ignored',
      script: { keywords: pipelining, answers: { RCPT: '550 5.1.1 no' } },
      setup: two,
      outcome: ['bounced 5.1.1', 'bounced 5.1.1'],
      flights: 'EHLO | MAIL RCPT RCPT DATA | CONTENT QUIT',
    },
    {
      name: 'E08 sender refused',
      script: { answers: { MAIL: '550 5.7.1 not you' } },
      setup: two,
      outcome: ['bounced 5.7.1', 'bounced 5.7.1'],
      flights: 'EHLO | MAIL | RSET | QUIT',
    },
    {
      name: 'E11 DATA fails for now: only recipients without a reply of their own share it',
      script: { answers: { 'RCPT TO:<b': '550 5.1.1 no', DATA: '451 4.3.0 later' } },
      setup: two,
      outcome: ['deferred 4.3.0', 'bounced 5.1.1'],
      flights: 'EHLO | MAIL | RCPT | RCPT | DATA | RSET | QUIT',
    },
    {
      name: 'E12 2xx to DATA is a protocol error',
      script: { answers: { DATA: '250 2.0.0 ok' } },
      outcome: ['bounced 5.5.0'],
      flights: 'EHLO | MAIL | RCPT | DATA | RSET | QUIT',
    },
    {
      name: 'E13 content refused',
      script: { dot: '554 5.6.0 bad' },
      outcome: ['bounced 5.6.0'],
      flights: 'EHLO | MAIL | RCPT | DATA | CONTENT | QUIT',
    },
    {
      name: 'E15 552 to RCPT stays final',
      script: { answers: { RCPT: '552 5.2.2 full' } },
      outcome: ['bounced 5.2.2'],
    },
    {
      name: 'E16 3xx to RCPT is a protocol error',
      script: { answers: { RCPT: '354 eh' } },
      outcome: ['bounced 5.5.0'],
    },
    {
      name: 'E17 421 and hang-up: its recipient gets the reply, the others the loss',
      script: { answers: { 'RCPT TO:<a': { close: '421 4.3.2 closing' } } },
      setup: two,
      outcome: ['deferred 4.3.2', 'deferred 4.4.2'],
      hop: true,
    },
    {
      name: 'E18 enhanced code of another class',
      script: { answers: { RCPT: '550 2.1.1 x' } },
      outcome: ['bounced 5.0.0'],
    },
    {
      name: 'E18 incomplete enhanced code',
      script: { answers: { RCPT: '550 5.1 x' } },
      outcome: ['bounced 5.0.0'],
    },
    { name: 'E18 enhanced code', script: { answers: { RCPT: '550 5.1.1 x' } }, outcome: ['bounced 5.1.1'] },
    {
      name: 'E20 a line that is no reply is not an answer',
      script: { keywords: pipelining, dot: 'hello\n250 2.0.0 ok' },
      outcome: ['sent'],
    },
    {
      name: 'E21 a reply line of 5000 octets',
      script: { answers: { RCPT: `550 5.1.1 ${'x'.repeat(5_000)}` } },
      outcome: ['bounced 5.1.1'],
    },
    {
      name: 'E22 a reply of 10 000 lines',
      script: { answers: { RCPT: `${'250-yes\n'.repeat(10_000)}550 5.1.1 no` } },
      outcome: ['bounced 5.1.1'],
    },
    { name: 'E23 QUIT that is not answered', script: { answers: { QUIT: null } }, outcome: ['sent'] },
    {
      name: 'E28 the null sender',
      script: {},
      setup: { request: { sender: '' } },
      outcome: ['sent'],
      commands: ['EHLO client.test', 'MAIL FROM:<>'],
    },
    {
      name: 'K16 a success is a success whatever its enhanced code',
      script: { dot: '250 5.0.0 ok' },
      outcome: ['sent'],
    },
    {
      name: 'E30 a recipient that was refused keeps its own reply',
      script: { answers: { 'RCPT TO:<b': '451 4.2.1 later' }, dot: '554 5.6.0 no' },
      setup: two,
      outcome: ['bounced 5.6.0', 'deferred 4.2.1'],
    },
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
      name: 'D20 SIZE 0',
      script: { keywords: ['SIZE 0'] },
      outcome: ['sent'],
      commands: ['EHLO client.test', 'MAIL FROM:<s@client.test> SIZE=1000'],
    },
    {
      name: 'D20 SIZE without a number',
      script: { keywords: ['SIZE'] },
      outcome: ['sent'],
      commands: ['EHLO client.test', 'MAIL FROM:<s@client.test> SIZE=1000'],
    },
    {
      name: 'D20 SIZE that is no number',
      script: { keywords: ['SIZE abc'] },
      outcome: ['sent'],
      commands: ['EHLO client.test', 'MAIL FROM:<s@client.test> SIZE=1000'],
    },
    {
      name: 'D19 a mail too large for the server is not offered to it',
      script: { keywords: ['SIZE 500'] },
      outcome: ['bounced 5.3.4'],
      commands: ['EHLO client.test', 'QUIT'],
    },
    {
      name: 'D21 BODY=8BITMIME',
      script: { keywords: ['8BITMIME'] },
      setup: { request: { body: '8BITMIME' } },
      outcome: ['sent'],
      commands: ['EHLO client.test', 'MAIL FROM:<s@client.test> BODY=8BITMIME'],
    },
    {
      name: 'D21 BODY=7BIT',
      script: { keywords: ['8BITMIME'] },
      setup: { request: { body: '7BIT' } },
      outcome: ['sent'],
      commands: ['EHLO client.test', 'MAIL FROM:<s@client.test> BODY=7BIT'],
    },
    {
      name: 'D21 no declared encoding, no BODY',
      script: { keywords: ['8BITMIME'] },
      setup: { request: { body: undefined } },
      outcome: ['sent'],
      commands: ['EHLO client.test', 'MAIL FROM:<s@client.test>'],
    },
    {
      name: 'D22 an extension ignored by configuration',
      script: { keywords: pipelining },
      setup: { settings: { discard_ehlo_keywords: ['pipelining'] } },
      outcome: ['sent'],
      flights: 'EHLO | MAIL | RCPT | DATA | CONTENT | QUIT',
    },
    {
      name: 'D25 SMTPUTF8 needed and not offered',
      script: {},
      setup: { request: { smtputf8: true, recipients: recipients('ä@d.test') } },
      outcome: ['bounced 5.6.7'],
      commands: ['EHLO client.test', 'QUIT'],
    },
    {
      name: 'D26 SMTPUTF8 asked for and not needed',
      script: {},
      setup: { request: { smtputf8: true } },
      outcome: ['sent'],
      commands: ['EHLO client.test', 'MAIL FROM:<s@client.test>'],
    },
    {
      name: 'D27 SMTPUTF8 without 8BITMIME',
      script: { keywords: ['SMTPUTF8'] },
      setup: { request: { smtputf8: true, body: '8BITMIME' } },
      outcome: ['sent'],
      commands: ['EHLO client.test', 'MAIL FROM:<s@client.test> BODY=8BITMIME SMTPUTF8'],
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
      name: 'H21 local parts are quoted when they need it',
      script: {},
      setup: { request: { recipients: recipients('a b@d.test', 'a"b@d.test', '.a@d.test', 'a@b@d.test') } },
      outcome: ['sent', 'sent', 'sent', 'sent'],
      commands: [
        'EHLO client.test',
        'MAIL FROM:<s@client.test>',
        'RCPT TO:<"a b"@d.test>',
        'RCPT TO:<"a\\"b"@d.test>',
        'RCPT TO:<".a"@d.test>',
        'RCPT TO:<"a@b"@d.test>',
      ],
    },
    {
      name: 'H22 quoting off',
      script: {},
      setup: {
        settings: { quote_rfc821_envelope: false },
        request: { recipients: recipients('"a b"@d.test') },
      },
      outcome: ['sent'],
      commands: ['EHLO client.test', 'MAIL FROM:<s@client.test>', 'RCPT TO:<a b@d.test>'],
    },
    {
      name: 'an address cannot smuggle a command',
      script: {},
      setup: { request: { recipients: recipients('a@d.test>\r\nRSET') } },
      outcome: ['sent'],
      flights: 'EHLO | MAIL | RCPT | DATA | CONTENT | QUIT',
    },
  ])('$name', run)

  test('E03 no more than 4096 octets of commands are in flight', async () => {
    await using server = await ScriptedServer.start({ keywords: pipelining })
    const many = Array.from({ length: 150 }, (_, i) => `recipient-${String(i).padStart(30, '0')}@d.test`)
    const report = await deliver({
      request: { nexthop: `[127.0.0.1]:${server.port}`, recipients: recipients(...many) },
    })
    expect(outcome(report).every((result) => result === 'sent')).toBe(true)
    const { flights, commands } = server.sessions[0]!
    expect(flights.length).toBeGreaterThan(4)
    // Octets of one flight: the commands it names, with their CRLF.
    let next = 0
    for (const flight of flights) {
      const count = flight.split(' ').length
      if (!flight.includes('CONTENT')) {
        const octets = commands
          .slice(next, next + count)
          .reduce((sum, command) => sum + command.length + 2, 0)
        expect(octets).toBeLessThanOrEqual(4_096)
      }
      next += count
    }
  })

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
  test.each(stages)('G04 silence after %s', async (_, answers, words) => {
    await using server = await ScriptedServer.start({ answers })
    const report = await deliver({ settings: tiny, request: { nexthop: `[127.0.0.1]:${server.port}` } })
    expect(outcome(report)).toEqual(['deferred 4.4.2'])
    expect(report.hopStatus?.dsn).toBe('4.4.2')
    expect(report.results[0]!.reply).toMatch(/timed out/)
    expect(report.results[0]!.reply).toMatch(words)
  })

  test.each(stages)('connection lost at %s', async (_, answers, words) => {
    const closing = Object.fromEntries(Object.keys(answers).map((key) => [key, { close: '' }]))
    await using server = await ScriptedServer.start({ answers: closing })
    const report = await deliver({ request: { nexthop: `[127.0.0.1]:${server.port}` } })
    expect(outcome(report)).toEqual(['deferred 4.4.2'])
    expect(report.results[0]!.reply).toMatch(/lost connection/)
    expect(report.results[0]!.reply).toMatch(words)
  })

  test('G04 G05 silence after the dot: the mail is in doubt', async () => {
    const log: LogLine[] = []
    await using server = await ScriptedServer.start({ dot: null })
    const report = await deliver({ log, settings: tiny, request: { nexthop: `[127.0.0.1]:${server.port}` } })
    expect(outcome(report)).toEqual(['deferred 4.4.2'])
    expect(log.map(({ event }) => event)).toContain('delivery.in-doubt')
  })

  test('G06 a server that stops reading the content', async () => {
    await using server = await ScriptedServer.start({ stallAfter: 1_000 })
    const bytes = bodyOf(30_000_000)
    const report = await deliver({
      settings: tiny,
      request: { nexthop: `[127.0.0.1]:${server.port}`, content: { bytes }, size: bytes.length },
    })
    expect(outcome(report)).toEqual(['deferred 4.4.2'])
    expect(report.results[0]!.reply).toMatch(/sending the content/)
  })

  test('G10 a reply that trickles is in time while octets keep coming', async () => {
    await using server = await ScriptedServer.start({ trickle: true })
    const report = await deliver({
      settings: { ...tiny, helo_timeout: 2_000, mail_timeout: 2_000 },
      request: { nexthop: `[127.0.0.1]:${server.port}` },
    })
    expect(outcome(report)).toEqual(['sent'])
  })

  test('the slowest server is waited for no longer than its timeout once replies stop', async () => {
    await using server = await ScriptedServer.start({ greeting: null })
    const report = await deliver({ settings: tiny, request: { nexthop: `[127.0.0.1]:${server.port}` } })
    expect(outcome(report)).toEqual(['deferred 4.4.2'])
    expect(report.results[0]!.reply).toMatch(/greeting/)
  })
})

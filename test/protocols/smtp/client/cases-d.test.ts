/**
 * Acceptance cases of group D: greeting and EHLO. No published id is left out; D16 and D17 need port 25, which only
 * root may listen on.
 */
import { describe, expect, it } from 'vitest'
import { type CaseRow, runCase } from './cases.ts'
import { deliver, type LogLine, outcome, recipients } from './harness.ts'
import { ScriptedServer } from './scripted-server.ts'

const whole = 'MAIL | RCPT | DATA | CONTENT | QUIT'
const long = 600_000
const old = (): { arrivedAt: number; activeAt: number } => ({
  arrivedAt: Date.now() - long,
  activeAt: Date.now(),
})
const utf8 = { smtputf8: true, recipients: recipients('ä@d.test'), body: undefined }
const client = { address: '203.0.113.5', port: 4, name: 'cl.test', helo: 'x', protocol: 'ESMTP' }
const forwarding = { settings: { send_xforward_command: true } }
const attributes = ['XFORWARD NAME ADDR PROTO HELO SOURCE']

const rows: readonly CaseRow[] = [
  {
    id: 'SES-2',
    title: 'a greeting of several lines',
    servers: [{ greeting: '220-mx\n220 ESMTP' }],
    outcome: ['sent'],
    flights: [`EHLO | ${whole}`],
  },
  {
    id: 'SES-2',
    title: 'garbage before the greeting',
    servers: [{ greeting: 'hi\n220 mx ESMTP' }],
    outcome: ['sent'],
    flights: [`EHLO | ${whole}`],
  },
  {
    id: 'D01',
    title: '5xx greeting: the next server',
    servers: [{ greeting: '554 5.7.1 no' }, {}],
    outcome: ['sent'],
    flights: ['QUIT', `EHLO | ${whole}`],
  },
  {
    id: 'D02',
    title: '5xx greeting of the only server is soft',
    servers: [{ greeting: '554 5.7.1 no' }],
    outcome: ['deferred 4.7.1'],
    hop: '4.7.1',
    flights: ['QUIT'],
  },
  {
    id: 'D04',
    title: '4xx greeting',
    servers: [{ greeting: '450 4.3.2 busy' }],
    outcome: ['deferred 4.3.2'],
    hop: '4.3.2',
    flights: ['QUIT'],
  },
  {
    id: 'D05',
    title: '3xx greeting is no answer',
    servers: [{ greeting: '354 hm' }],
    outcome: ['bounced 5.5.0'],
    flights: ['QUIT'],
  },
  {
    id: 'D06',
    title: 'a masked greeting gets HELO',
    servers: [{ greeting: '220 ****2***0**' }],
    outcome: ['sent'],
    flights: [`HELO | ${whole}`],
    events: ['delivery.pix-workarounds'],
  },
  {
    id: 'D09',
    title: 'no EHLO on request, none announced',
    servers: [{ greeting: '220 mx SMTP' }],
    setup: { settings: { always_send_ehlo: false } },
    outcome: ['sent'],
    flights: [`HELO | ${whole}`],
  },
  {
    id: 'D10',
    title: 'no EHLO on request, but announced',
    servers: [{ greeting: '220 mx ESMTP x' }],
    setup: { settings: { always_send_ehlo: false } },
    outcome: ['sent'],
    flights: [`EHLO | ${whole}`],
  },
  {
    id: 'D11',
    title: 'never EHLO',
    setup: { settings: { never_send_ehlo: true } },
    outcome: ['sent'],
    flights: [`HELO | ${whole}`],
  },
  {
    id: 'D12',
    title: 'EHLO refused: HELO',
    servers: [{ answers: { EHLO: '502 what' } }],
    outcome: ['sent'],
    flights: [`EHLO | HELO | ${whole}`],
  },
  {
    id: 'D14',
    title: '421 to EHLO is about the server',
    servers: [{ answers: { EHLO: '421 later' } }, {}],
    outcome: ['sent'],
    flights: ['EHLO | QUIT', `EHLO | ${whole}`],
  },
  {
    id: 'D15',
    title: 'EHLO and HELO refused',
    servers: [{ answers: { EHLO: '502 what', HELO: '550 5.7.1 no' } }],
    outcome: ['bounced 5.7.1'],
    flights: ['EHLO | HELO | QUIT'],
  },
  {
    id: 'D19',
    title: 'larger than the server takes',
    servers: [{ keywords: ['SIZE 500'] }],
    outcome: ['bounced 5.3.4'],
    absent: ['MAIL'],
  },
  {
    id: 'D20',
    title: 'SIZE 0',
    servers: [{ keywords: ['SIZE 0'] }],
    outcome: ['sent'],
    commands: ['MAIL FROM:<s@client.test> SIZE=1000'],
  },
  {
    id: 'D20',
    title: 'SIZE alone',
    servers: [{ keywords: ['SIZE'] }],
    outcome: ['sent'],
    commands: ['MAIL FROM:<s@client.test> SIZE=1000'],
  },
  {
    id: 'D20',
    title: 'SIZE abc',
    servers: [{ keywords: ['SIZE abc'] }],
    outcome: ['sent'],
    commands: ['MAIL FROM:<s@client.test> SIZE=1000'],
    events: ['delivery.ehlo-odd'],
  },
  {
    id: 'D21',
    title: '8bit',
    servers: [{ keywords: ['8BITMIME'] }],
    setup: { request: { body: '8BITMIME' } },
    outcome: ['sent'],
    commands: ['MAIL FROM:<s@client.test> BODY=8BITMIME'],
  },
  {
    id: 'D21',
    title: '7bit',
    servers: [{ keywords: ['8BITMIME'] }],
    outcome: ['sent'],
    commands: ['MAIL FROM:<s@client.test> BODY=7BIT'],
  },
  {
    id: 'D21',
    title: 'none',
    servers: [{ keywords: ['8BITMIME'] }],
    setup: { request: { body: undefined } },
    outcome: ['sent'],
    commands: ['MAIL FROM:<s@client.test>'],
  },
  {
    id: 'D22',
    title: 'PIPELINING discarded by the address of the server',
    servers: [{ keywords: ['PIPELINING'] }],
    setup: { settings: { discard_ehlo_keyword_address_maps: [{ '127.0.0.1': 'pipelining' }] } },
    outcome: ['sent'],
    flights: [`EHLO | ${whole}`],
    events: ['delivery.ehlo-discarded'],
  },
  {
    id: 'D24',
    title: 'a server without SMTPUTF8 is passed over',
    servers: [{}, { keywords: ['SMTPUTF8', '8BITMIME'] }],
    setup: { request: utf8 },
    outcome: ['sent'],
    flights: ['EHLO | QUIT', `EHLO | ${whole}`],
    commands: ['MAIL FROM:<s@client.test> SMTPUTF8'],
  },
  {
    id: 'D25',
    title: 'no server has SMTPUTF8',
    servers: [{}, {}],
    setup: { request: utf8 },
    outcome: ['bounced 5.6.7'],
    flights: ['EHLO | QUIT', 'EHLO | QUIT'],
  },
  {
    id: 'D26',
    title: 'SMTPUTF8 asked for and not needed',
    servers: [{ keywords: ['8BITMIME'] }],
    setup: { request: { smtputf8: true } },
    outcome: ['sent'],
    commands: ['MAIL FROM:<s@client.test> BODY=7BIT'],
  },
  {
    id: 'D27',
    title: 'SMTPUTF8 offered without 8BITMIME',
    servers: [{ keywords: ['SMTPUTF8'] }],
    setup: { request: { ...utf8, body: '8BITMIME' } },
    outcome: ['sent'],
    commands: ['MAIL FROM:<s@client.test> BODY=8BITMIME SMTPUTF8'],
  },
  {
    id: 'D29',
    title: 'LHLO refused: there is no HELO',
    servers: [{ answers: { LHLO: '500 what' } }],
    setup: { request: { transport: 'lmtp' }, environment: { protocol: 'lmtp' } },
    outcome: ['bounced 5.0.0'],
    flights: ['LHLO | QUIT'],
  },
  {
    id: 'D30',
    title: 'XFORWARD, two commands',
    servers: [{ keywords: attributes }],
    setup: { ...forwarding, request: { client } },
    outcome: ['sent'],
    flights: [`EHLO | XFORWARD | XFORWARD | ${whole}`],
    commands: ['XFORWARD NAME=cl.test ADDR=203.0.113.5', 'XFORWARD PROTO=ESMTP HELO=x SOURCE=REMOTE'],
  },
  {
    id: 'D31',
    title: 'XFORWARD without anything to say',
    servers: [{ keywords: ['XFORWARD NAME ADDR'] }],
    setup: { ...forwarding, request: { client: { address: '', port: 0, protocol: 'local' } } },
    outcome: ['sent'],
    absent: ['XFORWARD'],
  },
  {
    id: 'D32',
    title: 'XFORWARD refused is no harm',
    servers: [{ keywords: attributes, answers: { XFORWARD: '550 no' } }],
    setup: { ...forwarding, request: { client } },
    outcome: ['sent'],
    events: ['delivery.xforward-refused'],
  },
  {
    id: 'D34',
    title: 'a reply filter makes EHLO succeed',
    servers: [{ answers: { EHLO: '502 x' } }],
    setup: { settings: { reply_filter: [{ '502 x': '250 mx' }] } },
    outcome: ['sent'],
    flights: [`EHLO | ${whole}`],
    events: ['delivery.reply-filtered'],
  },
]

describe('greeting and EHLO', () => {
  it.each(rows.map((row) => [`${row.id} ${row.title}`, row] as const))('%s', async (_, row) => {
    await runCase(row)
  })

  it('D05 a greeting that is no answer is of the class protocol', async () => {
    const environment = { notifyClasses: ['protocol'] }
    const { report } = await runCase({ ...rows.find(({ id }) => id === 'D05')!, setup: { environment } })
    expect(report.transcripts?.[0]?.lines).toEqual(['In:  354 hm'])
  })

  it('D24 servers without SMTPUTF8 are no sessions that count', async () => {
    await runCase({
      id: 'D24',
      title: '',
      servers: [{}, {}, { keywords: ['SMTPUTF8', '8BITMIME'] }],
      setup: { settings: { mx_session_limit: 2 }, request: utf8 },
      outcome: ['sent'],
    })
  })

  it('D07 behind a PIX an old mail waits before its final dot', async () => {
    const settings = { pix_workaround_delay_time: 300 }
    const masked = { id: 'D07', title: '', servers: [{ greeting: '220 ****' }], outcome: ['sent'] }
    const begun = performance.now()
    await runCase({ ...masked, setup: { settings, request: old() } })
    expect(performance.now() - begun).toBeGreaterThanOrEqual(299)
    const { sessions } = await runCase({ ...masked, setup: { settings, request: old() } })
    expect(sessions[0]!.content).toHaveLength(1)
  })

  it('D06 workarounds by the address of the server', async () => {
    const settings = { pix_workaround_maps: [{ '127.0.0.1': 'delay_dotcrlf' }] }
    const servers = [{ greeting: '220 ****' }]
    await runCase({
      id: 'D06',
      title: '',
      servers,
      setup: { settings },
      outcome: ['sent'],
      flights: [`EHLO | ${whole}`],
    })
  })

  const mayListen = process.getuid?.() === 0
  it.skipIf(!mayListen)(
    `D16 D17 a server with our own name${mayListen ? '' : ' (needs port 25)'}`,
    async () => {
      const server = new ScriptedServer([{ answers: { EHLO: '250 client.test' } }])
      await server.listen({ host: '127.0.0.77', port: 25 })
      await using _server = server
      const mx = { a: ['127.0.0.77'] }
      const log: LogLine[] = []
      const alone = await deliver({ log, zone: { 'd.test': { mx: [[10, 'm1']] }, m1: mx } })
      expect(outcome(alone)).toEqual(['bounced 5.4.6'])
      const second = await deliver({
        zone: {
          'd.test': {
            mx: [
              [10, 'm1'],
              [20, 'm2'],
            ],
          },
          m1: { a: ['127.0.0.78'] },
          m2: mx,
        },
      })
      expect(outcome(second)).toEqual(['deferred 4.4.6'])
      await server.until(() => server.sessions.every(({ closed }) => closed))
      for (const { commands } of server.sessions) expect(commands).toEqual(['EHLO client.test', 'QUIT'])
    },
  )
})

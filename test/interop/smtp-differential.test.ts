/**
 * The same scripted servers behind Postfix's delivery client and behind ours: status and code of each recipient,
 * number of sessions, commands and content must agree. Listed scripts first, then random ones from a seed.
 */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { afterAll, expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import type { Answer, Script } from '../protocols/smtp/client/scripted-server.ts'
import { startDovecot, startReceivingPostfix } from '../support/peers.ts'
import {
  type ModelCase,
  observeOurs,
  observeService,
  PostfixModel,
  type Profile,
} from '../support/postfix-model.ts'
import { because } from '../support/privileges.ts'

const noPostfix = whyMissing(['postfix'], { root: true })

const plain: Profile = { name: 'plain' }
const lmtp: Profile = { name: 'plainlmtp', lmtp: true }
const waits = ['helo', 'mail', 'rcpt', 'data_init', 'data_xfer', 'data_done', 'rset', 'quit'] as const
/** Three seconds for everything: for servers that fall silent. */
const hasty: Profile = {
  name: 'hasty',
  postfix: Object.fromEntries(waits.map((wait) => [`${wait}_timeout`, '3s'])),
  ours: Object.fromEntries(waits.map((wait) => [`${wait}_timeout`, 3_000])),
}
const hastyLmtp: Profile = {
  name: 'hastylmtp',
  lmtp: true,
  postfix: Object.fromEntries(
    waits.map((wait) => [wait === 'helo' ? 'lhlo_timeout' : `${wait}_timeout`, '3s']),
  ),
  ours: hasty.ours!,
}

const generic: Profile = {
  name: 'generic',
  postfix: {
    generic_maps:
      'inline:{ {s@sender.test = pub@out.test}, {x@in.test = x@out.test}, {@whole.test = @all.test}, {y@in.test = "q y"@out.test}, {user@in.test = u@out.test} }',
  },
  ours: {
    generic_maps: [
      {
        's@sender.test': 'pub@out.test',
        'x@in.test': 'x@out.test',
        '@whole.test': '@all.test',
        'y@in.test': '"q y"@out.test',
        'user@in.test': 'u@out.test',
      },
    ],
  },
}

const field = (text: string): Buffer =>
  mailOf(['From: s@sender.test', text, 'Message-Id: <1@sender.test>'], ['x'])

function mailOf(header: readonly string[], body: readonly string[]): Buffer {
  return Buffer.from(`${[...header, '', ...body].join('\r\n')}\r\n`, 'latin1')
}

const date = 'Date: Thu, 1 Jan 2026 00:00:00 +0000'
const eightBit = 'caf\xe9 = 100 % \t'

/** Mail whose content the client has to change, or must not. */
const contents: Readonly<Record<string, Buffer>> = {
  'long lines': mailOf(
    [date],
    [997, 998, 999, 1000, 1995, 1996, 2000, 2047, 2048, 2049, 4096, 6000].map((n) => 'x'.repeat(n)),
  ),
  'long lines that begin with a dot': mailOf(
    [date],
    [`.${'x'.repeat(1_000)}`, `${'y'.repeat(998)}.z`, '.'.repeat(2_500)],
  ),
  dots: mailOf([date], ['.', '..', '.a', 'a.', '']),
  'empty body': mailOf([date], []),
  'no empty line': Buffer.from(`${date}\r\nSubject: x\r\n`),
  '8bit text': mailOf(
    [
      date,
      'MIME-Version: 1.0',
      'Content-Type: text/plain; charset=iso-8859-1',
      'Content-Transfer-Encoding: 8bit',
    ],
    [
      eightBit,
      '\xe9'.repeat(100),
      'plain line',
      `${'a'.repeat(71)} `,
      `${'a'.repeat(72)} `,
      `${'a'.repeat(73)} `,
      'x'.repeat(200),
      '.\xe9',
      '.',
      '\x01\x7f',
      'end\t',
    ],
  ),
  '8bit said, 7bit meant': mailOf(
    [date, 'Content-Transfer-Encoding: 8bit', 'Content-Type: text/plain'],
    ['a = b', 'From here'],
  ),
  '8bit not said': mailOf([date], [eightBit]),
  binary: mailOf(
    [date, 'Content-Type: application/octet-stream', 'Content-Transfer-Encoding: BINARY (yes)'],
    [eightBit],
  ),
  'encoding in an odd place': mailOf(
    [
      'Content-Transfer-Encoding : 8bit',
      'content-type: text/plain;',
      '\tcharset=utf-8',
      date,
      'X-Fold: a',
      ' b',
    ],
    [eightBit],
  ),
  multipart: mailOf(
    [
      date,
      'MIME-Version: 1.0',
      'Content-Type: multipart/mixed; boundary="=_a b"',
      'Content-Transfer-Encoding: 8bit',
    ],
    [
      'preamble \xe9',
      '--=_a b',
      'Content-Type: text/plain',
      'Content-Transfer-Encoding: 8bit',
      '',
      eightBit,
      '--=_a b',
      'Content-Type: application/pdf',
      'Content-Transfer-Encoding: base64',
      '',
      'AAAA',
      '--=_a b',
      'Content-Type: multipart/alternative;',
      ' boundary=inner',
      'Content-Transfer-Encoding: 8bit',
      '',
      '--inner',
      '',
      'seven',
      '--inner trailing',
      'Content-Transfer-Encoding: 8bit',
      '',
      eightBit,
      '--=_a b--',
      'epilogue \xe9',
    ],
  ),
  'attached mail': mailOf(
    [date, 'Content-Type: message/rfc822', 'Content-Transfer-Encoding: 8bit'],
    ['Subject: inner', 'Content-Transfer-Encoding: 8bit', '', eightBit],
  ),
  'message/global': mailOf(
    [date, 'Content-Type: message/global', 'Content-Transfer-Encoding: 8bit'],
    ['Subject: inner', 'Content-Transfer-Encoding: 8bit', '', eightBit],
  ),
  'message/partial': mailOf(
    [date, 'Content-Type: message/partial; id=x', 'Content-Transfer-Encoding: 8bit'],
    ['Subject: inner', '', eightBit],
  ),
  digest: mailOf(
    [date, 'Content-Type: multipart/digest; boundary=d', 'Content-Transfer-Encoding: 8bit'],
    [
      '--d',
      '',
      'Content-Transfer-Encoding: 8bit',
      'Subject: one',
      '',
      eightBit,
      '--d',
      'Content-Type: text/plain',
      'Content-Transfer-Encoding: 8bit',
      '',
      eightBit,
      '--d--',
    ],
  ),
  'body without its empty line': mailOf(
    [date, 'Content-Transfer-Encoding: 8bit', 'this is no field \xe9'],
    [eightBit],
  ),
  'part without its empty line': mailOf(
    [date, 'Content-Type: multipart/mixed; boundary=b', 'Content-Transfer-Encoding: 8bit'],
    ['--b', 'Content-Transfer-Encoding: 8bit', 'no field', eightBit, '--b--'],
  ),
  'two boundaries': mailOf(
    [date, 'Content-Type: multipart/mixed; boundary=b; boundary=c', 'Content-Transfer-Encoding: 8bit'],
    [
      '--c',
      'Content-Transfer-Encoding: 8bit',
      '',
      eightBit,
      '--b',
      'Content-Transfer-Encoding: 8bit',
      '',
      eightBit,
      '--c--',
      '--b--',
      eightBit,
    ],
  ),
  'a line too long in 8bit': mailOf(
    [date, 'Content-Transfer-Encoding: 8bit'],
    [`\xe9${'x'.repeat(5_000)} `, 'y'],
  ),
}

const addressFields = [
  'To: x@in.test',
  'To: X <x@in.test>, "Q. Y" <y@in.test>,user@in.test (comment), a@whole.test',
  'Cc: s@sender.test,\r\n  other@else.test',
  'Reply-To: Johnny B. Goode <s@sender.test>',
  'To: group: x@in.test, user+ext@in.test;, b@whole.test',
  'Resent-To: <x@in.test> , <>',
  'X-Other: s@sender.test',
  `To: ${Array.from({ length: 12 }, (_, i) => `Name ${i} <n${i}@whole.test>`).join(', ')}`,
  'To: untouched@else.test,   spaced@else.test',
]

/** Tables that both read. */
const tables = mkdtempSync(join(tmpdir(), 'ma-tables-'))
chmodSync(tables, 0o755)
const table = (name: string, text: string): string => {
  writeFileSync(join(tables, name), text)
  return `regexp:${join(tables, name)}`
}
afterAll(() => rmSync(tables, { recursive: true }))

const checkTables = {
  header_checks: table(
    'header',
    '/^Subject: a/ REPLACE Subject: z\n/^X-Gone:/ IGNORE\n/^X-Strip:/ STRIP\n/^X-Pre:/ PREPEND X-New: 2\n' +
      '/^X-Bad:/ REJECT no\n/^To: x@in/ REPLACE To: y@in.test\n/^X-Warn:/ WARN\n/^X-Odd:/ REPLACE no field\n',
  ),
  mime_header_checks: table(
    'mime',
    '/^Content-Type: text.plain/ REPLACE Content-Type: text/html\n/^Content-Id:/ IGNORE\n',
  ),
  nested_header_checks: table('nested', '/^Subject: inner/ REPLACE Subject: changed\n'),
  body_checks: table(
    'body',
    '/^one$/ IGNORE\n/^two$/ REPLACE 2\n/^three$/ PREPEND 2.5\n/caf/ WARN\n/^=E9/ INFO\n',
  ),
}
const checks: Profile = {
  name: 'checks',
  postfix: checkTables,
  ours: Object.fromEntries(Object.entries(checkTables).map(([key, source]) => [key, [source]])),
}
const softly: Profile = { name: 'softly', postfix: { soft_bounce: 'yes' }, softBounce: true }
const forwarding: Profile = {
  name: 'forwarding',
  postfix: { send_xforward_command: 'yes' },
  ours: { send_xforward_command: true },
}
const never: Profile = {
  name: 'never',
  postfix: { never_send_ehlo: 'yes', skip_5xx_greeting: 'no', quote_rfc821_envelope: 'no' },
  ours: { never_send_ehlo: true, skip_5xx_greeting: false, quote_rfc821_envelope: false },
}

const checked = mailOf(
  [
    'Subject: a',
    'X-Gone: 1',
    'X-Strip: 1',
    'X-Pre: 1',
    'X-Bad: 1',
    'To: x@in.test',
    'Content-Type: multipart/mixed; boundary=b',
  ],
  [
    'one',
    '--b',
    'Content-Type: text/plain',
    'Content-Id: <1>',
    '',
    'two',
    '--b',
    'Content-Type: message/rfc822',
    '',
    'Subject: inner',
    'X-Gone: 1',
    '',
    'three',
    '--b--',
  ],
)

const otherProfiles: readonly ModelCase[] = [
  {
    name: 'header and body checks',
    profile: checks,
    servers: [[{ keywords: ['8BITMIME'] }]],
    content: checked,
    body: '8BITMIME',
  },
  {
    name: 'checks and conversion',
    profile: checks,
    servers: [[{}]],
    content: contents['multipart']!,
    body: '8BITMIME',
  },
  {
    name: 'soft bounce',
    profile: softly,
    servers: [[{ answers: { 'RCPT TO:<a': '550 5.1.1 no' } }]],
    recipients: ['a', 'b'],
  },
  {
    name: 'soft bounce, two servers',
    profile: softly,
    servers: [[{ answers: { MAIL: '550 5.7.1 no' } }], [{ dot: '554 5.6.0 no' }]],
    recipients: ['a', 'b'],
  },
  {
    name: 'XFORWARD',
    profile: forwarding,
    servers: [[{ keywords: ['XFORWARD NAME ADDR PROTO HELO SOURCE'] }]],
  },
  {
    name: 'XFORWARD refused',
    profile: forwarding,
    servers: [
      [{ keywords: ['PIPELINING', 'XFORWARD NAME ADDR PROTO HELO SOURCE'], answers: { XFORWARD: '550 no' } }],
    ],
  },
  { name: 'XFORWARD, odd attributes', profile: forwarding, servers: [[{ keywords: ['XFORWARD NAME FOO'] }]] },
  { name: 'never EHLO', profile: never, servers: [[{}]], recipients: ['a b', 'c'] },
  { name: '5xx greeting is hard', profile: never, servers: [[{ greeting: '554 5.7.1 no' }], [{}]] },
  {
    name: 'early reply and hang-up',
    profile: hasty,
    servers: [[{ interrupt: { after: 1_000, reply: '552 5.3.4 big' } }]],
    content: mailOf([date], Array(100_000).fill('x'.repeat(70))),
  },
  {
    name: 'early 250 and hang-up',
    profile: hasty,
    servers: [[{ interrupt: { after: 1_000, reply: '250 2.0.0 fine' } }], [{}]],
    content: mailOf([date], Array(100_000).fill('x'.repeat(70))),
  },
  {
    name: 'stops reading',
    profile: hasty,
    servers: [[{ stallAfter: 1_000 }]],
    content: mailOf([date], Array(300_000).fill('x'.repeat(70))),
  },
]

/** Mail of random parts: what the MIME code has to get right octet for octet. */
function randomContent(random: () => number): Buffer {
  const pick = <T>(...choices: readonly T[]): T => choices[Math.floor(random() * choices.length)]!
  const line = (): string =>
    pick(
      '',
      '.',
      'plain',
      'caf\xe9',
      '= equals =',
      'tail ',
      'tab\t',
      '--',
      '--b1',
      '--b1--',
      '--b2 x',
      '\x80\xff\x01',
      `${'long '.repeat(pick(10, 300, 900))}`,
      `\xe9${'x'.repeat(pick(60, 71, 72, 73, 2_047, 2_048, 5_000))}`,
      'To: x@in.test',
      ' folded',
    )
  const encoding = (): string[] => {
    const value = pick(
      undefined,
      '8bit',
      '8BIT',
      'binary',
      '7bit',
      'quoted-printable',
      'base64',
      'x-odd',
      '"8bit"',
      '(c) 8bit',
      '8bit (c)',
    )
    return value === undefined ? [] : [`Content-Transfer-Encoding: ${value}`]
  }
  const type = (): string[] => {
    const value = pick(
      undefined,
      'text/plain',
      'multipart/mixed; boundary=b1',
      'multipart/mixed; boundary="b2"',
      'MULTIPART/Digest;\r\n boundary=b1',
      'message/rfc822',
      'message/partial',
      'message/global',
      'application/x',
      'multipart/alternative; x=y; boundary=b2; boundary=b1',
      'text',
      '"odd"',
      '; boundary=b1',
    )
    return value === undefined ? [] : [`Content-Type: ${value}`]
  }
  const header = (): string[] => [
    ...(random() < 0.5 ? [...type(), ...encoding()] : [...encoding(), ...type()]),
    ...(random() < 0.3 ? ['Subject: inner'] : []),
    '',
  ]
  const lines: string[] = []
  for (let n = Math.floor(random() * 12); n > 0; n--) {
    if (random() < 0.4) lines.push(pick('--b1', '--b2'), ...header())
    lines.push(line())
  }
  return mailOf([date, 'From: s@sender.test', ...header().slice(0, -1)], lines)
}

const contentCases = (): ModelCase[] => [
  ...Object.entries(contents)
    .filter(([name]) => !name.startsWith('body without') && !name.includes('odd'))
    .map(
      ([name, content]): ModelCase => ({
        name: `${name}, 8BITMIME offered`,
        profile: plain,
        servers: [[{ keywords: ['8BITMIME'] }]],
        content,
        body: '8BITMIME',
      }),
    ),
  // Postfix mends fields and a missing empty line when it accepts mail: that would show where nothing is changed.
  ...Object.entries(contents).flatMap(([name, content]): ModelCase[] => [
    {
      name: `${name}, to be converted`,
      profile: plain,
      servers: [[{ keywords: ['SIZE'] }]],
      content,
      body: '8BITMIME',
    },
    { name: `${name}, declared 7bit`, profile: plain, servers: [[{}]], content, body: '7BIT' },
  ]),
  ...addressFields.map(
    (text): ModelCase => ({
      name: `generic: ${text}`,
      profile: generic,
      servers: [[{ keywords: ['8BITMIME'] }]],
      content: field(text),
      body: '7BIT',
    }),
  ),
]

const pipelining = ['PIPELINING']
const close = (text = ''): Answer => ({ close: text })

const listed: readonly ModelCase[] = [
  { name: 'no keywords', profile: plain, servers: [[{}]] },
  { name: 'PIPELINING', profile: plain, servers: [[{ keywords: pipelining }]], recipients: ['a', 'b', 'c'] },
  { name: 'greeting 554, then OK', profile: plain, servers: [[{ greeting: '554 5.7.1 no' }], [{}]] },
  { name: 'greeting 554', profile: plain, servers: [[{ greeting: '554 5.7.1 no' }]] },
  { name: 'greeting 450', profile: plain, servers: [[{ greeting: '450 4.3.2 busy' }]] },
  { name: 'greeting 354', profile: plain, servers: [[{ greeting: '354 hm' }]] },
  { name: 'greeting 354 with another server', profile: plain, servers: [[{ greeting: '354 hm' }], [{}]] },
  { name: 'greeting masked', profile: plain, servers: [[{ greeting: '220 ****2***0**' }]] },
  { name: 'greeting of two lines', profile: plain, servers: [[{ greeting: '220-mx.test\n220 ESMTP' }]] },
  { name: 'garbage before the greeting', profile: plain, servers: [[{ greeting: 'hello\n220 mx ESMTP' }]] },
  { name: 'EHLO 502', profile: plain, servers: [[{ answers: { EHLO: '502 what' } }]] },
  { name: 'EHLO 421', profile: plain, servers: [[{ answers: { EHLO: '421 4.3.2 later' } }], [{}]] },
  {
    name: 'EHLO 502, HELO 550',
    profile: plain,
    servers: [[{ answers: { EHLO: '502 what', HELO: '550 5.7.1 no' } }]],
  },
  {
    name: 'keywords in the reply to HELO',
    profile: plain,
    servers: [
      [{ answers: { EHLO: '502 what', HELO: '250-mx\n250-PIPELINING\n250-SIZE 100\n250 8BITMIME' } }],
    ],
    body: '8BITMIME',
  },
  { name: 'EHLO 354', profile: plain, servers: [[{ answers: { EHLO: '354 what' } }]] },
  {
    name: 'our own name in the EHLO reply',
    profile: plain,
    servers: [[{ answers: { EHLO: '250 client.test' } }]],
  },
  { name: 'SIZE 0', profile: plain, servers: [[{ keywords: ['SIZE 0'] }]], body: '7BIT' },
  { name: 'SIZE', profile: plain, servers: [[{ keywords: ['SIZE'] }]], body: '7BIT' },
  { name: 'SIZE abc', profile: plain, servers: [[{ keywords: ['SIZE abc'] }]], body: '7BIT' },
  { name: 'SIZE=100000', profile: plain, servers: [[{ keywords: ['SIZE=100000'] }]] },
  {
    name: 'keywords in lower case',
    profile: plain,
    servers: [[{ keywords: ['size 100000', 'pipelining', '8bitmime', 'dsn'] }]],
    body: '8BITMIME',
    envid: 'e1',
    ret: 'HDRS',
    notify: ['FAILURE', 'DELAY'],
    orcpt: 'rfc822;o@x.test',
  },
  { name: '8BITMIME and 8bit', profile: plain, servers: [[{ keywords: ['8BITMIME'] }]], body: '8BITMIME' },
  { name: '8BITMIME and 7bit', profile: plain, servers: [[{ keywords: ['8BITMIME'] }]], body: '7BIT' },
  {
    name: 'SMTPUTF8 asked for, all ASCII, not offered',
    profile: plain,
    servers: [[{ keywords: ['8BITMIME'] }]],
    body: '8BITMIME',
    smtputf8: true,
  },
  {
    name: 'SMTPUTF8 without 8BITMIME',
    profile: plain,
    servers: [[{ keywords: ['SMTPUTF8'] }]],
    body: '8BITMIME',
    smtputf8: true,
  },
  {
    name: 'SMTPUTF8 needed',
    profile: plain,
    servers: [[{ keywords: ['SMTPUTF8', '8BITMIME', 'DSN'] }]],
    body: '8BITMIME',
    smtputf8: true,
    sender: 'jürgen@sender.test',
  },
  {
    name: 'DSN without wishes',
    profile: plain,
    servers: [[{ keywords: ['DSN'] }]],
    recipients: ['a', 'b c', 'd+e', 'f=g'],
  },
  {
    name: 'MAIL 550',
    profile: plain,
    servers: [[{ answers: { MAIL: '550 5.7.1 no' } }]],
    recipients: ['a', 'b'],
  },
  {
    name: 'MAIL 550, pipelined',
    profile: plain,
    servers: [[{ keywords: pipelining, answers: { MAIL: '550 5.7.1 no', DATA: '503 5.5.1 no' } }]],
    recipients: ['a', 'b'],
  },
  {
    name: 'MAIL 450, then OK',
    profile: plain,
    servers: [[{ answers: { MAIL: '450 4.7.1 grey' } }], [{}]],
    recipients: ['a', 'b'],
  },
  {
    name: 'all RCPT 550',
    profile: plain,
    servers: [[{ answers: { RCPT: '550 5.1.1 no' } }]],
    recipients: ['a', 'b'],
  },
  {
    name: 'all RCPT 550, pipelined, DATA 554',
    profile: plain,
    servers: [[{ keywords: pipelining, answers: { RCPT: '550 5.1.1 no', DATA: '554 5.5.1 none' } }]],
    recipients: ['a', 'b'],
  },
  {
    name: 'all RCPT 550, pipelined, DATA 354',
    profile: plain,
    servers: [[{ keywords: pipelining, answers: { RCPT: '550 5.1.1 no' } }]],
    recipients: ['a', 'b'],
  },
  {
    name: 'LMTP, all RCPT 550, pipelined, DATA 354, a reply to the dot',
    profile: lmtp,
    servers: [[{ keywords: pipelining, answers: { RCPT: '550 5.1.1 no', DATA: '354 hm\n250 odd' } }]],
    recipients: ['a', 'b'],
  },
  {
    name: 'one RCPT 450: the next server gets it',
    profile: plain,
    servers: [[{ answers: { 'RCPT TO:<b': '450 4.2.1 later' } }], [{}]],
    recipients: ['a', 'b', 'c'],
  },
  {
    name: 'DATA 451, then OK',
    profile: plain,
    servers: [[{ answers: { DATA: '451 4.3.0 no' } }], [{}]],
    recipients: ['a', 'b'],
  },
  {
    name: 'DATA 451, one refused',
    profile: plain,
    servers: [[{ answers: { DATA: '451 4.3.0 no', 'RCPT TO:<b': '550 5.1.1 no' } }]],
    recipients: ['a', 'b'],
  },
  { name: 'DATA 250', profile: plain, servers: [[{ answers: { DATA: '250 hm' } }]] },
  { name: 'dot 554', profile: plain, servers: [[{ dot: '554 5.6.0 no' }]], recipients: ['a', 'b'] },
  { name: 'dot 354', profile: plain, servers: [[{ dot: '354 go on' }]] },
  { name: 'dot 250 with an odd code', profile: plain, servers: [[{ dot: '250 5.0.0 ok' }]] },
  { name: 'RCPT 552', profile: plain, servers: [[{ answers: { RCPT: '552 5.2.2 full' } }]] },
  { name: 'RCPT 354', profile: plain, servers: [[{ answers: { RCPT: '354 go' } }]] },
  { name: 'RCPT 251', profile: plain, servers: [[{ answers: { RCPT: '251 2.1.5 elsewhere' } }]] },
  {
    name: 'codes in many forms',
    profile: plain,
    servers: [
      [
        {
          answers: {
            'RCPT TO:<a': '550 2.1.1 x',
            'RCPT TO:<b': '550 5.1 x',
            'RCPT TO:<c': '550 5.1.1 x',
            'RCPT TO:<d': '550 5.1.1x',
            'RCPT TO:<e': '550 5.01.001 x',
            'RCPT TO:<f': '550-5.2.1 first\n550 5.3.1 last',
            'RCPT TO:<g': '550-5.2.1 first\n550 last',
            'RCPT TO:<h': '450 4.1.1',
            'RCPT TO:<i': '550  5.1.7 two blanks',
            'RCPT TO:<j': '550-5.1.8 a\n450 4.1.8 b',
            'RCPT TO:<k': '550',
            'RCPT TO:<l': '5505.1.1 glued\n550 5.4.1 valid',
            'RCPT TO:<m': '620 6.1.1 x',
            'RCPT TO:<n': '555 5.5.4 x',
            'RCPT TO:<o': '550 5.1234.1 x',
          },
        },
      ],
    ],
    recipients: [...'abcdefghijklmno'],
  },
  {
    name: '421 to a RCPT and gone',
    profile: plain,
    servers: [[{ answers: { 'RCPT TO:<a': close('421 4.3.2 gone') } }]],
    recipients: ['a'],
  },
  {
    name: '421 to a RCPT and gone, then OK',
    profile: plain,
    servers: [[{ answers: { RCPT: close('421 4.3.2 gone') } }], [{}]],
    recipients: ['a', 'b'],
  },
  { name: 'closed before the greeting', profile: plain, servers: [[{ greeting: close() }]] },
  {
    name: 'closed before the greeting, then OK',
    profile: plain,
    servers: [[{ greeting: close() }], [{}]],
  },
  { name: 'closed after EHLO', profile: plain, servers: [[{ answers: { EHLO: close() } }]] },
  { name: 'closed after MAIL', profile: plain, servers: [[{ answers: { MAIL: close() } }], [{}]] },
  { name: 'closed after DATA', profile: plain, servers: [[{ answers: { DATA: close() } }]] },
  { name: 'closed after the dot', profile: plain, servers: [[{ dot: close() }], [{}]] },
  { name: '250 and closed after the dot', profile: plain, servers: [[{ dot: close('250 2.0.0 ok') }]] },
  {
    name: 'garbage before the reply to the dot',
    profile: plain,
    servers: [[{ keywords: pipelining, dot: 'hello\n250 2.0.0 ok' }]],
  },
  { name: 'QUIT never answered', profile: plain, servers: [[{ answers: { QUIT: null } }]] },
  {
    name: 'a reply of 5000 octets',
    profile: plain,
    servers: [[{ answers: { RCPT: `550 5.1.1 ${'x'.repeat(5_000)}` } }]],
  },
  { name: 'null sender', profile: plain, servers: [[{}]], sender: '' },
  {
    name: 'addresses that need quotes',
    profile: plain,
    servers: [[{}]],
    recipients: ['a b', 'a"b', '.a', 'a@b', 'c..d', 'e\\f', 'g,h', 'i(j'],
  },
  {
    name: 'LMTP, replies in the order of acceptance',
    profile: lmtp,
    servers: [
      [
        {
          keywords: pipelining,
          answers: { 'RCPT TO:<b': '550 5.1.1 no' },
          dot: ['250 2.0.0 ok', '452 4.2.2 full'],
        },
      ],
    ],
    recipients: ['a', 'b', 'c'],
  },
  {
    name: 'LMTP, lost between two replies',
    profile: lmtp,
    servers: [[{ dot: close('250 2.0.0 ok') }]],
    recipients: ['a', 'c'],
  },
  { name: 'LMTP, LHLO 500', profile: lmtp, servers: [[{ answers: { LHLO: '500 what' } }]] },
  { name: 'LMTP, LHLO 450, then OK', profile: lmtp, servers: [[{ answers: { LHLO: '450 later' } }], [{}]] },
  { name: 'LMTP, greeting masked', profile: lmtp, servers: [[{ greeting: '220 ****' }]] },
  { name: 'silence before the greeting', profile: hasty, servers: [[{ greeting: null }], [{}]] },
  { name: 'silence after EHLO', profile: hasty, servers: [[{ answers: { EHLO: null } }]] },
  { name: 'silence after MAIL', profile: hasty, servers: [[{ answers: { MAIL: null } }]] },
  { name: 'silence after RCPT', profile: hasty, servers: [[{ answers: { RCPT: null } }], [{}]] },
  { name: 'silence after DATA', profile: hasty, servers: [[{ answers: { DATA: null } }]] },
  { name: 'silence after the dot', profile: hasty, servers: [[{ dot: null }]] },
  { name: 'silence after the dot, then OK', profile: hasty, servers: [[{ dot: null }], [{}]] },
  {
    name: 'silence after RSET',
    profile: hasty,
    servers: [[{ answers: { RCPT: '550 5.1.1 no', RSET: null } }]],
  },
  {
    name: 'LMTP, silence between two replies',
    profile: hastyLmtp,
    servers: [[{ dot: ['250 2.0.0 ok', null] }]],
    recipients: ['a', 'b'],
  },
]

test.skipIf(noPostfix !== undefined)(
  `Postfix's client, ours, and our whole service do the same with the same servers${because(noPostfix)}`,
  { timeout: 240_000 },
  async () => {
    const seed = Number(process.env.SEED ?? Date.now() % 1_000_000_000)
    const random = randomCases(seed, Number(process.env.RANDOM_CASES ?? 40))
    // What is set for the whole service, or is the client's alone, is not tried through the service.
    const forAll = [...listed, ...contentCases(), ...saslCases, ...random]
    const cases = [...forAll, ...otherProfiles, ...sinkCases()]
    const theirs = await PostfixModel.observe(cases)
    const ours = await Promise.all(cases.map((one) => observeOurs(one)))
    const service = await observeService(forAll)
    const differences = cases.flatMap((one, index) =>
      [ours[index], service[index]].flatMap((seen) => {
        if (seen === undefined || isDeepStrictEqual(seen, theirs[index])) return []
        return [JSON.stringify({ name: one.name, case: one.servers, postfix: theirs[index], ours: seen })]
      }),
    )
    expect(differences.join('\n'), `seed ${seed}: ${differences.length} of ${cases.length} differ`).toBe('')
  },
)

const noDovecot = whyMissing(['dovecot', 'postfix'], { root: true })

test.skipIf(noDovecot !== undefined)(
  `the same with a receiving Postfix and with Dovecot's LMTP${because(noDovecot)}`,
  { timeout: 120_000 },
  async () => {
    const [postfix, dovecot] = [await startReceivingPostfix(), await startDovecot()]
    const cases: ModelCase[] = [
      {
        name: 'Postfix',
        profile: plain,
        servers: [],
        port: postfix.port,
        recipients: ['good', 'reject', 'tempfail'],
      },
      {
        name: 'Postfix, all refused',
        profile: plain,
        servers: [],
        port: postfix.port,
        recipients: ['reject'],
      },
      {
        name: 'Postfix, 8bit',
        profile: plain,
        servers: [],
        port: postfix.port,
        content: contents['8bit text']!,
        body: '8BITMIME',
      },
      {
        name: 'Dovecot',
        profile: lmtp,
        servers: [],
        port: dovecot.lmtpPort,
        recipients: ['u0', 'u1', 'a b'],
      },
      { name: 'Dovecot, null sender', profile: lmtp, servers: [], port: dovecot.lmtpPort, sender: '' },
    ]
    // One after the other: they would have the same domain.
    for (const one of cases) {
      const [theirs] = await PostfixModel.observe([one])
      expect(await observeOurs(one), one.name).toEqual(theirs)
    }
  },
)

const sasl = (name: string, more: Record<string, string> = {}, ours: Profile['ours'] = {}): Profile => ({
  name,
  postfix: {
    ...hasty.postfix,
    sasl_auth_enable: 'yes',
    sasl_password_maps: 'static:u:p:w',
    sasl_security_options: '',
    ...more,
  },
  ours: {
    ...hasty.ours,
    sasl_auth_enable: true,
    sasl_password_maps: ['static:u:p:w'],
    sasl_security_options: [],
    ...ours,
  },
})
const anySasl = sasl('anysasl')
const hardSasl = sasl('hardsasl', { sasl_auth_soft_bounce: 'no' }, { sasl_auth_soft_bounce: false })
const plainSasl = sasl('plainsasl', { sasl_mechanism_filter: 'plain' }, { sasl_mechanism_filter: ['plain'] })
const secretSasl = sasl(
  'secretsasl',
  { sasl_security_options: 'noplaintext, noanonymous' },
  { sasl_security_options: ['noplaintext', 'noanonymous'] },
)
const noAccount = sasl(
  'noaccount',
  { sasl_password_maps: 'inline:{other=u:p}' },
  { sasl_password_maps: [{ other: 'u:p' }] },
)
const dummy = sasl('dummyauth', { send_dummy_mail_auth: 'yes' }, { send_dummy_mail_auth: true })

const saslCase = (
  profile: Profile,
  mechanisms: string,
  answers: Readonly<Record<string, Answer | readonly Answer[]>>,
  ...more: (readonly Script[])[]
): ModelCase => ({
  name: `${profile.name}: AUTH ${mechanisms}, ${JSON.stringify(answers)}`,
  profile,
  servers: [[{ keywords: mechanisms === '' ? [] : [`AUTH ${mechanisms}`], answers }], ...more],
})

const challenge = Buffer.from('<1@mx>').toString('base64')
const saslCases: readonly ModelCase[] = [
  saslCase(anySasl, 'PLAIN', { AUTH: '235 2.7.0 ok' }),
  saslCase(anySasl, 'LOGIN', {
    'AUTH LOGIN': '334 VXNlcm5hbWU6',
    dQ: '334 UGFzc3dvcmQ6',
    cDp3: '235 2.7.0 ok',
  }),
  saslCase(anySasl, 'CRAM-MD5', { 'AUTH CRAM-MD5': `334 ${challenge}`, dSA: '235 2.7.0 ok' }),
  saslCase(anySasl, 'PLAIN', { AUTH: '535 5.7.8 no' }),
  saslCase(anySasl, 'PLAIN', { AUTH: '535 no' }, [{ keywords: ['AUTH PLAIN'], answers: { AUTH: '235 ok' } }]),
  saslCase(anySasl, 'PLAIN', { AUTH: '454 4.7.0 later' }),
  saslCase(hardSasl, 'PLAIN', { AUTH: '535 5.7.8 no' }),
  saslCase(hardSasl, 'PLAIN', { AUTH: '500 5.5.1 what' }, [{}]),
  saslCase(hardSasl, 'PLAIN', { AUTH: '220 hm' }),
  saslCase(anySasl, 'PLAIN', { AUTH: close('421 4.3.2 gone') }),
  saslCase(anySasl, 'PLAIN', { AUTH: close() }, [{}]),
  saslCase(anySasl, 'PLAIN', { AUTH: null }),
  saslCase(anySasl, 'CRAM-MD5', { 'AUTH CRAM-MD5': '334 not*base64' }),
  saslCase(anySasl, '', {}),
  saslCase(anySasl, 'GSSAPI NTLMX', {}),
  saslCase(anySasl, 'GSSAPI NTLMX', {}, [{}]),
  saslCase(plainSasl, 'LOGIN CRAM-MD5 PLAIN', { AUTH: '235 2.7.0 ok' }),
  saslCase(plainSasl, 'LOGIN CRAM-MD5', {}),
  saslCase(secretSasl, 'PLAIN LOGIN', {}),
  saslCase(secretSasl, 'PLAIN CRAM-MD5', { 'AUTH CRAM-MD5': `334 ${challenge}`, dSA: '235 2.7.0 ok' }),
  saslCase(noAccount, 'PLAIN', {}),
  saslCase(dummy, 'PLAIN', { AUTH: '235 2.7.0 ok' }),
  saslCase(dummy, '', {}),
  {
    name: 'AUTH=LOGIN',
    profile: anySasl,
    servers: [
      [
        {
          keywords: ['AUTH=LOGIN'],
          answers: { 'AUTH LOGIN': '334 VXNlcm5hbWU6', dQ: '334 UGFzc3dvcmQ6', cDp3: '235 ok' },
        },
      ],
    ],
  },
  {
    name: 'two lines of AUTH',
    profile: plainSasl,
    servers: [[{ keywords: ['AUTH LOGIN', 'AUTH PLAIN'], answers: { AUTH: '235 ok' } }]],
  },
]

/** smtp-sink with each of its ways to fail at each command. */
function sinkCases(): ModelCase[] {
  const sinkCase = (profile: Profile, ...options: string[]): ModelCase => ({
    name: `smtp-sink ${options.join(' ')}`,
    profile,
    servers: [],
    sink: options,
    recipients: ['a', 'b'],
  })
  const faults = (profile: Profile, commands: readonly string[], ...always: string[]) =>
    commands.flatMap((command) =>
      ['-f', '-r', '-q', '-Q'].map((fault) => sinkCase(profile, ...always, fault, command)),
    )
  return [
    ...['-8', '-a', '-e', '-E', '-F', '-N', '-p', '-P', '-C'].map((option) => sinkCase(plain, option)),
    sinkCase(plain, '-h', 'client.test'),
    sinkCase(plain, '-r', 'ehlo,helo'),
    sinkCase(plain, '-f', 'mail', '-b', '450 4.7.1 soft', '-B', '550 5.7.1 hard'),
    sinkCase(plain, '-r', 'rcpt', '-b', '450 4.7.1 soft', '-B', '550 5.7.1 hard'),
    ...faults(plain, ['connect', 'ehlo', 'mail', 'rcpt', 'data', '.', 'quit']),
    ...faults(plain, ['mail', 'rcpt', 'data', '.', 'rset', 'quit'], '-p'),
    ...faults(lmtp, ['connect', 'lhlo', 'mail', 'rcpt', 'data', '.', 'quit'], '-L'),
  ]
}

/** mulberry32. */
function generator(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

function randomCases(seed: number, count: number): ModelCase[] {
  const random = generator(seed)
  const pick = <T>(...choices: readonly T[]): T => choices[Math.floor(random() * choices.length)]!
  const chance = (p: number): boolean => random() < p
  const reply = (): string => {
    const code = pick(
      '250',
      '354',
      '421',
      '450',
      '451',
      '452',
      '500',
      '501',
      '503',
      '550',
      '552',
      '554',
      '555',
      '220',
    )
    const kind = pick(code[0]!, code[0]!, '2', '4', '5')
    const text = pick(
      '',
      ' no',
      ` ${kind}.1.1 words`,
      ` ${kind}.7.0 a b c`,
      ` ${kind}.3.${pick('0', '2', '99')}`,
    )
    return chance(0.2) ? `${code}-${kind}.9.9 first\n${code}${text}` : `${code}${text}`
  }
  const answer = (): Answer => (chance(0.12) ? close(chance(0.5) ? reply() : '') : reply())
  const noted = (): Answer => {
    const given = answer()
    return typeof given === 'string' && chance(0.08) ? `garbage\n${given}` : given
  }
  const script = (helo: string, recipients: readonly string[]): Script => {
    const answers: Record<string, Answer> = {}
    if (chance(0.15)) answers[helo] = noted()
    if (helo === 'EHLO' && chance(0.1)) answers.HELO = noted()
    if (chance(0.2)) answers.MAIL = noted()
    for (const recipient of recipients) if (chance(0.35)) answers[`RCPT TO:<${recipient}@`] = noted()
    if (chance(0.2)) answers.DATA = noted()
    if (chance(0.2)) answers.RSET = noted()
    if (chance(0.2)) answers.QUIT = noted()
    const keywords = [
      'PIPELINING',
      '8BITMIME',
      'SIZE 100000',
      'DSN',
      'ENHANCEDSTATUSCODES',
      'SMTPUTF8',
    ].filter(() => chance(0.5))
    return {
      ...(chance(0.15) ? { greeting: noted() } : {}),
      keywords,
      answers,
      ...(chance(0.35) ? { dot: recipients.map(() => noted()) } : {}),
    }
  }
  return Array.from({ length: count }, (_, index): ModelCase => {
    const profile = chance(0.25) ? hastyLmtp : chance(0.2) ? checks : hasty
    const recipients = [...'abcde'].slice(0, 1 + Math.floor(random() * 5))
    const servers = Array.from({ length: 1 + Math.floor(random() * 3) }, () => [
      script(profile.lmtp === true ? 'LHLO' : 'EHLO', recipients),
    ])
    const body = pick(undefined, '7BIT' as const, '8BITMIME' as const)
    const content = randomContent(random)
    return {
      name: `random ${index} of seed ${seed}`,
      profile,
      servers,
      recipients,
      ...(chance(0.5) ? { content } : {}),
      ...(body === undefined ? {} : { body }),
      ...(chance(0.2) ? { ret: pick('FULL' as const, 'HDRS' as const), envid: 'id+1=2' } : {}),
      ...(chance(0.2) ? { notify: [pick('SUCCESS' as const, 'NEVER' as const, 'DELAY' as const)] } : {}),
    }
  })
}

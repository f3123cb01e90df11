/** Mail whose content a client has to change, or must not. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ModelCase, Profile } from '../../support/postfix-model.ts'
import { generic, hasty, plain } from './profiles.ts'

const field = (text: string): Buffer =>
  mailOf(['From: s@sender.test', text, 'Message-Id: <1@sender.test>'], ['x'])

export function mailOf(header: readonly string[], body: readonly string[]): Buffer {
  return Buffer.from(`${[...header, '', ...body].join('\r\n')}\r\n`, 'latin1')
}

export const date = 'Date: Thu, 1 Jan 2026 00:00:00 +0000'
const eightBit = 'caf\xe9 = 100 % \t'

/** Mail whose content the client has to change, or must not. */
export const contents: Readonly<Record<string, Buffer>> = {
  'long lines': mailOf(
    [date],
    [997, 998, 999, 1000, 1995, 1996, 2000, 2047, 2048, 2049, 4096, 6000].map((n) => 'x'.repeat(n)),
  ),
  'long lines that begin with a dot': mailOf(
    [date],
    [`.${'x'.repeat(1_000)}`, `${'y'.repeat(998)}.z`, '.'.repeat(2_500)],
  ),
  'long fields': mailOf(
    [
      date,
      `X-Folded: ${'words '.repeat(2_000).replaceAll('words words ', 'words words\r\n\t').repeat(12)}`,
      `X-Line: ${'y'.repeat(150_000)}`,
      `X-Lines: ${'y'.repeat(60_000)}\r\n\t${'z'.repeat(60_000)}\r\n\t${'w'.repeat(60_000)}`,
      'X-Short: z',
    ],
    ['body'],
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
export const removeTables = (): void => rmSync(tables, { recursive: true })

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
export const checks: Profile = {
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

export const otherProfiles: readonly ModelCase[] = [
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

export const contentCases = (): ModelCase[] => [
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

import { describe, expect, test } from 'vitest'
import { failureAddressee } from '../../src/queue/notices/policy.ts'
import { buildReport, type ReportFacts, type ReportKind } from '../../src/queue/notices/report.ts'
import { builtInTemplates, parseTemplates } from '../../src/queue/notices/template.ts'
import { maskText, wrapText } from '../../src/queue/notices/text.ts'

/** A small reader of mail, written from RFC 5322 and RFC 2046 without a look at the writer. */
interface Entity {
  readonly header: ReadonlyMap<string, string>
  readonly body: string
}

function readEntity(text: string): Entity {
  const lines = text.split('\r\n')
  const header = new Map<string, string>()
  let last = ''
  let at = 0
  for (; at < lines.length && lines[at] !== ''; at++) {
    const line = lines[at]!
    if (/^[ \t]/.test(line)) header.set(last, `${header.get(last)} ${line.trim()}`)
    else {
      const match = /^([!-9;-~]+):\s*(.*)$/.exec(line)
      if (match === null) throw new Error(`not a header line: ${line}`)
      last = match[1]!.toLowerCase()
      header.set(last, match[2]!)
    }
  }
  return { header, body: lines.slice(at + 1).join('\r\n') }
}

function readMultipart(bytes: Uint8Array): { readonly top: Entity; readonly parts: readonly Entity[] } {
  const text = Buffer.from(bytes).toString()
  expect(text.replaceAll('\r\n', '')).not.toMatch(/[\r\n]/)
  for (const line of text.split('\r\n')) expect(line.length).toBeLessThanOrEqual(998)
  const top = readEntity(text)
  const boundary = /boundary="([^"]+)"/.exec(top.header.get('content-type') ?? '')?.[1]
  const pieces = `\r\n${top.body}`.split(`\r\n--${boundary}`)
  expect(pieces.at(-1)).toMatch(/^--\r\n$/)
  return { top, parts: pieces.slice(1, -1).map((piece) => readEntity(piece.slice(2))) }
}

/** The groups of fields of a delivery status. */
const readStatus = (body: string): readonly ReadonlyMap<string, string>[] =>
  body
    .trim()
    .split('\r\n\r\n')
    .map((group) => readEntity(`${group}\r\n\r\n`).header)

const original = Buffer.from('Received: by x\r\nSubject: hello\r\n\r\nBody line\r\n--=_NOTICEID.0\r\n')
const facts = (changes: Partial<ReportFacts> = {}): ReportFacts => ({
  kind: 'failure',
  hostname: 'queue.test',
  noticeId: 'NOTICEID',
  to: 'sender@client.test',
  now: Date.UTC(2026, 10, 21, 2, 30),
  recipients: [
    {
      address: 'a@d.test',
      orcpt: 'rfc822;A+2Bx@d.test',
      action: 'failed',
      dsn: '5.1.1',
      relay: 'mx.d.test[192.0.2.1]:25',
      reply: '550 5.1.1 <a@d.test>: no such user',
      remoteMta: 'mx.d.test',
    },
    {
      address: 'b@d.test',
      origTo: 'alias@d.test',
      action: 'failed',
      dsn: '4.4.1',
      relay: 'mx.d.test[192.0.2.1]:25',
      reply: 'connection refused',
    },
  ],
  queueId: 'ORIGINALID',
  sender: 'sender@client.test',
  namesOriginals: true,
  arrivedAt: Date.UTC(2026, 10, 20, 2, 30),
  envid: 'envelope 1',
  audience: 'sender',
  template: builtInTemplates('queue.test')[changes.kind ?? 'failure'],
  original,
  full: true,
  ...changes,
})

describe('a failure notice', () => {
  const { top, parts } = readMultipart(buildReport(facts()).bytes)

  test('is a report with three parts, to the sender, and asks for no answer', () => {
    expect(top.header.get('content-type')).toMatch(/^multipart\/report; report-type=delivery-status;/)
    expect(top.header.get('to')).toBe('sender@client.test')
    expect(top.header.get('from')).toContain('<mailer-daemon@queue.test>')
    expect(top.header.get('auto-submitted')).toBe('auto-replied')
    expect(top.header.get('mime-version')).toBe('1.0')
    expect(top.header.get('message-id')).toBe('<NOTICEID@queue.test>')
    expect(top.header.get('date')).toBe('Sat, 21 Nov 2026 02:30:00 +0000')
    expect(parts.map(({ header }) => header.get('content-type'))).toEqual([
      'text/plain; charset=us-ascii',
      'message/delivery-status',
      'message/rfc822',
    ])
  })

  test('without enable_original_recipient an address before rewriting is named when the sender gave it', () => {
    const { parts } = readMultipart(buildReport(facts({ namesOriginals: false })).bytes)
    const [, first, second] = readStatus(parts[1]!.body)
    expect(first!.get('original-recipient')).toBe('rfc822;A+x@d.test')
    expect(second!.has('original-recipient')).toBe(false)
    expect(parts[0]!.body).not.toContain('alias@d.test')
  })

  test('has the fields of RFC 3464 for the mail and for each recipient', () => {
    const [mail, first, second, ...rest] = readStatus(parts[1]!.body)
    expect(rest).toEqual([])
    expect(Object.fromEntries(mail!)).toEqual({
      'reporting-mta': 'dns; queue.test',
      'original-envelope-id': 'envelope 1',
      'x-mailactors-queue-id': 'ORIGINALID',
      'x-mailactors-sender': 'rfc822; sender@client.test',
      'arrival-date': 'Fri, 20 Nov 2026 02:30:00 +0000',
    })
    expect(Object.fromEntries(first!)).toEqual({
      'original-recipient': 'rfc822;A+x@d.test',
      'final-recipient': 'rfc822; a@d.test',
      action: 'failed',
      status: '5.1.1',
      'remote-mta': 'dns; mx.d.test',
      'diagnostic-code': 'smtp; 550 5.1.1 <a@d.test>: no such user',
    })
    expect(Object.fromEntries(second!)).toEqual({
      'original-recipient': 'rfc822;alias@d.test',
      'final-recipient': 'rfc822; b@d.test',
      action: 'failed',
      status: '4.4.1',
      'diagnostic-code': 'X-Mailactors; connection refused',
    })
  })

  test('tells people each address and reason in lines of 79', () => {
    const text = parts[0]!.body
    expect(text).toContain('<a@d.test>: mx.d.test said: 550 5.1.1')
    expect(text).toContain('<b@d.test> (expanded from <alias@d.test>): connection refused')
    for (const line of text.split('\r\n')) expect(line.length).toBeLessThanOrEqual(79)
  })

  test('returns the mail below a Return-Path, whatever is in it', () => {
    expect(parts[2]!.body).toBe(`Return-Path: <sender@client.test>\r\n${original.toString()}`)
  })
})

describe('what is returned', () => {
  const returned = (changes: Partial<ReportFacts>): Entity =>
    readMultipart(buildReport(facts(changes)).bytes).parts[2]!

  test('is the header alone when asked for', () => {
    const part = returned({ full: false })
    expect(part.header.get('content-type')).toBe('text/rfc822-headers')
    expect(part.body).toContain('Subject: hello')
    expect(part.body).not.toContain('Body line')
  })

  test('ends with a whole line when the header is cut', () => {
    const part = returned({ full: false, original: Buffer.from('Subject: a\r\nX-Long: b\r\n cont') })
    expect(part.body).toBe('Return-Path: <sender@client.test>\r\nSubject: a\r\nX-Long: b\r\n')
  })

  test('may be missing', () => {
    expect(returned({ original: undefined, full: false }).body).toBe('Return-Path: <sender@client.test>\r\n')
  })
})

test('8-bit content is declared', () => {
  const report = buildReport(facts({ original: Buffer.from('Subject: x\r\n\r\nf\u00fcr\r\n') }))
  expect(report.body).toBe('8BITMIME')
  const { top, parts } = readMultipart(report.bytes)
  expect(top.header.get('content-transfer-encoding')).toBe('8bit')
  expect(parts[2]!.header.get('content-transfer-encoding')).toBe('8bit')
  expect(buildReport(facts()).body).toBe('7BIT')
})

test('mail that needs SMTPUTF8 has the types of RFC 6533', () => {
  const report = buildReport(
    facts({
      smtputf8: true,
      sender: 'm\u00fcller@client.test',
      recipients: [
        { address: 'j\u00f6rg@d.test', action: 'failed', dsn: '5.1.1', relay: 'none', reply: 'unknown' },
      ],
    }),
  )
  const { parts } = readMultipart(report.bytes)
  expect(parts.map(({ header }) => header.get('content-type'))).toEqual([
    'text/plain; charset=utf-8',
    'message/global-delivery-status',
    'message/global',
  ])
  expect(readStatus(parts[1]!.body)[1]!.get('final-recipient')).toBe('utf-8; j\u00f6rg@d.test')
})

test.each([
  { kind: 'delay' as ReportKind, action: 'delayed' as const, until: true },
  { kind: 'success' as ReportKind, action: 'relayed' as const, until: false },
])('a $kind notice says $action', ({ kind, action, until }) => {
  const recipients = [{ address: 'a@d.test', action, dsn: '4.4.1', relay: 'none', reply: 'x' }]
  const { parts } = readMultipart(
    buildReport(
      facts({ kind, recipients, full: false, ...(until ? { retryUntil: Date.UTC(2026, 10, 26) } : {}) }),
    ).bytes,
  )
  const status = readStatus(parts[1]!.body)[1]!
  expect(status.get('action')).toBe(action)
  expect(status.get('will-retry-until')).toBe(until ? 'Thu, 26 Nov 2026 00:00:00 +0000' : undefined)
})

test('a reply of a hostile server cannot add fields or lines', () => {
  const recipients = [
    {
      address: 'a@d.test',
      action: 'failed' as const,
      dsn: '5.0.0',
      relay: 'mx.d.test[192.0.2.1]:25',
      reply: `550 x\r\nAction: delivered\r\n\r\n--=_NOTICEID.1--\0${'y'.repeat(5000)}`,
      remoteMta: 'evil\r\nX: y',
    },
  ]
  const { parts } = readMultipart(buildReport(facts({ recipients })).bytes)
  expect(parts).toHaveLength(3)
  const [, status] = readStatus(parts[1]!.body)
  expect(status!.get('action')).toBe('failed')
  expect(status!.has('x')).toBe(false)
})

test('text is masked and wrapped', () => {
  expect(maskText('a\r\nb\0c\u00fc', false)).toBe('a b?c?')
  expect(maskText('\u00fc', true)).toBe('\u00fc')
  expect(wrapText('one two three', 7, '  ')).toEqual(['one two', '  three'])
})

describe('who hears of a failure', () => {
  test.each([
    { sender: 'a@b.test', classes: [], to: 'sender' },
    { sender: '', classes: ['resource'], to: 'nobody' },
    { sender: '', classes: ['2bounce'], to: 'postmaster' },
    { sender: '', classes: ['bounce'], to: 'postmaster' },
    { sender: 'Double-Bounce@queue.test', classes: ['bounce'], to: 'nobody' },
  ])('sender $sender with $classes: $to', ({ sender, classes, to }) => {
    expect(failureAddressee(sender, 'double-bounce@queue.test', classes).to).toBe(to)
  })
})

describe('templates', () => {
  const settings = (name: string) =>
    ({
      myhostname: 'mx.test',
      delay_warning_time: { ms: 4 * 3_600_000 },
      maximal_queue_lifetime: { ms: 432_000_000 },
    })[name]
  const read = (content: string) => parseTemplates('file', content, 'queue.test', settings)

  test('replace header and text, with settings by their names and times in any unit', () => {
    const { failure, delay, success } = read(
      [
        '# comment',
        'failure_template = <<EOF',
        'Charset: us-ascii',
        'From: MAILER-DAEMON (Mail Delivery System)',
        'Subject: Returned',
        'Postmaster-Subject: Copy: Returned',
        '',
        'Host $myhostname gave up after ${maximal_queue_lifetime_days} days.',
        'It costs $$5.',
        'EOF',
        'delay_template = <<END',
        'Charset: utf-8',
        'Subject: Warnung',
        '',
        'Länger als $(delay_warning_time_hours) Stunden.',
        'END',
      ].join('\n'),
    )
    expect(failure).toMatchObject({
      charset: 'us-ascii',
      from: 'MAILER-DAEMON (Mail Delivery System)',
      subject: 'Returned',
      postmasterSubject: 'Copy: Returned',
    })
    expect(failure.text('sender')).toBe('Host mx.test gave up after 5 days.\nIt costs $5.\n')
    expect(delay.text('sender')).toBe('Länger als 4 Stunden.\n')
    expect(delay.postmasterSubject).toBe('Warnung')
    expect(success.text('sender')).toBe(builtInTemplates('queue.test').success.text('sender'))
    const { top, parts } = readMultipart(buildReport(facts({ kind: 'delay', template: delay })).bytes)
    expect(top.header.get('subject')).toBe('Warnung')
    expect(top.header.get('content-transfer-encoding')).toBe('8bit')
    expect(parts[0]!.header.get('content-type')).toBe('text/plain; charset=utf-8')
    expect(parts[0]!.body).toContain('Länger')
  })

  test.each([
    { name: 'no template', content: 'hello', message: 'file:1: not a template' },
    { name: 'unknown kind', content: 'other_template = <<EOF\nEOF', message: 'file:1: not a template' },
    {
      name: 'no end',
      content: '\nfailure_template = <<EOF\nSubject: x\n',
      message: 'file:2: the end of the template is missing',
    },
    {
      name: 'no header',
      content: 'failure_template = <<EOF\nhello there\nEOF',
      message: 'file:2: not a header',
    },
    {
      name: 'unknown setting',
      content: 'failure_template = <<E\n\n$nothing\nE',
      message: 'file:3: there is no setting nothing',
    },
    {
      name: 'octets beyond ASCII',
      content: 'failure_template = <<E\n\nä\nE',
      message: 'file:3: the text is not ASCII',
    },
  ])('$name', ({ content, message }) => {
    expect(() => read(content)).toThrow(
      expect.objectContaining({ code: 'MA_BOUNCE_TEMPLATE', message: expect.stringContaining(message) }),
    )
  })
})

test('a copy for the postmaster has another subject and no explanation', () => {
  const { top, parts } = readMultipart(buildReport(facts({ audience: 'copy', full: false })).bytes)
  expect(top.header.get('subject')).toBe('Copy for the postmaster: mail was not delivered')
  expect(top.header.get('auto-submitted')).toBe('auto-generated')
  expect(parts[0]!.body).not.toContain('This is the mail system')
  expect(parts[0]!.body).toContain('<a@d.test>')
})

test('a notice that belongs to a thread names the mail it is about', () => {
  const thread = { messageId: '<m@client.test>', references: '<first@client.test>' }
  const { top } = readMultipart(buildReport(facts({ thread })).bytes)
  expect(top.header.get('in-reply-to')).toBe('<m@client.test>')
  expect(top.header.get('references')).toBe('<first@client.test> <m@client.test>')
})

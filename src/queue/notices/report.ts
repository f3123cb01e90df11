/**
 * Notices to senders: RFC 3462 multipart/report with the delivery status of RFC 3464 in it.
 *
 *     1  text/plain                what happened, for people
 *     2  message/delivery-status   the same for programs
 *     3  message/rfc822            the mail, or text/rfc822-headers: its header
 *
 * Mail that needs SMTPUTF8 has the `message/global-*` types of RFC 6533 instead.
 */
import { maskText, wrapText } from './text.ts'

export type ReportKind = 'failure' | 'delay' | 'success'

/** Field `Action` of RFC 3464 section 2.3.3. */
export type ReportAction = 'failed' | 'delayed' | 'delivered' | 'relayed'

export interface ReportedRecipient {
  readonly address: string
  /** Address before rewriting, when it differs. */
  readonly origTo?: string
  /** ORCPT as received: type, semicolon, xtext. */
  readonly orcpt?: string
  readonly action: ReportAction
  /** RFC 3463 code. Expired mail keeps its 4.x.x. */
  readonly dsn: string
  readonly reply: string
  /** Server whose words `reply` is; without it they are ours. */
  readonly remoteMta?: string
}

export interface ReportFacts {
  readonly kind: ReportKind
  /** Our name. */
  readonly hostname: string
  /** Queue id of the notice itself. */
  readonly noticeId: string
  /** Whom it goes to. */
  readonly to: string
  readonly now: number
  readonly recipients: readonly ReportedRecipient[]
  /** The mail it is about. */
  readonly queueId: string
  readonly sender: string
  readonly arrivedAt: number
  readonly envid?: string
  readonly smtputf8?: boolean
  /** When delivery is given up; for `delay`. */
  readonly retryUntil?: number
  /** Goes to the postmaster, not to the sender. */
  readonly isCopy?: boolean
  /** The mail or the beginning of it; undefined: it could not be read. */
  readonly original: Uint8Array | undefined
  /** Whether `original` is returned whole; otherwise its header. */
  readonly full: boolean
}

export interface Report {
  readonly bytes: Uint8Array
  readonly body: '7BIT' | '8BITMIME'
}

const subjects = {
  failure: 'Your mail was not delivered',
  delay: 'Your mail is delayed',
  success: 'Your mail was delivered',
} as const

const introductions = {
  failure:
    'Your mail could not be delivered to the recipients below. It will not be tried again. The reason stands after each address.',
  delay:
    'Your mail has not reached the recipients below yet. You need not send it again: delivery goes on by itself until the time given in the report, and you will be told if it fails for good.',
  success:
    'Your mail was handed over for the recipients below. You get this notice because you asked for it. Where it says "relayed" the next mail system sends no such notices.',
} as const

const postmasterIntroduction =
  'A notice of this mail system could not be delivered to the recipients below, and there is nobody else to tell.'

/** Writes the notice. Its header and structure are ASCII unless the mail needs SMTPUTF8. */
export function buildReport(facts: ReportFacts): Report {
  const utf8 = facts.smtputf8 === true
  const returned = returnedPart(facts)
  const text = Buffer.from(humanPart(facts, utf8))
  const status = Buffer.from(statusPart(facts, utf8))
  const is8bit = hasHighOctet(returned) || hasHighOctet(text) || hasHighOctet(status)
  const boundary = freeBoundary(facts.noticeId, returned)
  const from = `mailer-daemon@${facts.hostname}`
  const part = (type: string, description: string, content: Uint8Array): string =>
    `\r\n--${boundary}\r\nContent-Type: ${type}\r\nContent-Description: ${description}\r\n${
      hasHighOctet(content) ? 'Content-Transfer-Encoding: 8bit\r\n' : ''
    }\r\n`
  const head = [
    `Received: by ${facts.hostname} (mailactors) id ${facts.noticeId};`,
    `\t${mailDate(facts.now)}`,
    `Date: ${mailDate(facts.now)}`,
    `From: "Mail system at ${facts.hostname}" <${from}>`,
    `To: <${maskText(facts.to, utf8)}>`,
    `Subject: ${facts.isCopy === true ? 'A notice could not be delivered' : subjects[facts.kind]}`,
    `Message-ID: <${facts.noticeId}@${facts.hostname}>`,
    `Auto-Submitted: ${facts.isCopy === true ? 'auto-generated' : 'auto-replied'}`,
    'MIME-Version: 1.0',
    'Content-Type: multipart/report; report-type=delivery-status;',
    `\tboundary="${boundary}"`,
    ...(is8bit ? ['Content-Transfer-Encoding: 8bit'] : []),
    '',
    'This is a delivery report in MIME format.',
    '',
  ].join('\r\n')
  const bytes = Buffer.concat([
    Buffer.from(head),
    Buffer.from(
      part(`text/plain; charset=${hasHighOctet(text) ? 'utf-8' : 'us-ascii'}`, 'Explanation', text),
    ),
    text,
    Buffer.from(
      part(utf8 ? 'message/global-delivery-status' : 'message/delivery-status', 'Delivery report', status),
    ),
    status,
    Buffer.from(part(returnedType(facts, utf8), facts.full ? 'Your mail' : 'Header of your mail', returned)),
    returned,
    Buffer.from(`\r\n--${boundary}--\r\n`),
  ])
  return { bytes, body: is8bit ? '8BITMIME' : '7BIT' }
}

function returnedType(facts: ReportFacts, utf8: boolean): string {
  if (facts.full) return utf8 ? 'message/global' : 'message/rfc822'
  return utf8 ? 'message/global-headers' : 'text/rfc822-headers'
}

function humanPart(facts: ReportFacts, utf8: boolean): string {
  const lines = [
    `This is the mail system at ${facts.hostname}.`,
    '',
    ...wrapText(facts.isCopy === true ? postmasterIntroduction : introductions[facts.kind], 79),
    '',
    ...wrapText(
      `Attached are a report for programs and ${facts.full ? 'your mail' : 'the header of your mail'}. If you need help, write to <postmaster@${facts.hostname}> and quote ${facts.queueId}.`,
      79,
    ),
  ]
  for (const recipient of facts.recipients) {
    const before = recipient.origTo === undefined ? '' : ` (sent to <${recipient.origTo}>)`
    const said = recipient.remoteMta === undefined ? '' : `${recipient.remoteMta} said: `
    lines.push(
      '',
      ...wrapText(maskText(`<${recipient.address}>${before}: ${said}${recipient.reply}`, true), 79, '    '),
    )
  }
  const text = `${lines.join('\r\n')}\r\n`
  return utf8 ? text : text.replaceAll(/[^\x00-\x7f]/g, '?')
}

function statusPart(facts: ReportFacts, utf8: boolean): string {
  const addressType = utf8 ? 'utf-8' : 'rfc822'
  const fields: string[] = []
  const field = (name: string, value: string): void => {
    fields.push(...wrapText(`${name}: ${maskText(value, utf8)}`, 79, '    '))
  }
  field('Reporting-MTA', `dns; ${facts.hostname}`)
  if (facts.envid !== undefined) field('Original-Envelope-Id', facts.envid)
  field('X-Mailactors-Queue-ID', facts.queueId)
  field('X-Mailactors-Sender', `${addressType}; ${facts.sender}`)
  field('Arrival-Date', mailDate(facts.arrivedAt))
  for (const recipient of facts.recipients) {
    fields.push('')
    if (recipient.orcpt !== undefined) field('Original-Recipient', decodeOrcpt(recipient.orcpt))
    else if (recipient.origTo !== undefined)
      field('Original-Recipient', `${addressType}; ${recipient.origTo}`)
    field('Final-Recipient', `${addressType}; ${recipient.address}`)
    field('Action', recipient.action)
    field('Status', recipient.dsn)
    if (recipient.remoteMta !== undefined) field('Remote-MTA', `dns; ${recipient.remoteMta}`)
    field(
      'Diagnostic-Code',
      `${recipient.remoteMta === undefined ? 'X-Mailactors' : 'smtp'}; ${recipient.reply}`,
    )
    if (facts.retryUntil !== undefined) field('Will-Retry-Until', mailDate(facts.retryUntil))
  }
  return `${fields.join('\r\n')}\r\n`
}

/** RFC 3461 section 4.2: `addr-type ";" xtext`. */
function decodeOrcpt(orcpt: string): string {
  const [, type = 'rfc822', address = orcpt] = /^([^;]*);(.*)$/s.exec(orcpt) ?? []
  const decoded = address.replaceAll(/\+([0-9A-F]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
  return `${type}; ${decoded}`
}

function returnedPart(facts: ReportFacts): Uint8Array {
  const returnPath = Buffer.from(`Return-Path: <${maskText(facts.sender, facts.smtputf8 === true)}>\r\n`)
  if (facts.original === undefined) return returnPath
  return Buffer.concat([returnPath, facts.full ? facts.original : headerOf(facts.original)])
}

/** The header with the line end of its last line; all, when no empty line follows. */
function headerOf(original: Uint8Array): Uint8Array {
  const bytes = Buffer.from(original.buffer, original.byteOffset, original.byteLength)
  if (bytes.indexOf('\r\n') === 0) return bytes.subarray(0, 0)
  const end = bytes.indexOf('\r\n\r\n')
  if (end !== -1) return bytes.subarray(0, end + 2)
  // The beginning of a header that is longer than what was read: up to its last whole line.
  return bytes.subarray(0, bytes.lastIndexOf('\r\n') + 2)
}

function freeBoundary(noticeId: string, content: Uint8Array): string {
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength)
  for (let number = 0; ; number++) {
    const boundary = `=_${noticeId}.${number}`
    if (!bytes.includes(boundary)) return boundary
  }
}

function hasHighOctet(bytes: Uint8Array): boolean {
  return /[^\x00-\x7f]/.test(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1'))
}

/** RFC 5322 section 3.3, in UTC. */
/** RFC 5322 section 3.3, in UTC. */
export function mailDate(time: number): string {
  return new Date(time).toUTCString().replace('GMT', '+0000')
}

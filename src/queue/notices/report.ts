/**
 * Notices to senders: RFC 3462 multipart/report with the delivery status of RFC 3464 in it.
 *
 *     1  text/plain                what happened, for people
 *     2  message/delivery-status   the same for programs
 *     3  message/rfc822            the mail, or text/rfc822-headers: its header
 *
 * Mail that needs SMTPUTF8 has the `message/global-*` types of RFC 6533 instead.
 */
import { mailDate, traceField } from '../trace-field.ts'
import type { NoticeTemplate } from './template.ts'
import { maskText, wrapText } from './text.ts'

export type ReportKind = 'failure' | 'delay' | 'success' | 'verify'

/** To the sender; to the postmaster beside the sender; to the postmaster because the sender cannot be told. */
export type Audience = 'sender' | 'copy' | 'double-bounce'

/** Field `Action` of RFC 3464 section 2.3.3. */
export type ReportAction =
  | 'failed'
  | 'delayed'
  | 'delivered'
  | 'relayed'
  /** Of an address that was only asked for; RFC 3464 has no word for it. */
  | 'deliverable'
  | 'undeliverable'

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
  /** `name[address]:port`, `local`, or `none`. */
  readonly relay: string
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
  /** Whether recipients that came without ORCPT are named as we got them. */
  readonly namesOriginals: boolean
  /** When delivery is given up; for `delay`. */
  readonly retryUntil?: number
  readonly audience: Audience
  readonly template: NoticeTemplate
  /** The original's Message-ID and References, for mail programs to show the notice beside it. */
  readonly thread?: { readonly messageId: string; readonly references: string }
  /** The mail or the beginning of it; undefined: it could not be read. */
  readonly original: Uint8Array | undefined
  /** Whether `original` is returned whole; otherwise its header. */
  readonly full: boolean
}

export interface Report {
  readonly bytes: Uint8Array
  readonly body: '7BIT' | '8BITMIME'
}

/** Writes the notice. Its header and structure are ASCII unless the mail needs SMTPUTF8. */
export function buildReport(facts: ReportFacts): Report {
  const utf8 = facts.smtputf8 === true
  const returned = returnedPart(facts)
  const text = Buffer.from(humanPart(facts))
  const status = Buffer.from(statusPart(facts, utf8))
  const is8bit = hasHighOctet(returned) || hasHighOctet(text) || hasHighOctet(status)
  const boundary = freeBoundary(facts.noticeId, returned)
  const part = (type: string, description: string, content: Uint8Array): string =>
    `\r\n--${boundary}\r\nContent-Type: ${type}\r\nContent-Description: ${description}\r\n${
      hasHighOctet(content) ? 'Content-Transfer-Encoding: 8bit\r\n' : ''
    }\r\n`
  const { template, audience, thread } = facts
  const isCopy = audience !== 'sender'
  const head = [
    traceField(facts.hostname, facts.noticeId, facts.now),
    `Date: ${mailDate(facts.now)}`,
    `From: ${template.from}`,
    `To: ${addressField(facts.to, utf8)}`,
    `Subject: ${isCopy ? template.postmasterSubject : template.subject}`,
    `Message-ID: <${facts.noticeId}@${facts.hostname}>`,
    ...(thread === undefined
      ? []
      : [
          `In-Reply-To: ${thread.messageId}`,
          `References: ${[thread.references, thread.messageId].filter(Boolean).join('\r\n\t')}`,
        ]),
    `Auto-Submitted: ${isCopy ? 'auto-generated' : 'auto-replied'}`,
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
    Buffer.from(part(`text/plain; charset=${charsetOf(template, text)}`, 'Explanation', text)),
    text,
    Buffer.from(
      part(utf8 ? 'message/global-delivery-status' : 'message/delivery-status', 'Delivery report', status),
    ),
    status,
    Buffer.from(part(returnedType(facts, utf8), facts.full ? 'The mail' : 'Header of the mail', returned)),
    returned,
    Buffer.from(`\r\n--${boundary}--\r\n`),
  ])
  return { bytes, body: is8bit ? '8BITMIME' : '7BIT' }
}

function returnedType(facts: ReportFacts, utf8: boolean): string {
  if (facts.full) return utf8 ? 'message/global' : 'message/rfc822'
  return utf8 ? 'message/global-headers' : 'text/rfc822-headers'
}

/** The charset of a template of the operator; ours are ASCII, and what servers said may not be. */
function charsetOf({ charset }: NoticeTemplate, text: Uint8Array): string {
  return charset === 'us-ascii' && hasHighOctet(text) ? 'utf-8' : charset
}

function addressField(address: string, utf8: boolean): string {
  const text = maskText(address, utf8)
  return /^[^\s<>(),;:"[\]]+$/.test(text) ? text : `<${text}>`
}

function humanPart(facts: ReportFacts): string {
  const { template, audience } = facts
  const lines =
    audience === 'copy'
      ? []
      : template
          .text(audience)
          .trimEnd()
          .split('\n')
          .map((line) => line.trimEnd())
  for (const recipient of facts.recipients) {
    const before =
      !facts.namesOriginals ||
      recipient.origTo === undefined ||
      recipient.origTo.toLowerCase() === recipient.address.toLowerCase()
        ? ''
        : ` (expanded from <${recipient.origTo}>)`
    const said = recipient.remoteMta === undefined ? '' : `${recipient.remoteMta} said: `
    const took = /^(?:delivered|relayed|deliverable)$/.test(recipient.action) && recipient.relay !== 'none'
    const lead = took ? `taken by ${recipient.relay}: ` : said
    lines.push(
      '',
      ...wrapText(maskText(`<${recipient.address}>${before}: ${lead}${recipient.reply}`, true), 79, '    '),
    )
  }
  return `${lines.join('\r\n')}\r\n`
}

function statusPart(facts: ReportFacts, utf8: boolean): string {
  // RFC 6533 section 3: the type belongs to the address, not to the mail.
  const typed = (address: string): string => (utf8 && /[^\x00-\x7f]/.test(address) ? 'utf-8' : 'rfc822')
  const fields: string[] = []
  const field = (name: string, value: string): void => {
    fields.push(...wrapText(`${name}: ${maskText(value, utf8)}`, 79, '    '))
  }
  field('Reporting-MTA', `dns; ${facts.hostname}`)
  if (facts.envid !== undefined) field('Original-Envelope-Id', facts.envid)
  field('X-Mailactors-Queue-ID', facts.queueId)
  const sender = facts.sender === '' ? `MAILER-DAEMON@${facts.hostname}` : facts.sender
  field('X-Mailactors-Sender', `${typed(sender)}; ${sender}`)
  field('Arrival-Date', mailDate(facts.arrivedAt))
  for (const recipient of facts.recipients) {
    fields.push('')
    field('Final-Recipient', `${typed(recipient.address)}; ${recipient.address}`)
    if (recipient.orcpt !== undefined) field('Original-Recipient', decodeOrcpt(recipient.orcpt))
    else if (facts.namesOriginals) {
      // RFC 3461 does not ask for it, and mail systems expect it.
      const original = recipient.origTo ?? recipient.address
      field('Original-Recipient', `${typed(original)};${original}`)
    }
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
  return `${type};${decoded}`
}

function returnedPart(facts: ReportFacts): Uint8Array {
  const returnPath = Buffer.from(`Return-Path: <${maskText(facts.sender, facts.smtputf8 === true)}>\r\n`)
  if (facts.original === undefined) return returnPath
  return Buffer.concat([returnPath, facts.full ? facts.original : headerOf(facts.original)])
}

/** A field of a header, unfolded to one line; empty when it is not there. */
export function headerField(original: Uint8Array, name: string): string {
  const header = Buffer.from(headerOf(original)).toString('latin1')
  const match = new RegExp(`^${name}:((?:.*\\r\\n[ \\t])*.*)$`, 'im').exec(header)
  return (match?.[1] ?? '').replaceAll(/\r\n[ \t]+/g, ' ').trim()
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

/** What the server looks for in the header of a mail, RFC 5322 section 2.2, and what it puts in front of it. */
import type { ClientInfo } from '../../../queue/contract.ts'

export interface HeaderFacts {
  /** Received fields: one per server the mail came through. */
  readonly hops: number
  readonly hasDate: boolean
  readonly hasMessageId: boolean
  readonly hasFrom: boolean
  /** The content begins with its body: an empty line has to go between it and fields put in front. */
  readonly isMissing: boolean
}

const field = /^[!-9;-~]+[ \t]*:/
const received = /(?:^|\n)received[ \t]*:/gi
const emptyLine = Buffer.from('\r\n\r\n')

/** Looks at the header within `head`, the first octets of the content: all of them, or more than any sane header has. */
export function readHeader(head: Buffer): HeaderFacts {
  if (head.length >= 2 && head[0] === 13 && head[1] === 10) return noHeader(false)
  const end = head.indexOf(emptyLine)
  const text = head.toString('latin1', 0, end === -1 ? head.length : end)
  if (!field.test(text)) return noHeader(head.length > 0)
  return {
    hops: text.match(received)?.length ?? 0,
    hasDate: /(?:^|\n)date[ \t]*:/i.test(text),
    hasMessageId: /(?:^|\n)message-id[ \t]*:/i.test(text),
    hasFrom: /(?:^|\n)from[ \t]*:/i.test(text),
    isMissing: false,
  }
}

const noHeader = (isMissing: boolean): HeaderFacts => ({
  hops: 0,
  hasDate: false,
  hasMessageId: false,
  hasFrom: false,
  isMissing,
})

export interface TraceFacts {
  readonly queueId: string
  readonly hostname: string
  readonly client: ClientInfo
  /** Milliseconds since the epoch. */
  readonly arrivedAt: number
  /** The recipient, when there is only one: more would tell each of the others (RFC 5321 section 7.2). */
  readonly recipient: string | undefined
}

/** The Received field of RFC 5321 section 4.4, with its CRLF. */
export function receivedField(trace: TraceFacts): string {
  const { client, queueId, hostname, recipient, arrivedAt } = trace
  const receiver = recipient === undefined ? '' : `\r\n\tfor <${recipient}>`
  const date = headerDate(arrivedAt)
  if (client.protocol === 'local') {
    const user = client.user === undefined ? '' : `, from user ${headerWord(client.user)}`
    return `Received: by ${hostname} (mailactors${user})\r\n\tid ${queueId}${receiver};\r\n\t${date}\r\n`
  }
  const from = headerWord(client.helo ?? '') || 'unknown'
  const origin =
    client.address === 'unix'
      ? 'unix socket'
      : `${client.name ?? 'unknown'} ${addressLiteral(client.address)}`
  return (
    `Received: from ${from} (${origin})\r\n` +
    `\tby ${hostname} (mailactors) with ${client.protocol} id ${queueId}${receiver};\r\n` +
    `\t${date}\r\n`
  )
}

/** Fields that mail of a user must have (RFC 6409 section 8) and that it came without. */
export function submissionFields(header: HeaderFacts, trace: TraceFacts, sender: string): string {
  let fields = ''
  if (!header.hasFrom) fields += `From: <${sender === '' ? `MAILER-DAEMON@${trace.hostname}` : sender}>\r\n`
  if (!header.hasDate) fields += `Date: ${headerDate(trace.arrivedAt)}\r\n`
  if (!header.hasMessageId) fields += `Message-ID: <${trace.queueId}@${trace.hostname}>\r\n`
  return fields
}

/** `[192.0.2.1]`, `[IPv6:2001:db8::1]`: RFC 5321 section 4.1.3. */
export function addressLiteral(address: string): string {
  return address.includes(':') ? `[IPv6:${address}]` : `[${address}]`
}

/**
 * The word of RFC 3848 and RFC 6531 section 4.3 for how the mail came: ESMTP, and S with TLS, A with a login.
 */
export function protocolWord(session: {
  readonly service: 'smtp' | 'submission' | 'lmtp'
  readonly greeting: 'HELO' | 'EHLO' | 'LHLO' | undefined
  readonly smtputf8: boolean
  readonly isSecured: boolean
  readonly isAuthenticated: boolean
}): string {
  if (session.greeting !== 'EHLO' && session.greeting !== 'LHLO') return 'SMTP'
  const base = session.service === 'lmtp' ? 'LMTP' : session.smtputf8 ? 'SMTP' : 'ESMTP'
  const word = session.smtputf8 ? `UTF8${base}` : base
  return `${word}${session.isSecured ? 'S' : ''}${session.isAuthenticated ? 'A' : ''}`
}

let lastSecond = -1
let lastDate = ''

/** RFC 5322 section 3.3, in UTC. The last second is remembered: a busy server asks for it thousands of times. */
function headerDate(now: number): string {
  const second = Math.floor(now / 1000)
  if (second !== lastSecond) {
    lastSecond = second
    lastDate = new Date(second * 1000).toUTCString().replace('GMT', '+0000 (UTC)')
  }
  return lastDate
}

/** What a client called itself, fit for a header: nothing that ends a word, a comment or a line. */
function headerWord(text: string): string {
  return text.replace(/[^!-'*-:<-~\u0080-\u{10ffff}]/gu, '?').slice(0, 255)
}

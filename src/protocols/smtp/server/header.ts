/** What the server looks for in the header of a mail, RFC 5322 section 2.2, and what it puts in front of it. */
import type { ClientInfo } from '../../../queue/contract.ts'
import { decodeXtext } from '../xtext.ts'

/** What is done to a header as it comes in. */
export interface HeadOptions {
  /** Fields that go in front of it, each with its CRLF. */
  readonly front: string
  /** Names of fields that are taken out, in lower case. */
  readonly drops: ReadonlySet<string>
  /** Fields that are added at its end where they are missing; undefined: none. */
  readonly completion: ((name: Completed) => string) | undefined
}

/** Fields that mail of a user must have (RFC 6409 section 8), in the order in which they are added. */
export const completed = ['Message-Id', 'Date', 'From'] as const
export type Completed = (typeof completed)[number]

export interface ComposedHead {
  /** What takes the place of the head. */
  readonly slices: readonly Buffer[]
  /** Received fields: one per server the mail came through. */
  readonly hops: number
  /** The body says of itself that it is 8-bit, whatever the client said of it. */
  readonly isEightBit: boolean
  /** As it stands there, or was added; empty without one. */
  readonly messageId: string
}

const eightBit = /[ \t]*(?:8bit|binary)[ \t]*\r\n/iy
const fieldName = /([!-9;-~]+)([ \t]*):/y
const mboxLine = />*From /y

/**
 * The header within `head`, the first octets of the content, as it is kept. `isAll`: there is no more content; without
 * it a header that does not end in `head` is larger than any sane one, and nothing is added to it.
 *
 * The header ends at the first line that is neither a field nor the continuation of one. When that is no empty line,
 * one is put in front of it, so that for every reader the same lines are the header.
 */
export function composeHead(head: Buffer, isAll: boolean, options: HeadOptions): ComposedHead {
  const text = head.toString('latin1')
  const slices: Buffer[] = []
  const names = new Set<string>()
  let hops = 0
  let isEightBit = false
  let messageId = ''
  let at = 0
  /** Where begins what is kept and not in `slices` yet. */
  let kept = 0
  let front = options.front
  const keep = (to: number) => {
    if (to > kept) slices.push(head.subarray(kept, to))
  }
  mboxLine.lastIndex = 0
  if (mboxLine.test(text)) front += 'X-Mailbox-Line: '
  // With that in front of it, it is a field.
  let isMbox = front !== options.front
  slices.push(Buffer.from(front))
  let ending: 'blank' | 'body' | 'none' = 'none'
  let isDropping = false
  while (at < text.length) {
    const lineEnd = text.indexOf('\r\n', at)
    const next = lineEnd === -1 ? text.length : lineEnd + 2
    const first = text.charCodeAt(at)
    if (lineEnd === at) {
      ending = 'blank'
      break
    }
    if (!isMbox && (first === 32 || first === 9)) {
      if (at === 0) {
        ending = 'body'
        break
      }
    } else {
      fieldName.lastIndex = at
      const found = isMbox ? undefined : fieldName.exec(text)
      const name = isMbox ? 'x-mailbox-line' : found?.[1]?.toLowerCase()
      isMbox = false
      if (name === undefined) {
        // A line cut short by the end of the head says nothing.
        if (lineEnd !== -1 || isAll) ending = 'body'
        break
      }
      names.add(name)
      if (name === 'received') hops += 1
      else if (name === 'content-transfer-encoding') {
        eightBit.lastIndex = at + found![0].length
        isEightBit = eightBit.test(text)
      } else if (name === 'message-id') {
        messageId = text.slice(at + found![0].length, lineEnd === -1 ? text.length : lineEnd).trim()
      }
      const isDropped = options.drops.has(name)
      if (isDropped && !isDropping) keep(at)
      if (!isDropped && isDropping) kept = at
      isDropping = isDropped
      if (!isDropped && found?.[2]) {
        // Blanks before the colon are of RFC 822; for some readers such a line is no field.
        const nameEnd = at + found[1]!.length
        keep(nameEnd)
        kept = nameEnd + found[2].length
      }
    }
    at = next
  }
  if (isDropping) kept = at
  if (ending === 'none' && !isAll) {
    keep(head.length)
    return { slices, hops, isEightBit, messageId }
  }
  keep(at)
  const added = missingFields(names, options.completion)
  messageId ||= /^Message-Id: (.*)\r\n/m.exec(added)?.[1] ?? ''
  const end = added + (ending === 'body' ? '\r\n' : '')
  if (end !== '') slices.push(Buffer.from(end))
  if (at < head.length) slices.push(head.subarray(at))
  return { slices, hops, isEightBit, messageId }
}

/** With one Resent field there, it is the Resent variants that have to be complete: RFC 5322 section 3.6.6. */
function missingFields(names: ReadonlySet<string>, completion: HeadOptions['completion']): string {
  if (completion === undefined) return ''
  let isResent = false
  for (const name of names) isResent ||= name.startsWith('resent-')
  const prefix = isResent ? 'Resent-' : ''
  let fields = ''
  for (const name of completed) {
    const full = prefix + name
    if (!names.has(full.toLowerCase())) fields += `${full}: ${completion(name)}\r\n`
  }
  return fields
}

export interface TraceFacts {
  readonly queueId: string
  readonly hostname: string
  readonly client: ClientInfo
  /** Milliseconds since the epoch. */
  readonly arrivedAt: number
  /** The recipient, when there is only one: more would tell each of the others (RFC 5321 section 7.2). */
  readonly recipient: string | undefined
}

/** The Received field of RFC 5321 section 4.4, with its CRLF. `comments` stand each on a line of their own. */
export function receivedField(trace: TraceFacts, comments: readonly string[] = []): string {
  const { client, queueId, hostname, recipient, arrivedAt } = trace
  const end = `${recipient === undefined ? ';\r\n\t' : `\r\n\tfor <${recipient}>; `}${headerDate(arrivedAt)}\r\n`
  if (client.protocol === 'local') {
    const user = client.user === undefined ? '' : `, from user ${headerWord(client.user)}`
    return `Received: by ${hostname} (mailactors${user})\r\n\tid ${queueId}${end}`
  }
  const name = client.name ?? 'unknown'
  const from = headerWord(client.helo ?? '') || name
  const origin = client.address === 'unix' ? 'unix socket' : `${name} ${addressLiteral(client.address)}`
  const more = comments.map((comment) => `\r\n\t(${comment})`).join('')
  return (
    `Received: from ${from} (${origin})${more}\r\n` +
    `\tby ${hostname} (mailactors) with ${client.protocol} id ${queueId}${end}`
  )
}

export const deliveredToField = (address: string): string => `Delivered-To: ${address}\r\n`

/** The address of an ORCPT parameter (`rfc822;xtext`); undefined: there is none that a header can have. */
export function originalAddress(orcpt: string | undefined): string | undefined {
  const [type, text] = orcpt?.split(/;(.*)/s) ?? []
  const address = type?.toLowerCase() === 'rfc822' ? decodeXtext(text ?? '') : undefined
  return address === undefined || !/^[^\p{Cc}]+$/u.test(address) ? undefined : address
}

/** The value of a field that mail came without. */
export function completeField(name: Completed, trace: TraceFacts, sender: string): string {
  switch (name) {
    case 'Message-Id':
      return `<${new Date(trace.arrivedAt).toISOString().replace(/[-:T]|\..*/g, '')}.${trace.queueId}@${trace.hostname}>`
    case 'Date':
      return headerDate(trace.arrivedAt)
    case 'From':
      return sender === '' ? 'MAILER-DAEMON' : sender
  }
}

/** What a comment may hold: neither its end nor another one. */
export const commentText = (text: string): string => text.replace(/[()\\]|[^ -~\u0080-\u{10ffff}]/gu, '?')

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

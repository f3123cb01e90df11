/**
 * A mail as a local program hands it in, made into one that can be sent: line ends, missing fields, recipients
 * from the header. Works on octets in latin1, so that what is not ASCII goes through as it came.
 */
import { isAscii } from 'node:buffer'
import { type Completed, composeHead } from '../protocols/smtp/server/header.ts'
import { addressesIn } from './address-list.ts'

export interface MailOptions {
  /** Address of the sender; empty: the null reverse-path. */
  readonly sender: string
  /** Full name for a From field that is missing. */
  readonly fullName?: string
  /** A line with a single dot is content, not the end. */
  readonly ignoreDots: boolean
  /** It comes from somewhere else (-G): nothing is added to its header. */
  readonly isForeign?: boolean
  readonly hostname: string
  readonly now: Date
  /** Makes the Message-Id unique. */
  readonly unique: string
}

export interface PreparedMail {
  readonly content: Buffer
  /** Addresses of To, Cc and Bcc, or of their Resent- variants when there are any. */
  readonly headerRecipients: readonly string[]
  readonly isEightBit: boolean
}

interface Field {
  /** In lower case. */
  readonly name: string
  /** With its continuation lines, without the line end. */
  readonly lines: readonly string[]
}

/** Fields that are about how it got here, or are nobody's business: Postfix drops the same. */
const dropped: ReadonlySet<string> = new Set(['bcc', 'resent-bcc', 'content-length', 'return-path'])

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const days = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat']

export function prepareMail(octets: Buffer, options: MailOptions): PreparedMail {
  const lines = linesOf(octets.toString('latin1'), options.ignoreDots)
  const { slices } = composeHead(Buffer.from(lines.map((line) => `${line}\r\n`).join(''), 'latin1'), true, {
    front: '',
    drops: dropped,
    completion: options.isForeign === true ? undefined : (name) => completed(name, options),
  })
  const content = Buffer.concat(slices)
  return {
    content,
    headerRecipients: headerRecipients(fieldsOf(lines)),
    // Anything outside ASCII: 8BITMIME has to be asked for.
    isEightBit: !isAscii(content),
  }
}

function linesOf(text: string, ignoreDots: boolean): readonly string[] {
  // A bare CR inside a line is no line end; in front of an LF it is.
  let lines = text.split(/\r*\n/)
  if (lines.at(-1) === '') lines.pop()
  if (!ignoreDots) {
    const end = lines.indexOf('.')
    if (end >= 0) lines = lines.slice(0, end)
  }
  // What mbox puts in front of a mail.
  if (/^>*From /.test(lines[0] ?? '')) lines.shift()
  return lines
}

function fieldsOf(lines: readonly string[]): readonly Field[] {
  const fields: { name: string; lines: string[] }[] = []
  for (const line of lines) {
    const name = /^([!-9;-~]+)[ \t]*:/.exec(line)?.[1]
    if (name !== undefined) fields.push({ name: name.toLowerCase(), lines: [line] })
    else if (/^[ \t]/.test(line) && fields.length > 0) fields.at(-1)?.lines.push(line)
    else break
  }
  return fields
}

function completed(name: Completed, options: MailOptions): string {
  switch (name) {
    case 'Message-Id':
      return `<${options.unique}@${options.hostname}>`
    case 'Date':
      return dateText(options.now)
    case 'From':
      return fromText(options)
  }
}

function fromText({ sender, fullName, hostname }: MailOptions): string {
  const address = sender === '' ? `MAILER-DAEMON@${hostname}` : sender
  const name = fullName?.replace(/[\r\n\0]+/g, ' ').trim() ?? ''
  if (name === '') return address
  const isPlain = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+$/.test(name)
  // RFC 2047 section 5 wants other letters encoded.
  const phrase = isPlain
    ? name
    : /^[\x20-\x7e]+$/.test(name)
      ? `"${name.replace(/["\\]/g, '\\$&')}"`
      : `=?utf-8?B?${Buffer.from(name).toString('base64')}?=`
  return `${phrase} <${address}>`
}

function headerRecipients(fields: readonly Field[]): readonly string[] {
  const of = (names: readonly string[]) =>
    fields
      .filter(({ name }) => names.includes(name))
      .flatMap(({ lines }) => {
        const value = lines.join(' ')
        return addressesIn(Buffer.from(value.slice(value.indexOf(':') + 1), 'latin1').toString('utf8'))
      })
  const resent = of(['resent-to', 'resent-cc', 'resent-bcc'])
  return resent.length > 0 ? resent : of(['to', 'cc', 'bcc'])
}

/** RFC 5322 section 3.3, in local time. */
export function dateText(now: Date): string {
  const two = (value: number) => String(value).padStart(2, '0')
  const offset = -now.getTimezoneOffset()
  const zone = `${offset < 0 ? '-' : '+'}${two(Math.floor(Math.abs(offset) / 60))}${two(Math.abs(offset) % 60)}`
  const clock = [now.getHours(), now.getMinutes(), now.getSeconds()].map(two).join(':')
  return `${days[now.getDay()]}, ${now.getDate()} ${months[now.getMonth()]} ${now.getFullYear()} ${clock} ${zone}`
}

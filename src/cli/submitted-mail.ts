/**
 * A mail as a local program hands it in, made into one that can be sent: line ends, missing fields, recipients
 * from the header. Works on octets in latin1, so that what is not ASCII goes through as it came.
 */
import { addressesIn } from './address-list.ts'

export interface MailOptions {
  /** Address of the sender; empty: the null reverse-path. */
  readonly sender: string
  /** Full name for a From field that is missing. */
  readonly fullName?: string
  /** A line with a single dot is content, not the end. */
  readonly ignoreDots: boolean
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
const dropped = ['bcc', 'resent-bcc', 'content-length', 'return-path']

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const days = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat']

export function prepareMail(octets: Buffer, options: MailOptions): PreparedMail {
  const text = octets.toString('latin1')
  const { fields, body } = split(text, options.ignoreDots)
  const kept = fields.filter(({ name }) => !dropped.includes(name))
  const head = [...missingFields(fields, options), ...kept.flatMap(({ lines }) => lines)]
  const content = Buffer.from([...head, '', ...body, ''].join('\r\n'), 'latin1')
  return {
    content,
    headerRecipients: headerRecipients(fields),
    // Anything outside ASCII: 8BITMIME has to be asked for.
    isEightBit: /[\x80-\xff]/.test(text),
  }
}

function split(text: string, ignoreDots: boolean): { fields: readonly Field[]; body: readonly string[] } {
  // A bare CR inside a line is no line end; in front of an LF it is.
  let lines = text.split(/\r?\n/)
  if (lines.at(-1) === '') lines.pop()
  if (!ignoreDots) {
    const end = lines.indexOf('.')
    if (end >= 0) lines = lines.slice(0, end)
  }
  // What mbox puts in front of a mail.
  if (/^>?From /.test(lines[0] ?? '')) lines.shift()
  const fields: { name: string; lines: string[] }[] = []
  let at = 0
  for (; at < lines.length; at++) {
    const line = lines[at] ?? ''
    const name = /^([!-9;-~]+)[ \t]*:/.exec(line)?.[1]
    if (name !== undefined) fields.push({ name: name.toLowerCase(), lines: [line] })
    else if (/^[ \t]/.test(line) && fields.length > 0 && line.trim() !== '') fields.at(-1)?.lines.push(line)
    else break
  }
  // An empty line ends the header; anything else that is no field begins the body.
  const body = lines.slice(lines[at] === '' ? at + 1 : at)
  return { fields, body }
}

function missingFields(fields: readonly Field[], options: MailOptions): string[] {
  const has = (name: string) => fields.some((field) => field.name === name)
  const added: string[] = []
  if (!has('date')) added.push(`Date: ${dateText(options.now)}`)
  if (!has('from')) added.push(`From: ${fromText(options)}`)
  if (!has('message-id')) added.push(`Message-Id: <${options.unique}@${options.hostname}>`)
  return added
}

function fromText({ sender, fullName, hostname }: MailOptions): string {
  const address = sender === '' ? `MAILER-DAEMON@${hostname}` : sender
  const name = fullName?.replace(/[\r\n\0]+/g, ' ').trim() ?? ''
  if (name === '') return asLatin1(address)
  const isPlain = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+$/.test(name)
  // RFC 2047 section 5 wants other letters encoded.
  const phrase = isPlain
    ? name
    : /^[\x20-\x7e]+$/.test(name)
      ? `"${name.replace(/["\\]/g, '\\$&')}"`
      : `=?utf-8?B?${Buffer.from(name).toString('base64')}?=`
  return asLatin1(`${phrase} <${address}>`)
}

function asLatin1(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1')
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

/**
 * Addresses of the SMTP envelope, RFC 5321 section 4.1.2 and, for UTF-8, RFC 6531 section 3.3:
 *
 *     Path          = "<" [ A-d-l ":" ] Mailbox ">"
 *     A-d-l         = At-domain *( "," At-domain )
 *     Mailbox       = Local-part "@" ( Domain / address-literal )
 *     Local-part    = Dot-string / Quoted-string
 *     Quoted-string = DQUOTE *( %d32-33 / %d35-91 / %d93-126 / "\" %d32-126 ) DQUOTE
 *     Domain        = sub-domain *( "." sub-domain )
 *
 * Used by the server to read paths and by the client to write them. In between an address has one canonical
 * form, `canonicalAddress`: the local part quoted only if it has to be, the source route gone.
 */
import { isIP, isIPv6 } from 'node:net'

/** Longest path in octets with its angle brackets, RFC 5321 section 4.5.3.1.3. */
export const maxPathOctets = 256
/** Longest domain in octets, RFC 5321 section 4.5.3.1.2. */
export const maxDomainOctets = 255

export interface Mailbox {
  /** Unquoted. */
  readonly localPart: string
  /** Without a trailing dot; an address literal with its brackets; empty: none was given. */
  readonly domain: string
}

/** `null`: the null reverse-path `<>`. */
export type ParsedPath =
  | { readonly ok: true; readonly mailbox: Mailbox | null; readonly rest: string }
  | { readonly ok: false; readonly reason: string }

const atext =
  /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\u{10ffff}-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\u{10ffff}-]+)*$/u
// Dots at the ends or side by side make no Dot-string, but there are mailboxes with such names, and Postfix takes them.
const lenientLocalPart = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\u0080-\u{10ffff}-]+$/u
// An underscore is no letter of a domain in RFC 5321, but hosts with one in their name send mail every day.
const label =
  /^[A-Za-z0-9_\u0080-\u{10ffff}](?:[A-Za-z0-9_\u0080-\u{10ffff}-]*[A-Za-z0-9_\u0080-\u{10ffff}])?$/u
const sourceRoute = /^@[^\s"<>:]+(?:,@[^\s"<>:]+)*:/
const control = /[\u0000-\u001f\u007f]/
const nonAscii = /[^\u0000-\u007f]/

/**
 * Reads a path at the start of `text`, the text after `FROM:` or `TO:`. `rest` is what follows it: empty or
 * starting with a space. A source route is read and dropped, as RFC 5321 appendix C asks.
 *
 * A domain may be missing (its absence is seen in `domain`), a dot may follow it, and dots may stand anywhere in the
 * local part. `lenient`, as Postfix is by default: angle brackets may be missing or doubled, and comments, spaces and
 * unquoted characters are read as in RFC 5322.
 */
export function parsePath(text: string, form: 'lenient' | 'strict' = 'lenient'): ParsedPath {
  const end = pathEnd(text)
  if (end === -1) return { ok: false, reason: 'angle brackets or quotes do not match' }
  const rest = text.slice(end)
  if (rest !== '' && rest.charCodeAt(0) !== 32) return { ok: false, reason: 'no space after the path' }
  const bracketed = text.charCodeAt(0) === 60
  if (!bracketed && form === 'strict') return { ok: false, reason: 'angle brackets expected' }
  let inner = bracketed ? text.slice(1, end - 1) : text.slice(0, end)
  if (Buffer.byteLength(inner) + 2 > maxPathOctets) return { ok: false, reason: 'path too long' }
  if (inner === '') {
    return bracketed ? { ok: true, mailbox: null, rest } : { ok: false, reason: 'no address' }
  }
  if (inner.charCodeAt(0) === 64) {
    const route = sourceRoute.exec(inner)
    if (route === null) return { ok: false, reason: 'malformed source route' }
    inner = inner.slice(route[0].length)
  }
  const mailbox = parseMailbox(inner) ?? (form === 'lenient' ? parseLooseMailbox(inner) : undefined)
  return mailbox === undefined ? { ok: false, reason: 'malformed address' } : { ok: true, mailbox, rest }
}

const lastAt = /^(.*)@([^@]*)$/s
/** One word of a local part, or a character that stands alone. */
const looseWord = /"((?:[^"\\]|\\.)*)"|\\(.)|([^\s"\\(),;<>[\]]+)/gsu

/** Comments, spaces around the parts, stray angle brackets; quoted and unquoted words side by side, more than one `@`. */
function parseLooseMailbox(text: string): Mailbox | undefined {
  if (control.test(text)) return undefined
  const bare = withoutComments(text)
    ?.trim()
    .replace(/^<+|>+$/g, '')
    .trim()
  if (bare === undefined) return undefined
  const [, local, domainText] = lastAt.exec(bare) ?? [undefined, bare, undefined]
  const domain = domainText === undefined ? '' : parseDomain(domainText.trim())
  if (domain === undefined) return undefined
  let localPart = ''
  let seen = 0
  let wasQuoted = false
  for (const { 0: whole, 1: quoted, 2: escaped, 3: word, index } of local!.trim().matchAll(looseWord)) {
    if (index !== seen) return undefined
    seen += whole.length
    // Between a quoted word and another one stands a dot.
    if (quoted !== undefined && localPart !== '' && !localPart.endsWith('.')) return undefined
    if (wasQuoted && !word?.startsWith('.')) return undefined
    wasQuoted = quoted !== undefined
    localPart += quoted?.replace(/\\(.)/gsu, '$1') ?? escaped ?? word
  }
  return localPart === '' || seen !== local!.trim().length ? undefined : { localPart, domain }
}

/** Undefined: a comment or quoted string does not end. */
function withoutComments(text: string): string | undefined {
  if (!text.includes('(')) return text
  let kept = ''
  let depth = 0
  let isQuoted = false
  for (let i = 0; i < text.length; i += 1) {
    const c = text[i]!
    const isInside = depth > 0
    if (c === '\\') {
      if (!isInside) kept += text.slice(i, i + 2)
      i += 1
      continue
    }
    if (!isInside && c === '"') isQuoted = !isQuoted
    else if (!isQuoted && c === '(') depth += 1
    else if (!isQuoted && c === ')' && --depth < 0) return undefined
    if (depth === 0) kept += isInside ? ' ' : c
  }
  return depth === 0 && !isQuoted ? kept : undefined
}

/**
 * Reads `local-part@domain`, or a local part alone, the local part quoted where it has to be. Undefined when
 * the text is not an address.
 */
export function parseMailbox(text: string): Mailbox | undefined {
  if (text === '' || control.test(text)) return undefined
  const at = text.charCodeAt(0) === 34 ? quotedEnd(text) : text.lastIndexOf('@')
  // A quoted local part without domain ends at the end of the text.
  const local = at === -1 ? text : text.slice(0, at)
  const domain = at === -1 || at === text.length ? undefined : text.slice(at + 1)
  if (at !== -1 && at < text.length && text.charCodeAt(at) !== 64) return undefined
  const localPart = parseLocalPart(local)
  if (localPart === undefined) return undefined
  if (domain === undefined) return { localPart, domain: '' }
  const name = parseDomain(domain)
  return name === undefined ? undefined : { localPart, domain: name }
}

/** The domain without a trailing dot, or an address literal with valid brackets and address; else undefined. */
export function parseDomain(text: string): string | undefined {
  if (text.charCodeAt(0) === 91) {
    const isBare = text.includes(':') && !/^\[ipv6:/i.test(text)
    return isBare || parseLiteral(text) === undefined ? undefined : text
  }
  const name = text.endsWith('.') ? text.slice(0, -1) : text
  if (name === '' || Buffer.byteLength(name) > maxDomainOctets) return undefined
  // An address without its brackets: no domain is all digits.
  if (/^[0-9.]+$/.test(name)) return undefined
  for (const part of name.split('.')) {
    if (part.length > 63 || !label.test(part)) return undefined
  }
  return name
}

/**
 * The IP address inside an address literal, RFC 5321 section 4.1.3: `[192.0.2.1]`, `[IPv6:2001:db8::1]`. Also
 * `[2001:db8::1]`, which people write. Undefined when it is none; other kinds of literals do not exist in use.
 */
export function parseLiteral(text: string): string | undefined {
  if (!text.startsWith('[') || !text.endsWith(']')) return undefined
  const inner = text.slice(1, -1)
  if (/^ipv6:/i.test(inner)) {
    const address = inner.slice(5)
    return isIPv6(address) && !address.includes('%') ? address : undefined
  }
  return isIP(inner) !== 0 && !inner.includes('%') ? inner : undefined
}

/** `local-part@domain` as it stands between angle brackets, quoted if need be. Without a domain: the local part. */
export function canonicalAddress(mailbox: Mailbox): string {
  const local = quoteLocalPart(mailbox.localPart)
  return mailbox.domain === '' ? local : `${local}@${mailbox.domain}`
}

/** A local part as a Dot-string, or as a Quoted-string when it cannot be one. */
export function quoteLocalPart(localPart: string): string {
  return atext.test(localPart) ? localPart : `"${localPart.replace(/["\\]/g, '\\$&')}"`
}

/** The domain of a canonical address, in lower case; empty: it has none. */
export function domainOf(address: string): string {
  const at = address.lastIndexOf('@')
  // "a@b" in quotes and without a domain ends with the quote.
  return at === -1 || address.endsWith('"') ? '' : address.slice(at + 1).toLowerCase()
}

/** Whether an address needs SMTPUTF8. */
export function isUtf8Address(address: string): boolean {
  return nonAscii.test(address)
}

function parseLocalPart(text: string): string | undefined {
  if (text.charCodeAt(0) !== 34) return lenientLocalPart.test(text) ? text : undefined
  if (text.length < 2 || quotedEnd(text) !== text.length) return undefined
  return text.slice(1, -1).replace(/\\(.)/gsu, '$1')
}

/** Where the quoted string at the start of `text` ends (index after its closing quote), or -1. */
function quotedEnd(text: string): number {
  for (let i = 1; i < text.length; i += 1) {
    const c = text.charCodeAt(i)
    if (c === 92) i += 1
    else if (c === 34) return i + 1
  }
  return -1
}

/** Where the path at the start of `text` ends: after its `>`, or before the first space outside quotes. -1: nowhere. */
function pathEnd(text: string): number {
  const bracketed = text.charCodeAt(0) === 60
  // The common case: no quotes and one pair of brackets, so the first bracket or space ends it.
  const quote = text.indexOf('"')
  const simple = text.indexOf(bracketed ? '>' : ' ')
  if ((quote === -1 || (simple !== -1 && simple < quote)) && text.indexOf('<', 1) === -1) {
    return bracketed ? (simple === -1 ? -1 : simple + 1) : simple === -1 ? text.length : simple
  }
  let quoted = false
  let depth = 0
  for (let i = 0; i < text.length; i += 1) {
    const c = text.charCodeAt(i)
    if (quoted) {
      if (c === 92) i += 1
      else if (c === 34) quoted = false
    } else if (c === 34) quoted = true
    else if (c === 60) depth += 1
    else if (c === 62 && depth > 0) {
      depth -= 1
      if (bracketed && depth === 0) return i + 1
    } else if (!bracketed && depth === 0 && c === 32) return i
  }
  return quoted || bracketed ? -1 : text.length
}

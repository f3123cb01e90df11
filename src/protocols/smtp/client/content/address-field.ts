/**
 * The addresses in a header field (RFC 5322 section 3.4), to be replaced by others: what is around them, names,
 * comments, groups, stays in place. White space is lost on the way, so a field without a new address is left alone.
 */
import { quoteAddress } from '../address.ts'

/** Fields of a mail's own header that hold addresses, in lower case. */
export const addressFields: ReadonlySet<string> = new Set([
  'apparently-to',
  'bcc',
  'cc',
  'disposition-notification-to',
  'errors-to',
  'from',
  'mail-followup-to',
  'reply-to',
  'resent-bcc',
  'resent-cc',
  'resent-from',
  'resent-reply-to',
  'resent-sender',
  'resent-to',
  'return-path',
  'return-receipt-to',
  'sender',
  'to',
])

interface Token {
  /** `address`: a whole one, without quotes. Else `text` is as it is written. */
  readonly kind: 'atom' | 'quoted' | 'comment' | 'literal' | 'operator' | 'address'
  readonly text: string
}

/** The line of a folded field is filled up to here. */
const foldAt = 70

/**
 * The field `name: value` with `map` applied to each address (without quotes); undefined: none was replaced. Folded
 * lines are joined by LF and begin with a tab.
 */
export function mapAddressField(
  name: string,
  value: string,
  map: (address: string) => string | undefined,
): string | undefined {
  let replaced = false
  const tokens = withAddresses(tokenize(value)).map((token): Token => {
    if (token.kind !== 'address') return token
    const mapped = map(token.text)
    if (mapped === undefined) return token
    replaced = true
    return { kind: 'address', text: mapped }
  })
  return replaced ? folded(`${name}: ${write(tokens)}`) : undefined
}

const operators = '|%!()<>@,;:\\".[]'
const tokenPattern =
  /\((?:[^()\\]|\\[\s\S])*\)|"(?:[^"\\]|\\[\s\S])*"?|\[(?:[^\]\\]|\\[\s\S])*\]?|(?:\\[\s\S]|[^\s|%!()<>@,;:\\".[\]])+|[^\s]/g

function tokenize(value: string): Token[] {
  const tokens: Token[] = []
  for (const [text] of value.matchAll(tokenPattern)) {
    if (text.startsWith('(') && text.length > 1) tokens.push({ kind: 'comment', text })
    else if (text.startsWith('"')) tokens.push({ kind: 'quoted', text: text.replace(/^"|"$/g, '') })
    else if (text.startsWith('[')) tokens.push({ kind: 'literal', text })
    else if (text.length === 1 && operators.includes(text)) tokens.push({ kind: 'operator', text })
    else tokens.push({ kind: 'atom', text })
  }
  return tokens
}

const isWord = ({ kind }: Token): boolean => kind === 'atom' || kind === 'quoted' || kind === 'literal'
const isOperator = (token: Token | undefined, text: string): boolean =>
  token?.kind === 'operator' && token.text === text

/** Replaces the tokens of each address by one. Commas that are missing between two addresses are added. */
function withAddresses(tokens: readonly Token[]): Token[] {
  const out: Token[] = []
  let item: Token[] = []
  const endItem = () => {
    out.push(...readItem(item))
    item = []
  }
  for (const [index, token] of tokens.entries()) {
    if (isOperator(token, ',') || isOperator(token, ';')) {
      endItem()
      out.push(token)
    } else if (isOperator(token, ':') && isGroup(tokens, index)) {
      out.push(...item, token)
      item = []
    } else {
      item.push(token)
    }
  }
  endItem()
  return out
}

/** A colon opens a group when its semicolon follows. */
function isGroup(tokens: readonly Token[], colon: number): boolean {
  return tokens.slice(colon).some((token) => isOperator(token, ';'))
}

/** What stands between two commas: `phrase <address>`, or an address alone. */
function readItem(item: readonly Token[]): Token[] {
  const open = item.findLastIndex((token) => isOperator(token, '<'))
  if (open >= 0) {
    const close = item.findIndex((token, index) => index > open && isOperator(token, '>'))
    const end = close < 0 ? item.length : close
    const inside = item.slice(open + 1, end).filter(({ kind }) => kind !== 'comment')
    const address: Token[] = inside.length === 0 ? [] : [joined(inside)]
    return [...item.slice(0, open + 1), ...address, ...item.slice(end)]
  }
  const comments = item.filter(({ kind }) => kind === 'comment')
  const addresses: Token[][] = []
  let wasWord = false
  for (const token of item) {
    if (token.kind === 'comment') continue
    if (addresses.length === 0 || (wasWord && isWord(token))) addresses.push([])
    addresses.at(-1)!.push(token)
    wasWord = isWord(token)
  }
  return [
    ...addresses.flatMap((tokens, index) => (index === 0 ? [joined(tokens)] : [comma, joined(tokens)])),
    ...comments,
  ]
}

const comma: Token = { kind: 'operator', text: ',' }

function joined(tokens: readonly Token[]): Token {
  return {
    kind: 'address',
    text: tokens
      .map(({ kind, text }) => (kind === 'quoted' ? text.replace(/\\([\s\S])/g, '$1') : text))
      .join(''),
  }
}

function write(tokens: readonly Token[]): string {
  let text = ''
  for (const [index, token] of tokens.entries()) {
    const next = tokens[index + 1]
    if (token.kind === 'address') text += quoteAddress(token.text)
    else if (token.kind === 'quoted') text += `"${token.text}"`
    else text += token.text
    if (isOperator(token, ',')) text += '\n'
    else if (next !== undefined && needsSpace(token, next)) text += ' '
  }
  return text
}

function needsSpace(token: Token, next: Token): boolean {
  if (isOperator(token, ':') || isOperator(next, '<')) return true
  return token.kind !== 'operator' && next.kind !== 'operator'
}

/** One address a line comes in; as many as fit share a line. */
function folded(text: string): string {
  const lines: string[] = []
  for (const part of text.split('\n')) {
    const last = lines.at(-1)
    if (last === undefined) lines.push(part)
    else if (last.length + 1 + part.length < foldAt) lines[lines.length - 1] = `${last} ${part}`
    else lines.push(part)
  }
  return lines.map((line, index) => (index === 0 || /^[ \t]/.test(line) ? line : `\t${line}`)).join('\n')
}

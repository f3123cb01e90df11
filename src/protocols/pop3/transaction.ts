/**
 * The TRANSACTION state, RFC 1939 section 5: which answer a command gets and what it does to the maildrop. No
 * socket, no disk, no clock; the session carries out what the outcome asks for.
 */
import { language } from './capabilities.ts'
import { type ParsedNumber, parseNumber, printable, type TransactionCommand } from './command.ts'
import type { Maildrop } from './maildrop.ts'

export type Outcome =
  /** A line to send, without its CRLF. `bad`: counts towards the limit of wrong commands. */
  | { readonly kind: 'reply'; readonly line: string; readonly bad: boolean }
  /** A multi-line answer made from the maildrop. */
  | { readonly kind: 'listing'; readonly of: 'LIST' | 'UIDL' }
  /** Send a mail; `lines` of its body, or all of it (RETR). */
  | { readonly kind: 'retrieve'; readonly index: number; readonly lines: number | undefined }
  | { readonly kind: 'capabilities' }
  /** Header fields in UTF-8 from here on. */
  | { readonly kind: 'utf8'; readonly line: string }
  /** The unique id of one mail. */
  | { readonly kind: 'uidl'; readonly line: string }
  /** Lines with their ends. */
  | { readonly kind: 'text'; readonly text: string }
  /** RSET with LAST offered: the seen marks of these uids go. */
  | { readonly kind: 'unseen'; readonly uids: readonly number[]; readonly line: string }
  /** Its UIDL cannot be made: the session ends without a word. */
  | { readonly kind: 'unlisted' }
  | { readonly kind: 'quit' }

export interface TransactionOptions {
  readonly enable_last: boolean
  readonly capa: { readonly lang: boolean; readonly utf8: boolean; readonly utf8_after_login: boolean }
}

const good = (line: string): Outcome => ({ kind: 'reply', line, bad: false })
const bad = (line: string): Outcome => ({ kind: 'reply', line, bad: true })

/** 64 bits, as Dovecot counts. */
const maxLines = 0xffffffffffffffffn
const maxNumber = 0xffff_ffff

export function transact(
  maildrop: Maildrop,
  command: TransactionCommand,
  options: TransactionOptions,
): Outcome {
  switch (command.verb) {
    case 'STAT': {
      const count = maildrop.count - maildrop.deletedCount
      return good(`+OK ${count} ${maildrop.totalSize - maildrop.deletedSize}`)
    }
    case 'LIST': {
      if (command.number === undefined) return { kind: 'listing', of: 'LIST' }
      const found = find(maildrop, command.number)
      return typeof found === 'number' ? good(`+OK ${found + 1} ${maildrop.sizes[found]}`) : found
    }
    case 'UIDL': {
      if (command.number === undefined) return { kind: 'listing', of: 'UIDL' }
      const found = find(maildrop, command.number)
      if (typeof found !== 'number') return found
      const uidl = maildrop.tellUidl(found)
      return uidl === undefined ? { kind: 'unlisted' } : { kind: 'uidl', line: `+OK ${found + 1} ${uidl}` }
    }
    case 'RETR': {
      const found = find(maildrop, command.number)
      if (typeof found !== 'number') return found
      maildrop.lastSeen = Math.max(maildrop.lastSeen, found + 1)
      return { kind: 'retrieve', index: found, lines: undefined }
    }
    case 'TOP':
      return top(maildrop, command.argument)
    case 'DELE': {
      const found = find(maildrop, command.number)
      if (typeof found !== 'number') return found
      maildrop.markDeleted(found)
      return good(`+OK message ${found + 1} marked for deletion`)
    }
    case 'RSET': {
      maildrop.reset()
      const line = '+OK all marks removed'
      return options.enable_last ? { kind: 'unseen', uids: maildrop.uids, line } : good(line)
    }
    case 'NOOP':
      return good('+OK')
    case 'LAST':
      return options.enable_last ? good(`+OK ${maildrop.lastSeen}`) : bad('-ERR LAST is not offered here')
    case 'CAPA':
      return { kind: 'capabilities' }
    case 'UTF8':
      return options.capa.utf8 && options.capa.utf8_after_login
        ? { kind: 'utf8', line: '+OK UTF-8 it is' }
        : bad('-ERR unknown command: UTF8')
    case 'LANG':
      if (!options.capa.lang) return bad('-ERR unknown command: LANG')
      return { kind: 'text', text: language(command.argument) }
    case 'QUIT':
      return { kind: 'quit' }
    case 'nul':
      return bad('-ERR a command must not contain NUL octets')
    case 'unknown':
      return bad(`-ERR unknown command: ${printable(command.text)}`)
  }
}

/** TOP msg n, RFC 1939 section 7. */
function top(maildrop: Maildrop, argument: string): Outcome {
  const number = parseNumber(argument, maxNumber)
  if (!number.ok) return badNumber(number)
  if (!number.rest.startsWith(' ')) return bad('-ERR TOP needs a message number and a number of lines')
  const found = present(maildrop, number.value)
  if (typeof found !== 'number') return found
  const lines = parseNumber(number.rest.trimStart(), maxLines)
  if (!lines.ok) {
    const what = lines.problem === 'invalid' ? 'invalid number of lines' : 'number of lines is too large'
    return bad(`-ERR ${what}`)
  }
  if (lines.rest !== '') return bad('-ERR unexpected text after the number of lines')
  // More lines than any mail has are all lines.
  const count = Math.min(lines.value, Number.MAX_SAFE_INTEGER)
  return { kind: 'retrieve', index: found, lines: count }
}

/** The index of a message number that ends the line, or the answer that says what is wrong with it. */
function find(maildrop: Maildrop, text: string): number | Outcome {
  const number = parseNumber(text, maxNumber)
  if (!number.ok) return badNumber(number)
  if (number.rest !== '') return bad('-ERR unexpected text after the message number')
  return present(maildrop, number.value)
}

function present(maildrop: Maildrop, number: number): number | Outcome {
  if (number === 0 || number > maildrop.count) {
    return bad(`-ERR there is no message ${number}, only ${maildrop.count}`)
  }
  if (maildrop.isDeleted(number - 1)) return bad(`-ERR message ${number} is marked for deletion`)
  return number - 1
}

function badNumber({ problem }: Extract<ParsedNumber, { ok: false }>): Outcome {
  return bad(problem === 'invalid' ? '-ERR invalid message number' : '-ERR message number is too large')
}

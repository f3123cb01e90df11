/**
 * Command lines after login, RFC 1939 section 3:
 *
 *     command = verb [ SP argument ]          verb: case does not matter
 *
 * The line reader has cut at LF, dropped one CR, and refused lines that are too long. Lines are latin1 strings.
 * Like Dovecot: the verb ends at the first space, further spaces before the argument are skipped, spaces at the end
 * are part of it, and commands without parameters ignore an argument.
 */

export type TransactionCommand =
  | { readonly verb: 'STAT' | 'NOOP' | 'RSET' | 'LAST' | 'QUIT' | 'CAPA' | 'UTF8' }
  /** `number` is the text of the message number; undefined: all. */
  | { readonly verb: 'LIST' | 'UIDL'; readonly number: string | undefined }
  | { readonly verb: 'RETR' | 'DELE'; readonly number: string }
  | { readonly verb: 'TOP' | 'LANG'; readonly argument: string }
  /** Not a command of this state; the verb as it came. */
  | { readonly verb: 'unknown'; readonly text: string }
  /** Contains a NUL. Some servers stop reading the line there, and two readings of one line are an attack. */
  | { readonly verb: 'nul' }

/** The verb in capitals and what follows it. */
export function splitCommand(line: string): { verb: string; argument: string } {
  const space = line.indexOf(' ')
  if (space === -1) return { verb: line.toUpperCase(), argument: '' }
  let start = space + 1
  while (line.charCodeAt(start) === 32) start++
  return { verb: line.slice(0, space).toUpperCase(), argument: line.slice(start) }
}

export function parseCommand(line: string): TransactionCommand {
  if (line.includes('\0')) return { verb: 'nul' }
  const { verb, argument } = splitCommand(line)
  switch (verb) {
    case 'STAT':
    case 'NOOP':
    case 'RSET':
    case 'LAST':
    case 'QUIT':
    case 'CAPA':
    case 'UTF8':
      return { verb }
    case 'LIST':
    case 'UIDL':
      return { verb, number: argument === '' ? undefined : argument }
    case 'RETR':
    case 'DELE':
      return { verb, number: argument }
    case 'TOP':
    case 'LANG':
      return { verb, argument }
    default:
      return {
        verb: 'unknown',
        text: line.slice(0, line.indexOf(' ') === -1 ? undefined : line.indexOf(' ')),
      }
  }
}

/** A number at the start of an argument, or why there is none. */
export type ParsedNumber =
  | { readonly ok: true; readonly value: number; readonly rest: string }
  | { readonly ok: false; readonly problem: 'invalid' | 'too large' }

/** Digits from the start; leading zeros are accepted. `max` is the largest value. */
export function parseNumber(text: string, max: number | bigint): ParsedNumber {
  let end = 0
  while (end < text.length && text.charCodeAt(end) >= 48 && text.charCodeAt(end) <= 57) end++
  if (end === 0) return { ok: false, problem: 'invalid' }
  const value = Number(text.slice(0, end))
  // As a number 2 ** 64 is no larger than 2 ** 64 - 1.
  if (Number.isSafeInteger(value) ? value > max : BigInt(text.slice(0, end)) > max)
    return { ok: false, problem: 'too large' }
  return { ok: true, value, rest: text.slice(end) }
}

/** What may be shown of text from a client: 32 octets, printable, the rest as `?`. */
export const printable = (text: string): string => text.slice(0, 32).replaceAll(/[^\x21-\x7e]/g, '?')

/**
 * Command lines, RFC 5321 section 4.1.1 and, for parameters, section 4.1.2:
 *
 *     Mail-parameters = esmtp-param *( SP esmtp-param )
 *     esmtp-param     = esmtp-keyword [ "=" esmtp-value ]
 *     esmtp-keyword   = ( ALPHA / DIGIT ) *( ALPHA / DIGIT / "-" )
 *     esmtp-value     = 1*( %d33-60 / %d62-126 )      ; RFC 6531 adds UTF-8
 */
import { isUtf8 } from 'node:buffer'
import { type ParsedPath, parsePath } from '../address.ts'

export interface Command {
  /** In upper case. */
  readonly verb: string
  /** Without the spaces around it. */
  readonly argument: string
}

const highOctet = /[\u0080-\u00ff]/

/**
 * Splits a line of octets (Latin-1) into verb and argument; octets above 127 are read as UTF-8, tabs and what
 * leads the line as spaces. Undefined when they are no UTF-8.
 */
export function parseCommand(line: string): Command | undefined {
  let text = line
  if (line.includes('\t')) text = line.replaceAll('\t', ' ')
  if (text.charCodeAt(0) === 32) text = trimSpaces(text)
  if (highOctet.test(line)) {
    const octets = Buffer.from(text, 'latin1')
    if (!isUtf8(octets)) return undefined
    text = octets.toString('utf8')
  }
  const space = text.indexOf(' ')
  return space === -1
    ? { verb: text.toUpperCase(), argument: '' }
    : { verb: text.slice(0, space).toUpperCase(), argument: trimSpaces(text.slice(space + 1)) }
}

export type ParsedPathArgument =
  | (Extract<ParsedPath, { ok: true }> & { readonly parameters: Parameters })
  | { readonly ok: false; readonly reason: string; readonly part: 'command' | 'address' }

/** Keyword in upper case and its value, if there is one, as they came. */
export type Parameters = readonly (readonly [keyword: string, value: string | undefined])[]

/** Reads `FROM:<path> parameters` or `TO:<path> parameters`. A space after the colon is tolerated: many clients send one. */
export function parsePathArgument(
  argument: string,
  keyword: 'FROM' | 'TO',
  isStrict: boolean,
): ParsedPathArgument {
  const colon = keyword.length
  const text = trimSpaces(argument.slice(colon + 1))
  if (
    argument.charCodeAt(colon) !== 58 ||
    argument.slice(0, colon).toUpperCase() !== keyword ||
    text === ''
  ) {
    return { ok: false, part: 'command', reason: `${keyword}: expected` }
  }
  const path = parsePath(text, isStrict ? 'strict' : 'lenient')
  if (!path.ok) return { ok: false, part: 'address', reason: path.reason }
  return { ...path, parameters: path.rest === '' ? noParameters : parseParameters(path.rest) }
}

const noParameters: Parameters = []
// A value may hold "=": what is meant as xtext often comes unencoded.
const parameter = /^([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-~\u0080-\u{10ffff}]*))?$/u
/** More than any client has use for; each costs a look. */
const maxParameters = 30

/** A word that is no parameter is one with a keyword that nobody knows: empty. So are those that are too many. */
export function parseParameters(text: string): Parameters {
  const parameters: [string, string | undefined][] = []
  for (const word of text.split(' ')) {
    if (word === '') continue
    const match = parameter.exec(word)
    if (match === null || parameters.length === maxParameters) return [...parameters, ['', undefined]]
    parameters.push([match[1]!.toUpperCase(), match[2]])
  }
  return parameters
}

/** Not `trim`: only the space is white in this grammar. */
function trimSpaces(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && text.charCodeAt(start) === 32) start += 1
  while (end > start && text.charCodeAt(end - 1) === 32) end -= 1
  return start === 0 && end === text.length ? text : text.slice(start, end)
}

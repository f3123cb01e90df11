/**
 * TLS versions and ciphers as Postfix writes them, in the form OpenSSL takes. Lists of ciphers concern TLS 1.2 and
 * older; those of TLS 1.3 are all good, and only leave when they are excluded by name.
 */
import { constants } from 'node:crypto'
import type { SecureVersion } from 'node:tls'
import { needsMatch, type TlsLevel } from './levels.ts'

const versions = [
  { name: 'TLSv1', number: 0x301, version: 'TLSv1', off: constants.SSL_OP_NO_TLSv1 },
  { name: 'TLSv1.1', number: 0x302, version: 'TLSv1.1', off: constants.SSL_OP_NO_TLSv1_1 },
  { name: 'TLSv1.2', number: 0x303, version: 'TLSv1.2', off: constants.SSL_OP_NO_TLSv1_2 },
  { name: 'TLSv1.3', number: 0x304, version: 'TLSv1.3', off: constants.SSL_OP_NO_TLSv1_3 },
] as const

/** Older ones, which no library speaks any more: they can be excluded, and cannot be asked for. */
const ancient = ['sslv2', 'sslv3']

export interface ProtocolRange {
  readonly minVersion: SecureVersion
  readonly maxVersion: SecureVersion
  /** `SSL_OP_…` bits for versions in between that are left out. */
  readonly secureOptions: number
}

/**
 * `>=TLSv1.2`, `<=TLSv1.2`, `!TLSv1.1` (all but this) or `TLSv1.2` (only what is named), several of them together.
 * Bounds may be numbers in hex, `>=0303`.
 * Returns what is wrong as a string.
 */
export function protocolRange(words: readonly string[]): ProtocolRange | string {
  let allowed = versions.map((_, index) => index)
  const named: number[] = []
  for (const word of words) {
    const [, operator = '', name = ''] = /^(>=|<=|!)?(.*)$/.exec(word)!
    const isBound = operator === '>=' || operator === '<='
    const hex = isBound ? /^(?:0x)?([0-9a-f]{4})$/i.exec(name)?.[1] : undefined
    const index = versions.findIndex((version) =>
      hex === undefined
        ? version.name.toLowerCase() === name.toLowerCase()
        : version.number === Number.parseInt(hex, 16),
    )
    if (index < 0) {
      const old = ancient.indexOf(name.toLowerCase())
      if (old < 0) return `\`${word}\` is no TLS version (TLSv1, TLSv1.1, TLSv1.2, TLSv1.3)`
      if (operator === '<=' || operator === '') return `\`${name}\` cannot be used: it is broken`
      continue
    }
    if (operator === '>=') allowed = allowed.filter((i) => i >= index)
    else if (operator === '<=') allowed = allowed.filter((i) => i <= index)
    else if (operator === '!') allowed = allowed.filter((i) => i !== index)
    else named.push(index)
  }
  if (named.length > 0) allowed = allowed.filter((i) => named.includes(i))
  if (allowed.length === 0) return `\`${words.join(' ')}\` leaves no TLS version`
  const [first, last] = [allowed[0]!, allowed.at(-1)!]
  const holes = versions.filter((_, i) => i > first && i < last && !allowed.includes(i))
  return {
    minVersion: versions[first]!.version,
    maxVersion: versions[last]!.version,
    secureOptions: holes.reduce((bits, { off }) => bits | off, 0),
  }
}

/** Names of cipher grades. `low` and `export` are gone from the libraries: they mean `medium`. */
export const cipherGrades = ['high', 'medium', 'low', 'export', 'null'] as const
export type CipherGrade = (typeof cipherGrades)[number]

/** The cipher lists behind the grades, `[tls]`. */
export interface CipherLists {
  readonly high_cipherlist: string
  readonly medium_cipherlist: string
  readonly null_cipherlist: string
}

const tls13 = ['TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256', 'TLS_AES_128_GCM_SHA256']

/** The OpenSSL cipher list of a level: its grade without what is excluded. */
export function cipherString(
  grade: CipherGrade,
  excluded: readonly string[],
  level: TlsLevel,
  lists: CipherLists,
): string {
  const base = lists[`${grade === 'high' || grade === 'null' ? grade : 'medium'}_cipherlist`]
  const without = excluded.filter((name) => !tls13.includes(name)).map((name) => `!${name}`)
  // A key exchange that no certificate has a part in is for where nobody relies on the certificate; encryption that does
  // not encrypt is not what `encrypt` says, and has not the strength that is asked for where a certificate counts.
  if (needsMatch(level)) without.push('!aNULL')
  if (level === 'encrypt') without.push('!eNULL')
  const parts = [base, ...without]
  // Where nothing is demanded of the certificate, weak TLS is better than none: the alternative is plaintext. Where it
  // is, keys and digests need 80 bits of strength, as with Postfix.
  if (!base.includes('@SECLEVEL')) parts.push(needsMatch(level) ? '@SECLEVEL=1' : '@SECLEVEL=0')
  return [...parts, ...tls13.filter((name) => !excluded.includes(name))].join(':')
}

const optionNames = [
  'CISCO_ANYCONNECT',
  'LEGACY_SERVER_CONNECT',
  'NO_COMPRESSION',
  'NO_RENEGOTIATION',
  'NO_SESSION_RESUMPTION_ON_RENEGOTIATION',
  'NO_TICKET',
  'PRIORITIZE_CHACHA',
  'NO_ENCRYPT_THEN_MAC',
  'ALLOW_NO_DHE_KEX',
] as const

/** `tls.ssl_options` as bits. Returns what is wrong as a string. */
export function sslOptions(words: readonly string[]): number | string {
  let bits = 0
  for (const word of words) {
    const name = optionNames.find((known) => known === word.toUpperCase())
    if (name === undefined) return `\`${word}\` is no option (${optionNames.join(', ')})`
    bits |= constants[`SSL_OP_${name}`]
  }
  return bits
}

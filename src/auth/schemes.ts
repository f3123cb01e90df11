/** Password schemes of the passwd-file, `{SCHEME}hash` with Dovecot's names. */
import { createHash, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto'
import { hashArgon2id, isArgon2, verifyArgon2 } from './argon2.ts'
import type { WritableScheme } from './config.ts'
import { cryptScheme, verifyCrypt } from './crypt.ts'
import { UserError } from './errors.ts'
import { hmacMd5State, hmacMd5StateOctets } from './md5.ts'
import { parseScramKeys, type ScramHash, type ScramKeys, verifyScramKeys } from './scram-keys.ts'

/** A stored password, its scheme known. */
export interface StoredPassword {
  /** In upper case, without an encoding suffix. */
  readonly scheme: string
  readonly hash: string
  /** Whether checking takes long on purpose: worth a cache. */
  readonly isSlow: boolean
  /** Whether the check computes on the calling thread for longer than others can wait: see `hasher.ts`. */
  readonly blocks: boolean
  /** Whether the scheme is too easy to undo; accepted with `auth.allow_weak_schemes` only. */
  readonly isWeak: boolean
  /** What mechanisms that do not send the password can work with. */
  readonly secret?: Secret
  verify(password: string): boolean | Promise<boolean>
}

/** What is kept of a password, beyond a hash to compare with. */
export type Secret =
  | { readonly kind: 'plain'; readonly password: string }
  | { readonly kind: 'scram'; readonly keys: ScramKeys }
  /** States of HMAC-MD5 after the password, see `md5.ts`. */
  | { readonly kind: 'hmac-md5'; readonly state: Buffer }

type Encoding = 'base64' | 'hex' | undefined

/** How one kind of hash is checked. */
type Verifier = Pick<StoredPassword, 'verify' | 'secret'>

const digests: Readonly<Record<string, string>> = {
  SHA: 'sha1',
  SHA1: 'sha1',
  SHA256: 'sha256',
  SHA512: 'sha512',
  'PLAIN-MD5': 'md5',
  'LDAP-MD5': 'md5',
}

/** Salted digests: hash of password and salt, then the salt. */
const saltedDigests: Readonly<Record<string, string>> = {
  SMD5: 'md5',
  SSHA: 'sha1',
  SSHA256: 'sha256',
  SSHA512: 'sha512',
}

const plainSchemes = ['PLAIN', 'CLEAR', 'CLEARTEXT']
const argon2Schemes = ['ARGON2ID', 'ARGON2I', 'ARGON2D', 'ARGON2']
/** {MD5} is what Dovecot calls MD5-CRYPT for short. */
const cryptSchemes = ['CRYPT', 'BLF-CRYPT', 'SHA512-CRYPT', 'SHA256-CRYPT', 'MD5-CRYPT', 'MD5']
const scramSchemes: Readonly<Record<string, ScramHash>> = { 'SCRAM-SHA-1': 'sha1', 'SCRAM-SHA-256': 'sha256' }
const hmacMd5Schemes = ['CRAM-MD5', 'HMAC-MD5']

const weakSchemes: ReadonlySet<string> = new Set([
  'MD5',
  'MD5-CRYPT',
  'PLAIN-MD5',
  'LDAP-MD5',
  'SMD5',
  ...hmacMd5Schemes,
])

/** Schemes that can be checked. */
export const knownSchemes: readonly string[] = [
  ...plainSchemes,
  ...Object.keys(digests),
  ...Object.keys(saltedDigests),
  ...argon2Schemes,
  ...cryptSchemes,
  'PBKDF2',
  ...Object.keys(scramSchemes),
  ...hmacMd5Schemes,
]

/** Reads a password field; says what is wrong when it cannot be checked. An empty field never fits. */
export function readPassword(field: string): StoredPassword | { readonly problem: string } {
  const match = /^\{([A-Za-z0-9-]+)(?:\.(b64|base64|hex))?\}(.*)$/i.exec(field)
  const written = match?.[1]?.toUpperCase() ?? schemeOf(field)
  const suffix = match?.[2]?.toLowerCase()
  const encoding: Encoding = suffix === undefined ? undefined : suffix === 'hex' ? 'hex' : 'base64'
  const text = match?.[3] ?? field
  // The hashes that are text themselves are encoded as a whole.
  const isText = encoding !== undefined && (isCrypt(written) || written in scramSchemes || isArgon(written))
  const hash = isText ? decode(text, encoding).toString('latin1') : text
  const scheme = isCrypt(written) ? (cryptScheme(hash) ?? written) : written
  const isSlow = isArgon(scheme) || isCrypt(scheme) || scheme in scramSchemes || scheme === 'PBKDF2'
  const stored = { scheme, hash, isSlow, blocks: isCrypt(scheme), isWeak: weakSchemes.has(scheme) }
  if (hash === '') return { ...stored, isSlow: false, blocks: false, verify: () => false }
  const verifier = verifierOf(scheme, hash, encoding)
  if (verifier !== undefined) return { ...stored, ...verifier }
  return {
    problem: knownSchemes.includes(scheme)
      ? `malformed {${scheme}} hash, or one that is too expensive`
      : `password scheme {${scheme}} is not known (known are ${knownSchemes.join(', ')})`,
  }
}

const isCrypt = (scheme: string): boolean => cryptSchemes.includes(scheme)
const isArgon = (scheme: string): boolean => argon2Schemes.includes(scheme)

/** Writes a password field for a password. */
export async function writePassword(scheme: WritableScheme, password: string): Promise<string> {
  if (password === '') throw new UserError('the password is empty')
  if (/[\0\r\n]/.test(password)) throw new UserError('the password contains a line end or NUL')
  switch (scheme) {
    case 'ARGON2ID':
      return `{ARGON2ID}${await hashArgon2id(password)}`
    case 'SSHA256':
    case 'SSHA512': {
      const salt = randomBytes(16)
      const digest = createHash(saltedDigests[scheme] ?? '')
        .update(password)
        .update(salt)
        .digest()
      return `{${scheme}}${Buffer.concat([digest, salt]).toString('base64')}`
    }
    case 'PLAIN':
      if (password.includes(':')) throw new UserError('a {PLAIN} password cannot contain ":"')
      return `{PLAIN}${password}`
  }
}

/** Scheme of a hash that has no `{SCHEME}` in front: Dovecot takes crypt(3) then. */
function schemeOf(hash: string): string {
  return hash.startsWith('$argon2') ? 'ARGON2' : 'CRYPT'
}

function verifierOf(scheme: string, hash: string, encoding: Encoding): Verifier | undefined {
  if (plainSchemes.includes(scheme)) {
    const wanted = encoding === undefined ? Buffer.from(hash) : decodeStrictly(hash, encoding)
    // Nothing would fit an empty password.
    if (wanted === undefined || wanted.length === 0) return undefined
    return {
      verify: (password) => equal(Buffer.from(password), wanted),
      secret: { kind: 'plain', password: wanted.toString('utf8') },
    }
  }
  const digest = digests[scheme] ?? saltedDigests[scheme]
  if (digest !== undefined) return digestVerifier(digest, hash, encoding, scheme in saltedDigests)
  if (isArgon(scheme))
    return isArgon2(hash) ? { verify: (password) => verifyArgon2(hash, password) } : undefined
  if (isCrypt(scheme)) {
    // {SHA512-CRYPT} in front of another crypt hash is checked as what it is, as crypt(3) does.
    return cryptScheme(hash) === undefined ? undefined : { verify: (password) => verifyCrypt(hash, password) }
  }
  const scramHash = scramSchemes[scheme]
  if (scramHash !== undefined) {
    const keys = parseScramKeys(scramHash, hash)
    if (keys === undefined) return undefined
    return { verify: (password) => verifyScramKeys(keys, password), secret: { kind: 'scram', keys } }
  }
  if (hmacMd5Schemes.includes(scheme)) return hmacMd5Verifier(hash, encoding)
  return scheme === 'PBKDF2' ? pbkdf2Verifier(hash) : undefined
}

function digestVerifier(
  digest: string,
  hash: string,
  encoding: Encoding,
  isSalted: boolean,
): Verifier | undefined {
  const length = createHash(digest).digest().length
  const octets = decodeDigest(hash, encoding, length)
  if (isSalted ? octets.length <= length : octets.length !== length) return undefined
  const wanted = octets.subarray(0, length)
  const salt = octets.subarray(length)
  return {
    verify: (password) => timingSafeEqual(createHash(digest).update(password).update(salt).digest(), wanted),
  }
}

function hmacMd5Verifier(hash: string, encoding: Encoding): Verifier | undefined {
  const state = decodeDigest(hash, encoding, hmacMd5StateOctets)
  if (state.length !== hmacMd5StateOctets) return undefined
  const md5 = (key: Buffer) => createHash('md5').update(key).digest()
  return {
    verify: (password) => timingSafeEqual(hmacMd5State(Buffer.from(password), md5), state),
    secret: { kind: 'hmac-md5', state },
  }
}

/** `$1$SALT$ROUNDS$HEX`, PBKDF2 with HMAC-SHA1, as Dovecot writes it; the salt is used as it is written. */
function pbkdf2Verifier(hash: string): Verifier | undefined {
  const match = /^\$1\$([^$]*)\$(\d{1,8})\$([0-9a-f]{40})$/i.exec(hash)
  if (match === null) return undefined
  const [, salt = '', rounds, hex = ''] = match
  const wanted = Buffer.from(hex, 'hex')
  if (Number(rounds) < 1) return undefined
  return {
    verify: (password) =>
      new Promise((resolve, reject) => {
        pbkdf2(password, salt, Number(rounds), wanted.length, 'sha1', (error, derived) =>
          error === null ? resolve(timingSafeEqual(derived, wanted)) : reject(error),
        )
      }),
  }
}

function decode(text: string, encoding: 'base64' | 'hex'): Buffer {
  return Buffer.from(text, encoding)
}

/** What is no base64, or not hexadecimal, would else be as much of it as is: another password, or none. */
function decodeStrictly(text: string, encoding: 'base64' | 'hex'): Buffer | undefined {
  const isWhole =
    encoding === 'hex' ? /^([0-9a-f]{2})*$/i : /^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2,3}={0,2})?$/
  return isWhole.test(text) ? decode(text, encoding) : undefined
}

/** Without a suffix hexadecimal is told from base64 by its length. */
function decodeDigest(text: string, encoding: Encoding, octets: number): Buffer {
  const looksHex = encoding === undefined && text.length === 2 * octets && /^[0-9a-f]+$/i.test(text)
  return decode(text, encoding ?? (looksHex ? 'hex' : 'base64'))
}

/** Compares without telling by time where, or by how much, two texts differ. */
function equal(given: Buffer, wanted: Buffer): boolean {
  const digestOf = (octets: Buffer) => createHash('sha256').update(octets).digest()
  return timingSafeEqual(digestOf(given), digestOf(wanted))
}

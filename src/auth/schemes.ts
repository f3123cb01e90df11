/** Password schemes of the passwd-file, `{SCHEME}hash` with Dovecot's names. */
import { createHash, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto'
import { hashArgon2id, isArgon2, verifyArgon2 } from './argon2.ts'
import type { WritableScheme } from './config.ts'
import { UserError } from './errors.ts'

/** A stored password, its scheme known. */
export interface StoredPassword {
  /** In upper case, without an encoding suffix. */
  readonly scheme: string
  readonly hash: string
  /** Whether checking takes long on purpose: worth a cache. */
  readonly isSlow: boolean
  verify(password: string): boolean | Promise<boolean>
}

type Encoding = 'base64' | 'hex' | undefined

const digests: Readonly<Record<string, string>> = {
  SHA: 'sha1',
  SHA1: 'sha1',
  SHA256: 'sha256',
  SHA512: 'sha512',
}

/** Salted digests: hash of password and salt, then the salt. */
const saltedDigests: Readonly<Record<string, string>> = {
  SSHA: 'sha1',
  SSHA256: 'sha256',
  SSHA512: 'sha512',
}

const argon2Schemes = ['ARGON2ID', 'ARGON2I', 'ARGON2D', 'ARGON2']

/** Schemes that can be checked. */
export const knownSchemes: readonly string[] = [
  'PLAIN',
  'CLEAR',
  'CLEARTEXT',
  ...Object.keys(digests),
  ...Object.keys(saltedDigests),
  ...argon2Schemes,
  'PBKDF2',
]

/** Reads a password field; says what is wrong when it cannot be checked. An empty field never fits. */
export function readPassword(field: string): StoredPassword | { readonly problem: string } {
  const match = /^\{([A-Za-z0-9-]+)(?:\.(b64|base64|hex))?\}(.*)$/i.exec(field)
  const scheme = match?.[1]?.toUpperCase() ?? schemeOf(field)
  const suffix = match?.[2]?.toLowerCase()
  const hash = match?.[3] ?? field
  const encoding: Encoding = suffix === undefined ? undefined : suffix === 'hex' ? 'hex' : 'base64'
  const verify = hash === '' ? undefined : verifier(scheme, hash, encoding)
  if (hash === '') return { scheme, hash, isSlow: false, verify: () => false }
  if (verify === undefined) {
    return {
      problem: knownSchemes.includes(scheme)
        ? `malformed {${scheme}} hash`
        : `password scheme {${scheme}} is not known (known are ${knownSchemes.join(', ')})`,
    }
  }
  return { scheme, hash, isSlow: argon2Schemes.includes(scheme) || scheme === 'PBKDF2', verify }
}

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

function verifier(scheme: string, hash: string, encoding: Encoding): StoredPassword['verify'] | undefined {
  if (scheme === 'PLAIN' || scheme === 'CLEAR' || scheme === 'CLEARTEXT') {
    const wanted = encoding === undefined ? Buffer.from(hash) : decode(hash, encoding)
    return (password) => equal(Buffer.from(password), wanted)
  }
  const digest = digests[scheme] ?? saltedDigests[scheme]
  if (digest !== undefined) return digestVerifier(digest, hash, encoding, scheme in saltedDigests)
  if (argon2Schemes.includes(scheme)) {
    return isArgon2(hash) ? (password) => verifyArgon2(hash, password) : undefined
  }
  return scheme === 'PBKDF2' ? pbkdf2Verifier(hash) : undefined
}

function digestVerifier(
  digest: string,
  hash: string,
  encoding: Encoding,
  isSalted: boolean,
): StoredPassword['verify'] | undefined {
  const length = createHash(digest).digest().length
  const isHex =
    encoding === 'hex' || (encoding === undefined && hash.length === 2 * length && /^[0-9a-f]+$/i.test(hash))
  const octets = decode(hash, isHex ? 'hex' : 'base64')
  if (isSalted ? octets.length <= length : octets.length !== length) return undefined
  const wanted = octets.subarray(0, length)
  const salt = octets.subarray(length)
  return (password) => timingSafeEqual(createHash(digest).update(password).update(salt).digest(), wanted)
}

/** `$1$SALT$ROUNDS$HEX`, PBKDF2 with HMAC-SHA1, as Dovecot writes it; the salt is used as it is written. */
function pbkdf2Verifier(hash: string): StoredPassword['verify'] | undefined {
  const match = /^\$1\$([^$]*)\$(\d{1,8})\$([0-9a-f]{40})$/i.exec(hash)
  if (match === null) return undefined
  const [, salt = '', rounds, hex = ''] = match
  const wanted = Buffer.from(hex, 'hex')
  return (password) =>
    new Promise((resolve, reject) => {
      pbkdf2(password, salt, Number(rounds), wanted.length, 'sha1', (error, derived) =>
        error === null ? resolve(timingSafeEqual(derived, wanted)) : reject(error),
      )
    })
}

function decode(text: string, encoding: 'base64' | 'hex'): Buffer {
  return Buffer.from(text, encoding)
}

/** Compares without telling by time where, or by how much, two texts differ. */
function equal(given: Buffer, wanted: Buffer): boolean {
  const digestOf = (octets: Buffer) => createHash('sha256').update(octets).digest()
  return timingSafeEqual(digestOf(given), digestOf(wanted))
}

/**
 * Argon2 (RFC 9106) as a PHC string: `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`, base64 without padding. The
 * work runs on libuv's threads; the actor that asks for it goes on.
 */
import { type Argon2Algorithm, argon2, randomBytes, timingSafeEqual } from 'node:crypto'

/** Cost of new hashes: 19 MiB, two passes, the first choice of OWASP's password storage recommendations. */
const cost = { memory: 19_456, passes: 2, parallelism: 1 }
const saltOctets = 16
const hashOctets = 32

/** What a hash in the file may ask for at most: 1 GiB, so that a slip in one line cannot take the machine. */
const maxCost = { memory: 1_048_576, passes: 64, parallelism: 64 }

interface Argon2Hash {
  readonly algorithm: Argon2Algorithm
  readonly memory: number
  readonly passes: number
  readonly parallelism: number
  readonly salt: Buffer
  readonly hash: Buffer
}

/** A new `$argon2id$…` for a password. */
export async function hashArgon2id(password: string): Promise<string> {
  const salt = randomBytes(saltOctets)
  const hash = await derive('argon2id', password, { ...cost, salt, length: hashOctets })
  const { memory, passes, parallelism } = cost
  return `$argon2id$v=19$m=${memory},t=${passes},p=${parallelism}$${base64(salt)}$${base64(hash)}`
}

/** Whether the text is a hash this file can check. */
export function isArgon2(phc: string): boolean {
  return parse(phc) !== undefined
}

/** Whether the password fits; false too for a hash that is malformed or too expensive. */
export async function verifyArgon2(phc: string, password: string): Promise<boolean> {
  const parsed = parse(phc)
  if (parsed === undefined) return false
  const hash = await derive(parsed.algorithm, password, { ...parsed, length: parsed.hash.length })
  return timingSafeEqual(hash, parsed.hash)
}

function parse(phc: string): Argon2Hash | undefined {
  const match =
    /^\$(argon2id|argon2i|argon2d)\$v=19\$m=(\d{1,8}),t=(\d{1,4}),p=(\d{1,3})\$([A-Za-z0-9+/]+)=*\$([A-Za-z0-9+/]+)=*$/.exec(
      phc,
    )
  if (match === null) return undefined
  const [, algorithm, memory, passes, parallelism, salt = '', hash = ''] = match
  const parsed = {
    algorithm: algorithm as Argon2Algorithm,
    memory: Number(memory),
    passes: Number(passes),
    parallelism: Number(parallelism),
    salt: Buffer.from(salt, 'base64'),
    hash: Buffer.from(hash, 'base64'),
  }
  // RFC 9106 section 3.1: 8 p ≤ m, a tag of 4 octets at least; Node wants 8 octets of salt.
  const isSound =
    parsed.passes >= 1 &&
    parsed.parallelism >= 1 &&
    parsed.memory >= 8 * parsed.parallelism &&
    parsed.hash.length >= 4 &&
    parsed.hash.length <= 512 &&
    parsed.salt.length >= 8 &&
    parsed.memory <= maxCost.memory &&
    parsed.passes <= maxCost.passes &&
    parsed.parallelism <= maxCost.parallelism
  return isSound ? parsed : undefined
}

function derive(
  algorithm: Argon2Algorithm,
  password: string,
  options: { memory: number; passes: number; parallelism: number; salt: Buffer; length: number },
): Promise<Buffer> {
  const { memory, passes, parallelism, salt, length } = options
  return new Promise((resolve, reject) => {
    argon2(
      algorithm,
      { message: password, nonce: salt, parallelism, tagLength: length, memory, passes },
      (error, hash) => (error === null ? resolve(hash) : reject(error)),
    )
  })
}

function base64(octets: Buffer): string {
  return octets.toString('base64').replace(/=+$/, '')
}

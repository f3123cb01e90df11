/** The keys of SCRAM, RFC 5802 section 3: what a server keeps instead of the password. */
import { createHash, createHmac, hash as digest, pbkdf2, timingSafeEqual } from 'node:crypto'

export type ScramHash = 'sha1' | 'sha256'

export interface ScramKeys {
  readonly hash: ScramHash
  readonly iterations: number
  readonly salt: Buffer
  readonly storedKey: Buffer
  readonly serverKey: Buffer
}

/** RFC 7677 section 4: at least so many; also what new keys get. */
export const scramIterations = 4096
/** More would take the client minutes. */
const maxIterations = 10_000_000

const digestOctets: Readonly<Record<ScramHash, number>> = { sha1: 20, sha256: 32 }

/** Reads `ITERATIONS,SALT,STORED-KEY,SERVER-KEY`, as Dovecot writes {SCRAM-SHA-1} and {SCRAM-SHA-256}; binary in base64. */
export function parseScramKeys(hash: ScramHash, text: string): ScramKeys | undefined {
  const match = /^(\d{1,8}),([A-Za-z0-9+/]+=*),([A-Za-z0-9+/]+=*),([A-Za-z0-9+/]+=*)$/.exec(text)
  if (match === null) return undefined
  const iterations = Number(match[1])
  const [salt, storedKey, serverKey] = match.slice(2).map((part) => Buffer.from(part, 'base64'))
  const length = digestOctets[hash]
  if (iterations < scramIterations || iterations > maxIterations) return undefined
  if (salt === undefined || storedKey?.length !== length || serverKey?.length !== length) return undefined
  return { hash, iterations, salt, storedKey, serverKey }
}

/** Makes the keys of a password; the work runs on libuv's threads. */
export function deriveScramKeys(
  password: string,
  { hash, iterations, salt }: Pick<ScramKeys, 'hash' | 'iterations' | 'salt'>,
): Promise<ScramKeys> {
  return new Promise((resolve, reject) => {
    pbkdf2(password, salt, iterations, digestOctets[hash], hash, (error, salted) => {
      if (error !== null) {
        reject(error)
        return
      }
      const storedKey = digest(hash, hmac(hash, salted, 'Client Key'), 'buffer')
      resolve({ hash, iterations, salt, storedKey, serverKey: hmac(hash, salted, 'Server Key') })
    })
  })
}

/** Whether these are the keys of the password. */
export async function verifyScramKeys(keys: ScramKeys, password: string): Promise<boolean> {
  const derived = await deriveScramKeys(password, keys)
  return timingSafeEqual(derived.storedKey, keys.storedKey)
}

/** The client's part, RFC 5802 section 3: `ClientProof`, and what the server has to answer. */
export async function scramClientKeys(
  password: string,
  options: Pick<ScramKeys, 'hash' | 'iterations' | 'salt'>,
  authMessage: string,
): Promise<{ readonly proof: Buffer; readonly serverSignature: Buffer }> {
  const { hash, salt, iterations } = options
  const salted = await new Promise<Buffer>((resolve, reject) => {
    pbkdf2(password, salt, iterations, digestOctets[hash], hash, (error, key) =>
      error === null ? resolve(key) : reject(error),
    )
  })
  const clientKey = hmac(hash, salted, 'Client Key')
  const signature = hmac(hash, digest(hash, clientKey, 'buffer'), authMessage)
  const proof = Buffer.from(clientKey.map((octet, index) => octet ^ signature[index]!))
  return { proof, serverSignature: hmac(hash, hmac(hash, salted, 'Server Key'), authMessage) }
}

/** Whether a client that sent this proof has the password: `ClientProof` of RFC 5802 section 3. */
export function isScramProof(keys: ScramKeys, authMessage: string, proof: Buffer): boolean {
  if (proof.length !== keys.storedKey.length) return false
  const signature = hmac(keys.hash, keys.storedKey, authMessage)
  const clientKey = Buffer.from(proof.map((octet, index) => octet ^ signature[index]!))
  return timingSafeEqual(createHash(keys.hash).update(clientKey).digest(), keys.storedKey)
}

/** What shows the client that we have its keys. */
export const scramServerSignature = (keys: ScramKeys, authMessage: string): Buffer =>
  hmac(keys.hash, keys.serverKey, authMessage)

const hmac = (hash: ScramHash, key: Buffer, message: string): Buffer =>
  createHmac(hash, key).update(message).digest()

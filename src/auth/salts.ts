/**
 * Salts that are made of a secret and a name. SCRAM tells a salt before the password is checked: for a name that nobody
 * has it must be one that stays the same, also over restarts, or names could be tried out.
 */
import { createHmac, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'

const secretOctets = 32
const saltOctets = 16

export class Salts {
  readonly #path: string
  #secret: Buffer | undefined

  /** `path` of the file with the secret; made when it is needed. */
  constructor(path: string) {
    this.#path = path
  }

  for(name: string): Buffer {
    this.#secret ??= readSecret(this.#path) ?? makeSecret(this.#path)
    return createHmac('sha256', this.#secret).update(name.toLowerCase()).digest().subarray(0, saltOctets)
  }
}

function readSecret(path: string): Buffer | undefined {
  try {
    const secret = readFileSync(path)
    return secret.length >= secretOctets ? secret : undefined
  } catch {
    return undefined
  }
}

/** Where it cannot be kept, it lasts for this process. */
function makeSecret(path: string): Buffer {
  const secret = randomBytes(secretOctets)
  try {
    writeFileSync(path, secret, { mode: 0o600 })
  } catch {}
  return secret
}

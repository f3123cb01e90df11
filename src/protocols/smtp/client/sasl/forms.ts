/** Ways in which a secret can be written down, for those who must not write it down. */
import { createHash } from 'node:crypto'
import type { SaslAccount } from './mechanisms.ts'

/** A password or token plain, encoded, as PLAIN has it, and digests that it could be guessed from. */
export function formsOf({ user, password }: SaslAccount): readonly string[] {
  const bytes = Buffer.from(password)
  const digests = ['md5', 'sha1', 'sha256'].map((name) => createHash(name).update(bytes).digest())
  const messages = ['', user].map((authorization) => Buffer.from(`${authorization}\0${user}\0${password}`))
  return [
    password,
    encodeURIComponent(password.toWellFormed()),
    ...[bytes, ...messages, ...digests].flatMap(encodings),
  ]
}

/** What is said to a server, in whatever form it sends it back. */
export const encodings = (bytes: Buffer): readonly string[] => {
  const hex = bytes.toString('hex')
  return [bytes.toString('base64'), bytes.toString('base64url'), hex, hex.toUpperCase()]
}

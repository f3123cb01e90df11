/** The digest of APOP, RFC 1939 section 7: MD5 of the stamp in the greeting and the password. Not of SASL, but much like it. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { Secret } from '../schemes.ts'

/** Whether `digest` (32 hexadecimal digits) shows that the client has the password. It has to be kept in clear for that. */
export function isApopDigest(secret: Secret | undefined, stamp: string, digest: string): boolean {
  if (secret?.kind !== 'plain' || !/^[0-9a-f]{32}$/i.test(digest)) return false
  const expected = createHash('md5').update(stamp).update(secret.password).digest()
  return timingSafeEqual(expected, Buffer.from(digest, 'hex'))
}

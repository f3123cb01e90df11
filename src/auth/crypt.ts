/**
 * crypt(3): hashes that begin with `$id$`. All of them compute on the thread that asks, some for a tenth of a second
 * or more: to be called where nobody else waits, see `hasher.ts`.
 */
import { hash as digest, timingSafeEqual } from 'node:crypto'
import bcrypt from 'bcryptjs'
import { verify as verifyShaCrypt } from 'unixcrypt'

/** A hash that costs more than about a minute is taken for a slip of the pen: it would keep everybody waiting. */
const maxShaRounds = 2_000_000
const maxBlowfishCost = 17

const maxPasswordOctets = 4_096

/** Name of the scheme of a hash as crypt(3) writes it; undefined when it is none that can be checked. */
export function cryptScheme(hash: string): string | undefined {
  if (/^\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}$/.test(hash)) {
    // 2x marks hashes of a faulty implementation, which nobody should repeat.
    return hash[2] !== 'x' && Number(hash.slice(4, 6)) <= maxBlowfishCost ? 'BLF-CRYPT' : undefined
  }
  const sha = /^\$([56])\$(?:rounds=(\d{1,9})\$)?[^$:\n]{0,16}\$([./A-Za-z0-9]+)$/.exec(hash)
  if (sha !== null) {
    const [, id, rounds = '5000', text = ''] = sha
    if (Number(rounds) > maxShaRounds || text.length !== (id === '5' ? 43 : 86)) return undefined
    return id === '5' ? 'SHA256-CRYPT' : 'SHA512-CRYPT'
  }
  return /^\$1\$[^$:\n]{0,8}\$[./A-Za-z0-9]{22}$/.test(hash) ? 'MD5-CRYPT' : undefined
}

/** Whether the password fits a hash for which `cryptScheme` knows the scheme. */
export function verifyCrypt(hash: string, password: string): boolean {
  // The digests are taken over password-long runs of the password: its length counts twice.
  if (Buffer.byteLength(password) > maxPasswordOctets || password.includes('\0')) return false
  switch (cryptScheme(hash)) {
    case 'BLF-CRYPT':
      return bcrypt.compareSync(password, hash)
    case 'SHA256-CRYPT':
    case 'SHA512-CRYPT':
      return verifyShaCrypt(password, hash)
    case 'MD5-CRYPT':
      return verifyMd5Crypt(hash, password)
    default:
      return false
  }
}

const md5 = (...parts: readonly Uint8Array[]): Buffer => digest('md5', Buffer.concat(parts), 'buffer')

/** FreeBSD's MD5-based crypt: 1000 rounds, whatever machines can do today. */
function verifyMd5Crypt(hash: string, password: string): boolean {
  const [, , saltText = '', wanted = ''] = hash.split('$')
  const key = Buffer.from(password)
  const salt = Buffer.from(saltText)
  const inner = md5(key, salt, key)
  const parts: Uint8Array[] = [key, Buffer.from('$1$'), salt]
  for (let left = key.length; left > 0; left -= 16) parts.push(inner.subarray(0, Math.min(16, left)))
  // The original took the first octet of a buffer it had just cleared.
  for (let bits = key.length; bits > 0; bits >>= 1)
    parts.push((bits & 1) === 1 ? Buffer.alloc(1) : key.subarray(0, 1))
  let reached = md5(...parts)
  for (let round = 0; round < 1000; round++) {
    const mixed: Uint8Array[] = [(round & 1) === 1 ? key : reached]
    if (round % 3 !== 0) mixed.push(salt)
    if (round % 7 !== 0) mixed.push(key)
    mixed.push((round & 1) === 1 ? reached : key)
    reached = md5(...mixed)
  }
  return timingSafeEqual(Buffer.from(md5CryptText(reached)), Buffer.from(wanted))
}

const alphabet = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** Its own order of octets and its own base64, the lowest six bits first. */
function md5CryptText(octets: Buffer): string {
  const at = (index: number) => octets[index]!
  let text = ''
  const add = (value: number, characters: number) => {
    for (let left = value, count = 0; count < characters; count++, left >>= 6) text += alphabet[left & 63]
  }
  for (let index = 0; index < 5; index++) {
    add((at(index) << 16) | (at(index + 6) << 8) | at(index === 4 ? 5 : index + 12), 4)
  }
  add(at(11), 2)
  return text
}

/** Password hashes that other programs made. */
import { execFileSync, spawnSync } from 'node:child_process'
import { createHmac, hash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { hmacMd5From, hmacMd5State } from '../../src/auth/md5.ts'
import { readPassword } from '../../src/auth/schemes.ts'

async function fits(field: string, password: string): Promise<boolean> {
  const stored = readPassword(field)
  if ('problem' in stored) throw new Error(stored.problem)
  return await stored.verify(password)
}

const has = (command: string) => spawnSync('sh', ['-c', `command -v ${command}`]).status === 0
const run = (command: string, ...args: string[]) => execFileSync(command, args, { encoding: 'utf8' }).trim()

// More than one block of each digest, and not only ASCII.
const passwords = ['secret', 'p w  d', 'Füße-密碼', 'x'.repeat(70)]

describe.skipIf(!has('doveadm'))('what doveadm pw writes is checked (skipped without doveadm)', () => {
  const schemes = [
    ...['PLAIN', 'CLEAR', 'CLEARTEXT', 'PLAIN.b64', 'PLAIN.hex'],
    ...['SHA', 'SHA1', 'SHA256', 'SHA512', 'SHA256.hex', 'SHA512.b64', 'SHA1.HEX'],
    ...['SSHA', 'SSHA256', 'SSHA512', 'SSHA.hex', 'SSHA256.b64', 'SMD5', 'SMD5.hex'],
    ...['PLAIN-MD5', 'PLAIN-MD5.b64', 'LDAP-MD5', 'LDAP-MD5.hex'],
    ...['CRYPT', 'MD5', 'MD5-CRYPT', 'SHA256-CRYPT', 'SHA512-CRYPT', 'BLF-CRYPT', 'SHA512-CRYPT.b64'],
    ...['ARGON2I', 'ARGON2ID', 'PBKDF2', 'SCRAM-SHA-1', 'SCRAM-SHA-256', 'SCRAM-SHA-256.hex'],
    ...['CRAM-MD5', 'CRAM-MD5.b64', 'HMAC-MD5', 'HMAC-MD5.hex'],
  ]
  test.each(schemes)('%s', async (scheme) => {
    // bcrypt looks at 72 octets and no further.
    for (const password of passwords) {
      const field = run('doveadm', 'pw', '-s', scheme, '-p', password)
      expect(await fits(field, password), field).toBe(true)
      for (const wrong of ['', 'Secret', `${password}!`.slice(1)]) {
        expect(await fits(field, wrong), field).toBe(false)
      }
    }
  })

  test('rounds of a crypt hash are its own', async () => {
    expect(
      await fits(run('doveadm', 'pw', '-s', 'SHA512-CRYPT', '-r', '1234', '-p', 'secret'), 'secret'),
    ).toBe(true)
    expect(await fits(run('doveadm', 'pw', '-s', 'BLF-CRYPT', '-r', '7', '-p', 'secret'), 'secret')).toBe(
      true,
    )
  })
})

describe.skipIf(!has('openssl'))('what openssl passwd writes is checked (skipped without openssl)', () => {
  test.each(['-1', '-5', '-6'])('%s', async (option) => {
    for (const password of passwords) {
      const field = run('openssl', 'passwd', option, password)
      expect(await fits(field, password), field).toBe(true)
      expect(await fits(`{CRYPT}${field}`, password), field).toBe(true)
      expect(await fits(field, `${password}x`), field).toBe(false)
    }
  })
})

describe('published hashes', () => {
  // Of the specification of SHA-crypt by U. Drepper, and of the test vectors of bcrypt.
  test.each([
    ['$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5', 'Hello world!'],
    [
      '$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.',
      'Hello world!',
    ],
    ['$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe', 'a'],
  ])('%s', async (field, password) => {
    expect(await fits(field, password)).toBe(true)
    expect(await fits(field, `${password}!`)).toBe(false)
  })

  test('what cannot be checked, or costs too much, says so', () => {
    for (const field of [
      '{CRYPT}$6$rounds=999999999$salt$x',
      '{CRYPT}$2y$31$nxckpdt979UrauRIwvz58e/Joul4FDLPAsNVadS9bNwpe7KDSVzd.',
      '{CRYPT}w6p20XckJihE6',
      '{SCRAM-SHA-256}1,AAAA,BBBB,CCCC',
      '{CRAM-MD5}abcd',
      '{OTP}sha1 1024 3db4',
    ]) {
      expect(readPassword(field), field).toHaveProperty('problem')
    }
  })

  test('weak schemes are marked, and those that hold their thread', () => {
    expect(readPassword('{PLAIN-MD5}5ebe2294ecd0e0f08eab7690d2a6ee69')).toMatchObject({
      isWeak: true,
      blocks: false,
    })
    expect(readPassword('$1$VsVWXiSL$NGq859rbpzIuoaUqgiF4f0')).toMatchObject({
      scheme: 'MD5-CRYPT',
      isWeak: true,
      blocks: true,
    })
    expect(readPassword('{PLAIN}x')).toMatchObject({ isWeak: false, isSlow: false })
  })
})

test('MD5 that goes on from a saved state is HMAC-MD5, for messages and keys of all lengths', () => {
  const md5 = (key: Buffer) => hash('md5', key, 'buffer')
  for (let length = 0; length < 200; length += 1) {
    const key = Buffer.alloc(length, 'key')
    const message = Buffer.alloc(199 - length, 'message')
    const expected = createHmac('md5', key).update(message).digest('hex')
    expect(hmacMd5From(hmacMd5State(key, md5), message).toString('hex')).toBe(expected)
  }
})

import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { writableSchemes } from '../../src/auth/config.ts'
import { readPassword, writePassword } from '../../src/auth/schemes.ts'

async function fits(field: string, password: string): Promise<boolean> {
  const stored = readPassword(field)
  if ('problem' in stored) throw new Error(stored.problem)
  return await stored.verify(password)
}

const digest = (name: string, ...parts: (string | Buffer)[]) => {
  const hash = createHash(name)
  for (const part of parts) hash.update(part)
  return hash.digest()
}
const salt = Buffer.from('12345678')

/** Fields for the password `secret`. */
const fields: Readonly<Record<string, string>> = {
  PLAIN: '{PLAIN}secret',
  'plain in lower case': '{plain}secret',
  'PLAIN in base64': `{PLAIN.b64}${Buffer.from('secret').toString('base64')}`,
  CLEARTEXT: '{CLEARTEXT}secret',
  SHA: `{SHA}${digest('sha1', 'secret').toString('base64')}`,
  'SHA256 in hex': `{SHA256.hex}${digest('sha256', 'secret').toString('hex')}`,
  SHA512: `{SHA512}${digest('sha512', 'secret').toString('base64')}`,
  SSHA: `{SSHA}${Buffer.concat([digest('sha1', 'secret', salt), salt]).toString('base64')}`,
  SSHA256: `{SSHA256}${Buffer.concat([digest('sha256', 'secret', salt), salt]).toString('base64')}`,
  SSHA512: `{SSHA512}${Buffer.concat([digest('sha512', 'secret', salt), salt]).toString('base64')}`,
}

describe('a password is checked', () => {
  test.each(Object.entries(fields))('%s', async (_name, field) => {
    expect(await fits(field, 'secret')).toBe(true)
    for (const wrong of ['', 'Secret', 'secret ', 'secre', '{PLAIN}secret'])
      expect(await fits(field, wrong)).toBe(false)
  })

  test('an empty field fits nothing, not even an empty password', async () => {
    expect(await fits('', '')).toBe(false)
    expect(await fits('{PLAIN}', '')).toBe(false)
    expect(await fits('{ARGON2ID}', '')).toBe(false)
  })

  test.each(['argon2id', 'argon2i', 'argon2d'])(
    '%s of any cost, with and without a scheme in front',
    async (name) => {
      const [, , , cost, saltText] = (await writePassword('ARGON2ID', 'x')).split('$')
      expect(cost).toBe('m=19456,t=2,p=1')
      expect(saltText).toHaveLength(22)
      const { argon2Sync } = await import('node:crypto')
      const nonce = Buffer.from('saltsaltsalt')
      const hash = argon2Sync(name as 'argon2id', {
        message: 'secret',
        nonce,
        parallelism: 2,
        tagLength: 24,
        memory: 64,
        passes: 1,
      })
      const unpadded = (octets: Buffer) => octets.toString('base64').replace(/=+$/, '')
      const phc = `$${name}$v=19$m=64,t=1,p=2$${unpadded(nonce)}$${unpadded(hash)}`
      for (const field of [phc, `{${name.toUpperCase()}}${phc}`]) {
        expect(await fits(field, 'secret')).toBe(true)
        expect(await fits(field, 'Secret')).toBe(false)
      }
    },
  )
})

describe('what cannot be checked says why', () => {
  test.each([
    { field: '{MD4}x', problem: /\{MD4\} is not known/ },
    { field: '$6$salt$hash', problem: /malformed \{CRYPT\}/ },
    { field: '{OTP}x', problem: /\{OTP\} is not known/ },
    { field: '{SHA256}tooshort', problem: /malformed \{SHA256\}/ },
    { field: '{PLAIN.b64}!!!', problem: /malformed \{PLAIN\}/ },
    { field: '{PLAIN.b64}c2Vj*cmV0', problem: /malformed \{PLAIN\}/ },
    { field: '{PLAIN.hex}73656372657', problem: /malformed \{PLAIN\}/ },
    { field: `{SSHA256}${digest('sha256', 'secret').toString('base64')}`, problem: /malformed \{SSHA256\}/ },
    { field: '{ARGON2ID}$argon2id$v=19$m=64,t=1,p=1$AAAA$AAAA', problem: /malformed/ },
    {
      field: '{ARGON2ID}$argon2id$v=19$m=99999999,t=1,p=1$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAA',
      problem: /malformed/,
    },
    {
      field: '{ARGON2ID}$argon2id$v=19$m=64,t=9999,p=1$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAA',
      problem: /malformed/,
    },
    { field: '{PBKDF2}$1$salt$0$xyz', problem: /malformed/ },
  ])('$field', ({ field, problem }) => {
    expect(readPassword(field)).toEqual({ problem: expect.stringMatching(problem) })
  })
})

describe('a password is written', () => {
  test.each(writableSchemes)('%s, and fits', async (scheme) => {
    const field = await writePassword(scheme, 'pässword 1')
    expect(field).toMatch(new RegExp(`^\\{${scheme}\\}`))
    expect(field).not.toContain(':')
    expect(await fits(field, 'pässword 1')).toBe(true)
    expect(await fits(field, 'pässword 2')).toBe(false)
  })

  test('twice is two fields: the salt is new', async () => {
    expect(await writePassword('SSHA512', 'x')).not.toBe(await writePassword('SSHA512', 'x'))
  })

  test.each([
    { scheme: 'ARGON2ID' as const, password: '', problem: /empty/ },
    { scheme: 'PLAIN' as const, password: 'a:b', problem: /":"/ },
    { scheme: 'PLAIN' as const, password: 'a\nb', problem: /line end/ },
  ])('$scheme of a password that cannot be stored', async ({ scheme, password, problem }) => {
    await expect(writePassword(scheme, password)).rejects.toThrow(problem)
  })
})

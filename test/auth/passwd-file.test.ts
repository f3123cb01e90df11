import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { formatPasswdLine, parsePasswdLine } from '../../src/auth/passwd-entry.ts'
import { parsePasswd, readPasswd, replaceEntry } from '../../src/auth/passwd-file.ts'
import { expandVariables, userNameProblem, userPaths } from '../../src/auth/user-name.ts'

let path: string
let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ma-'))
  path = join(dir, 'users')
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

describe('a line', () => {
  test('has eight fields, and is written as it was read', () => {
    const line = 'ann:{PLAIN}x:1000:1001:Ann:/home/ann:/bin/sh:userdb_mail=maildir:/m/ann'
    const parsed = parsePasswdLine(line)
    expect(parsed).toEqual({
      entry: {
        user: 'ann',
        password: '{PLAIN}x',
        uid: 1000,
        gid: 1001,
        gecos: 'Ann',
        home: '/home/ann',
        shell: '/bin/sh',
        extra: 'userdb_mail=maildir:/m/ann',
      },
    })
    if (parsed !== undefined && 'entry' in parsed) expect(formatPasswdLine(parsed.entry)).toBe(line)
  })

  test.each(['', '   ', '# ann:x'])('"%s" is nothing', (line) => {
    expect(parsePasswdLine(line)).toBeUndefined()
  })

  test.each([
    { line: 'ann', problem: /no password field/ },
    { line: ':{PLAIN}x', problem: /is empty/ },
    { line: 'a/b:x', problem: /contains "\/"/ },
    { line: '..:x', problem: /contains "\.\."/ },
    { line: 'a b:x', problem: /blank/ },
    { line: 'a\0:x', problem: /control/ },
    { line: 'ann:x:1one', problem: /numbers/ },
  ])('$line is named as wrong', ({ line, problem }) => {
    expect(parsePasswdLine(line)).toEqual({ problem: expect.stringMatching(problem) })
  })
})

describe('a file', () => {
  test('with bad lines is read all the same, and they are named', () => {
    const { entries, badLines } = parsePasswd('# users\nann:x\r\nbroken\n\nANN:y\nbob:z')
    expect(entries.map(({ user }) => user)).toEqual(['ann', 'bob'])
    expect(badLines).toEqual([
      { line: 3, problem: expect.stringContaining('password') },
      { line: 5, problem: 'user ANN is there already' },
    ])
  })

  test('is undefined when it is not there, and an error when it cannot be read', () => {
    expect(readPasswd(path)).toBeUndefined()
    expect(() => readPasswd(dir)).toThrow(expect.objectContaining({ code: 'MA_PASSWD_FILE' }))
  })

  test('keeps the lines of others and gets mode 0600', () => {
    writeFileSync(path, '# mine\nann:old:1:2\nbroken line\nbob:b', { mode: 0o644 })
    const entry = { user: 'ann', password: 'new', uid: 1, gid: 2, gecos: '', home: '', shell: '', extra: '' }
    replaceEntry(path, 'ANN', entry)
    expect(readFileSync(path, 'utf8')).toBe('# mine\nann:new:1:2\nbroken line\nbob:b\n')
    expect(statSync(path).mode & 0o777).toBe(0o600)
    replaceEntry(path, 'bob', undefined)
    replaceEntry(path, 'eve', { ...entry, user: 'eve' })
    expect(readFileSync(path, 'utf8')).toBe('# mine\nann:new:1:2\nbroken line\neve:new:1:2\n')
  })

  test('that cannot be written is left as it was', () => {
    const inside = join(path, 'users')
    writeFileSync(path, 'a file where a folder should be')
    const entry = {
      user: 'a',
      password: '',
      uid: undefined,
      gid: undefined,
      gecos: '',
      home: '',
      shell: '',
      extra: '',
    }
    expect(() => replaceEntry(inside, 'a', entry)).toThrow(
      expect.objectContaining({ code: 'MA_PASSWD_FILE' }),
    )
  })
})

describe('a user name', () => {
  test.each(['ann', 'ann.lee', 'ann@example.org', 'ann+x', 'jörg', '-a', 'a'.repeat(255)])(
    '%s can be one',
    (name) => {
      expect(userNameProblem(name)).toBeUndefined()
    },
  )

  test.each([
    '',
    '.',
    '..',
    '../x',
    'a/../b',
    'a/b',
    'a\\b',
    'a:b',
    'a%u',
    'a\0',
    'a\n',
    'a b',
    'x'.repeat(256),
  ])('%j cannot be one', (name) => {
    expect(userNameProblem(name)).toBeDefined()
  })
})

describe('paths of a user', () => {
  test('variables are filled in', () => {
    const variables = { user: 'ann@example.org', home: '/h' }
    expect(expandVariables('%h/%d/%n/%u/%%/%x', variables)).toBe('/h/example.org/ann/ann@example.org/%/%x')
    expect(expandVariables('%n-%d', { user: 'ann', home: '' })).toBe('ann-')
  })

  test('a home that is not given is in the data directory', () => {
    const settings = { dataDir: '/data', mailPath: '%h/Maildir', controlPath: '', indexPath: '' }
    expect(userPaths('ann', '', settings)).toEqual({
      home: '/data/mail/ann',
      maildir: '/data/mail/ann/Maildir',
    })
    expect(userPaths('ann', '/home/%n', settings)).toEqual({
      home: '/home/ann',
      maildir: '/home/ann/Maildir',
    })
    expect(userPaths('a@b', '', { ...settings, mailPath: 'vmail/%d/%n' }).maildir).toBe('/data/vmail/b/a')
  })
})

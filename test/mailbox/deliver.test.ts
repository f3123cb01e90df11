import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { crc32 } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { deliver } from '../../src/mailbox/deliver.ts'
import { uniqueName } from '../../src/mailbox/unique-name.ts'

let root: string
let maildir: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'deliver-'))
  maildir = join(root, 'ann', 'Maildir')
})
afterEach(() => {
  chmodSync(root, 0o700)
  rmSync(root, { recursive: true, force: true })
})

const hostname = 'mx.example.org'
const bytes = (text: string) => Buffer.from(text, 'latin1')
const stored = (file: string) => readFileSync(file, 'latin1')

describe('deliver', () => {
  test('creates the Maildir with mode 0700 and leaves one file in new and none in tmp', async () => {
    const { file } = await deliver(maildir, { bytes: bytes('a: b\r\n\r\nx\r\n') }, { hostname })
    for (const folder of ['cur', 'new', 'tmp']) {
      expect(statSync(join(maildir, folder)).mode & 0o777).toBe(0o700)
    }
    expect(readdirSync(join(maildir, 'tmp'))).toEqual([])
    expect(readdirSync(join(maildir, 'new'))).toEqual([basename(file)])
    expect(readdirSync(join(maildir, 'cur'))).toEqual([])
  })

  test.each([
    { name: 'CRLF becomes LF', text: 'a: b\r\n\r\nx\r\n', lf: 'a: b\n\nx\n', virtual: 11 },
    { name: 'a bare LF stays and counts as CRLF', text: 'a\nb\r\n', lf: 'a\nb\n', virtual: 6 },
    { name: 'a bare CR is data', text: 'a\rb\r\r\n', lf: 'a\rb\r\n', virtual: 6 },
    { name: 'a CR at the very end is kept', text: 'a\r', lf: 'a\r', virtual: 2 },
    { name: 'all octets pass', text: '\0\x80\xff.\r\n', lf: '\0\x80\xff.\n', virtual: 6 },
    { name: 'an empty mail', text: '', lf: '', virtual: 0 },
  ])('$name', async ({ text, lf, virtual }) => {
    const { file, size } = await deliver(maildir, { bytes: bytes(text) }, { hostname })
    expect(stored(file)).toBe(lf)
    expect(size).toBe(lf.length)
    expect(file).toMatch(new RegExp(`,S=${lf.length},W=${virtual}$`))
  })

  test('save_crlf stores what came, with both sizes in the name', async () => {
    const { file } = await deliver(maildir, { bytes: bytes('a\r\nb\nc\r\n') }, { hostname, saveCrlf: true })
    expect(stored(file)).toBe('a\r\nb\nc\r\n')
    expect(file).toMatch(/,S=8,W=9$/)
  })

  test('the prefix stands in front of the content', async () => {
    const prefix = bytes('Return-Path: <>\r\n')
    const { file } = await deliver(maildir, { bytes: bytes('a: b\r\n') }, { hostname, prefix })
    expect(stored(file)).toBe('Return-Path: <>\na: b\n')
    expect(file).toMatch(/,S=21,W=23$/)
  })

  test('a large mail is the same from memory and from a file, wherever the pieces are cut', async () => {
    // 97 does not divide 256 KiB: cuts fall on CR, between CR and LF, and elsewhere.
    const text = `${'y'.repeat(95)}\r\n`.repeat(9000)
    const spool = join(root, 'spool')
    writeFileSync(spool, text)
    const prefix = bytes('R: 1\r\n')
    const results = [
      await deliver(maildir, { bytes: bytes(text) }, { hostname, prefix }),
      await deliver(maildir, { file: spool, size: text.length }, { hostname, prefix }),
    ]
    for (const { file, size } of results) {
      expect(stored(file) === `R: 1\n${text.replaceAll('\r\n', '\n')}`).toBe(true)
      expect(file).toMatch(new RegExp(`,S=${size},W=${text.length + 6}$`))
    }
  })

  test('a content file that is shorter than promised stores nothing', async () => {
    const spool = join(root, 'spool')
    writeFileSync(spool, 'short')
    await expect(deliver(maildir, { file: spool, size: 6 }, { hostname })).rejects.toMatchObject({
      code: 'MA_MAILBOX_CONTENT',
      temporary: true,
    })
    expect(readdirSync(join(maildir, 'tmp'))).toEqual([])
    expect(readdirSync(join(maildir, 'new'))).toEqual([])
  })

  test('a content file with other octets than it had stores nothing', async () => {
    const spool = join(root, 'spool')
    const text = `Subject: x\r\n\r\n${'large '.repeat(100_000)}\r\n`
    const content = { file: spool, size: text.length, crc: crc32(text) }
    writeFileSync(spool, text.replace('large', 'Large'))
    await expect(deliver(maildir, content, { hostname })).rejects.toMatchObject({
      code: 'MA_MAILBOX_CONTENT',
    })
    expect(readdirSync(join(maildir, 'new'))).toEqual([])
    writeFileSync(spool, text)
    await deliver(maildir, content, { hostname })
    expect(readdirSync(join(maildir, 'new'))).toHaveLength(1)
  })

  test('a Maildir in a place that is a file is an error with a code, not a crash', async () => {
    writeFileSync(join(root, 'ann'), '')
    await expect(deliver(maildir, { bytes: bytes('x') }, { hostname })).rejects.toMatchObject({
      code: 'MA_MAILBOX_IO',
    })
  })

  // Root may write everywhere, so there is nothing to see.
  test.skipIf(process.getuid?.() === 0)(
    'a folder that may not be written is MA_MAILBOX_PERMISSION',
    async () => {
      chmodSync(root, 0o500)
      await expect(deliver(maildir, { bytes: bytes('x') }, { hostname })).rejects.toMatchObject({
        code: 'MA_MAILBOX_PERMISSION',
        temporary: false,
      })
    },
  )

  test('a full disk is MA_MAILBOX_FULL and temporary', async () => {
    // /dev/full answers every write with ENOSPC.
    const { mailboxError } = await import('../../src/mailbox/errors.ts')
    const { openSync, writeSync, closeSync } = await import('node:fs')
    const fd = openSync('/dev/full', 'w')
    let caught: unknown
    try {
      writeSync(fd, 'x')
    } catch (error) {
      caught = error
    } finally {
      closeSync(fd)
    }
    expect(mailboxError(caught, 'storing a mail', maildir)).toMatchObject({
      code: 'MA_MAILBOX_FULL',
      temporary: true,
      details: { errno: 'ENOSPC' },
    })
  })

  test('many deliveries at once are all there', async () => {
    const all = await Promise.all(
      Array.from({ length: 200 }, (_, i) => deliver(maildir, { bytes: bytes(`n: ${i}\r\n`) }, { hostname })),
    )
    expect(new Set(all.map(({ file }) => file)).size).toBe(200)
    expect(readdirSync(join(maildir, 'new'))).toHaveLength(200)
  })
})

test('names are unique, in order, and have no character that a Maildir gives a meaning to', () => {
  const names = Array.from({ length: 1000 }, () => uniqueName('a/b:c,d e'))
  expect(new Set(names).size).toBe(1000)
  for (const name of names) expect(name).toMatch(/^\d+\.M\d+P\d+T\d+Q\d+\.a\\057b\\072c_d_e$/)
})

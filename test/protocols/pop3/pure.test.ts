/** The parts of POP3 that touch neither socket nor disk. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { defaults } from '../../../src/config/schema.ts'
import { encodePage, Page, pageLength } from '../../../src/mailbox/page.ts'
import { Authorization } from '../../../src/protocols/pop3/authorization.ts'
import { parseCommand } from '../../../src/protocols/pop3/command.ts'
import { capaSettings } from '../../../src/protocols/pop3/config.ts'
import { Listing } from '../../../src/protocols/pop3/listing.ts'
import { MailList, SharedLists } from '../../../src/protocols/pop3/mail-list.ts'
import { xuidlIn } from '../../../src/protocols/pop3/mail-scan.ts'
import { Maildrop } from '../../../src/protocols/pop3/maildrop.ts'
import { transact } from '../../../src/protocols/pop3/transaction.ts'
import { Transmission } from '../../../src/protocols/pop3/transmission.ts'
import { checkUidlFormat, compileUidlFormat } from '../../../src/protocols/pop3/uidl-format.ts'
import { WireForm } from '../../../src/protocols/pop3/wire-form.ts'
import { Random } from '../../../src/testing/random.ts'
import { moduleFile, wireFormModule } from '../../../tools/wasm.ts'
import { chosenSeed } from '../../support/seed.ts'

describe('uidl_format', () => {
  test.each([
    { format: '%08Xu%08Xv', uidl: '0000000a6553f100' },
    { format: '%u.%v', uidl: '10.1700000000' },
    { format: '%x%u', uidl: undefined },
    { format: 'UID%u-%v', uidl: 'UID10-1700000000' },
    { format: '%f', uidl: '1.M2P3.h' },
    { format: '%g', uidl: 'guid' },
    { format: '%%%04u', uidl: '%0010' },
  ])('R64 $format', ({ format, uidl }) => {
    if (uidl === undefined) {
      expect(checkUidlFormat(format)).toBeDefined()
      return
    }
    expect(checkUidlFormat(format)).toBeUndefined()
    const make = compileUidlFormat(format)
    expect(make({ uid: 10, uidValidity: 1_700_000_000, fileName: '1.M2P3.h', guid: 'guid' })).toBe(uidl)
  })

  test.each(['abc', '%m', '%v', '%u x', `%u${'y'.repeat(80)}`, '%080u', '%5u', '%q', '%u%', 'é%u'])(
    'P239 %s is refused',
    (format) => expect(checkUidlFormat(format)).toBeTypeOf('string'),
  )
})

/** What is sent for a mail that comes in these pieces. */
function transmit(
  pieces: readonly string[],
  options: { lines?: number; noNuls?: boolean; addEndOfHeaders?: boolean } = {},
) {
  const transmission = new Transmission({
    lines: undefined,
    noNuls: false,
    addEndOfHeaders: false,
    ...options,
  })
  let text = ''
  for (const piece of pieces) text += transmission.push(piece)
  const { total } = transmission
  return { text: text + transmission.end(), total }
}

describe('transmission', () => {
  const mails = [
    '',
    '\n',
    '.',
    '.\r\n.\n..\r',
    'a: b\n\nx\n.y\n\n.\n',
    'a: b\r\n\r\n\r\r\n\n\r.\r\n.',
    '\r\n.body\r\nx\0\ry\n',
    'no header end\n.x',
  ]
  test.each(mails.map((mail) => ({ mail })))('every split of $mail', ({ mail }) => {
    const whole = transmit([mail])
    const plain = mail.replaceAll('\r\n', '\n').replaceAll('\n', '\r\n')
    const ended = plain.endsWith('\n') ? plain : `${plain}\r\n`
    expect(whole.text).toBe(`${ended.replaceAll(/(^|\n)\./g, '$1..')}.\r\n`)
    expect(whole.total).toBe(plain.length)
    for (let cut = 0; cut <= mail.length; cut++) {
      expect(transmit([mail.slice(0, cut), mail.slice(cut)])).toEqual(whole)
      for (const lines of [0, 1, 2, 99]) {
        expect(transmit([mail.slice(0, cut), mail.slice(cut)], { lines }).text).toBe(
          transmit([mail], { lines }).text,
        )
      }
    }
    expect(transmit([...mail])).toEqual(whole)
  })

  test('C69 TOP counts lines after the empty one, and stops', () => {
    const mail = 'a: b\nc: d\n\n1\n\n3\n4'
    expect(transmit([mail], { lines: 0 }).text).toBe('a: b\r\nc: d\r\n\r\n.\r\n')
    expect(transmit([mail], { lines: 2 }).text).toBe('a: b\r\nc: d\r\n\r\n1\r\n\r\n.\r\n')
    expect(transmit([mail], { lines: 4 }).text).toBe('a: b\r\nc: d\r\n\r\n1\r\n\r\n3\r\n4\r\n.\r\n')
    expect(transmit(['\nbody\n'], { lines: 1 }).text).toBe('\r\nbody\r\n.\r\n')
  })

  test('C68 a line without an end is sent on the way, not kept', () => {
    const transmission = new Transmission({ lines: undefined, noNuls: false, addEndOfHeaders: false })
    let sent = 0
    for (let i = 0; i < 100; i++) sent += transmission.push('z'.repeat(10_000)).length
    expect(1_000_000 - sent).toBeLessThanOrEqual(70_000)
    expect(transmission.push('\r')).not.toMatch(/\r$/)
    expect(transmission.push('\n.').endsWith('\r\n')).toBe(true)
    expect(transmission.end()).toBe('..\r\n.\r\n')
  })

  test('random pieces of random mails give what the whole mail gives', () => {
    const seed = chosenSeed()
    const numbers = new Random(seed)
    const next = (n: number) => numbers.below(n)
    for (let round = 0; round < 2000; round++) {
      const mail = Array.from({ length: next(40) }, () => '\r\n.\r\nab\0'[next(8)]!).join('')
      const options = {
        ...(next(2) === 0 ? { lines: next(4) } : {}),
        noNuls: next(2) === 0,
        addEndOfHeaders: next(2) === 0,
      }
      const pieces: string[] = []
      for (let at = 0; at < mail.length; ) {
        const length = 1 + next(5)
        pieces.push(mail.slice(at, at + length))
        at += length
      }
      expect(transmit(pieces, options).text, `seed ${seed} ${JSON.stringify(mail)}`).toBe(
        transmit([mail], options).text,
      )
    }
  })
})

function maildrop(uidls: readonly string[], duplicates: 'allow' | 'rename'): Maildrop {
  const mails = uidls.map((uidl, i) => {
    const name = `${i}.h:2,`
    return { uid: i + 1, base: `${i}.h`, name, inNew: false, virtual: 10, keys: `P${uidl}` }
  })
  const pages = []
  for (let i = 0; i < mails.length; i += pageLength) pages.push(encodePage(mails.slice(i, i + pageLength)))
  const list = new MailList({ uidValidity: 1, count: mails.length, generation: 1, newTime: '', pages })
  list.freeze()
  return new Maildrop(list, {
    uidl_format: '%u',
    uidl_duplicates: duplicates,
    no_flag_updates: false,
    reuse_xuidl: false,
    save_uidl: false,
  })
}

describe('a whole mail at once', () => {
  test('is what the transmission of it in pieces is', () => {
    const wireForm = WireForm.make()!
    const seed = chosenSeed()
    const numbers = new Random(seed)
    const random = (below: number) => numbers.below(below)
    const parts = ['\r\n', '\r\n', '\n', '\r', '.', '.', 'x', '', 'Subject: a', '\xff', '\0', 'x'.repeat(15)]
    for (let round = 0; round < 3_000; round++) {
      let mail = ''
      for (let part = random(12); part > 0; part--) mail += parts[random(parts.length)]
      if (round % 3 === 0) mail = `${mail.replaceAll(/\r?\n/g, '\r\n')}\r\n`
      const { text, total } = transmit([mail])
      const length = wireForm.mail.write(mail, 'latin1')
      // What lies behind a mail is of those before.
      const answer = wireForm.answer('+OK\r\n', length)
      const found = { text: answer.octets.toString('latin1'), total: answer.total }
      expect(found, `seed ${seed} ${JSON.stringify(mail)}`).toEqual({ text: `+OK\r\n${text}`, total })
      const pieces = wireForm.pieces()
      let sent = ''
      for (let at = 0, length = 0; at < mail.length; at += length) {
        length = 1 + random(20)
        sent += pieces.push(Buffer.from(mail.slice(at, at + length), 'latin1')).toString('latin1')
      }
      const inPieces = { text: sent + pieces.end(), total: pieces.total }
      expect(inPieces, `seed ${seed} ${JSON.stringify(mail)} in pieces`).toEqual({ text, total })
    }
  })

  test.each(['\n', '\n.', '.\n', 'x'])('of %j as often as it fits has room', (text) => {
    const wireForm = WireForm.make()!
    const { length } = wireForm.mail.fill(text)
    const { octets, total } = wireForm.answer('+OK 262144 octets\r\n', length)
    const expected = transmit([wireForm.mail.toString('latin1')])
    expect(octets.toString('latin1') === `+OK 262144 octets\r\n${expected.text}`).toBe(true)
    expect(total).toBe(expected.total)
  })

  test('is made by what the text of the module says', async () => {
    expect(readFileSync(moduleFile, 'utf8'), 'npm run wasm').toBe(await wireFormModule())
  })
})

describe('maildrop', () => {
  test.each([
    {
      name: 'P235 allowed',
      uidls: ['dup', 'dup', 'dup'],
      mode: 'allow' as const,
      shown: ['dup', 'dup', 'dup'],
    },
    {
      name: 'P234 renamed',
      uidls: ['dup', 'dup', 'dup'],
      mode: 'rename' as const,
      shown: ['dup', 'dup-2', 'dup-3'],
    },
    {
      name: 'P236 renamed into another',
      uidls: ['a', 'a-2', 'a'],
      mode: 'rename' as const,
      shown: ['a', 'a-2', 'a-2-2'],
    },
    {
      name: 'C49 not allowed by RFC 1939',
      uidls: ['with\x7fdelete', 'x'.repeat(71), 'é'],
      mode: 'allow' as const,
      shown: ['1', '2', '3'],
    },
  ])('$name', ({ uidls, mode, shown }) => {
    const drop = maildrop(uidls, mode)
    expect(shown.map((_, i) => drop.uidl(i))).toEqual(shown)
  })

  test('a listing is the same in whatever parts it is made', () => {
    const drop = maildrop(
      Array.from({ length: 500 }, (_, i) => `u${i}`),
      'allow',
    )
    drop.markDeleted(3)
    const make = (octets: number) => {
      const listing = new Listing(drop, 'UIDL')
      let text = ''
      while (!listing.done) text += listing.produce(octets)
      return text
    }
    expect(make(1)).toBe(make(1e9))
    expect(make(100)).not.toContain('\r\n4 ')
  })

  test('C3 C44 marks change STAT and nothing else', () => {
    const drop = maildrop(['a', 'b'], 'allow')
    const say = (line: string) =>
      transact(drop, parseCommand(line), {
        enable_last: false,
        capa: { lang: false, utf8: false, utf8_after_login: false },
      })
    expect(say('DELE 2 ')).toMatchObject({ bad: true })
    expect(say('DELE 2')).toMatchObject({ bad: false })
    expect(say('STAT now')).toEqual({ kind: 'reply', line: '+OK 1 10', bad: false })
    expect(drop.expunged()).toEqual([2])
    expect(say('RSET 1')).toMatchObject({ kind: 'reply' })
    expect(drop.expunged()).toEqual([])
  })

  test('F3 every answer of one line has at most 512 octets', () => {
    const drop = maildrop(['x'.repeat(70)], 'allow')
    for (const line of [
      'UIDL 1',
      'Z'.repeat(2000),
      `RETR ${'9'.repeat(2000)}`,
      `TOP 1 ${'9'.repeat(2000)}`,
    ]) {
      const outcome = transact(drop, parseCommand(line), {
        enable_last: false,
        capa: { lang: false, utf8: false, utf8_after_login: false },
      })
      if (outcome.kind === 'reply') expect(outcome.line.length).toBeLessThanOrEqual(510)
    }
  })
})

describe('authorization', () => {
  const make = (cleartext = true) =>
    new Authorization({
      cleartext,
      tls: false,
      tlsRequired: false,
      certificateName: () => undefined,
      clientCertificates: { require: false, username: false },
      trusted: false,
      capa: defaults(capaSettings),
      stls: true,
      mechanisms: ['PLAIN', 'LOGIN', 'SCRAM-SHA-256-PLUS', 'APOP'],
      apop: false,
      maxBadCommands: 3,
    })

  test('P091 STLS forgets the user', () => {
    const authorization = make()
    authorization.line('USER alice')
    expect(authorization.line('stls').kind).toBe('starttls')
    expect(authorization.line('PASS secret')).toMatchObject({
      kind: 'reply',
      line: expect.stringMatching(/^-ERR/),
    })
  })

  test('C14 C15 names and passwords are what stands behind the first space', () => {
    const authorization = make()
    authorization.line('USER  alice ')
    expect(authorization.line('PASS  a b ')).toEqual({
      kind: 'verify',
      user: ' alice ',
      password: ' a b ',
      method: 'PLAIN',
    })
  })

  test('names and passwords are UTF-8', () => {
    const authorization = make()
    authorization.line(`USER ${Buffer.from('jürgen').toString('latin1')}`)
    expect(authorization.line(`PASS ${Buffer.from('€').toString('latin1')}`)).toMatchObject({
      user: 'jürgen',
      password: '€',
    })
  })

  test('P003 without TLS nothing is offered that needs it', () => {
    const step = make(false).line('CAPA')
    expect(step).toMatchObject({ kind: 'text', text: expect.stringContaining('\r\nSTLS\r\n.\r\n') })
    expect(step).not.toMatchObject({ text: expect.stringMatching(/USER|SASL/) })
  })
})

describe('C49 the X-UIDL field of a header', () => {
  test.each([
    ['LF', 'A: b\nX-UIDL: u1\n\n', 'u1'],
    ['CRLF, not in the first line', 'A: b\r\nX-UIDL: u1 \r\nC: d\r\n\r\n', 'u1'],
    ['both line ends', 'A: b\r\nC: d\nx-uidl:u1\n\r\n', 'u1'],
    ['the first of two', 'X-UIDL: u1\nX-UIDL: u2\n\n', 'u1'],
    ['folded: with what belongs to it', 'X-UIDL: u1\r\n more\r\n\r\n', 'u1 more'],
    ['in the body', 'A: b\n\nX-UIDL: u1\n', ''],
    ['no header at all', '\r\nX-UIDL: u1\r\n', ''],
    ['behind a lone CR', 'A: b\rX-UIDL: u1\n\n', ''],
    ['at the end of all', 'X-UIDL: u1', 'u1'],
  ])('%s', (_, header, expected) => {
    expect(xuidlIn(header)).toBe(expected)
  })
})

describe('lists of large mailboxes', () => {
  const listOf = (count: number, generation: number): MailList => {
    const mails = Array.from({ length: count }, (_, i) => {
      const name = `${i}.h:2,`
      return { uid: i + 1, base: `${i}.h`, name, inNew: false, virtual: 10, keys: '' }
    })
    const pages: Uint8Array[] = []
    for (let i = 0; i < count; i += pageLength) {
      pages.push(Page.of(encodePage(mails.slice(i, i + pageLength))).withoutNames)
    }
    return new MailList({ uidValidity: 1, count, generation, newTime: '', pages })
  }

  test('are there once for sessions of one moment, and small ones for each', () => {
    const lists = new SharedLists()
    const [first, second, later, small] = [
      listOf(2_000, 1),
      listOf(2_000, 1),
      listOf(2_000, 2),
      listOf(10, 1),
    ]
    expect(lists.find('a', first)).toBeUndefined()
    expect(lists.share('a', first)).toBe(first)
    expect(lists.find('a', second)).toBe(first)
    expect(lists.share('a', second)).toBe(first)
    expect(lists.find('b', second)).toBeUndefined()
    expect(lists.find('a', later)).toBeUndefined()
    expect(lists.share('a', later)).toBe(later)
    expect(lists.find('a', first)).toBeUndefined()
    expect(lists.share('c', small)).toBe(small)
    expect(lists.find('c', small)).toBeUndefined()
  })

  test('keep the names of the last eight places, wherever they are', () => {
    const list = listOf(10 * pageLength, 1)
    const names = (page: number): Uint8Array[] => [
      encodePage(
        Array.from({ length: pageLength }, (_, i) => {
          const name = `${page * pageLength + i}.h:2,`
          return { uid: i + 1, base: name, name, inNew: false, virtual: 10, keys: '' }
        }),
      ),
    ]
    for (let page = 0; page < 9; page++) list.addNames(page, names(page), false)
    const known = Array.from({ length: 10 }, (_, page) => list.file(page * pageLength + 5)?.name)
    expect(known).toEqual([
      undefined,
      ...Array.from({ length: 8 }, (_, i) => `${(i + 1) * 256 + 5}.h:2,`),
      undefined,
    ])
  })
})

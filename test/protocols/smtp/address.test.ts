import { describe, expect, test } from 'vitest'
import {
  canonicalAddress,
  domainOf,
  parseLiteral,
  parseMailbox,
  parsePath,
} from '../../../src/protocols/smtp/address.ts'
import { decodeXtext, encodeXtext } from '../../../src/protocols/smtp/xtext.ts'

describe('paths that are read (RFC 5321 section 4.1.2)', () => {
  test.each([
    { text: '<a@b.test>', address: 'a@b.test' },
    { text: '<a@b.test> SIZE=1', address: 'a@b.test', rest: ' SIZE=1' },
    { text: '<A.b+c@B-1.test>', address: 'A.b+c@B-1.test' },
    { text: '<"a b"@c.test>', address: '"a b"@c.test' },
    { text: '<"plain"@c.test>', address: 'plain@c.test' },
    { text: '<"a\\"b\\\\c"@d.test>', address: '"a\\"b\\\\c"@d.test' },
    { text: '<"a\\b"@d.test>', address: 'ab@d.test' },
    { text: '<"a>b@c"@d.test> X', address: '"a>b@c"@d.test', rest: ' X' },
    { text: '<"a..b"@d.test>', address: '"a..b"@d.test' },
    { text: '<""@d.test>', address: '""@d.test' },
    { text: '<@one.test,@two.test:a@b.test>', address: 'a@b.test' },
    { text: '<a@[192.0.2.1]>', address: 'a@[192.0.2.1]' },
    { text: '<a@[IPv6:2001:db8::1]>', address: 'a@[IPv6:2001:db8::1]' },
    { text: '<a@b.test.>', address: 'a@b.test' },
    { text: '<a@under_score.test>', address: 'a@under_score.test' },
    { text: '<postmaster>', address: 'postmaster' },
    { text: '<grüße@bücher.test>', address: 'grüße@bücher.test' },
    // What Postfix takes by default, too.
    { text: 'a@b.test', address: 'a@b.test' },
    // Written as RFC 5321 has it: as a quoted string.
    { text: '<.a@b.test>', address: '".a"@b.test' },
    { text: '<a.@b.test>', address: '"a."@b.test' },
    { text: '<a..b@c.test>', address: '"a..b"@c.test' },
    { text: 'a@b.test SIZE=1', address: 'a@b.test', rest: ' SIZE=1' },
    { text: '"a b"@c.test X', address: '"a b"@c.test', rest: ' X' },
    { text: 'a@b.test>', address: 'a@b.test' },
    { text: '< a@b.test >', address: 'a@b.test' },
    { text: '<<a@b.test>> X', address: 'a@b.test', rest: ' X' },
    { text: '<a@b@c.test>', address: '"a@b"@c.test' },
    { text: '<a\\@b@c.test>', address: '"a@b"@c.test' },
    { text: '<a@b.test (Ann (at home))>', address: 'a@b.test' },
    { text: '<"a".b."c d"@e.test>', address: '"a.b.c d"@e.test' },
    {
      text: `<${'a'.repeat(64)}@${'b'.repeat(63)}.test>`,
      address: `${'a'.repeat(64)}@${'b'.repeat(63)}.test`,
    },
  ])('$text', ({ text, address, rest = '' }) => {
    const parsed = parsePath(text)
    expect(parsed).toMatchObject({ ok: true, rest })
    expect(canonicalAddress((parsed as { mailbox: { localPart: string; domain: string } }).mailbox)).toBe(
      address,
    )
  })

  test('the null reverse-path is no mailbox', () => {
    expect(parsePath('<> BODY=7BIT')).toEqual({ ok: true, mailbox: null, rest: ' BODY=7BIT' })
  })
})

describe('paths that are refused', () => {
  test.each([
    '',
    '<',
    '<a@b.test',
    '<a@b.test>x',
    '<a b@c.test>',
    '<@b.test>',
    '<a@>',
    '<a@-b.test>',
    '<a@b-.test>',
    '<a@b..test>',
    '<a@.test>',
    '<a@b.test..>',
    `<a@${'b'.repeat(64)}.test>`,
    '<a@[300.1.1.1]>',
    '<a@[192.0.2.1>',
    '<a@[IPv6:xyz]>',
    '<a@[]>',
    '<"a@b.test>',
    '<"a"b@c.test>',
    '<a"b"@c.test>',
    '<a\t@b.test>',
    '<"a\x07"@b.test>',
    '<@one.test:>',
    '<@one.test a@b.test>',
    '<a,b@c.test>',
    '<a(c)b@d.test>',
    '<a(c@b.test>',
    '<"a"(c)b@d.test>',
    '<a;b@c.test>',
    '<a@192.0.2.1>',
    '<a@[2001:db8::1]>',
    `<${'a'.repeat(250)}@b.test>`,
  ])('%j', (text) => {
    expect(parsePath(text)).toMatchObject({ ok: false })
  })

  test.each(['a@b.test', '< a@b.test>', '<a@b@c.test>', '<a@b.test (c)>', '<<a@b.test>>'])(
    'when strict: %j',
    (text) => {
      expect(parsePath(text, 'strict')).toMatchObject({ ok: false })
    },
  )
})

test('a canonical address reads as itself', () => {
  for (const local of ['a', 'a b', 'a"b', 'a\\', '', 'ü', '.a', 'a@b', '>']) {
    const address = canonicalAddress({ localPart: local, domain: 'c.test' })
    expect(parseMailbox(address), address).toEqual({ localPart: local, domain: 'c.test' })
    expect(parsePath(`<${address}>`)).toMatchObject({ ok: true })
  }
})

test('the domain of an address is in lower case; a local part alone has none', () => {
  expect(domainOf('A@B.Test')).toBe('b.test')
  expect(domainOf('"a@b"@C')).toBe('c')
  expect(domainOf('"a@b"')).toBe('')
  expect(domainOf('a')).toBe('')
})

test('address literals are IP addresses', () => {
  expect(parseLiteral('[192.0.2.1]')).toBe('192.0.2.1')
  expect(parseLiteral('[ipv6:::1]')).toBe('::1')
  expect(parseLiteral('[fe80::1%eth0]')).toBeUndefined()
  expect(parseLiteral('[tag:content]')).toBeUndefined()
})

test('xtext is decoded and encoded (RFC 3461 section 4)', () => {
  expect(decodeXtext('a+2Bb+3Dc')).toBe('a+b=c')
  expect(decodeXtext('plain')).toBe('plain')
  expect(decodeXtext('a=b+2b')).toBe('a=b+')
  for (const wrong of ['a b', 'a+2', '+', 'a+zz', 'ü']) expect(decodeXtext(wrong)).toBeUndefined()
  for (const text of ['', 'a+b=c', 'a b', 'grüße', '~!']) expect(decodeXtext(encodeXtext(text))).toBe(text)
  expect(encodeXtext('a b')).toBe('a+20b')
})

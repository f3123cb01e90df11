import { describe, expect, test } from 'vitest'
import { addressesIn } from '../../src/cli/address-list.ts'
import { dateText, type MailOptions, prepareMail } from '../../src/cli/submitted-mail.ts'

const options: MailOptions = {
  sender: 'ann@mail.test',
  ignoreDots: false,
  hostname: 'mail.test',
  now: new Date(Date.UTC(2026, 0, 2, 3, 4, 5)),
  unique: 'id1',
}

const prepared = (text: string, more: Partial<MailOptions> = {}) => {
  const mail = prepareMail(Buffer.from(text), { ...options, ...more })
  return { ...mail, text: mail.content.toString('utf8'), lines: mail.content.toString('utf8').split('\r\n') }
}

describe('addresses of a field', () => {
  test.each([
    ['ann@a.test', ['ann@a.test']],
    ['Ann Lee <ann@a.test>, bob@b.test', ['ann@a.test', 'bob@b.test']],
    ['"Lee, Ann" <ann@a.test>', ['ann@a.test']],
    ['"a,b"@c.test, x', ['"a,b"@c.test', 'x']],
    ['ann@a.test (Ann, (really)), bob', ['ann@a.test', 'bob']],
    ['friends: ann@a.test, Bob <bob@b.test>;, eve@c.test', ['ann@a.test', 'bob@b.test', 'eve@c.test']],
    ['undisclosed-recipients:;', []],
    ['<@relay.test:ann@a.test>', ['ann@a.test']],
    [',, ,', []],
    ['', []],
    ['"unfinished <a@b', ['"unfinished <a@b']],
    ['A. Lee <ann@a.test', ['ann@a.test']],
    ['"a\\"b" <ann@a.test>', ['ann@a.test']],
  ])('%s', (text, addresses) => {
    expect(addressesIn(text)).toEqual(addresses)
  })
})

describe('a mail handed in', () => {
  test('gets CRLF line ends and the fields it lacks', () => {
    const { lines } = prepared('Subject: x\n\nbody\r\nmore\n', { fullName: 'Ann Lee' })
    expect(lines).toEqual([
      'Subject: x',
      'Message-Id: <id1@mail.test>',
      expect.stringMatching(/^Date: \w{3}, \d+ Jan 2026 \d\d:\d\d:05 [+-]\d{4}$/),
      'From: Ann Lee <ann@mail.test>',
      '',
      'body',
      'more',
      '',
    ])
  })

  test('keeps the fields it has, continuation lines too', () => {
    const text = 'From: a@b\nDate: now\nMESSAGE-ID: <x>\nSubject: one\n two\n\nbody\n'
    expect(prepared(text).text).toBe(text.replaceAll('\n', '\r\n'))
  })

  test('loses Bcc and what is about transport, with their continuation lines', () => {
    const { text, headerRecipients } = prepared(
      'From: a@b\nBcc: hidden@a.test,\n other@b.test\nReturn-Path: <x>\nContent-Length: 5\nTo: to@c.test\n\nBcc: in the body\n',
    )
    expect(text).not.toMatch(/hidden|other@|Return-Path|Content-Length/)
    expect(text).toContain('\r\nBcc: in the body\r\n')
    expect(headerRecipients).toEqual(['hidden@a.test', 'other@b.test', 'to@c.test'])
  })

  test('that is sent again goes to the Resent fields alone', () => {
    const { headerRecipients } = prepared('To: old@a.test\nResent-To: new@b.test\nResent-Bcc: bcc@c.test\n\n')
    expect(headerRecipients).toEqual(['new@b.test', 'bcc@c.test'])
  })

  test('that is sent again gets the Resent fields it lacks', () => {
    const { lines } = prepared('From: old@a.test\nResent-To: new@b.test\n\n')
    expect(lines.slice(2, 5)).toEqual([
      'Resent-Message-Id: <id1@mail.test>',
      expect.stringMatching(/^Resent-Date: /),
      'Resent-From: ann@mail.test',
    ])
  })

  test('from elsewhere (-G) gets no fields, but loses Bcc all the same', () => {
    expect(prepared('Subject: x\nBcc: y\n\nbody\n', { isForeign: true }).text).toBe(
      'Subject: x\r\n\r\nbody\r\n',
    )
  })

  test('ends at a single dot, unless dots are ignored', () => {
    const text = 'From: a@b\n\none\n.\ntwo\n'
    expect(prepared(text).text).toMatch(/one\r\n$/)
    expect(prepared(text, { ignoreDots: true }).text).toMatch(/one\r\n\.\r\ntwo\r\n$/)
  })

  test.each([
    { name: 'without a header', text: 'Hello there\nsecond\n', body: 'Hello there\r\nsecond\r\n' },
    { name: 'with only a header', text: 'Subject: x', body: '' },
    { name: 'that is empty', text: '', body: '' },
    {
      name: 'with a header that stops short',
      text: 'Subject: x\nno field here\n',
      body: 'no field here\r\n',
    },
    { name: 'from an mbox', text: 'From ann Fri Jan  2\nSubject: x\n\nbody\n', body: 'body\r\n' },
  ])('$name has one empty line before its body', ({ text, body }) => {
    const mail = prepared(text).text
    const [head, ...rest] = mail.split(/(?<=\r\n)\r\n/)
    expect(head).toMatch(/^Date: /m)
    expect(rest.join('')).toBe(body)
  })

  test('keeps octets that are no UTF-8, and says that they are not ASCII', () => {
    const octets = Buffer.from([...Buffer.from('Subject: x\n\n'), 0xff, 0xfe, 0x0a])
    const mail = prepareMail(octets, options)
    expect(mail.content.subarray(-4)).toEqual(Buffer.from([0xff, 0xfe, 0x0d, 0x0a]))
    expect(mail.isEightBit).toBe(true)
    expect(prepared('Subject: x\n\nabc\n').isEightBit).toBe(false)
  })

  test.each([
    { fullName: 'Lee, Ann', from: '"Lee, Ann" <ann@mail.test>' },
    { fullName: 'a "b" c', from: '"a \\"b\\" c" <ann@mail.test>' },
    { fullName: 'Jörg', from: `=?utf-8?B?${Buffer.from('Jörg').toString('base64')}?= <ann@mail.test>` },
    { fullName: 'x\r\nBcc: eve@e.test', from: '"x Bcc: eve@e.test" <ann@mail.test>' },
    { fullName: '', from: 'ann@mail.test' },
  ])('From of "$fullName"', ({ fullName, from }) => {
    expect(prepared('Subject: x\n\n', { fullName }).lines).toContain(`From: ${from}`)
  })

  test('of the null sender comes from the mailer itself', () => {
    expect(prepared('\n', { sender: '' }).lines).toContain('From: MAILER-DAEMON@mail.test')
  })
})

test('a date is the same moment when it is read', () => {
  const now = new Date(Date.UTC(2026, 6, 31, 23, 59, 58))
  expect(new Date(dateText(now)).getTime()).toBe(now.getTime())
})

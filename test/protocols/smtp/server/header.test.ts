/** What becomes of a header that comes in. */
import { describe, expect, test } from 'vitest'
import { completeField, composeHead, receivedField } from '../../../../src/protocols/smtp/server/header.ts'

const trace = {
  queueId: 'QID',
  hostname: 'mx.test',
  client: { address: '192.0.2.1', port: 1, helo: 'c', protocol: 'ESMTPSA' },
  arrivedAt: Date.UTC(2026, 0, 2, 3, 4, 5),
  recipient: 'r@d.test',
}

/** The head as it is kept, with a front of `F: f`, without Bcc; completed with names alone unless `isForeign`. */
function compose(text: string, { isAll = true, isForeign = true } = {}) {
  const { slices, ...facts } = composeHead(Buffer.from(text, 'latin1'), isAll, {
    front: 'F: f\r\n',
    drops: new Set(['bcc']),
    completion: isForeign ? undefined : (name) => name.toLowerCase(),
  })
  return { text: Buffer.concat(slices).toString('latin1'), ...facts }
}

describe('where a header ends', () => {
  test.each([
    { name: 'at an empty line', text: 'A: b\r\n\r\nc\r\n', kept: 'F: f\r\nA: b\r\n\r\nc\r\n' },
    { name: 'with the mail', text: 'A: b\r\n', kept: 'F: f\r\nA: b\r\n' },
    { name: 'before it began', text: '\r\nc\r\n', kept: 'F: f\r\n\r\nc\r\n' },
    {
      name: 'at a line that is no field',
      text: 'A: b\r\nno field\r\nC: d\r\n',
      kept: 'F: f\r\nA: b\r\n\r\nno field\r\nC: d\r\n',
    },
    { name: 'there is none', text: 'text\r\n', kept: 'F: f\r\n\r\ntext\r\n' },
    { name: 'a blank leads the mail', text: ' x\r\nA: b\r\n', kept: 'F: f\r\n\r\n x\r\nA: b\r\n' },
    { name: 'nothing at all', text: '', kept: 'F: f\r\n' },
    {
      name: 'an mbox line leads it',
      text: 'From a b\r\nA: b\r\n',
      kept: 'F: f\r\nX-Mailbox-Line: From a b\r\nA: b\r\n',
    },
    { name: 'no line end at the end', text: 'A: b\r\nno', kept: 'F: f\r\nA: b\r\n\r\nno' },
  ])('$name', ({ text, kept }) => {
    expect(compose(text).text).toBe(kept)
  })

  test('in what is not here yet: it stays as it is', () => {
    expect(compose('A: b\r\nBcc: x\r\nlong li', { isAll: false, isForeign: false }).text).toBe(
      'F: f\r\nA: b\r\nlong li',
    )
    expect(compose('A: b\r\n', { isAll: false, isForeign: false }).text).toBe('F: f\r\nA: b\r\n')
  })
})

test('fields are dropped with their continuation lines, and only in the header', () => {
  expect(compose('Bcc: x\r\n y\r\nA: b\r\nBCC : z\r\n\r\nBcc: q\r\n').text).toBe(
    'F: f\r\nA: b\r\n\r\nBcc: q\r\n',
  )
})

test('blanks before a colon go', () => {
  expect(compose('A \t: b\r\nB : c\r\n\r\n').text).toBe('F: f\r\nA: b\r\nB: c\r\n\r\n')
})

describe('what is missing', () => {
  test('is added at the end, in this order', () => {
    expect(compose('A: b\r\n\r\nc\r\n', { isForeign: false }).text).toBe(
      'F: f\r\nA: b\r\nMessage-Id: message-id\r\nDate: date\r\nFrom: from\r\n\r\nc\r\n',
    )
    expect(compose('date: x\r\nFROM:\r\nmessage-ID:y\r\n\r\n', { isForeign: false }).text).toBe(
      'F: f\r\ndate: x\r\nFROM:\r\nmessage-ID:y\r\n\r\n',
    )
  })

  test('in mail that is sent again are Resent fields', () => {
    expect(compose('From: a\r\nResent-To: b\r\n', { isForeign: false }).text).toBe(
      'F: f\r\nFrom: a\r\nResent-To: b\r\nResent-Message-Id: message-id\r\nResent-Date: date\r\nResent-From: from\r\n',
    )
  })

  test('is made of the mail', () => {
    expect(completeField('Message-Id', trace, 's@b.test')).toBe('<20260102030405.QID@mx.test>')
    expect(completeField('Date', trace, 's@b.test')).toBe('Fri, 02 Jan 2026 03:04:05 +0000 (UTC)')
    expect(completeField('From', trace, 's@b.test')).toBe('s@b.test')
    expect(completeField('From', trace, '')).toBe('MAILER-DAEMON')
  })
})

test('hops and 8-bit bodies are seen', () => {
  expect(compose('Received: a\r\nreceived : b\r\nX-Received: c\r\n\r\nReceived: d\r\n').hops).toBe(2)
  expect(compose('Content-Transfer-Encoding: 8bit\r\n\r\n').isEightBit).toBe(true)
  expect(compose('content-transfer-encoding:Binary\r\n\r\n').isEightBit).toBe(true)
  expect(compose('Content-Transfer-Encoding: 8bitter\r\n\r\n').isEightBit).toBe(false)
  expect(compose('Content-Transfer-Encoding: 7bit\r\n\r\n8bit').isEightBit).toBe(false)
})

test('Received has a line for each comment, and the recipient only when it is the only one', () => {
  expect(receivedField(trace, ['using TLSv1.3 with cipher X'])).toBe(
    'Received: from c (unknown [192.0.2.1])\r\n\t(using TLSv1.3 with cipher X)\r\n' +
      '\tby mx.test (mailactors) with ESMTPSA id QID\r\n\tfor <r@d.test>; Fri, 02 Jan 2026 03:04:05 +0000 (UTC)\r\n',
  )
  expect(receivedField({ ...trace, recipient: undefined })).toMatch(/ id QID;\r\n\tFri, 02 Jan/)
})

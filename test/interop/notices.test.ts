/** What senders and postmasters are told: the same as by Postfix, with the same servers behind both. */
import { isDeepStrictEqual } from 'node:util'
import { expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import {
  type NoticeCase,
  type NoticeProfile,
  noticesOfOurs,
  noticesOfPostfix,
  type SeenNotice,
} from '../support/notices-model.ts'
import { because } from '../support/privileges.ts'

const missing = whyMissing(['postfix'], { root: true })

async function compare(profile: NoticeProfile, cases: readonly NoticeCase[]): Promise<readonly string[]> {
  const [theirs, ours] = await Promise.all([noticesOfPostfix(profile, cases), noticesOfOurs(profile, cases)])
  return cases.flatMap((one, index) => {
    const [expected, found] = [theirs[index]!, ours[index]!].map((all) =>
      all.map((seen) => comparable(one, seen)),
    )
    if (isDeepStrictEqual(found, expected)) return []
    return [`${one.name}: ${JSON.stringify(differing(expected!, found!), null, 1)}`]
  })
}

/**
 * Postfix declares each notice about a mail that came without BODY as 8-bit, and its own text is UTF-8 always; ours says
 * what the octets are.
 */
function comparable(one: NoticeCase, seen: SeenNotice): Partial<SeenNotice> {
  const types = seen.types.map((type) => type.replace(/; charset=.*/, ''))
  if (one.body === '8BITMIME' && one.ret !== 'HDRS')
    return { ...seen, types, encodings: seen.encodings.slice(2) }
  const { body: _, isEightBit: __, encodings: ___, ...rest } = seen
  return { ...rest, types, header: seen.header.filter((name) => name !== 'content-transfer-encoding') }
}

/** What differs, by the names of facts. */
function differing(expected: readonly object[], found: readonly object[]): object {
  if (expected.length !== found.length) return { postfix: expected, ours: found }
  return expected.map((notice, at) =>
    Object.fromEntries(
      Object.entries(notice)
        .map(([name, value]) => [name, { postfix: value, ours: found[at]![name as keyof object] }] as const)
        .filter(([, { postfix, ours }]) => !isDeepStrictEqual(postfix, ours)),
    ),
  )
}

const no = '550 5.1.1 no such user here'
const one = [{ local: 'a' }]
const head =
  'From: s@sender.test\r\nSubject: model\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-Id: <1@x>\r\n'
const big = Buffer.from(`${head}\r\n${`${'x'.repeat(70)}\r\n`.repeat(900)}`)
const eightBit = Buffer.from(
  `${head}MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\ncaf\xc3\xa9\r\n`,
  'latin1',
)

const failures: readonly NoticeCase[] = [
  { name: 'RCPT 550', server: { answers: { RCPT: no } }, recipients: one, notices: 1 },
  {
    name: 'RCPT 550 without an enhanced code',
    server: { answers: { RCPT: '550 go away' } },
    recipients: one,
    notices: 1,
  },
  {
    name: 'a reply of several lines',
    server: { answers: { RCPT: '550-5.7.1 first line\n550-5.7.1 second\n550 5.7.1 last' } },
    recipients: one,
    notices: 1,
  },
  { name: 'greeting 554', server: { greeting: '554 5.7.1 no' }, recipients: one, notices: 0 },
  {
    name: 'MAIL 550, three recipients',
    server: { answers: { MAIL: '550 5.1.8 bad sender' } },
    recipients: [{ local: 'a' }, { local: 'b' }, { local: 'c' }],
    notices: 1,
  },
  { name: 'dot 554', server: { dot: '554 5.7.1 spam' }, recipients: one, notices: 1 },
  {
    name: 'one of two',
    server: { answers: { 'RCPT TO:<b': no } },
    recipients: [{ local: 'a' }, { local: 'b' }],
    notices: 1,
  },
  {
    name: 'NEVER and FAILURE',
    server: { answers: { RCPT: no } },
    recipients: [
      { local: 'a', notify: ['NEVER'] },
      { local: 'b', notify: ['FAILURE'] },
      { local: 'c', notify: ['SUCCESS'] },
      { local: 'd', notify: ['DELAY'] },
    ],
    notices: 1,
  },
  { name: 'RET=HDRS', server: { answers: { RCPT: no } }, recipients: one, ret: 'HDRS', notices: 1 },
  {
    name: 'RET=FULL and ENVID',
    server: { answers: { RCPT: no } },
    recipients: one,
    ret: 'FULL',
    envid: 'id+1=2 <x>',
    notices: 1,
  },
  {
    name: 'larger than bounce_size_limit',
    server: { answers: { RCPT: no } },
    recipients: one,
    content: big,
    notices: 1,
  },
  {
    name: 'ORCPT',
    server: { answers: { RCPT: no } },
    recipients: [
      { local: 'a', orcpt: 'rfc822;A+2BB@orig.test' },
      { local: 'b', orcpt: 'x400;/c=us/' },
    ],
    notices: 1,
  },
  {
    name: '8-bit content',
    server: { keywords: ['8BITMIME'], answers: { RCPT: no } },
    recipients: one,
    content: eightBit,
    body: '8BITMIME',
    notices: 1,
  },
  {
    name: '8-bit content, header returned',
    server: { keywords: ['8BITMIME'], answers: { RCPT: no } },
    recipients: one,
    content: eightBit,
    body: '8BITMIME',
    ret: 'HDRS',
    notices: 1,
  },
  {
    name: 'SMTPUTF8',
    server: { keywords: ['8BITMIME', 'SMTPUTF8'], answers: { RCPT: no } },
    recipients: [{ local: 'jürgen' }],
    content: eightBit,
    body: '8BITMIME',
    smtputf8: true,
    notices: 1,
  },
  {
    name: 'SMTPUTF8 not offered',
    server: {},
    recipients: [{ local: 'jürgen' }],
    content: eightBit,
    body: '8BITMIME',
    smtputf8: true,
    notices: 1,
  },
  {
    name: 'a quoted local part',
    server: { answers: { RCPT: no } },
    recipients: [{ local: '"a b"' }],
    notices: 1,
  },
  { name: 'mixed case', server: { answers: { RCPT: no } }, recipients: [{ local: 'MiXed' }], notices: 1 },
  {
    name: 'a long reply',
    server: { answers: { RCPT: `550 5.7.1 ${'word '.repeat(90)}` } },
    recipients: one,
    notices: 1,
  },
  {
    name: 'a reply with octets that are no text',
    server: { answers: { RCPT: '550 5.7.1 no text: \x01 \x7f' } },
    recipients: one,
    notices: 1,
  },
  {
    name: 'SUCCESS, no DSN there',
    server: {},
    recipients: [{ local: 'a', notify: ['SUCCESS'] }, { local: 'b' }],
    notices: 1,
  },
  {
    name: 'SUCCESS, DSN there',
    server: { keywords: ['DSN'] },
    recipients: [{ local: 'a', notify: ['SUCCESS'] }],
    notices: 0,
  },
  {
    name: 'SUCCESS and failure',
    server: { answers: { 'RCPT TO:<b': no } },
    recipients: [
      { local: 'a', notify: ['SUCCESS', 'FAILURE'] },
      { local: 'b', notify: ['SUCCESS', 'FAILURE'] },
    ],
    envid: 'e',
    notices: 2,
  },
  { name: 'null sender', server: { answers: { RCPT: no } }, recipients: one, sender: '', notices: 0 },
]

const later = '450 4.2.1 not now'
const expiring: readonly NoticeCase[] = [
  { name: 'RCPT 450', server: { answers: { RCPT: later } }, recipients: one, notices: 1 },
  {
    name: 'refused and put off',
    server: { answers: { 'RCPT TO:<a': no, 'RCPT TO:<b': later } },
    recipients: [{ local: 'a' }, { local: 'b' }],
    notices: 2,
  },
  {
    name: 'greeting 421',
    server: { greeting: { close: '421 4.3.2 stopping' } },
    recipients: one,
    notices: 1,
  },
  { name: 'hangs up after MAIL', server: { answers: { MAIL: { close: '' } } }, recipients: one, notices: 1 },
  {
    name: 'NEVER',
    server: { answers: { RCPT: later } },
    recipients: [{ local: 'a', notify: ['NEVER'] }],
    notices: 0,
  },
  {
    name: 'DELAY alone',
    server: { answers: { RCPT: later } },
    recipients: [{ local: 'a', notify: ['DELAY'] }],
    notices: 0,
  },
]

/** Long enough for `delay_warning_time`, which counts whole seconds in Postfix. */
const slow: NoticeCase['server'] = { drip: { verb: 'RCPT', reply: later, everyMs: 150 } }
const delays: readonly NoticeCase[] = [
  { name: 'a delay', server: slow, recipients: one, notices: 2 },
  {
    name: 'a delay, RET=FULL and ENVID',
    server: slow,
    recipients: one,
    ret: 'FULL',
    envid: 'e1',
    notices: 2,
  },
  {
    name: 'a delay, FAILURE alone',
    server: slow,
    recipients: [{ local: 'a', notify: ['FAILURE'] }],
    notices: 1,
  },
  { name: 'a failure', server: { answers: { RCPT: no } }, recipients: one, notices: 2 },
  {
    name: 'a failure, NEVER',
    server: { answers: { RCPT: no } },
    recipients: [{ local: 'a', notify: ['NEVER'] }],
    notices: 1,
  },
  { name: 'a notice that fails', server: { answers: { RCPT: no } }, recipients: one, sender: '', notices: 1 },
]

const profiles: readonly (readonly [NoticeProfile, readonly NoticeCase[]])[] = [
  [{ postfix: [], ours: '' }, failures],
  [
    {
      postfix: ['maximal_queue_lifetime=0', 'bounce_queue_lifetime=0'],
      ours: '[queue]\nmaximal_queue_lifetime = 0\nbounce_queue_lifetime = 0',
    },
    expiring,
  ],
  [
    {
      postfix: ['delay_warning_time=1s', 'notify_classes=bounce,delay,2bounce'],
      ours: '[queue]\ndelay_warning_time = "1s"\n[notify]\nclasses = ["bounce", "delay", "2bounce"]',
    },
    delays,
  ],
]

test.skipIf(missing !== undefined)(
  `failures, successes, mail that is too old, delays, copies for the postmaster${because(missing)}`,
  { timeout: 240_000 },
  async () => {
    const differences: string[] = []
    for (const [profile, cases] of profiles) differences.push(...(await compare(profile, cases)))
    expect(differences.join('\n')).toBe('')
  },
)

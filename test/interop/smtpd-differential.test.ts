/**
 * The same commands to Postfix's smtpd and to ours: reply codes and enhanced codes agree, and of an accepted mail every
 * octet behind the Received field. Texts are our own. What differs on purpose is listed in docs/smtp-server.md and does
 * not occur here:
 *
 * - A control octet at the start of a line, and NUL within, are refused; Postfix reads commands as C strings.
 * - Mailboxes: a domain of ours has the users of the passwd-file, Postfix here has none.
 * - HELP and EXPN are known (214, 502) and unknown to Postfix 3.7 (500).
 * - An empty local part, a bare address literal and `-x@…` (allow_min_user).
 * - ENVID and ORCPT that decode to control characters.
 * - DATA after a BDAT LAST that was skipped: 503; smtpd 3.7 dies of it.
 * - An LF alone never ends mail content; header fields longer than 100 KB are not cut; addresses in headers of local
 *   clients are not completed with a domain.
 */
import { connect, type Socket } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { Random } from '../../src/testing/random.ts'
import { startService } from '../support/fixtures.ts'
import { startReceivingPostfix } from '../support/peers.ts'
import { because } from '../support/privileges.ts'
import { chosenSeed } from '../support/seed.ts'
import { SmtpSink } from '../support/smtp-sink.ts'
import { until, within } from '../support/until.ts'

/** What is written at once, and waited for: a line, a line with content behind it when it gets 354, or raw octets. */
type Step = string | { readonly line: string; readonly content: string } | { readonly octets: string }

interface Pair {
  readonly postfix: number
  readonly ours: number
  readonly sinks: { readonly postfix: SmtpSink; readonly ours: SmtpSink }
}

/** Error counts are compared, so both have the same limits; nobody is made to wait. */
async function startPair(): Promise<Pair> {
  const sinks = { postfix: await SmtpSink.start(), ours: await SmtpSink.start() }
  onTestFinished(async () => {
    await Promise.all([sinks.postfix.stop(), sinks.ours.stop()])
  })
  const settings = [
    'myhostname=mail.peers.test',
    'myorigin=mail.peers.test',
    'smtpd_error_sleep_time=0',
    'smtpd_junk_command_limit=10',
    'local_header_rewrite_clients=',
    'always_add_missing_headers=yes',
    'smtpd_client_connection_count_limit=0',
    'smtp_line_length_limit=0',
    'in_flow_delay=0',
  ]
  const [postfix, service] = await Promise.all([
    startReceivingPostfix({
      TRANSPORT: `smtp:[127.0.0.1]:${sinks.postfix.port}`,
      SETTINGS: settings.join(';'),
      SIZE: '100000',
    }),
    startService({
      tables: [
        '[smtpd]',
        'error_sleep_time = 0',
        'junk_command_limit = 10',
        'message_size_limit = 100000',
        'sasl_auth_enable = false',
        'authorized_xclient_hosts = ["127.0.0.0/8"]',
        'authorized_xforward_hosts = ["127.0.0.0/8"]',
        '[smtp]',
        'line_length_limit = 0',
        `relayhost = "${sinks.ours.nexthop}"`,
        '[queue]',
        'minfree = 0',
      ].join('\n'),
    }),
  ])
  return { postfix: postfix.port, ours: service.ports.smtp, sinks }
}

/** One session: each reply in short, `250 2.1.0`; `closed` at its end. */
async function converse(port: number, steps: readonly Step[]): Promise<string[]> {
  const socket: Socket = connect({ port, host: '127.0.0.1', noDelay: true })
  const replies: string[] = []
  let input = ''
  let isClosed = false
  let wake: () => void = () => {}
  socket.setEncoding('latin1')
  socket.on('data', (text: string) => {
    input += text
    for (let end = input.indexOf('\r\n'); end !== -1; end = input.indexOf('\r\n')) {
      const [, code, enhanced] = /^(\d{3})(?: |$)(\d\.\d+\.\d+)?/.exec(input.slice(0, end)) ?? []
      input = input.slice(end + 2)
      if (code !== undefined) replies.push(enhanced === undefined ? code : `${code} ${enhanced}`)
    }
    wake()
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    isClosed = true
    wake()
  })
  const next = async (seen: number): Promise<void> => {
    while (replies.length === seen && !isClosed) {
      await within(`the reply after ${replies.join(', ')}`, new Promise<void>((resolve) => (wake = resolve)))
    }
  }
  await next(0)
  for (const step of steps) {
    if (isClosed) break
    const seen = replies.length
    socket.write(octetsOf(step), 'latin1')
    await next(seen)
    if (typeof step === 'string' || !('content' in step) || !replies.at(-1)?.startsWith('354')) continue
    const asked = replies.length
    socket.write(step.content, 'latin1')
    await next(asked)
  }
  socket.end()
  while (!isClosed) await within('the end', new Promise<void>((resolve) => (wake = resolve)))
  return [...replies, 'closed']
}

const octetsOf = (step: Step): string =>
  typeof step === 'string' ? `${step}\r\n` : 'octets' in step ? step.octets : `${step.line}\r\n`

async function expectSame({ postfix, ours }: Pair, steps: readonly Step[], hint = ''): Promise<string[]> {
  const [theirs, mine] = await Promise.all([converse(postfix, steps), converse(ours, steps)])
  expect(mine, `${hint}\n${steps.map((step) => JSON.stringify(step)).join('\n')}`).toEqual(theirs)
  return mine
}

const data = (content: string): Step => ({ line: 'DATA', content: `${content}.\r\n` })
const bdat = (content: string, last = ' LAST'): Step => ({
  octets: `BDAT ${content.length}${last}
${content}`,
})
const mail = (...more: readonly Step[]): Step[] => [
  'EHLO c.test',
  'MAIL FROM:<s@b.test>',
  'RCPT TO:<r@d.test>',
  ...more,
]

const senders = [
  ...[
    '<a@b.test>',
    '<>',
    '<a>',
    '<a@b>',
    '<"a b"@c.test>',
    '<"a b">',
    '<a b@c.test>',
    '<a@b.test.>',
    '<a@b..test>',
  ],
  ...['<a@.b.test>', '<a@b.test..>', '<a..b@c.test>', '<.a@b.test>', '<a.@b.test>', '<@c.test:a@b.test>'],
  ...[
    '<@c.test,@d.test:a@b.test>',
    '<@c.test;a@b.test>',
    '<a@[192.0.2.1]>',
    '<a@[192.0.2.400]>',
    '<a@192.0.2.1>',
  ],
  ...[
    '<a@[IPv6:2001:db8::1]>',
    '<a@[2001:db8::1]>',
    '<a@[IPv6:x]>',
    '<a@[x]>',
    '<a@[]>',
    '<a@b_c.test>',
    '<a@-b.test>',
  ],
  ...[
    '<a@b-.test>',
    '<a@b@c.test>',
    '<a%b@c.test>',
    '<a!b@c.test>',
    '<"a@b"@c.test>',
    '<"a\\"b"@c.test>',
    '<a\\@b@c.test>',
  ],
  ...['<a,b@c.test>', '<a;b@c.test>', '<a(x)b@c.test>', '<a@c.test (x)>', '<"a"b@c.test>', '<"a".b@c.test>'],
  ...[
    '<a."b"@c.test>',
    '<"a@c.test>',
    '< a@c.test >',
    '<\xe9@c.test>',
    '<\xc3\xa9@c.test>',
    '<a@\xc3\xa9.test>',
  ],
  ...[
    '<<a@b.test>>',
    '<a@b.test><c@d.test>',
    '<a@b.test',
    'a@b.test>',
    'a@b.test',
    '<a@b.test>x',
    '  <a@b.test>',
    '<@b.test:>',
  ],
  ...[
    `<${'a'.repeat(64)}@b.test>`,
    `<${'a'.repeat(70)}@b.test>`,
    `<a@${'b'.repeat(63)}.test>`,
    `<a@${'b'.repeat(64)}.test>`,
  ],
]
const senderParameters = [
  ...[
    'SIZE=1',
    'SIZE=',
    'SIZE',
    'SIZE=x',
    'SIZE=-1',
    'SIZE=100000',
    'SIZE=100001',
    `SIZE=${'9'.repeat(30)}`,
    'SIZE=1 SIZE=2',
  ],
  ...[
    'BODY=7bit',
    'BODY=8BITMIME',
    'BODY=BINARYMIME',
    'BODY',
    'RET=full',
    'RET=x',
    'RET',
    'RET=FULL RET=HDRS',
    'ENVID=a+2Bb',
  ],
  ...[
    'ENVID=',
    'ENVID=a+b',
    'ENVID=a=b',
    'ENVID=1 ENVID=2',
    'SMTPUTF8',
    'SMTPUTF8=1',
    'FOO',
    'FOO=1',
    '(x)',
    'size=1 body=7BIT',
  ],
]
const recipientParameters = [
  ...[
    'NOTIFY=NEVER',
    'NOTIFY=success,delay',
    'NOTIFY=NEVER,FAILURE',
    'NOTIFY=FAILURE,FAILURE',
    'NOTIFY=FAILURE,',
    'NOTIFY=',
  ],
  ...[
    'NOTIFY',
    'NOTIFY=x',
    'NOTIFY=NEVER NOTIFY=NEVER',
    'ORCPT=rfc822;a',
    'ORCPT=a',
    'ORCPT=',
    'ORCPT=rfc822;',
    'ORCPT=;a',
  ],
  ...[
    'ORCPT=rfc822;a+40b',
    'ORCPT=rfc822;a+e4',
    'ORCPT=rfc822;a+4',
    'ORCPT=rfc822;a+ZZ',
    'ORCPT=rfc822;a=b',
    'ORCPT=x400;a',
  ],
  ...[
    'ORCPT=utf-8;a',
    'ORCPT=rfc822;a;b',
    'ORCPT=rfc822;a ORCPT=rfc822;a',
    'NOTIFY=DELAY ORCPT=rfc822;a',
    'SIZE=1',
  ],
]
const others = [
  ...[
    'NOOP',
    'NOOP x y',
    'RSET',
    'RSET x',
    'VRFY',
    'VRFY a@d.test',
    'VRFY <a@d.test>',
    'ETRN',
    'ETRN d.test',
    'ETRN d d',
    'QUIT x',
  ],
  ...[
    'HELO',
    'HELO c',
    'HELO c d',
    'EHLO',
    'EHLO c',
    'EHLO [192.0.2.1]',
    'LHLO c',
    'AUTH',
    'AUTH PLAIN',
    'TURN',
    'foo',
    '',
  ],
  ...[
    ' ',
    'MAIL',
    'MAIL FROM',
    'MAIL FROM:',
    'MAIL FROM :<>',
    'RCPT',
    'RCPT TO',
    'RCPT TO:',
    'RCPT TO:<>',
    'RCPT TO <a@b.test>',
  ],
  ...[
    'DATA x',
    'mail from:<a@b.test>',
    ' NOOP',
    '\tNOOP',
    'NOOP\t',
    'MAIL\tFROM:<a@b.test>\tSIZE=1',
    'rcpt to: a@b.test',
  ],
  ...['GET / HTTP/1.0', 'CONNECT x', '123', 'foo: bar', 'Received: x', '\x80\x81', 'x'.repeat(3000)],
]
const foreign = [
  ...[
    'XCLIENT',
    'XCLIENT x',
    'XCLIENT X=1',
    'XCLIENT NAME=',
    'XCLIENT NAME=c.test',
    'XCLIENT NAME=a+20b',
    'XCLIENT ADDR=127.0.0.2',
  ],
  ...[
    'XCLIENT ADDR=127.0.0',
    'XCLIENT ADDR=IPV6:::1',
    'XCLIENT PROTO=LMTP',
    'XCLIENT PROTO=smtp',
    'XCLIENT PORT=x',
    'XCLIENT PORT=25',
  ],
  ...[
    'XCLIENT HELO=h',
    'XCLIENT REVERSE_NAME=r.test',
    'XCLIENT DESTADDR=127.0.0.1 DESTPORT=25',
    'XCLIENT NAME=[TEMPUNAVAIL]',
  ],
  ...[
    'XFORWARD',
    'XFORWARD x',
    'XFORWARD X=1',
    'XFORWARD NAME=c.test ADDR=192.0.2.1 PORT=5',
    'XFORWARD PROTO=ESMTP HELO=h',
  ],
  ...[
    'XFORWARD IDENT=q SOURCE=REMOTE',
    'XFORWARD SOURCE=x',
    'XFORWARD ADDR=x',
    'XFORWARD PORT=x',
    'XFORWARD NAME=a+2',
  ],
]

const noPostfix = whyMissing(['postfix'], { root: true })
const timeout = 120_000

describe.skipIf(noPostfix !== undefined)(`beside Postfix's smtpd${because(noPostfix)}`, () => {
  test('each command, mails in every order, random sessions', { timeout }, async () => {
    const pair = await startPair()
    await everyCommand(pair)
    await everyOrder(pair)
    await randomSessions(pair)
  })

  const everyCommand = async (pair: Pair): Promise<void> => {
    const scripts: Step[][] = [
      ...senders.map((sender) => ['EHLO c', `MAIL FROM:${sender}`, 'QUIT']),
      ...senders
        .filter((sender) => sender !== '<>')
        .map((sender) => [...mail().slice(0, 2), `RCPT TO:${sender}`, 'QUIT']),
      ...senderParameters.map((text) => ['EHLO c', `MAIL FROM:<a@b.test> ${text}`, 'QUIT']),
      ...recipientParameters.map((text) => [...mail().slice(0, 2), `RCPT TO:<a@b.test> ${text}`, 'QUIT']),
      ...others.flatMap((line) => [
        [line, 'NOOP'],
        ['EHLO c', line, 'NOOP'],
        [...mail(), line, 'NOOP'],
      ]),
      ...foreign.map((line) => ['EHLO c', line, 'EHLO d', 'NOOP']),
    ].filter((script) => !isOwn(script))
    for (const script of scripts) await expectSame(pair, script)
  }

  const everyOrder = async (pair: Pair): Promise<void> => {
    const scripts: Step[][] = [
      [
        'DATA',
        'RCPT TO:<a@b.test>',
        'MAIL FROM:<>',
        'MAIL FROM:<>',
        'DATA',
        'RCPT TO:<a@b.test>',
        data('x\r\n'),
        'DATA',
        'QUIT',
      ],
      [...mail('HELO d', 'RCPT TO:<a@b.test>', 'RSET', 'DATA'), 'QUIT'],
      [...mail(data('x\r\n'), ...mail(data('y\r\n')))],
      mail(bdat('x\r\n'), 'QUIT'),
      mail(bdat('x', ''), bdat('y\r\n'), 'QUIT'),
      mail(
        bdat('x', ''),
        'MAIL FROM:<>',
        'RCPT TO:<a@b.test>',
        'DATA',
        'NOOP',
        bdat(''),
        ...mail(data('z\r\n')),
      ),
      mail(bdat('x', ''), 'RSET', 'DATA', ...mail(bdat('', ''), bdat('q', ''), bdat('q'), 'MAIL FROM:<>')),
      [bdat('x', ''), 'MAIL FROM:<>', bdat('x'), 'MAIL FROM:<>', bdat('x', ''), bdat('y'), 'QUIT'],
      mail('BDAT'),
      mail('BDAT x'),
      mail('BDAT 1 x'),
      mail('BDAT -1'),
      mail('BDAT 99999999999999999999'),
      mail(bdat('x'.repeat(60_000), ''), bdat('x'.repeat(60_000), ''), bdat('x'), 'NOOP'),
      mail(data(`${'x'.repeat(70)}\r\n`.repeat(2_000)), 'NOOP'),
      mail(
        data(`${'Received: x\r\n'.repeat(48)}\r\n`),
        ...mail(data(`${'Received: x\r\n'.repeat(49)}\r\n`), 'NOOP'),
      ),
      mail('STARTTLS x', 'XCLIENT ADDR=127.0.0.2', 'XFORWARD ADDR=192.0.2.1', 'QUIT'),
      [
        'HELO c',
        'XFORWARD ADDR=192.0.2.1',
        'MAIL FROM:<a@b.test> SIZE=3',
        'RCPT TO:<b@c.test> NOTIFY=NEVER',
        'RSET',
        'XCLIENT HELO=h',
        'MAIL FROM:<>',
      ],
      ['EHLO c', ...Array.from({ length: 25 }, () => 'FOO'), 'NOOP'],
      ['EHLO c', ...Array.from({ length: 40 }, () => 'NOOP')],
      mail(...Array.from({ length: 1005 }, (_, i) => `RCPT TO:<r${i}@d.test>`), 'RSET'),
    ]
    for (const script of scripts) await expectSame(pair, script)
  }

  const randomSessions = async (pair: Pair): Promise<void> => {
    const seed = chosenSeed()
    const random = generator(seed)
    const pick = <T>(from: readonly T[]): T => from[random(from.length)]!
    const step = (): Step | readonly Step[] => {
      switch (random(12)) {
        case 0:
        case 1:
          return `MAIL FROM:${pick(senders)}`
        case 2:
          // smtpd 3.7 remembers the size of a MAIL that it refused for another reason.
          return [
            `MAIL FROM:<a@b.test> ${pick(senderParameters)} ${pick(senderParameters)}`,
            pick(['RSET', 'EHLO c']),
          ]
        case 3:
        case 4:
          return `RCPT TO:${pick(senders)}`
        case 5:
          return `RCPT TO:<a@b.test> ${pick(recipientParameters)} ${pick(recipientParameters)}`
        case 6:
          return data(pick(['', 'x\r\n', 'A: b\r\n\r\nc\r\n', '..\r\n']))
        case 7:
          // smtpd 3.7 keeps recipients of a mail that was skipped, and dies at DATA.
          return random(2) === 0
            ? bdat('x'.repeat(random(20)), '')
            : [bdat('x'.repeat(random(20)), pick([' LAST', ' last'])), 'RSET']
        case 8:
          return pick(foreign)
        case 9:
          return pick(['EHLO c', 'HELO c', 'RSET', 'RCPT TO:<r@d.test>', 'MAIL FROM:<s@b.test>'])
        default:
          return pick(others)
      }
    }
    for (let round = 0; round < Number(process.env.ROUNDS ?? 100); round += 1) {
      const script = Array.from({ length: 3 + random(25) }, step)
        .flat()
        .filter((one) => !isOwn([one]))
      await expectSame(pair, random(2) === 0 ? script : ['EHLO c', ...script], `SEED=${seed} round ${round}`)
    }
  }

  test('accepted content is the same octet by octet', { timeout }, async () => {
    const pair = await startPair()
    const contents = [
      ...[
        '',
        '\r\n',
        '\r\nbody\r\n',
        'no header\r\n',
        'A: b\r\n',
        'A: b\r\nbody\r\n',
        'A: b\r\n\r\nbody\r\n',
        ' space\r\nA: b\r\n',
      ],
      ...[
        'From: a@b.test\r\nDate: x\r\nMessage-Id: <1@2>\r\n\r\nb\r\n',
        'from: a\r\ndate:\r\nmessage-ID: <x>\r\n\r\nb\r\n',
      ],
      ...[
        'From me Mon\r\nA: b\r\n\r\nb\r\n',
        '>>From me Mon\r\nA: b\r\n\r\nb\r\n',
        'From: a\r\nFrom me Mon\r\n\r\nb\r\n',
      ],
      ...[
        'Resent-From: q@b.test\r\nFrom: a\r\n\r\nb\r\n',
        'Resent-To: q@b.test\r\n\r\nb\r\n',
        'Resent-Bcc: x\r\nA: b\r\n\r\nb\r\n',
      ],
      ...[
        'Bcc: z\r\n z\r\nReturn-Path: <a>\r\nContent-Length: 3\r\nFrom: a\r\n\r\nBcc: b\r\n',
        'Bcc: x\r\n',
        'Bcc: x\r\nb\r\n',
      ],
      ...[
        'From: a\r\nBad Header: x\r\nA : b\r\n\r\nb\r\n',
        'From: a\r\n: x\r\n\r\nb\r\n',
        'From: a\r\nA \t: b\r\nbcc : x\r\n\r\nb\r\n',
      ],
      ...[
        'A: b\r\n  c\r\n\td\r\n \r\nB:\r\n\r\nb\r\n',
        'X: a\rb\r\r\nY: c\r\n\r\na\rb\r\r\n\r\r\nb\r\n',
        'X: \xe4\xff\r\n\r\n\xe4\xff\x80\r\n',
      ],
      ...[
        `Long: ${'x'.repeat(5000)}\r\n\r\n${'y'.repeat(5000)}\r\n`,
        'A: b\r\n\r\n..\r\n...\r\n..x\r\n',
        'A: b\r\n\r\n  \t\r\n',
      ],
    ]
    const seed = chosenSeed()
    const random = generator(seed)
    const pieces = [
      'A: b',
      'From: x',
      ' folded',
      '\tfolded',
      '',
      'text',
      'Bcc: x',
      'Resent-Cc: y',
      'b c: d',
      '..',
      'Date: z',
      ':',
      'A:',
    ]
    for (let i = 0; i < 60; i += 1) {
      const lines = Array.from({ length: random(9) }, () => pieces[random(pieces.length)]!)
      contents.push(lines.map((line) => `${line}\r\n`).join(''))
    }
    for (const [i, content] of contents.entries()) {
      const recipient = `RCPT TO:<r${i}@d.test>`
      // Postfix looks at the first line after DATA alone: a blank there would continue its Received field.
      const how =
        i % 2 === 0 || /^[ \t]|^>*From /.test(content) ? data(content) : bdat(content.replace(/^\.\./gm, '.'))
      await expectSame(pair, ['EHLO c.test', 'MAIL FROM:<s@b.test>', recipient, how, 'QUIT'], `SEED=${seed}`)
    }
    const arrived = async (sink: SmtpSink): Promise<Map<string, string>> => {
      await until('all mails', () => sink.mails.length >= contents.length, { deadlineMs: 60_000 })
      return new Map(sink.mails.map((one) => [one.recipients[0]!, comparable(one.content)]))
    }
    const [theirs, mine] = await Promise.all([arrived(pair.sinks.postfix), arrived(pair.sinks.ours)])
    for (const [i, content] of contents.entries()) {
      const key = `r${i}@d.test`
      expect(mine.get(key), `SEED=${seed} ${JSON.stringify(content)}`).toBe(theirs.get(key))
    }
  })
})

/** Names, ids and times are everybody's own. */
const comparable = (content: string): string =>
  content
    .replace(/\((?:Postfix|mailactors)\)/, '(NAME)')
    .replace(/( id )[0-9A-Za-z]+/, '$1ID')
    .replace(/(Message-Id: <)\d{14}\.[0-9A-Za-z]+@/, '$1TIME.ID@')
    .replace(/\w{3}, \d\d? \w{3} \d{4} [\d:]{8} \+0000 \(UTC\)/g, 'TIME')

/** Differs on purpose, see above. */
const isOwn = (script: readonly Step[]): boolean =>
  script.some((step) => {
    const line = octetsOf(step).trimEnd()
    return /^(?:RCPT|VRFY)\b.*(?:<a>|<"a b">)|^STARTTLS$|^RCPT TO:<"?"?>|<@b\.test:>/i.test(line)
  })

function generator(seed: number): (below: number) => number {
  const numbers = new Random(seed)
  return (below) => numbers.below(below)
}

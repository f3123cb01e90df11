/** Servers and mail from a seed. */
import { Random } from '../../../src/testing/random.ts'
import type { Answer, Script } from '../../protocols/smtp/client/scripted-server.ts'
import type { ModelCase } from '../../support/postfix-model.ts'
import { checks, date, mailOf } from './contents.ts'
import { close } from './listed.ts'
import { hasty, hastyLmtp } from './profiles.ts'

/** Mail of random parts: what the MIME code has to get right octet for octet. */
function randomContent(random: () => number): Buffer {
  const pick = <T>(...choices: readonly T[]): T => choices[Math.floor(random() * choices.length)]!
  const line = (): string =>
    pick(
      '',
      '.',
      'plain',
      'caf\xe9',
      '= equals =',
      'tail ',
      'tab\t',
      '--',
      '--b1',
      '--b1--',
      '--b2 x',
      '\x80\xff\x01',
      `${'long '.repeat(pick(10, 300, 900))}`,
      `\xe9${'x'.repeat(pick(60, 71, 72, 73, 2_047, 2_048, 5_000))}`,
      'To: x@in.test',
      ' folded',
    )
  const encoding = (): string[] => {
    const value = pick(
      undefined,
      '8bit',
      '8BIT',
      'binary',
      '7bit',
      'quoted-printable',
      'base64',
      'x-odd',
      '"8bit"',
      '(c) 8bit',
      '8bit (c)',
    )
    return value === undefined ? [] : [`Content-Transfer-Encoding: ${value}`]
  }
  const type = (): string[] => {
    const value = pick(
      undefined,
      'text/plain',
      'multipart/mixed; boundary=b1',
      'multipart/mixed; boundary="b2"',
      'MULTIPART/Digest;\r\n boundary=b1',
      'message/rfc822',
      'message/partial',
      'message/global',
      'application/x',
      'multipart/alternative; x=y; boundary=b2; boundary=b1',
      'text',
      '"odd"',
      '; boundary=b1',
    )
    return value === undefined ? [] : [`Content-Type: ${value}`]
  }
  const header = (): string[] => [
    ...(random() < 0.5 ? [...type(), ...encoding()] : [...encoding(), ...type()]),
    ...(random() < 0.3 ? ['Subject: inner'] : []),
    '',
  ]
  const lines: string[] = []
  for (let n = Math.floor(random() * 12); n > 0; n--) {
    if (random() < 0.4) lines.push(pick('--b1', '--b2'), ...header())
    lines.push(line())
  }
  return mailOf([date, 'From: s@sender.test', ...header().slice(0, -1)], lines)
}

export function randomCases(seed: number, count: number): ModelCase[] {
  const numbers = new Random(seed)
  const random = () => numbers.next()
  const pick = <T>(...choices: readonly T[]): T => choices[Math.floor(random() * choices.length)]!
  const chance = (p: number): boolean => random() < p
  const reply = (): string => {
    const code = pick(
      '250',
      '354',
      '421',
      '450',
      '451',
      '452',
      '500',
      '501',
      '503',
      '550',
      '552',
      '554',
      '555',
      '220',
    )
    const kind = pick(code[0]!, code[0]!, '2', '4', '5')
    const text = pick(
      '',
      ' no',
      ` ${kind}.1.1 words`,
      ` ${kind}.7.0 a b c`,
      ` ${kind}.3.${pick('0', '2', '99')}`,
    )
    return chance(0.2) ? `${code}-${kind}.9.9 first\n${code}${text}` : `${code}${text}`
  }
  const answer = (): Answer => (chance(0.12) ? close(chance(0.5) ? reply() : '') : reply())
  const noted = (): Answer => {
    const given = answer()
    return typeof given === 'string' && chance(0.08) ? `garbage\n${given}` : given
  }
  const script = (helo: string, recipients: readonly string[]): Script => {
    const answers: Record<string, Answer> = {}
    if (chance(0.15)) answers[helo] = noted()
    if (helo === 'EHLO' && chance(0.1)) answers.HELO = noted()
    if (chance(0.2)) answers.MAIL = noted()
    for (const recipient of recipients) if (chance(0.35)) answers[`RCPT TO:<${recipient}@`] = noted()
    if (chance(0.2)) answers.DATA = noted()
    if (chance(0.2)) answers.RSET = noted()
    if (chance(0.2)) answers.QUIT = noted()
    const keywords = [
      'PIPELINING',
      '8BITMIME',
      'SIZE 100000',
      'DSN',
      'ENHANCEDSTATUSCODES',
      'SMTPUTF8',
    ].filter(() => chance(0.5))
    return {
      ...(chance(0.15) ? { greeting: noted() } : {}),
      keywords,
      answers,
      ...(chance(0.35) ? { dot: recipients.map(() => noted()) } : {}),
    }
  }
  return Array.from({ length: count }, (_, index): ModelCase => {
    const profile = chance(0.25) ? hastyLmtp : chance(0.2) ? checks : hasty
    const recipients = [...'abcde'].slice(0, 1 + Math.floor(random() * 5))
    const servers = Array.from({ length: 1 + Math.floor(random() * 3) }, () => [
      script(profile.lmtp === true ? 'LHLO' : 'EHLO', recipients),
    ])
    const body = pick(undefined, '7BIT' as const, '8BITMIME' as const)
    const content = randomContent(random)
    return {
      name: `random ${index} of seed ${seed}`,
      profile,
      servers,
      recipients,
      ...(chance(0.5) ? { content } : {}),
      ...(body === undefined ? {} : { body }),
      ...(chance(0.2) ? { ret: pick('FULL' as const, 'HDRS' as const), envid: 'id+1=2' } : {}),
      ...(chance(0.2) ? { notify: [pick('SUCCESS' as const, 'NEVER' as const, 'DELAY' as const)] } : {}),
    }
  })
}

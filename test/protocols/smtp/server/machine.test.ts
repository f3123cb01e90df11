import { describe, expect, test } from 'vitest'
import type { SaslReply } from '../../../../src/auth/contract.ts'
import { saslAnswered } from '../../../../src/protocols/smtp/server/authentication.ts'
import { parseCommand, parseParameters } from '../../../../src/protocols/smtp/server/command.ts'
import { smtpdSettings } from '../../../../src/protocols/smtp/server/config.ts'
import { count, execute, executeTooLong } from '../../../../src/protocols/smtp/server/machine.ts'
import { mailFinished, recipientLookedUp } from '../../../../src/protocols/smtp/server/mail.ts'
import { tlsStarted, verified } from '../../../../src/protocols/smtp/server/other-commands.ts'
import { ServerPolicy } from '../../../../src/protocols/smtp/server/policy.ts'
import {
  type Environment,
  initialState,
  type SessionState,
  type Transition,
} from '../../../../src/protocols/smtp/server/state.ts'
import { FakeSasl } from './fake-sasl.ts'
import { type ServerOptions, serverConfig } from './harness.ts'

interface World extends ServerOptions {
  readonly address?: string
  readonly offersTls?: boolean
  readonly isTrusted?: boolean
}

function environment(world: World = {}): Environment {
  const address = world.address ?? '127.0.0.1'
  const policy = new ServerPolicy(serverConfig('/nowhere', world))
  return {
    policy,
    offersTls: world.offersTls ?? false,
    mayXforward: policy.mayXforward(address),
    isLimited: false,
    isBehindTls: false,
    certificateName: () => undefined,
    hasRoom: (octets) => octets < 1e12,
    peer: {
      service: world.service ?? 'smtp',
      address,
      port: 4000,
      localAddress: '192.0.2.25',
      isLoopback: address === '127.0.0.1',
      isTrusted: world.isTrusted ?? policy.isTrusted(address),
      isStressed: false,
    },
  }
}

const ann = { user: 'ann', home: '/home/ann', maildir: '/home/ann/Maildir' }

/** Plays lines; local recipients exist when their name begins with ann, passwords are right when they say so. */
function play(
  world: World,
  ...lines: string[]
): { state: SessionState; last: Transition; replies: string[] } {
  const env = environment(world)
  const replies: string[] = []
  let state = initialState
  let last: Transition = { state, reply: '' }
  let reply: SaslReply | undefined
  const sasl = new FakeSasl((_identity, password) =>
    password === 'right' ? { ok: true, account: ann } : { ok: false, reason: 'credentials' },
  )
  for (const line of lines) {
    last = execute(state, line, env)
    state = last.state
    if (last.effect?.kind === 'account') {
      const known = last.effect.key.toLowerCase().startsWith('ann') ? ann : null
      last = count(recipientLookedUp(state, last.effect.recipient, known), env)
    } else if (last.effect?.kind === 'verify') {
      const known = last.effect.key.toLowerCase().startsWith('ann') ? ann : null
      last = count(verified(state, last.effect.address, known), env)
    } else if (last.effect?.kind === 'sasl') {
      reply = sasl.saslStart(last.effect.mechanism, last.effect.initial ?? null)
      last = count(saslAnswered(state, reply), env)
    } else if (last.effect?.kind === 'sasl-response') {
      reply = sasl.saslNext(reply?.kind === 'challenge' ? reply.exchange : 0, last.effect.data)
      last = count(saslAnswered(state, reply), env)
    }
    state = last.state
    replies.push(last.reply)
  }
  return { state, last, replies }
}

const ready = ['EHLO c', 'MAIL FROM:<a@b.test>', 'RCPT TO:<ann@mx.test>']

describe('one command after another', () => {
  test.each<{ name: string; world?: World; lines: string[]; reply: RegExp }>([
    { name: 'HELO', lines: ['HELO c'], reply: /^250 mx\.test\r\n$/ },
    { name: 'HELO without a name', lines: ['HELO'], reply: /^501 [^\d]/ },
    { name: 'EHLO without a name', lines: ['EHLO  '], reply: /^501 [^\d]/ },
    { name: 'LHLO in SMTP', lines: ['LHLO c'], reply: /^500 / },
    { name: 'EHLO in LMTP', world: { service: 'lmtp' }, lines: ['EHLO c'], reply: /^500 5\.5\.1 / },
    { name: 'lower case', lines: ['ehlo c', 'mail from:<a@b.test>'], reply: /^250 2\.1\.0 / },
    { name: 'a space after the colon', lines: ['EHLO c', 'MAIL FROM: <a@b.test>'], reply: /^250 / },
    { name: 'spaces at the end', lines: ['EHLO c', 'MAIL FROM:<a@b.test>  '], reply: /^250 / },
    { name: 'MAIL without a greeting', lines: ['MAIL FROM:<a@b.test>'], reply: /^250 / },
    {
      name: 'MAIL without the greeting that is required',
      world: { smtpd: { helo_required: true } },
      lines: ['MAIL FROM:<a@b.test>'],
      reply: /^503 5\.5\.1 /,
    },
    { name: 'MAIL before LHLO', world: { service: 'lmtp' }, lines: ['MAIL FROM:<>'], reply: /^503 5\.5\.1 / },
    { name: 'MAIL twice', lines: [...ready, 'MAIL FROM:<>'], reply: /^503 5\.5\.1 / },
    { name: 'MAIL after RSET', lines: [...ready, 'RSET', 'MAIL FROM:<>'], reply: /^250 / },
    { name: 'MAIL after another EHLO', lines: [...ready, 'EHLO d', 'MAIL FROM:<>'], reply: /^250 / },
    { name: 'MAIL without FROM', lines: ['EHLO c', 'MAIL TO:<a@b.test>'], reply: /^501 5\.5\.4 / },
    { name: 'MAIL without anything', lines: ['EHLO c', 'MAIL'], reply: /^501 5\.5\.4 / },
    { name: 'a malformed sender', lines: ['EHLO c', 'MAIL FROM:<a@b@>'], reply: /^501 5\.1\.7 / },
    { name: 'SIZE over the limit', lines: ['EHLO c', 'MAIL FROM:<> SIZE=10240001'], reply: /^552 5\.3\.4 / },
    { name: 'SIZE at the limit', lines: ['EHLO c', 'MAIL FROM:<> SIZE=10240000'], reply: /^250 / },
    { name: 'SIZE that is none', lines: ['EHLO c', 'MAIL FROM:<> SIZE=x'], reply: /^501 5\.5\.4 / },
    { name: 'SIZE without a value', lines: ['EHLO c', 'MAIL FROM:<> SIZE'], reply: /^555 5\.5\.4 / },
    { name: 'BODY', lines: ['EHLO c', 'MAIL FROM:<> BODY=8bitmime'], reply: /^250 / },
    { name: 'a BODY we do not take', lines: ['EHLO c', 'MAIL FROM:<> BODY=BINARYMIME'], reply: /^555 / },
    { name: 'SMTPUTF8 with a value', lines: ['EHLO c', 'MAIL FROM:<> SMTPUTF8=1'], reply: /^555 / },
    { name: 'AUTH=', lines: ['EHLO c', 'MAIL FROM:<> AUTH=<>'], reply: /^250 / },
    { name: 'RET', lines: ['EHLO c', 'MAIL FROM:<> RET=BODY'], reply: /^501 5\.5\.4 / },
    { name: 'ENVID with a control', lines: ['EHLO c', 'MAIL FROM:<> ENVID=a+0Ab'], reply: /^501 5\.5\.4 / },
    { name: 'an unknown parameter', lines: ['EHLO c', 'MAIL FROM:<> FOO=1'], reply: /^555 5\.5\.4 / },
    { name: 'SIZE twice', lines: ['EHLO c', 'MAIL FROM:<> SIZE=1 SIZE=1'], reply: /^250 / },
    { name: 'RET twice', lines: ['EHLO c', 'MAIL FROM:<> RET=HDRS RET=FULL'], reply: /^501 5\.5\.4 / },
    {
      name: 'a SIZE that no disk has',
      lines: ['EHLO c', `MAIL FROM:<> SIZE=${'9'.repeat(30)}`],
      reply: /^552 /,
    },
    { name: 'ENVID with an unencoded =', lines: ['EHLO c', 'MAIL FROM:<> ENVID=a=b'], reply: /^250 / },
    { name: 'a malformed parameter', lines: ['EHLO c', 'MAIL FROM:<> =1'], reply: /^555 5\.5\.4 / },
    {
      name: 'a UTF-8 local part without SMTPUTF8',
      lines: ['EHLO c', 'MAIL FROM:<\xc3\xbc@b.test>'],
      reply: /^250 /,
    },
    {
      name: 'a UTF-8 domain without SMTPUTF8',
      lines: ['EHLO c', 'MAIL FROM:<a@\xc3\xbc.test>'],
      reply: /^501 5\.1\.7 /,
    },
    {
      name: 'UTF-8 without SMTPUTF8 where that is forbidden',
      world: { smtpd: { strict_smtputf8: true } },
      lines: ['EHLO c', 'MAIL FROM:<\xc3\xbc@b.test>'],
      reply: /^553 5\.6\.7 /,
    },
    { name: 'UTF-8 with it', lines: ['EHLO c', 'MAIL FROM:<\xc3\xbc@b.test> SMTPUTF8'], reply: /^250 / },
    {
      name: 'octets that are no UTF-8',
      lines: ['EHLO c', 'MAIL FROM:<\xfc@b.test>'],
      reply: /^500 5\.5\.2 /,
    },
    { name: 'RCPT before MAIL', lines: ['EHLO c', 'RCPT TO:<ann@mx.test>'], reply: /^503 5\.5\.1 / },
    { name: 'the null recipient', lines: ['EHLO c', 'MAIL FROM:<>', 'RCPT TO:<>'], reply: /^501 5\.1\.3 / },
    { name: 'a malformed recipient', lines: [...ready, 'RCPT TO:<a b@c>'], reply: /^501 5\.1\.3 / },
    { name: 'RCPT without TO', lines: [...ready, 'RCPT <a@b.test>'], reply: /^501 5\.5\.4 / },
    { name: 'an unknown user', lines: [...ready, 'RCPT TO:<bob@mx.test>'], reply: /^550 5\.1\.1 / },
    { name: 'a user without a domain', lines: [...ready, 'RCPT TO:<ann>'], reply: /^250 2\.1\.5 / },
    { name: 'our address literal', lines: [...ready, 'RCPT TO:<ann@[192.0.2.25]>'], reply: /^250 2\.1\.5 / },
    { name: 'a source route', lines: [...ready, 'RCPT TO:<@x.test:ann@LOCALHOST>'], reply: /^250 2\.1\.5 / },
    { name: 'NOTIFY', lines: [...ready, 'RCPT TO:<ann> NOTIFY=SUCCESS,FAILURE'], reply: /^250 / },
    {
      name: 'NOTIFY mixed with NEVER',
      lines: [...ready, 'RCPT TO:<ann> NOTIFY=NEVER,DELAY'],
      reply: /^501 /,
    },
    {
      name: 'NOTIFY with a word twice',
      lines: [...ready, 'RCPT TO:<ann> NOTIFY=DELAY,DELAY'],
      reply: /^250 /,
    },
    { name: 'NOTIFY twice', lines: [...ready, 'RCPT TO:<ann> NOTIFY=DELAY NOTIFY=NEVER'], reply: /^501 / },
    { name: 'NOTIFY with nothing', lines: [...ready, 'RCPT TO:<ann> NOTIFY='], reply: /^501 / },
    { name: 'ORCPT without a type', lines: [...ready, 'RCPT TO:<ann> ORCPT=ann@mx.test'], reply: /^501 / },
    { name: 'ORCPT that is no xtext', lines: [...ready, 'RCPT TO:<ann> ORCPT=rfc822;a+zz'], reply: /^501 / },
    { name: 'an unknown RCPT parameter', lines: [...ready, 'RCPT TO:<ann> RRVS=1'], reply: /^555 / },
    { name: 'DATA before MAIL', lines: ['EHLO c', 'DATA'], reply: /^503 5\.5\.1 / },
    { name: 'DATA without a recipient', lines: ['EHLO c', 'MAIL FROM:<>', 'DATA'], reply: /^554 5\.5\.1 / },
    {
      name: 'DATA without a recipient in LMTP',
      world: { service: 'lmtp' },
      lines: ['LHLO c', 'MAIL FROM:<>', 'DATA'],
      reply: /^503 5\.5\.1 /,
    },
    { name: 'DATA with an argument', lines: [...ready, 'DATA now'], reply: /^501 5\.5\.4 / },
    { name: 'DATA', lines: [...ready, 'DATA'], reply: /^354 / },
    { name: 'RSET with an argument', lines: ['RSET x'], reply: /^501 / },
    { name: 'NOOP with one', lines: ['NOOP x'], reply: /^250 2\.0\.0 / },
    { name: 'VRFY', lines: ['VRFY ann'], reply: /^252 2\.0\.0 / },
    { name: 'VRFY of nobody', lines: ['VRFY <bob@mx.test>'], reply: /^550 5\.1\.1 / },
    { name: 'VRFY of someone elsewhere', lines: ['VRFY x@d.test'], reply: /^252 / },
    {
      name: 'VRFY of someone elsewhere for a stranger',
      world: { address: '192.0.2.9' },
      lines: ['VRFY x@d.test'],
      reply: /^554 5\.7\.1 /,
    },
    { name: 'VRFY without one', lines: ['VRFY'], reply: /^501 / },
    {
      name: 'VRFY turned off',
      world: { smtpd: { disable_vrfy_command: true } },
      lines: ['VRFY a'],
      reply: /^502 /,
    },
    { name: 'ETRN', lines: ['EHLO c', 'ETRN d.test'], reply: /^459 / },
    { name: 'ETRN of nothing', lines: ['EHLO c', 'ETRN'], reply: /^500 [^\d]/ },
    { name: 'ETRN of no domain', lines: ['EHLO c', 'ETRN -.-'], reply: /^501 / },
    { name: 'ETRN in LMTP', world: { service: 'lmtp' }, lines: ['LHLO c', 'ETRN d.test'], reply: /^502 / },
    { name: 'EXPN', lines: ['EXPN all'], reply: /^502 5\.5\.1 / },
    { name: 'HELP', lines: ['HELP'], reply: /^214 2\.0\.0 / },
    { name: 'QUIT', lines: ['QUIT'], reply: /^221 2\.0\.0 / },
    { name: 'QUIT with an argument', lines: ['QUIT now'], reply: /^221 / },
    { name: 'an unknown command', lines: ['TURN'], reply: /^500 5\.5\.2 / },
    { name: 'an empty line', lines: [''], reply: /^500 5\.5\.2 / },
    { name: 'a space first', lines: [' NOOP'], reply: /^250 / },
    { name: 'tabs', lines: ['EHLO\tc', 'MAIL\tFROM:<a@b.test>\tSIZE=1'], reply: /^250 2\.1\.0 / },
    { name: 'a header field', lines: ['Subject: x'], reply: /^221 2\.7\.0 / },
    { name: 'a command that begins with no letter', lines: ['{"id":1}'], reply: /^221 2\.7\.0 / },
    { name: 'a CR within', lines: ['NOOP\rMAIL FROM:<>'], reply: /^500 5\.5\.2 / },
    { name: 'an LF within', lines: ['NOOP\nMAIL FROM:<>'], reply: /^500 5\.5\.2 / },
    { name: 'a NUL within', lines: ['NOOP\0'], reply: /^500 5\.5\.2 / },
    { name: 'GET', lines: ['GET / HTTP/1.1'], reply: /^221 2\.7\.0 / },
    { name: 'STARTTLS that is not offered', lines: ['EHLO c', 'STARTTLS'], reply: /^502 / },
    { name: 'STARTTLS', world: { offersTls: true }, lines: ['EHLO c', 'STARTTLS'], reply: /^220 2\.0\.0 / },
    {
      name: 'MAIL before TLS where TLS is wanted',
      world: { smtpd: { tls_security_level: 'encrypt' } },
      lines: ['EHLO c', 'MAIL FROM:<>'],
      reply: /^530 5\.7\.0 /,
    },
    {
      name: 'NOOP before TLS where TLS is wanted',
      world: { smtpd: { tls_security_level: 'encrypt' } },
      lines: ['NOOP'],
      reply: /^250 /,
    },
    { name: 'STARTTLS x', world: { offersTls: true }, lines: ['STARTTLS x'], reply: /^501 / },
    {
      name: 'AUTH without TLS from elsewhere',
      world: { address: '192.0.2.9' },
      lines: ['EHLO c', 'AUTH PLAIN'],
      reply: /^538 5\.7\.11 /,
    },
    {
      name: 'AUTH without TLS where it is allowed',
      world: { address: '192.0.2.9', auth: { allow_cleartext: true } },
      lines: ['EHLO c', 'AUTH PLAIN'],
      reply: /^334 \r\n$/,
    },
    { name: 'AUTH before EHLO', lines: ['AUTH PLAIN'], reply: /^503 / },
    { name: 'AUTH without a mechanism', lines: ['EHLO c', 'AUTH'], reply: /^501 / },
    { name: 'AUTH within a mail', lines: [...ready, 'AUTH PLAIN'], reply: /^503 / },
    { name: 'an unknown mechanism', lines: ['EHLO c', 'AUTH CRAM-MD5'], reply: /^504 5\.5\.4 / },
    { name: 'PLAIN with two parts', lines: ['EHLO c', 'AUTH PLAIN AGFubg=='], reply: /^501 5\.5\.2 / },
    { name: 'PLAIN for someone else', lines: ['EHLO c', 'AUTH PLAIN Ym9iAGFubgByaWdodA=='], reply: /^535 / },
    { name: 'PLAIN', lines: ['EHLO c', 'AUTH PLAIN AGFubgByaWdodA=='], reply: /^235 2\.7\.0 / },
    { name: 'a wrong password', lines: ['EHLO c', 'AUTH PLAIN AGFubgB3cm9uZw=='], reply: /^535 5\.7\.8 / },
    { name: 'AUTH in LMTP', world: { service: 'lmtp' }, lines: ['LHLO c', 'AUTH PLAIN'], reply: /^503 / },
    {
      name: 'MAIL at submission',
      world: { service: 'submission' },
      lines: ['EHLO c', 'MAIL FROM:<>'],
      reply: /^530 /,
    },
  ])('$name', ({ world = {}, lines, reply }) => {
    expect(play(world, ...lines).replies.at(-1)).toMatch(reply)
  })
})

describe('relaying', () => {
  const to = (world: World, recipient: string) =>
    play(world, 'EHLO c', 'MAIL FROM:<a@mx.test>', `RCPT TO:<${recipient}>`).replies.at(-1)

  test.each<{ name: string; world: World; recipient: string; reply: RegExp }>([
    { name: 'from this machine', world: {}, recipient: 'x@d.test', reply: /^250 / },
    {
      name: 'for a stranger',
      world: { address: '192.0.2.9' },
      recipient: 'x@d.test',
      reply: /^554 5\.7\.1 /,
    },
    {
      name: 'to local users for a stranger',
      world: { address: '192.0.2.9' },
      recipient: 'ann@mx.test',
      reply: /^250 /,
    },
    {
      name: 'the percent hack',
      world: { address: '192.0.2.9' },
      recipient: 'x%d.test@mx.test',
      reply: /^550 /,
    },
    {
      name: 'a quoted address',
      world: { address: '192.0.2.9' },
      recipient: '"x@d.test"@mx.test',
      reply: /^550 /,
    },
    {
      name: 'a route through us',
      world: { address: '192.0.2.9' },
      recipient: '@mx.test:x@d.test',
      reply: /^554 /,
    },
    {
      name: 'an address literal elsewhere',
      world: { address: '192.0.2.9' },
      recipient: 'x@[192.0.2.77]',
      reply: /^554 /,
    },
    {
      name: 'from a network of ours',
      world: { address: '192.0.2.9', smtpd: { mynetworks: ['192.0.2.0/24'] } },
      recipient: 'x@d.test',
      reply: /^250 /,
    },
    {
      name: 'from an IPv6 network of ours',
      world: { address: '2001:db8::7', smtpd: { mynetworks: ['2001:db8::/64'] } },
      recipient: 'x@d.test',
      reply: /^250 /,
    },
    { name: 'from an unknown address', world: { address: 'unknown' }, recipient: 'x@d.test', reply: /^554 / },
  ])('$name', ({ world, recipient, reply }) => {
    expect(to(world, recipient)).toMatch(reply)
  })
})

test('what EHLO offers depends on the session', () => {
  const offers = (world: World) => play(world, 'EHLO c').last.reply.split('\r\n')
  expect(offers({})).toEqual([
    '250-mx.test',
    '250-PIPELINING',
    '250-SIZE 10240000',
    '250-VRFY',
    '250-ETRN',
    '250-AUTH PLAIN LOGIN',
    '250-ENHANCEDSTATUSCODES',
    '250-8BITMIME',
    '250-DSN',
    '250-SMTPUTF8',
    '250 CHUNKING',
    '',
  ])
  const few = offers({
    smtpd: { discard_ehlo_keywords: ['dsn', 'CHUNKING', 'Smtputf8', 'VRFY', 'etrn', 'auth'] },
  })
  expect(few.slice(2)).toEqual(['250-SIZE 10240000', '250-ENHANCEDSTATUSCODES', '250 8BITMIME', ''])
  const trusted = offers({ smtpd: { authorized_xclient_hosts: ['127.0.0.0/8'] } })
  expect(trusted).toContain('250-XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT')
  const stranger = offers({ address: '192.0.2.9', offersTls: true })
  expect(stranger).toContain('250-STARTTLS')
  expect(stranger).not.toContain('250-AUTH PLAIN LOGIN')
})

test('after TLS began nothing said before it counts', () => {
  const { state } = play({ offersTls: true }, ...ready)
  expect(tlsStarted(state)).toMatchObject({ isSecured: true, greeting: undefined, helo: '', mail: undefined })
})

describe('limits', () => {
  test('a recipient too many is told to come later, and is an error only far above the limit', () => {
    const world = { smtpd: { recipient_limit: 2, recipient_overshoot_limit: 1 } }
    const more = Array<string>(4).fill('RCPT TO:<x@d.test>')
    const { replies, state } = play(world, 'EHLO c', 'MAIL FROM:<>', ...more)
    expect(replies.slice(2).map((reply) => reply.slice(0, 9))).toEqual([
      '250 2.1.5',
      '250 2.1.5',
      '452 4.5.3',
      '452 4.5.3',
    ])
    expect(state.errors).toBe(1)
  })

  test('errors over the soft limit are late, at the hard limit the session ends', () => {
    const world = { smtpd: { soft_error_limit: 2, hard_error_limit: 4, error_sleep_time: 500 } }
    const env = environment(world)
    let state = initialState
    const seen = [1, 2, 3, 4].map(() => {
      const transition = execute(state, 'BOGUS', env)
      state = transition.state
      return [transition.delayMs ?? 0, transition.effect?.kind]
    })
    expect(seen).toEqual([
      [0, undefined],
      [0, undefined],
      [500, undefined],
      [0, 'close'],
    ])
  })

  test('once over the soft limit every reply is late, good ones too', () => {
    const env = environment({ smtpd: { soft_error_limit: 1, error_sleep_time: 500 } })
    const { state } = execute(initialState, 'BOGUS', env)
    expect(execute(state, 'NOOP', env)).toMatchObject({ reply: '250 2.0.0 Ok\r\n', delayMs: 500 })
  })

  test('under stress one error is enough', () => {
    const env = environment()
    const stressed = { ...env, peer: { ...env.peer, isStressed: true } }
    expect(execute(initialState, 'BOGUS', stressed)).toMatchObject({ effect: { kind: 'close' } })
    expect(stressed.policy.timeout(stressed.peer)).toBe(10_000)
  })

  test('no room on the disk is told at MAIL, with what the client says of its size', () => {
    const { replies } = play(
      { smtpd: { message_size_limit: 0 } },
      'EHLO c',
      'MAIL FROM:<> SIZE=2000000000000',
    )
    expect(replies.at(-1)).toMatch(/^452 4\.3\.1 /)
  })

  test('an accepted mail forgives, our own trouble does not count, a refused mail does', () => {
    const { state } = play({}, 'BOGUS', ...ready)
    const env = environment()
    expect(state.errors).toBe(1)
    expect(count(mailFinished(state, '250 2.0.0 Ok\r\n', true), env).state).toMatchObject({
      errors: 0,
      mail: undefined,
    })
    expect(count(mailFinished(state, '451 4.3.0 x\r\n', false), env).state.errors).toBe(1)
    expect(count(mailFinished(state, '552 5.3.4 x\r\n', false), env).state.errors).toBe(2)
  })

  test('commands without effect become errors in numbers', () => {
    const world = { smtpd: { junk_command_limit: 3, hard_error_limit: 2 } }
    const { replies } = play(world, ...Array<string>(6).fill('NOOP'))
    expect(replies.at(-2)).toBe('250 2.0.0 Ok\r\n')
    expect(replies.at(-1)).toMatch(/^250 2\.0\.0 Ok\r\n421 4\.7\.0 /)
  })

  test('what is no command of the protocol is an error, but not without effect as well', () => {
    const world = { smtpd: { junk_command_limit: 0, hard_error_limit: 20 } }
    expect(play(world, 'EHLO c', 'LHLO c', 'EXPN x', 'NOOP').state).toMatchObject({ junk: 2, errors: 3 })
  })

  test('a line too long ends an AUTH exchange, too', () => {
    const { state } = play({}, 'EHLO c', 'AUTH PLAIN')
    expect(executeTooLong(state, environment())).toMatchObject({
      reply: expect.stringMatching(/^500 5\.5\.2 /),
      state: { inExchange: false, errors: 1 },
    })
  })
})

test('no reply line is longer than 512 octets, whatever it repeats', () => {
  const long = 'x'.repeat(250)
  for (const line of [`RCPT TO:<${long}@mx.test>`, `RCPT TO:<"${'\\"'.repeat(100)}"@mx.test>`]) {
    for (const reply of play({}, 'EHLO c', 'MAIL FROM:<>', line).replies) {
      expect(Math.max(...reply.split('\r\n').map((text) => Buffer.byteLength(text)))).toBeLessThanOrEqual(510)
    }
  }
})

test('commands and parameters are split at spaces and tabs', () => {
  expect(parseCommand('noop')).toEqual({ verb: 'NOOP', argument: '' })
  expect(parseCommand('EHLO  c ')).toEqual({ verb: 'EHLO', argument: 'c' })
  expect(parseCommand('\tEHLO\tc')).toEqual({ verb: 'EHLO', argument: 'c' })
  expect(parseCommand('EHLO \xc3\xbc')).toEqual({ verb: 'EHLO', argument: 'ü' })
  expect(parseCommand('EHLO \xfc')).toBeUndefined()
  expect(parseParameters(' A=b  c ')).toEqual([
    ['A', 'b'],
    ['C', undefined],
  ])
  expect(parseParameters(' A==')).toEqual([['A', '=']])
  expect(parseParameters(' (a) b')).toEqual([['', undefined]])
  expect(parseParameters(Array.from({ length: 40 }, (_, i) => ` K${i}`).join('')).at(-1)).toEqual([
    '',
    undefined,
  ])
})

test('the defaults of the settings pass their own checks', () => {
  for (const [key, entry] of Object.entries(smtpdSettings)) {
    const { check, default: value } = entry as {
      check?: (value: unknown) => string | undefined
      default: unknown
    }
    expect(check?.(value), key).toBeUndefined()
  }
})

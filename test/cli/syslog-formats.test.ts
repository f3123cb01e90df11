import { expect, test } from 'vitest'
import { syslogFormats } from '../../src/cli/syslog-formats.ts'

const formats = syslogFormats(7)
const line = (event: string, facts: object) => formats[event]?.(facts as Record<string, unknown>)

test.each([
  [
    'mail.accepted',
    {
      queueId: 'Q1',
      from: 'a@b.test',
      recipients: ['x@y.test', 'z@y.test'],
      octets: 120,
      client: '192.0.2.1',
    },
    [
      'postfix/smtpd[7]: Q1: client=unknown[192.0.2.1]',
      'postfix/qmgr[7]: Q1: from=<a@b.test>, size=120, nrcpt=2 (queue active)',
    ],
  ],
  [
    'delivery',
    {
      queueId: 'Q1',
      to: 'x@y.test',
      relay: 'mx.y.test[192.0.2.2]:25',
      delay: 0.5,
      delays: '0.1/0/0.2/0.2',
      dsn: '2.0.0',
      status: 'sent',
      reply: '250 2.0.0 Ok',
      connUse: 3,
    },
    'postfix/smtp[7]: Q1: to=<x@y.test>, relay=mx.y.test[192.0.2.2]:25, conn_use=3, delay=0.5, delays=0.1/0/0.2/0.2, dsn=2.0.0, status=sent (250 2.0.0 Ok)',
  ],
  [
    'delivery',
    {
      queueId: 'Q2',
      to: 'x@y.test',
      origTo: 'o@y.test',
      relay: '',
      delay: 9,
      delays: '9/0/0/0',
      dsn: '4.4.1',
      status: 'deferred',
      reply: 'no',
    },
    'postfix/smtp[7]: Q2: to=<x@y.test>, orig_to=<o@y.test>, relay=none, delay=9, delays=9/0/0/0, dsn=4.4.1, status=deferred (no)',
  ],
  [
    'delivery.tls',
    {
      relay: 'mx.y.test[192.0.2.2]:25',
      class: 'verified',
      reused: true,
      protocol: 'TLSv1.3',
      cipher: 'TLS_AES_256_GCM_SHA384',
      bits: 256,
    },
    'postfix/smtp[7]: Verified TLS connection reestablished to mx.y.test[192.0.2.2]:25: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)',
  ],
  ['mail.removed', { queueId: 'Q1' }, 'postfix/qmgr[7]: Q1: removed'],
  [
    'pop3.login',
    { session: 's1', summary: 'Login: user=<ann>, session=<s1>' },
    'dovecot: pop3-login: Login: user=<ann>, session=<s1>',
  ],
  [
    'pop3.logout',
    {
      session: 's1',
      user: 'ann',
      reason: 'Logged out',
      prefix: 'pop3(ann)<7><s1>: ',
      summary: 'top=0/0, size=99',
    },
    'dovecot: pop3(ann)<7><s1>: Disconnected: Logged out top=0/0, size=99',
  ],
  [
    'auth.failed',
    { user: 'eve', remote: '192.0.2.9', session: 's1', reason: 'wrong password' },
    'dovecot: auth: passwd-file(eve,192.0.2.9,<s1>): Password mismatch',
  ],
])('%s', (event, facts, expected) => {
  expect(line(event, facts)).toEqual(expected)
})

test('what the SMTP server says is said as smtpd says it', () => {
  const lines = (event: string, facts: Record<string, unknown>) => [syslogFormats(7)[event]!(facts)].flat()
  const accepted = { queueId: 'Q1', from: 'a@b.test', recipients: ['c'], octets: 9, client: '192.0.2.1' }
  expect(
    lines('mail.accepted', { ...accepted, clientName: 'c.test', user: 'ann', messageId: '<1@c>' }),
  ).toEqual([
    'postfix/smtpd[7]: Q1: client=c.test[192.0.2.1], sasl_username=ann',
    'postfix/cleanup[7]: Q1: message-id=<1@c>',
    'postfix/qmgr[7]: Q1: from=<a@b.test>, size=9, nrcpt=1 (queue active)',
  ])
  const refused = { client: '192.0.2.1', command: 'RCPT', from: 'a@b.test', helo: 'c', protocol: 'ESMTP' }
  expect(lines('smtpd.refused', { ...refused, reply: '550 5.1.1 <x@d.test>: no such user here' })).toEqual([
    'postfix/smtpd[7]: NOQUEUE: reject: RCPT from unknown[192.0.2.1]: 550 5.1.1 <x@d.test>: no such user here; ' +
      'from=<a@b.test> to=<x@d.test> proto=ESMTP helo=<c>',
  ])
  const disconnect = { client: '192.0.2.1', counts: 'ehlo=1 rcpt=0/1', commands: 2 }
  expect(lines('smtpd.disconnect', disconnect)).toEqual([
    'postfix/smtpd[7]: disconnect from unknown[192.0.2.1] ehlo=1 rcpt=0/1 commands=2',
  ])
})

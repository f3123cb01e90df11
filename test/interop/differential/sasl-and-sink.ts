/** AUTH, and the faults of smtp-sink. */
import type { Answer, Script } from '../../protocols/smtp/client/scripted-server.ts'
import type { ModelCase, Profile } from '../../support/postfix-model.ts'
import { close } from './listed.ts'
import { hasty, lmtp, plain } from './profiles.ts'

const sasl = (name: string, more: Record<string, string> = {}, ours: Profile['ours'] = {}): Profile => ({
  name,
  postfix: {
    ...hasty.postfix,
    sasl_auth_enable: 'yes',
    sasl_password_maps: 'static:u:p:w',
    sasl_security_options: '',
    ...more,
  },
  ours: {
    ...hasty.ours,
    sasl_auth_enable: true,
    sasl_password_maps: ['static:u:p:w'],
    sasl_security_options: [],
    ...ours,
  },
})
const anySasl = sasl('anysasl')
const hardSasl = sasl('hardsasl', { sasl_auth_soft_bounce: 'no' }, { sasl_auth_soft_bounce: false })
const plainSasl = sasl('plainsasl', { sasl_mechanism_filter: 'plain' }, { sasl_mechanism_filter: ['plain'] })
const secretSasl = sasl(
  'secretsasl',
  { sasl_security_options: 'noplaintext, noanonymous' },
  { sasl_security_options: ['noplaintext', 'noanonymous'] },
)
const noAccount = sasl(
  'noaccount',
  { sasl_password_maps: 'inline:{other=u:p}' },
  { sasl_password_maps: [{ other: 'u:p' }] },
)
const dummy = sasl('dummyauth', { send_dummy_mail_auth: 'yes' }, { send_dummy_mail_auth: true })

/** Settings of a login to try with servers of all sorts. */
export const saslProfiles: readonly Profile[] = [anySasl, hardSasl, plainSasl, secretSasl, noAccount, dummy]

const saslCase = (
  profile: Profile,
  mechanisms: string,
  answers: Readonly<Record<string, Answer | readonly Answer[]>>,
  ...more: (readonly Script[])[]
): ModelCase => ({
  name: `${profile.name}: AUTH ${mechanisms}, ${JSON.stringify(answers)}`,
  profile,
  servers: [[{ keywords: mechanisms === '' ? [] : [`AUTH ${mechanisms}`], answers }], ...more],
})

const challenge = Buffer.from('<1@mx>').toString('base64')
export const saslCases: readonly ModelCase[] = [
  saslCase(anySasl, 'PLAIN', { AUTH: '235 2.7.0 ok' }),
  saslCase(anySasl, 'LOGIN', {
    'AUTH LOGIN': '334 VXNlcm5hbWU6',
    dQ: '334 UGFzc3dvcmQ6',
    cDp3: '235 2.7.0 ok',
  }),
  saslCase(anySasl, 'CRAM-MD5', { 'AUTH CRAM-MD5': `334 ${challenge}`, dSA: '235 2.7.0 ok' }),
  saslCase(anySasl, 'PLAIN', { AUTH: '535 5.7.8 no' }),
  saslCase(anySasl, 'PLAIN', { AUTH: '535 no' }, [{ keywords: ['AUTH PLAIN'], answers: { AUTH: '235 ok' } }]),
  saslCase(anySasl, 'PLAIN', { AUTH: '454 4.7.0 later' }),
  saslCase(hardSasl, 'PLAIN', { AUTH: '535 5.7.8 no' }),
  saslCase(hardSasl, 'PLAIN', { AUTH: '500 5.5.1 what' }, [{}]),
  saslCase(hardSasl, 'PLAIN', { AUTH: '220 hm' }),
  saslCase(anySasl, 'PLAIN', { AUTH: close('421 4.3.2 gone') }),
  saslCase(anySasl, 'PLAIN', { AUTH: close() }, [{}]),
  saslCase(anySasl, 'PLAIN', { AUTH: null }),
  saslCase(anySasl, 'CRAM-MD5', { 'AUTH CRAM-MD5': '334 not*base64' }),
  saslCase(anySasl, '', {}),
  saslCase(anySasl, 'GSSAPI NTLMX', {}),
  saslCase(anySasl, 'GSSAPI NTLMX', {}, [{}]),
  saslCase(plainSasl, 'LOGIN CRAM-MD5 PLAIN', { AUTH: '235 2.7.0 ok' }),
  saslCase(plainSasl, 'LOGIN CRAM-MD5', {}),
  saslCase(secretSasl, 'PLAIN LOGIN', {}),
  saslCase(secretSasl, 'PLAIN CRAM-MD5', { 'AUTH CRAM-MD5': `334 ${challenge}`, dSA: '235 2.7.0 ok' }),
  saslCase(noAccount, 'PLAIN', {}),
  saslCase(dummy, 'PLAIN', { AUTH: '235 2.7.0 ok' }),
  saslCase(dummy, '', {}),
  {
    name: 'AUTH=LOGIN',
    profile: anySasl,
    servers: [
      [
        {
          keywords: ['AUTH=LOGIN'],
          answers: { 'AUTH LOGIN': '334 VXNlcm5hbWU6', dQ: '334 UGFzc3dvcmQ6', cDp3: '235 ok' },
        },
      ],
    ],
  },
  {
    name: 'two lines of AUTH',
    profile: plainSasl,
    servers: [[{ keywords: ['AUTH LOGIN', 'AUTH PLAIN'], answers: { AUTH: '235 ok' } }]],
  },
]

/** smtp-sink with each of its ways to fail at each command. */
export function sinkCases(): ModelCase[] {
  const sinkCase = (profile: Profile, ...options: string[]): ModelCase => ({
    name: `smtp-sink ${options.join(' ')}`,
    profile,
    servers: [],
    sink: options,
    recipients: ['a', 'b'],
  })
  const faults = (profile: Profile, commands: readonly string[], ...always: string[]) =>
    commands.flatMap((command) =>
      ['-f', '-r', '-q', '-Q'].map((fault) => sinkCase(profile, ...always, fault, command)),
    )
  return [
    ...['-8', '-a', '-e', '-E', '-F', '-N', '-p', '-P', '-C'].map((option) => sinkCase(plain, option)),
    sinkCase(plain, '-h', 'client.test'),
    sinkCase(plain, '-r', 'ehlo,helo'),
    sinkCase(plain, '-f', 'mail', '-b', '450 4.7.1 soft', '-B', '550 5.7.1 hard'),
    sinkCase(plain, '-r', 'rcpt', '-b', '450 4.7.1 soft', '-B', '550 5.7.1 hard'),
    ...faults(plain, ['connect', 'ehlo', 'mail', 'rcpt', 'data', '.', 'quit']),
    ...faults(plain, ['mail', 'rcpt', 'data', '.', 'rset', 'quit'], '-p'),
    ...faults(lmtp, ['connect', 'lhlo', 'mail', 'rcpt', 'data', '.', 'quit'], '-L'),
  ]
}

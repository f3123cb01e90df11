/** Keys of `[smtp]` about logging in at servers. */
import { boolean, duration, type Entry, list, maps, string } from '../../../../config/schema.ts'

const day = 86_400_000

const securityWords = [
  'noplaintext',
  'noactive',
  'nodictionary',
  'noanonymous',
  'mutual_auth',
  'forward_secrecy',
]

const securityOptions = (defaultWords: readonly string[], doc: string): Entry<readonly string[]> =>
  list({
    default: defaultWords,
    doc: `${doc} Words: ${securityWords.join(', ')}${defaultWords.includes('inherit') ? ', or inherit alone' : ''}.`,
    check: (words) => {
      const wrong = words.find((word) => !securityWords.includes(word) && word !== 'inherit')
      return wrong === undefined ? undefined : `"${wrong}" is none of ${securityWords.join(', ')}`
    },
  })

export const saslSettings = {
  sasl_auth_enable: boolean({
    default: false,
    doc: 'Log in at servers that offer AUTH and for which `sasl_password_maps` has an account.',
  }),
  sasl_password_maps: maps({
    default: [],
    doc: '`user:password` by the sender (with `sender_dependent_authentication`), the name of the server, or the next hop as it is written (`[host]:587`). The password is all after the first colon.',
  }),
  sasl_password_result_delimiter: string({
    default: ':',
    doc: 'What separates user and password in `sasl_password_maps`.',
    check: (value) => (value === '' ? 'must not be empty' : undefined),
  }),
  sender_dependent_authentication: boolean({
    default: false,
    doc: 'Look for the account by the address of the sender first. Connections are then kept by sender.',
  }),
  sasl_mechanism_filter: list({
    default: [],
    doc: 'Mechanisms that may be used, of PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-1, SCRAM-SHA-256, both with -PLUS, OAUTHBEARER, XOAUTH2; `!NAME` forbids one, `static:all` is all. Empty: all. For the two of OAuth the password is the token.',
  }),
  sasl_security_options: securityOptions(
    ['noplaintext', 'noanonymous'],
    'What a mechanism must do where there is no TLS.',
  ),
  sasl_tls_security_options: securityOptions(['inherit'], 'The same with TLS; `inherit`: as without.'),
  sasl_tls_verified_security_options: securityOptions(
    ['inherit'],
    'The same with TLS and a certificate that matches; `inherit`: as with TLS.',
  ),
  sasl_auth_cache_name: string({
    default: '',
    doc: 'Any name: logins that were refused for good (535) are not tried again with the same password; they are kept in `sasl/failures.db` of the data directory. Empty: each delivery tries.',
  }),
  sasl_auth_cache_time: duration({
    default: 90 * day,
    min: 0,
    doc: 'How long a refused login counts.',
  }),
  sasl_auth_soft_bounce: boolean({
    default: true,
    doc: 'Mail waits when a login is refused; otherwise it is returned.',
  }),
  send_cyrus_sasl_authzid: boolean({
    default: false,
    doc: 'Send the user as authorization identity as well.',
  }),
}

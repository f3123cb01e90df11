/** The keys `tls_*` of `[smtp]` and `[lmtp]`, and the keys of `[tls]` that concern deliveries. */
import {
  boolean,
  choice,
  duration,
  type Entry,
  integer,
  list,
  maps,
  path,
  string,
} from '../../../../config/schema.ts'
import { tlsLevels } from './levels.ts'
import { cipherGrades, protocolRange, sslOptions } from './parameters.ts'
import { isRequireTlsAction, requireTlsActions } from './require-tls.ts'

const protocols = (doc: string): Entry<readonly string[]> =>
  list({
    default: ['>=TLSv1'],
    doc,
    check: (words) => {
      const range = protocolRange(words)
      return typeof range === 'string' ? range : undefined
    },
  })

const files = (doc: string): Entry<readonly string[]> =>
  list({
    default: [],
    doc,
    check: (paths) => {
      const relative = paths.find((file) => !file.startsWith('/'))
      return relative === undefined ? undefined : `\`${relative}\` is not an absolute path`
    },
  })

export const fingerprintDigests = ['md5', 'sha1', 'sha256', 'sha384', 'sha512'] as const

export const tlsClientSettings = {
  tls_security_level: choice(tlsLevels, {
    default: 'may',
    doc: 'TLS towards servers where `tls_policy_maps` says nothing else. `none`: never. `may`: when the server offers it. `encrypt`: delivers with TLS only. `fingerprint`, `verify`, `secure`: with TLS and the right certificate only. `dane`, `dane-only`: as TLSA records in the DNS say. See docs/tls.md.',
  }),
  tls_policy_maps: maps({
    default: [],
    doc: 'Tables of next hops with a TLS level and attributes of their own: `example.com secure match=.example.net`. Keys are next hops as written (`example.com`, `[mail.example.com]:587`); a domain is looked up by `.parent` as well. An entry that cannot be understood keeps the mail in the queue. See docs/tls.md.',
  }),
  tls_wrappermode: boolean({
    default: false,
    doc: 'TLS from the first octet on (as on port 465) instead of STARTTLS. Needs a level of `encrypt` or more.',
  }),
  tls_ca_file: path({
    default: '',
    doc: 'Certificates of trusted authorities, PEM. With neither this nor `tls_ca_path`, those of the system are trusted.',
  }),
  tls_ca_path: path({
    default: '',
    doc: 'Folder with certificates of trusted authorities, PEM, one or more a file.',
  }),
  tls_trust_anchor_file: files(
    'Files with certificates or public keys, PEM, to be trusted instead of all other authorities at the levels `verify` and `secure`. They need not be self-signed.',
  ),
  tls_scert_verifydepth: integer({
    default: 9,
    min: 0,
    max: 100,
    doc: 'Most issuers between the certificate of a server and, inclusive, the authority that is trusted.',
  }),
  tls_secure_cert_match: list({
    default: ['nexthop', 'dot-nexthop'],
    doc: 'Names that a certificate may have at the level `secure`: `nexthop` (the domain mail is for), `dot-nexthop` (any name below it), `hostname` (the name of the server), or names; `.example.com` is any name below.',
  }),
  tls_verify_cert_match: list({
    default: ['hostname'],
    doc: 'The same at the level `verify`. Names of servers come from the DNS, which may lie where it is not signed.',
  }),
  tls_fingerprint_cert_match: list({
    default: [],
    doc: 'At the level `fingerprint`: digests, in hex, of certificates or public keys of which the server must have one.',
  }),
  tls_fingerprint_digest: choice(fingerprintDigests, {
    default: 'sha256',
    doc: 'Digest that fingerprints are made with.',
  }),
  tls_dane_insecure_mx_policy: choice(['', 'dane', 'encrypt', 'may'], {
    default: '',
    doc: 'At the level `dane`, for servers named by MX records that are not signed: `dane` checks TLSA records all the same, `encrypt` demands TLS where there are some, `may` does not look. Empty: `dane` where `tls_security_level` is `dane`, `may` where it is a policy that says so.',
  }),
  tls_force_insecure_host_tlsa_lookup: boolean({
    default: false,
    doc: 'Look for TLSA records also where the address of the server is not signed.',
  }),
  mta_sts: boolean({
    default: false,
    doc: 'Look for the MTA-STS policy of domains (RFC 8461) and deliver as it says: with TLS, to the servers it names, with certificates of trusted authorities. For domains whose level would be `may`, `encrypt` or `dane`.',
  }),
  mta_sts_address: string({
    default: '',
    doc: 'Where policies are fetched from, `address:port`, instead of port 443 of `mta-sts.DOMAIN`: a gateway, or a test. Its certificate must still be for `mta-sts.DOMAIN`.',
    check: (value) => (value === '' || /^\[?.+\]?:\d{1,5}$/.test(value) ? undefined : 'is not address:port'),
  }),
  tls_enforce_sts_mx_patterns: boolean({
    default: true,
    doc: 'Do not use servers whose name the MTA-STS policy does not allow. If false, their certificate must still be right.',
  }),
  tls_servername: string({
    default: '',
    doc: 'Name sent to the server in the TLS handshake (SNI): `hostname`, `nexthop` or a name. Empty: none, except with DANE and MTA-STS, which have rules of their own.',
  }),
  tls_chain_files: files(
    'Our own certificates, for servers that ask for one: PEM files, each with a private key and after it the certificate with its chain.',
  ),
  tls_cert_file: path({
    default: '',
    doc: 'Our own certificate with its chain, PEM, where `tls_chain_files` is empty.',
  }),
  tls_key_file: path({ default: '', doc: 'Private key of `tls_cert_file`. Empty: it is in the same file.' }),
  tls_eccert_file: path({
    default: '',
    doc: 'One more certificate of our own, with an ECDSA key, where `tls_chain_files` is empty.',
  }),
  tls_eckey_file: path({
    default: '',
    doc: 'Private key of `tls_eccert_file`. Empty: it is in the same file.',
  }),
  tls_protocols: protocols(
    'TLS versions at the level `may`: `>=TLSv1.2`, `<=TLSv1.2`, or names, `!` in front of those to leave out.',
  ),
  tls_mandatory_protocols: protocols('TLS versions at the levels from `encrypt` on.'),
  tls_ciphers: choice(cipherGrades, {
    default: 'medium',
    doc: 'Least grade of ciphers at the level `may`: `high`, `medium`, `null` (`low` and `export` are as `medium`). `tls.medium_cipherlist` and the like say what is in one.',
  }),
  tls_mandatory_ciphers: choice(cipherGrades, {
    default: 'medium',
    doc: 'Least grade of ciphers at the levels from `encrypt` on.',
  }),
  tls_exclude_ciphers: list({
    default: [],
    doc: 'Ciphers never to be used, as OpenSSL names them, alone or as a group (`aNULL`, `RC4`, `AES128-SHA`).',
  }),
  tls_mandatory_exclude_ciphers: list({
    default: [],
    doc: 'More such ciphers, for the levels from `encrypt` on.',
  }),
  tls_session_cache_database: choice(['', 'memory'], {
    default: '',
    doc: '`memory`: TLS sessions are resumed, which spares most of the handshake; all threads share them. Empty: each connection begins anew.',
  }),
  tls_session_cache_timeout: duration({
    default: 3_600_000,
    min: 1_000,
    max: 86_400_000,
    doc: 'How long a TLS session may be resumed.',
  }),
  tls_block_early_mail_reply: boolean({
    default: false,
    doc: 'Leave a server that has sent more, within TLS, than it was asked for before the mail begins: somebody may have put commands in before TLS.',
  }),
  tls_note_starttls_offer: boolean({
    default: false,
    doc: 'Log servers that offer TLS where the level is `none`.',
  }),
  tls_loglevel: integer({
    default: 0,
    min: 0,
    max: 4,
    doc: 'What is logged of TLS: 0 nothing but `tls=` of deliveries, 1 a line for each handshake (`delivery.tls`), 2 and more with certificates and names as well.',
  }),
  tls_loglevel_maps: maps({
    default: [],
    doc: 'Tables of next hops with a `tls_loglevel` of their own: what to look at when one partner has trouble. Looked up as `tls_policy_maps`.',
  }),
  requiretls_policy: list({
    default: ['enforce'],
    doc: 'What mail with REQUIRETLS demands of a next hop: tables of next hops (`inline:{example.com=opportunistic}`) and, last, the action for all others. `enforce`: a level that checks the certificate, and a server that offers REQUIRETLS. `opportunistic+starttls`: TLS. `opportunistic`: nothing, but the server is told. `disable`: nothing.',
    check: (words) => {
      const wrong = words.find((word) => !isRequireTlsAction(word) && !word.includes(':'))
      return wrong === undefined
        ? undefined
        : `\`${wrong}\` is neither a table nor an action (${requireTlsActions.join(', ')})`
    },
  }),
  tlsrpt_enable: boolean({
    default: false,
    doc: 'Count how TLS goes with the servers of each domain, and report it once a day to the domains that ask for it (RFC 8460).',
  }),
  tlsrpt_skip_reused_handshakes: boolean({
    default: false,
    doc: 'Do not count sessions whose TLS session was resumed: they say little about the policy.',
  }),
  tlsrpt_contact_info: string({
    default: '',
    doc: 'Mail address in TLS reports, and their sender as people see it. Empty: `postmaster@` and the host name.',
    check: (value) =>
      value === '' || /^[^\s<>"@]+@[^\s<>"@]+$/.test(value) ? undefined : 'is not a mail address',
  }),
  tlsrpt_dkim_key_file: path({
    default: '',
    doc: 'Private RSA key, PEM, that TLS reports by mail are signed with (DKIM), for the domain of `tlsrpt_contact_info`. Empty: they are not signed, and many receivers will not take them. `mailactors tls-reports dkim` says what has to stand in the DNS.',
  }),
  tlsrpt_dkim_selector: string({
    default: 'tlsrpt',
    doc: 'Selector of that key: its public half is at `SELECTOR._domainkey.DOMAIN`.',
    check: (value) =>
      /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/i.test(value)
        ? undefined
        : 'is not a name as the DNS has it',
  }),
  tlsrpt_https_private: boolean({
    default: false,
    doc: 'Send TLS reports by HTTPS also to servers with addresses of loopback, private and other special networks. The domain that is reported to says where its reports go: leave this off unless such domains are your own.',
  }),
  log_tls_feature_status: boolean({
    default: true,
    doc: 'Log with each delivery what its level of TLS was and what came of it.',
  }),
}

/** Of `[tls]`: what is the same for all deliveries. */
export const tlsEngineSettings = {
  high_cipherlist: string({
    default: 'aNULL:-aNULL:HIGH:@STRENGTH',
    doc: 'What `high` means as a grade of ciphers in deliveries, as an OpenSSL cipher list. Ciphers of TLS 1.3 belong to each grade.',
  }),
  medium_cipherlist: string({
    default: 'aNULL:-aNULL:HIGH:MEDIUM:+RC4:@STRENGTH',
    doc: 'What `medium` means.',
  }),
  null_cipherlist: string({ default: 'eNULL:!aNULL', doc: 'What `null` means: no encryption.' }),
  requiretls_enable: boolean({
    default: true,
    doc: 'Take mail that must not travel without TLS (REQUIRETLS, RFC 8689), and keep to it in deliveries, see `smtp.requiretls_policy`.',
  }),
  required_enable: boolean({
    default: true,
    doc: 'Deliver mail with the header field `TLS-Required: no` as if the level were `may` (RFC 8689): its sender would rather have it arrive than protected.',
  }),
  ssl_options: list({
    default: ['NO_RENEGOTIATION', 'NO_COMPRESSION'],
    doc: 'Switches of OpenSSL for deliveries: `NO_RENEGOTIATION`, `NO_TICKET`, `LEGACY_SERVER_CONNECT` and the like.',
    check: (words) => {
      const bits = sslOptions(words)
      return typeof bits === 'string' ? bits : undefined
    },
  }),
  dane_digests: list({
    default: ['sha512', 'sha256'],
    doc: 'Digests of TLSA records that are accepted, the strongest first: of several for the same thing only the strongest counts.',
    check: (words) => {
      const wrong = words.find((word) => word !== 'sha512' && word !== 'sha256')
      return wrong === undefined ? undefined : `\`${wrong}\` is neither \`sha512\` nor \`sha256\``
    },
  }),
  append_default_ca: boolean({
    default: false,
    doc: 'Trust the authorities of the system also where `smtp.tls_ca_file` or `smtp.tls_ca_path` is given.',
  }),
  wildcard_matches_multiple_labels: boolean({
    default: true,
    doc: '`.example.com` among the names to match stands for all below it, `a.b.example.com` as well; otherwise for one label. `*` in a certificate is one label in any case.',
  }),
}

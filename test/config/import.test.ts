/** Postfix's and Dovecot's configuration as ours. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { importDovecot } from '../../src/config/import/dovecot.ts'
import { Imported } from '../../src/config/import/imported.ts'
import { importPostfix } from '../../src/config/import/postfix.ts'
import { loadSettings } from '../../src/config/loader.ts'
import type { Config } from '../../src/config/settings.ts'
import { because } from '../support/privileges.ts'
import { runCommand } from '../support/service.ts'

/** What the printed configuration means to the service; it has to be valid. */
function loaded(toml: string): Config {
  const dir = mkdtempSync(join(tmpdir(), 'ma-import-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  writeFileSync(join(dir, 'mailactors.toml'), toml)
  return loadSettings({ cwd: dir, env: {}, file: join(dir, 'mailactors.toml') }).config
}

function fromPostfix(main: string, master = '', files: Readonly<Record<string, string>> = {}) {
  const imported = new Imported()
  importPostfix({ main, master, readFile: (path) => files[path] }, imported)
  return {
    config: loaded(imported.toToml()),
    leftOut: imported.leftOut.map(({ name }) => name),
    toml: imported.toToml(),
  }
}

function fromDovecot(text: string) {
  const imported = new Imported()
  importDovecot(text, imported)
  return { config: loaded(imported.toToml()), leftOut: imported.leftOut.map(({ name }) => name) }
}

test("Postfix's TLS in deliveries", () => {
  const { config, leftOut } = fromPostfix(`
smtp_tls_CAfile = /etc/ssl/ca.pem
smtp_tls_CApath = /etc/ssl/certs
smtp_tls_session_cache_database = btree:/var/lib/smtp_scache
smtp_tls_policy_maps = hash:/etc/postfix/policy
smtp_use_tls = yes
smtp_enforce_tls = yes
lmtp_tls_security_level = verify
lmtp_enforce_tls = yes
smtp_tls_mandatory_protocols = >=TLSv1.2
tls_high_cipherlist = HIGH
tls_append_default_CA = yes
tls_random_source = dev:/dev/urandom
requiretls_enable = no
smtp_tls_enable_rpk = yes
`)
  expect(config.smtp).toMatchObject({
    tls_ca_file: '/etc/ssl/ca.pem',
    tls_ca_path: '/etc/ssl/certs',
    tls_session_cache_database: 'memory',
    tls_policy_maps: ['texthash:/etc/postfix/policy'],
    tls_security_level: 'encrypt',
    tls_mandatory_protocols: ['>=TLSv1.2'],
  })
  expect(config.lmtp.tls_security_level).toBe('verify')
  expect(config.tls).toMatchObject({
    high_cipherlist: 'HIGH',
    append_default_ca: true,
    requiretls_enable: false,
  })
  expect(leftOut).toEqual(['smtp_tls_enable_rpk'])
})

test("Postfix's parameters: names, units, references, several lines", () => {
  const { config, leftOut } = fromPostfix(`
myhostname = mx.example.org
mydestination = $myhostname, localhost,
  $mydomain, hash:/etc/postfix/more
mynetworks = 10.0.0.0/8 [2001:db8::]/32
smtpd_client_event_limit_exceptions = $mynetworks
message_size_limit = 52428800
smtpd_hard_error_limit = \${stress?1}\${stress:10}
smtpd_recipient_limit = 50
smtpd_timeout = 100
smtpd_helo_required = yes
smtpd_tls_cert_file = /etc/ssl/c.pem
smtpd_tls_key_file = /etc/ssl/k.pem
smtpd_tls_security_level = may
smtp_connect_timeout = 5s
smtp_tls_security_level = encrypt
lmtp_connect_timeout = 7s
relayhost = [smart.example.org]:587
maximal_queue_lifetime = 3
minimal_backoff_time = 10m
delay_warning_time = 4
anvil_rate_time_unit = 30s
notify_classes = resource, bounce
smtp_generic_maps = hash:/etc/postfix/generic
smtpd_recipient_restrictions = reject_unauth_destination
home_mailbox = Maildir/
`)
  expect(config).toMatchObject({
    hostname: 'mx.example.org',
    mail: { local_domains: ['mx.example.org', 'localhost', 'example.org'], path: '%h/Maildir' },
    smtpd: {
      ...{ mynetworks: ['10.0.0.0/8', '[2001:db8::]/32'], client_event_limit_exceptions: ['$mynetworks'] },
      ...{ message_size_limit: 52_428_800, recipient_limit: 50, timeout: 100_000, helo_required: true },
      tls_security_level: 'may',
    },
    tls: { cert: '/etc/ssl/c.pem', key: '/etc/ssl/k.pem' },
    smtp: { connect_timeout: 5_000, tls_security_level: 'encrypt' },
    lmtp: { connect_timeout: 7_000 },
    queue: {
      maximal_queue_lifetime: 3 * 86_400_000,
      minimal_backoff_time: 600_000,
      delay_warning_time: 4 * 3_600_000,
    },
    anvil: { rate_time_unit: 30_000 },
    notify: { classes: ['resource', 'bounce'] },
  })
  expect(config.smtp.relayhost).toEqual(
    loaded('[smtp]\nrelayhost = "[smart.example.org]:587"\n').smtp.relayhost,
  )
  expect(leftOut).toEqual(['mydestination', 'smtpd_hard_error_limit', 'smtpd_recipient_restrictions'])
})

test("master.cf's services become listeners", () => {
  const { config, leftOut } = fromPostfix(
    'inet_interfaces = loopback-only, 192.0.2.1\nsmtpd_use_tls = yes\nsmtpd_tls_cert_file = /c.pem\n',
    `smtp inet n - y - - smtpd
submission inet n - y - - smtpd
  -o smtpd_tls_security_level=encrypt
  -o { smtpd_sasl_type = dovecot }
smtps     inet  n       -       y       -       -       smtpd -o smtpd_tls_wrappermode=yes
127.0.0.1:10025 inet n - n - - smtpd -o smtpd_upstream_proxy_protocol=haproxy -o smtpd_tls_security_level=none
pickup unix n - y 60 1 pickup
`,
  )
  expect(
    config.listener.map(({ service, address, tls, proxy_protocol }) => [
      service,
      address,
      tls,
      proxy_protocol,
    ]),
  ).toEqual([
    ['smtp', '127.0.0.1:25', 'starttls', false],
    ['smtp', '192.0.2.1:25', 'starttls', false],
    ['submission', '127.0.0.1:587', 'starttls', false],
    ['submission', '192.0.2.1:587', 'starttls', false],
    ['submission', '127.0.0.1:465', 'implicit', false],
    ['submission', '192.0.2.1:465', 'implicit', false],
    ['smtp', '127.0.0.1:10025', 'off', true],
  ])
  expect(leftOut).toEqual(['submission (master.cf) -o smtpd_sasl_type'])
})

test('without a certificate nothing is said to have TLS', () => {
  const { config, toml } = fromPostfix('', 'smtps inet n - y - - smtpd\n')
  expect(config.listener).toMatchObject([{ address: ':465', tls: 'off' }])
  expect(toml).toContain('#   listener submission :465 = tls = "implicit"\n#     needs tls.cert')
})

test('transport tables become [transport], what does not fit is named', () => {
  const table =
    '# c\nexample.org smtp:[10.0.0.1]\n.example.net :[10.0.0.2]:26\nann@a.test smtp:[x]\nb.test slow:\n'
  const { config, leftOut } = fromPostfix('transport_maps = hash:/t, ldap:/l\n', '', { '/t': table })
  expect(config.transport).toMatchObject({
    'example.org': 'smtp:[10.0.0.1]',
    '.example.net': 'smtp:[10.0.0.2]:26',
  })
  expect(leftOut).toHaveLength(3)
})

test('a value that is none of ours is named, with what would be', () => {
  const { toml } = fromPostfix('smtpd_timeout = soon\nsmtpd_recipient_limit = 0\nloop = $loop\n')
  expect(toml).toMatch(/# {3}smtpd_timeout = soon\n# {5}smtpd\.timeout: "soon" is not a time/)
  expect(toml).toMatch(/# {3}smtpd_recipient_limit = 0\n# {5}smtpd\.recipient_limit: .* out of range/)
  expect(toml).toMatch(/# {3}loop = \$loop\n# {5}refers to something/)
})

test.each([
  ['inet_interfaces = 192.0.2.1', 'inet_interfaces'],
  ['alias_maps = hash:/etc/aliases', 'alias_maps'],
  ['smtpd_relay_restrictions = permit_mynetworks', 'smtpd_relay_restrictions'],
  ['biff = no', 'biff'],
  ['smtp_use_tls = no', 'smtp_use_tls'],
  ['myhostname = mx.example.org\nmyorigin = $myhostname', 'myorigin'],
  ['this is garbage', 'this is garbage'],
])('%s is not dropped in silence', (main, name) => {
  const imported = new Imported()
  importPostfix({ main, master: '', readFile: () => undefined }, imported)
  const named = [...imported.leftOut, ...imported.needless].map((one) => [one.name, one.value])
  expect(named.flat()).toContain(name)
  expect(imported.toToml()).toContain(name)
})

test('a banner keeps the name it begins with, a cache its place under data_directory', () => {
  const { config, leftOut } = fromPostfix(`
myhostname = mx.example.org
smtpd_banner = $myhostname ESMTP $mail_name
smtp_tls_session_cache_database = btree:\${data_directory}/smtp_scache
recipient_delimiter = +
`)
  expect(config.smtpd.banner).toBe('$myhostname ESMTP mailactors')
  expect(config.smtp.tls_session_cache_database).toBe('memory')
  expect(config.auth.recipient_delimiter).toBe('+')
  expect(leftOut).toEqual([])
})

test('services of master.cf that are not ours, and lines that are none, are named', () => {
  const { leftOut } = fromPostfix(
    'inet_interfaces = all',
    `smtp inet n - y - - smtpd
pickup unix n - y 60 1 pickup
relay unix - - y - - smtp
  -o syslog_name=postfix/relay
amavis unix - - n - 2 smtp -o smtp_data_done_timeout=1200
maildrop unix - n n - - pipe flags=DRXhu user=vmail argv=/usr/bin/maildrop -d
nonsense
`,
  )
  expect(leftOut).toEqual(['a line of master.cf', 'amavis unix (master.cf)', 'maildrop unix (master.cf)'])
})

test("what Dovecot's configuration has beside settings of ours is named", () => {
  const imported = new Imported()
  importDovecot(
    `mail_plugins = quota
default_process_limit = 200
ssl = required
!include conf.d/*.conf
what is this
namespace inbox {
  inbox = yes
  mailbox Drafts {
    special_use = \\Drafts
  }
}
plugin {
  quota = maildir:User quota
}
service imap-login {
  process_min_avail = 2
  inet_listener imaps {
    port = 993
  }
}
service pop3-login {
  client_limit = 500
}
passdb {
  driver = sql
}
userdb {
  driver = passwd-file
  args = /etc/dovecot/users
}
dict {
  quota = mysql:/etc/dovecot/dict.conf
}
`,
    imported,
  )
  expect(imported.leftOut.map(({ name }) => name)).toEqual([
    '!include',
    'a line',
    'mail_plugins',
    'plugin/quota',
    'service imap-login/inet_listener imaps',
    'service pop3-login/client_limit',
    'passdb',
    'dict',
  ])
  expect(imported.needless.map(({ name }) => name)).toEqual([
    'default_process_limit',
    'namespace inbox',
    'service imap-login/process_min_avail',
    'userdb',
  ])
})

test("Dovecot's settings, sections and listeners", () => {
  const { config, leftOut } = fromDovecot(`
# 2.3.19.1
auth_mechanisms = plain login scram-sha-256
auth_failure_delay = 3 secs
disable_plaintext_auth = no
listen = 127.0.0.1
mail_location = maildir:~/Mail:CONTROL=/var/control/%u:LAYOUT=fs
mail_max_userip_connections = 3
passdb {
  args = scheme=CRYPT username_format=%u /etc/dovecot/users
  driver = passwd-file
}
pop3_uidl_format = %g
protocols = pop3 lmtp
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = 2400
  }
  unix_listener /run/lmtp {
    mode = 0600
  }
}
service pop3-login {
  inet_listener pop3s {
    port = 0
  }
}
ssl_cert = </etc/ssl/c.pem
ssl_key = # hidden, use -P to show it
userdb {
  driver = passwd
}
protocol pop3 {
  pop3_fast_size_lookups = yes
}
`)
  expect(config).toMatchObject({
    auth: { failure_delay: 3_000, allow_cleartext: true, passwd_file: '/etc/dovecot/users' },
    mail: { path: '%h/Mail' },
    pop3: { uidl_format: '%g' },
    limits: { max_userip_connections: 3 },
    tls: { cert: '/etc/ssl/c.pem' },
  })
  expect(config.auth.mechanisms.map((name) => name.toLowerCase())).toEqual([
    'plain',
    'login',
    'scram-sha-256',
  ])
  expect(config.listener.map(({ service, address, tls }) => [service, address, tls])).toEqual([
    ['pop3', '127.0.0.1:110', 'starttls'],
    ['lmtp', '127.0.0.1:2400', 'off'],
    ['lmtp', 'unix:/run/lmtp', 'off'],
  ])
  expect(leftOut).toContain('ssl_key')
  expect(leftOut).toContain('userdb')
})

const noPostconf = whyMissing(['postconf'])
test.skipIf(noPostconf !== undefined)(
  `every parameter of the real postconf -d is placed or named${because(noPostconf)}`,
  {
    timeout: 60_000,
  },
  async () => {
    const dir = mkdtempSync(join(tmpdir(), 'ma-import-'))
    onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
    writeFileSync(join(dir, 'main.cf'), 'myhostname = mx.example.org\nsmtpd_timeout = 60s\n')
    writeFileSync(join(dir, 'master.cf'), 'smtp inet n - y - - smtpd\n')
    const all = execFileSync('postconf', ['-c', dir, '-d'], { encoding: 'utf8', stdio: 'pipe' })
    const { toml } = fromPostfix(all)
    const names = [...all.matchAll(/^(\w+) = /gm)].map(([, name = '']) => name)
    expect(names.length).toBeGreaterThan(500)
    const keys = new Set([...toml.matchAll(/[\w]+/g)].map(([word]) => word))
    const isPlaced = (name: string) => keys.has(name) || keys.has(name.slice(name.indexOf('_') + 1))
    expect(names.filter((name) => !isPlaced(name))).toEqual([])
    const result = await runCommand(['config', 'import', '--postfix', dir])
    expect(result).toMatchObject({ code: 0, stderr: '' })
    expect(loaded(result.stdout)).toMatchObject({ hostname: 'mx.example.org', smtpd: { timeout: 60_000 } })
    expect(loaded(result.stdout).listener).toMatchObject([{ service: 'smtp', address: ':25' }])
    const data = await runCommand(['config', 'import', '--json', '--postfix', '-'], {
      input: 'smtp_connect_timeout = 5s\nx = y\n',
    })
    expect(JSON.parse(data.stdout)).toMatchObject({
      settings: { 'smtp.connect_timeout': { value: '5s', from: 'smtp_connect_timeout' } },
      leftOut: [{ name: 'x', value: 'y' }],
    })
  },
)

const noDoveconf = whyMissing(['doveconf'])
test.skipIf(noDoveconf !== undefined)(
  `the real doveconf -n${because(noDoveconf)}`,
  { timeout: 60_000 },
  async () => {
    const dir = mkdtempSync(join(tmpdir(), 'ma-import-'))
    onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
    const file = join(dir, 'dovecot.conf')
    writeFileSync(
      file,
      'protocols = pop3\nmail_location = maildir:/mail/%u\npop3_save_uidl = yes\nssl = no\n',
    )
    const result = await runCommand(['config', 'import', '--dovecot', file])
    expect(result).toMatchObject({ code: 0, stderr: '' })
    expect(loaded(result.stdout)).toMatchObject({
      mail: { path: '/mail/%u' },
      listener: [{ service: 'pop3', address: ':110' }],
    })
  },
)

test('without a source, or with two on stdin, it is wrongly used', async () => {
  expect(await runCommand(['config', 'import'])).toMatchObject({ code: 64 })
  expect(await runCommand(['config', 'import', '--postfix', '-', '--dovecot', '-'])).toMatchObject({
    code: 64,
  })
  expect(await runCommand(['config', 'import', '--postfix', '/nowhere'])).toMatchObject({ code: 66 })
})

/**
 * Postfix's configuration as ours: what `postconf -n` and `postconf -M` print, or main.cf and master.cf themselves.
 * A parameter keeps its name, see {@link homeOf}; those that are called otherwise here, or mean more than one thing,
 * are in `special`.
 */
import { entryOf } from '../keys.ts'
import { homeOf, type Imported } from './imported.ts'
import { tlsParameters } from './postfix-tls.ts'

export interface PostfixSources {
  /** `name = value` lines; further lines of a value begin with a blank. */
  readonly main: string
  /** Lines of master.cf; empty: not known. */
  readonly master: string
  /** Reads a file that a parameter names; undefined when it cannot be. */
  readonly readFile: (path: string) => string | undefined
}

type Parameters = ReadonlyMap<string, string>

/** Of those that have no prefix of ours. */
const tablesInOrder = ['smtpd', 'queue', 'service', 'dsn', 'notify', 'content', 'rewrite', 'smtp', 'limits']

/** Parameters whose bare number is not in seconds. */
const units: Readonly<Record<string, string>> = {
  maximal_queue_lifetime: 'd',
  bounce_queue_lifetime: 'd',
  delay_warning_time: 'h',
}

const asInstalled = 'how Postfix is installed and runs'
const asIs = 'it is always so'

/** What nobody has to do anything about, and why. */
const needless: readonly (readonly [names: RegExp, why: string])[] = [
  [
    /^(?:compatibility_level|(?:command|config|daemon|data|queue|html|meta|readme|sample|manpage|shlib)_directory|(?:mail|setgid)_(?:owner|group)|(?:sendmail|mailq|newaliases)_path|debugger_command|debug_peer_\w+|maillog_\w+|mail_(?:version|release_date|name)|default_privs|\w+_service_name|process_(?:id|name)\w*|multi_instance_\w+|(?:import|export)_environment|alternate_config_directories|(?:max|daemon|ipc|trigger)_(?:idle|use|timeout|ttl)|syslog_(?:name|facility)|parent_domain_matches_subdomains|default_database_type|dynamicmaps_\w+)$/,
    asInstalled,
  ],
  [
    /^(?:biff|tls_(?:daemon_)?random_\w+|smtpd_tls_session_cache_database|tls_session_ticket_cipher|smtpd_tls_(?:dh\w+|eecdh_grade)|tls_(?:low|export)_cipherlist|alias_database)$/,
    'there is nothing of the kind',
  ],
  [
    /^(?:smtpd_delay_reject|unknown_local_recipient_reject_code|append_dot_mydomain|smtpd_tls_received_header)$/,
    asIs,
  ],
]

/** What has no place here, and where to look instead. */
const elsewhere: Readonly<Record<string, string>> = {
  alias_maps: 'there are no aliases of local users here: give each a mailbox',
  inet_protocols: 'an address in [[listener]] says it; for deliveries see smtp.address_preference',
  mailbox_size_limit: 'see [quota]',
  virtual_mailbox_limit: 'see [quota]',
  smtpd_relay_restrictions:
    'mail for others is taken from smtpd.mynetworks and after a login, and else refused',
  virtual_mailbox_base: 'mail.path says where mailboxes are, with %u, %n, %d and %h',
  virtual_mailbox_maps: 'users are in auth.passwd_file',
  mail_spool_directory: 'mail is kept in a Maildir here, not in an mbox',
  mailbox_command: 'mail is delivered to the Maildir; for a program see an LMTP server in [transport]',
  mailbox_transport: 'local mail goes to the Maildir; see [transport]',
  local_transport: 'local mail goes to the Maildir; see [transport]',
  virtual_transport: 'local mail goes to the Maildir; see [transport]',
  smtpd_sasl_type: 'logins are checked against auth.passwd_file or what else [auth] has',
  smtpd_sasl_path: 'logins are checked against auth.passwd_file or what else [auth] has',
}

type Special = (value: string, parameters: Parameters, imported: Imported) => void

const words = (value: string): string[] => value.split(/[\s,]+/).filter(Boolean)
const special: Readonly<Record<string, Special>> = {
  myhostname: (value, _parameters, imported) => imported.set('hostname', value, 'myhostname'),
  recipient_delimiter: (value, _parameters, imported) =>
    imported.set('auth.recipient_delimiter', value, 'recipient_delimiter'),
  mydomain: (value, parameters, imported) => {
    if (value === builtIn('mydomain', parameters))
      imported.dismiss('mydomain', value, 'it follows from the hostname')
    else imported.leave('mydomain', value, 'only other parameters use it, and they have it already')
  },
  myorigin: (value, parameters, imported) => {
    if (value === parameters.get('myhostname')) imported.dismiss('myorigin', value, 'it is the hostname')
    else imported.leave('myorigin', value, 'addresses without a domain get the hostname')
  },
  smtpd_tls_session_cache_timeout: (value, _parameters, imported) =>
    imported.dismiss('smtpd_tls_session_cache_timeout', value, 'there is nothing of the kind'),
  mydestination: (value, _parameters, imported) => domains(value, 'mydestination', imported),
  virtual_mailbox_domains: (value, _parameters, imported) =>
    domains(value, 'virtual_mailbox_domains', imported),
  smtpd_tls_cert_file: (value, _parameters, imported) =>
    imported.set('tls.cert', value, 'smtpd_tls_cert_file'),
  smtpd_tls_key_file: (value, _parameters, imported) => imported.set('tls.key', value, 'smtpd_tls_key_file'),
  smtpd_tls_chain_files: (value, _parameters, imported) => {
    const [first = '', ...more] = words(value)
    imported.set('tls.cert', first, 'smtpd_tls_chain_files')
    if (more.length > 0)
      imported.leave('smtpd_tls_chain_files', more.join(' '), 'one certificate here; see tls.certificates')
  },
  default_transport: (value, _parameters, imported) => {
    if (/^(?:smtp|lmtp):./.test(value)) imported.route('*', value)
    else imported.leave('default_transport', value, 'see [transport] and [transports.NAME]')
  },
  local_recipient_maps: (value, _parameters, imported) => {
    imported.leave('local_recipient_maps', value, 'local recipients are the users; others are always refused')
  },
  smtputf8_enable: (value, _parameters, imported) => {
    if (value === 'no') imported.set('smtpd.discard_ehlo_keywords', 'SMTPUTF8', 'smtputf8_enable')
    else imported.dismiss('smtputf8_enable', value, asIs)
  },
  smtpd_tls_auth_only: (value, _parameters, imported) => {
    if (value === 'yes') imported.set('auth.allow_cleartext', 'no', 'smtpd_tls_auth_only')
    else imported.leave('smtpd_tls_auth_only', value, 'passwords in clear need auth.allow_cleartext')
  },
  smtpd_enforce_tls: (value, _parameters, imported) => {
    if (value === 'yes') imported.set('smtpd.tls_security_level', 'encrypt', 'smtpd_enforce_tls')
  },
  home_mailbox: (value, _parameters, imported) => {
    if (value.endsWith('/')) imported.set('mail.path', `%h/${value.slice(0, -1)}`, 'home_mailbox')
    else imported.leave('home_mailbox', value, 'mail is kept in a Maildir here, not in an mbox')
  },
  smtpd_upstream_proxy_timeout: (value, _parameters, imported) =>
    imported.set('proxy_protocol.timeout', value, 'smtpd_upstream_proxy_timeout'),
  smtpd_client_connection_limit_exceptions: (value, _parameters, imported) =>
    imported.set('smtpd.client_event_limit_exceptions', value, 'smtpd_client_connection_limit_exceptions'),
}

/** What the listeners are made of. */
const ofListeners: ReadonlySet<string> = new Set([
  'inet_interfaces',
  'smtpd_use_tls',
  'smtpd_tls_wrappermode',
  'smtpd_upstream_proxy_protocol',
])

/** Reads them all; what they say of each other (`$name`) is put in. Each becomes a setting, or is named with a reason. */
export function importPostfix(sources: PostfixSources, imported: Imported): void {
  const parameters = parseMain(sources, imported)
  for (const service of parseMaster(sources, imported)) masterService(service, parameters, imported)
  for (const [name, raw] of parameters) {
    const value = expanded(raw, parameters, name)
    if (value === undefined) imported.leave(name, raw, 'refers to something that is not known')
    else take(name, value, parameters, sources, imported)
    if (!imported.accountsFor(name)) imported.dismiss(name, raw, 'it asks for nothing')
  }
}

function take(
  name: string,
  value: string,
  parameters: Parameters,
  sources: PostfixSources,
  imported: Imported,
): void {
  const why = needless.find(([names]) => names.test(name))?.[1]
  if (why !== undefined) imported.dismiss(name, value, why)
  else if (Object.hasOwn(elsewhere, name)) imported.leave(name, value, elsewhere[name]!)
  else if (Object.hasOwn(special, name)) special[name]!(value, parameters, imported)
  else if (Object.hasOwn(tlsParameters, name)) tlsParameters[name]!(value, imported, parameters)
  else if (name === 'transport_maps') transports(value, sources, imported)
  else if (!ofListeners.has(name)) generic(name, value, imported)
  else if (!imported.hasListeners) {
    imported.leave(
      name,
      value,
      'write a [[listener]]; with master.cf, or postconf -M, they come by themselves',
    )
  } else imported.use(name)
}

function generic(name: string, value: string, imported: Imported): void {
  const key = homeOf(name, tablesInOrder)
  const entry = key === undefined ? undefined : entryOf(key.split('.'))
  if (key === undefined || entry === undefined) {
    imported.leave(name, value, 'no equivalent')
    return
  }
  switch (entry.type) {
    case 'duration':
      imported.set(key, /^\d+$/.test(value) ? `${value}${units[name] ?? 's'}` : value, name)
      break
    case 'enum':
      imported.set(key, value.toLowerCase(), name)
      break
    case 'maps':
      // The text that such a database was made of stands beside it, under the name without its ending.
      imported.set(key, value.replace(/\b(?:hash|btree|lmdb|cdb|dbm):/g, 'texthash:'), name)
      break
    default:
      imported.set(key, value, name)
  }
}

function domains(value: string, name: string, imported: Imported): void {
  const all = words(value)
  const tables = all.filter((word) => word.includes(':') || word.startsWith('/'))
  const plain = all.filter((word) => !tables.includes(word))
  if (tables.length > 0) imported.leave(name, tables.join(' '), 'list the domains in mail.local_domains')
  if (plain.length === 0) return
  if (imported.has('mail.local_domains'))
    imported.leave(name, plain.join(' '), 'add them to mail.local_domains')
  else imported.set('mail.local_domains', plain.join(' '), name)
}

/** Entries of a text table by domain become `[transport]`. */
function transports(value: string, { readFile }: PostfixSources, imported: Imported): void {
  for (const source of words(value)) {
    const [, path] = /^(?:hash|btree|lmdb|cdb|dbm|texthash):(.+)$/.exec(source) ?? []
    const text = path === undefined ? undefined : readFile(path)
    if (text === undefined) {
      imported.leave('transport_maps', source, 'write its entries to [transport]')
      continue
    }
    for (const line of logicalLines(text)) {
      const [, pattern = '', result = ''] = /^(\S+)\s+(.*)$/.exec(line) ?? []
      if (pattern.includes('@') || result === '')
        imported.leave('transport_maps', line, 'only domains in [transport]')
      else if (/^(?:smtp|lmtp|local)?:/.test(result))
        imported.route(pattern, result.startsWith(':') ? `smtp${result}` : result)
      else imported.leave('transport_maps', line, 'a transport of another name: see [transports.NAME]')
    }
  }
}

interface MasterService {
  readonly name: string
  readonly type: string
  readonly command: string
  readonly options: Map<string, string>
}

const ports: Readonly<Record<string, string>> = {
  smtp: '25',
  submission: '587',
  smtps: '465',
  submissions: '465',
}

/** What Postfix has by default, and we do ourselves. */
const itsOwn =
  /^(?:pickup|cleanup|qmgr|oqmgr|tlsmgr|trivial-rewrite|bounce|flush|proxymap|showq|error|local|virtual|lmtp|smtp|anvil|scache|postlogd|verify|discard|retry|nqmgr|tlsproxy|dnsblog|dnspostd)$/

function masterService(service: MasterService, parameters: Parameters, imported: Imported): void {
  const { name, type, command, options } = service
  if (type === 'inet' && (command === 'smtpd' || command === 'postscreen')) {
    listener(service, parameters, imported)
    return
  }
  const line = `${name} ${type} (master.cf)`
  options.delete('syslog_name')
  const settings = Array.from(options, ([option, value]) => ` -o ${option}=${value}`).join('')
  if (!itsOwn.test(command))
    imported.leave(line, command, 'a program of this kind is not run here; see [transports.NAME]')
  else if (settings !== '')
    imported.leave(line, `${command}${settings}`, 'see [transports.NAME] for a transport of its own')
  else imported.dismiss(line, command, asInstalled)
}

function listener(
  { name, command, options }: MasterService,
  parameters: Parameters,
  imported: Imported,
): void {
  const [, host = '', port = name] = /^(?:(.*):)?([^:]+)$/.exec(name) ?? []
  const number = ports[port] ?? port
  const setting = (parameter: string): string => options.get(parameter) ?? parameters.get(parameter) ?? ''
  const isWrapped = setting('smtpd_tls_wrappermode') === 'yes' || port === 'smtps' || port === 'submissions'
  const level = setting('smtpd_tls_security_level')
  const hasStarttls = level === '' ? parameters.get('smtpd_use_tls') === 'yes' : level !== 'none'
  const interfaces = words(parameters.get('inet_interfaces') ?? 'all')
  const hosts = host !== '' ? [host] : interfaces.map(interfaceAddress)
  for (const address of hosts) {
    imported.listen({
      service: number === '587' || number === '465' ? 'submission' : 'smtp',
      address: `${address}:${number}`,
      tls: isWrapped ? 'implicit' : hasStarttls ? 'starttls' : 'off',
      proxy_protocol: setting('smtpd_upstream_proxy_protocol') === 'haproxy',
    })
  }
  if (command === 'postscreen')
    imported.leave(`${name} (master.cf)`, command, 'there is no postscreen; smtpd listens itself')
  for (const [option, value] of options) {
    if (
      /^(?:smtpd_tls_wrappermode|smtpd_tls_security_level|smtpd_upstream_proxy_protocol|syslog_name)$/.test(
        option,
      )
    )
      continue
    imported.leave(`${name} (master.cf) -o ${option}`, value, 'settings are for all listeners of a service')
  }
}

function interfaceAddress(word: string): string {
  if (word === 'all') return ''
  if (word === 'loopback-only' || word === 'localhost') return '127.0.0.1'
  return word.includes(':') && !word.startsWith('[') ? `[${word}]` : word
}

/** Comments and empty lines taken out, further lines of one joined to it. */
function logicalLines(text: string): string[] {
  const lines: string[] = []
  for (const line of text.split(/\r?\n/)) {
    if (/^\s*(?:#|$)/.test(line)) continue
    if (/^\s/.test(line) && lines.length > 0) lines[lines.length - 1] += ` ${line.trim()}`
    else lines.push(line.trimEnd())
  }
  return lines
}

function parseMain({ main, master }: PostfixSources, imported: Imported): Parameters {
  const parameters = new Map<string, string>()
  for (const line of logicalLines(main)) {
    const [, name, value = ''] = /^([A-Za-z0-9_-]+)\s*=\s*(.*)$/.exec(line) ?? []
    if (name !== undefined) parameters.set(name, value.trim())
    // Both may come by one pipe.
    else if (main !== master || !isService(line)) imported.leave('a line', line, 'it is no parameter')
  }
  return parameters
}

const isService = (line: string): boolean => /^\S+\s+(?:inet|unix|unix-dgram|fifo|pass)\s/.test(line)

function parseMaster({ main, master }: PostfixSources, imported: Imported): MasterService[] {
  return logicalLines(master).flatMap((line) => {
    if (!isService(line)) {
      if (main !== master) imported.leave('a line of master.cf', line, 'it is no service')
      return []
    }
    const [name = '', type = '', , , , , , command = '', ...args] = line.split(/\s+/)
    const options = new Map<string, string>()
    const pairs = /-o\s+(?:\{\s*([\w-]+)\s*=\s*([^}]*)\}|([\w-]+)=(\S*))/g
    for (const [, braced, long = '', plain, short = ''] of args.join(' ').matchAll(pairs)) {
      options.set(braced ?? plain ?? '', (braced === undefined ? short : long).trim())
    }
    return [{ name, type, command, options }]
  })
}

/** With the values of other parameters in place of `$name`, `${name}` and `$(name)`. Undefined: one is not known. */
function expanded(value: string, parameters: Parameters, name: string, depth = 0): string | undefined {
  if (depth > 20) return undefined
  let isComplete = true
  const text = value.replace(
    /\$(?:(\w+)|\{(\w+)\}|\((\w+)\))/g,
    (_, plain?: string, braced?: string, round?: string) => {
      const other = plain ?? braced ?? round ?? ''
      if (other === 'mynetworks' && name !== 'mynetworks') return '$mynetworks'
      // Ours has to begin with it, unexpanded.
      if (other === 'myhostname' && name === 'smtpd_banner') return '$myhostname'
      const known = parameters.get(other) ?? builtIn(other, parameters)
      const found = known === undefined ? undefined : expanded(known, parameters, other, depth + 1)
      if (found === undefined) isComplete = false
      return found ?? ''
    },
  )
  return isComplete && !/\$[{(]/.test(text) ? text : undefined
}

function builtIn(name: string, parameters: Parameters): string | undefined {
  switch (name) {
    case 'mydomain': {
      const host = parameters.get('myhostname')
      return host === undefined ? undefined : (/^[^.]+\.(.+\..+)$/.exec(host)?.[1] ?? host)
    }
    case 'myorigin':
      return parameters.get('myhostname')
    case 'mydestination':
      return '$myhostname, localhost.$mydomain, localhost'
    case 'data_directory':
      return '/var/lib/postfix'
    case 'queue_directory':
      return '/var/spool/postfix'
    case 'config_directory':
      return '/etc/postfix'
    case 'relay_domains':
    case 'mail_name':
      return name === 'mail_name' ? 'mailactors' : ''
    default:
      return undefined
  }
}

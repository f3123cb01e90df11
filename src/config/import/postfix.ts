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

/** Says nothing that we would need, or is how Postfix is installed. */
const pointless =
  /^(?:compatibility_level|(?:command|config|daemon|data|queue|html|meta|readme|sample|manpage|shlib)_directory|(?:mail|setgid)_(?:owner|group)|(?:sendmail|mailq|newaliases|debugger|debug)_\w+|alias_(?:maps|database)|biff|unknown_local_recipient_reject_code|maillog_file(?:_\w+)?|mail_(?:version|release_date|name)|default_privs|setgid_group|smtpd_delay_reject|append_dot_mydomain|inet_protocols|recipient_canonical_maps|mailbox_size_limit|smtpd_relay_restrictions|smtpd_tls_session_cache_database|tlsmgr_service_name|tls_(?:daemon_)?random_\w+|tls_session_ticket_cipher|tls_(?:low|export)_cipherlist)$/

type Special = (value: string, parameters: Parameters, imported: Imported) => void

const words = (value: string): string[] => value.split(/[\s,]+/).filter(Boolean)
const to =
  (key: string): Special =>
  (value, _parameters, imported) =>
    imported.set(key, value, key)

const special: Readonly<Record<string, Special>> = {
  myhostname: to('hostname'),
  // With what has a place of its own they are who we are.
  mydomain: () => {},
  myorigin: () => {},
  inet_interfaces: () => {},
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
    if (value === '')
      imported.leave('local_recipient_maps', value, 'recipients that are no users are always refused here')
  },
  smtputf8_enable: (value, _parameters, imported) => {
    if (value === 'no') imported.set('smtpd.discard_ehlo_keywords', 'SMTPUTF8', 'smtputf8_enable')
  },
  smtpd_tls_auth_only: (value, _parameters, imported) => {
    if (value === 'yes') imported.set('auth.allow_cleartext', 'no', 'smtpd_tls_auth_only')
  },
  smtpd_use_tls: () => {},
  smtpd_enforce_tls: (value, _parameters, imported) => {
    if (value === 'yes') imported.set('smtpd.tls_security_level', 'encrypt', 'smtpd_enforce_tls')
  },
  home_mailbox: (value, _parameters, imported) => {
    if (value.endsWith('/')) imported.set('mail.path', `%h/${value.slice(0, -1)}`, 'home_mailbox')
    else imported.leave('home_mailbox', value, 'mail is kept in a Maildir here, not in an mbox')
  },
  virtual_mailbox_base: (value, _parameters, imported) =>
    imported.leave(
      'virtual_mailbox_base',
      value,
      'mail.path says where mailboxes are, with %u, %n, %d and %h',
    ),
  smtpd_upstream_proxy_protocol: () => {},
  smtpd_upstream_proxy_timeout: (value, _parameters, imported) =>
    imported.set('proxy_protocol.timeout', value, 'smtpd_upstream_proxy_timeout'),
  smtpd_client_connection_limit_exceptions: (value, _parameters, imported) =>
    imported.set('smtpd.client_event_limit_exceptions', value, 'smtpd_client_connection_limit_exceptions'),
  mail_spool_directory: (value, _parameters, imported) =>
    imported.leave('mail_spool_directory', value, 'mail is kept in a Maildir here, not in an mbox'),
}

/** Reads them all; what they say of each other (`$name`) is put in. */
export function importPostfix(sources: PostfixSources, imported: Imported): void {
  const parameters = parseMain(sources.main)
  for (const [name, raw] of parameters) {
    const value = expanded(raw, parameters, name)
    if (pointless.test(name)) continue
    const act = Object.hasOwn(special, name) ? special[name] : undefined
    if (value === undefined) imported.leave(name, raw, 'refers to something that is not known')
    else if (act !== undefined) act(value, parameters, imported)
    else if (Object.hasOwn(tlsParameters, name)) tlsParameters[name]!(value, imported, parameters)
    else if (name === 'transport_maps') transports(value, sources, imported)
    else generic(name, value, imported)
  }
  for (const service of parseMaster(sources.master)) listener(service, parameters, imported)
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
  readonly command: string
  readonly options: ReadonlyMap<string, string>
}

const ports: Readonly<Record<string, string>> = {
  smtp: '25',
  submission: '587',
  smtps: '465',
  submissions: '465',
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

function parseMain(text: string): Parameters {
  const parameters = new Map<string, string>()
  for (const line of logicalLines(text)) {
    const [, name, value = ''] = /^([A-Za-z0-9_-]+)\s*=\s*(.*)$/.exec(line) ?? []
    if (name !== undefined) parameters.set(name, value.trim())
  }
  return parameters
}

/** What listens for SMTP. */
function parseMaster(text: string): MasterService[] {
  return logicalLines(text).flatMap((line) => {
    const [name = '', type, , , , , , command = '', ...args] = line.split(/\s+/)
    if (type !== 'inet' || (command !== 'smtpd' && command !== 'postscreen')) return []
    const options = new Map<string, string>()
    const pairs = /-o\s+(?:\{\s*([\w-]+)\s*=\s*([^}]*)\}|([\w-]+)=(\S*))/g
    for (const [, braced, long = '', plain, short = ''] of args.join(' ').matchAll(pairs)) {
      options.set(braced ?? plain ?? '', (braced === undefined ? short : long).trim())
    }
    return [{ name, command, options }]
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
    case 'relay_domains':
    case 'mail_name':
      return name === 'mail_name' ? 'mailactors' : ''
    default:
      return undefined
  }
}

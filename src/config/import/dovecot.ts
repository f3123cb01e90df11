/** Dovecot's configuration as ours: what `doveconf -n` prints, of versions 2.3 and 2.4. */
import { entryOf } from '../keys.ts'
import { homeOf, type Imported } from './imported.ts'

interface Section {
  /** `protocol pop3`, `service pop3-login`, `inet_listener pop3s`; empty for the whole. */
  readonly name: string
  readonly settings: Map<string, string>
  readonly sections: Section[]
}

/** Of those that have no prefix of ours. */
const tablesInOrder = ['auth', 'mail', 'limits', 'login', 'log']
/** What a session of another protocol would need, or how Dovecot runs its processes. */
const pointless =
  /^(?:protocols|listen|base_dir|state_dir|default_\w+|first_valid_\w+|last_valid_\w+|mail_privileged_group|mail_access_groups|mail_plugins?|mail_plugin_dir|imap\w*|lda\w*|namespace\b.*|plugin\b.*|protocol (?!pop3$).*|dovecot_(?:config|storage)_version|info_log_path|log_path|debug_log_path|syslog_facility|ssl_(?:dh|min_protocol|prefer_server_ciphers|client_\w+)|auth_worker_\w+)$/

type Special = (value: string, imported: Imported) => void

const special: Readonly<Record<string, Special>> = {
  mail_location: (value, imported) => {
    const [, path] = /^maildir:([^:]+)/.exec(value) ?? []
    if (path === undefined) imported.leave('mail_location', value, 'mail is kept in a Maildir here')
    else imported.set('mail.path', homePath(path), 'mail_location')
    if (path === undefined) return
    for (const option of value.split(':').slice(2)) {
      const [, key, folder] = /^(CONTROL|INDEX)=(.+)$/.exec(option) ?? []
      if (key === 'CONTROL') imported.set('mail.control_path', homePath(folder!), 'mail_location')
      else if (key === 'INDEX') imported.set('mail.index_path', homePath(folder!), 'mail_location')
      else imported.leave('mail_location', option, 'there is no such option here')
    }
  },
  mail_driver: (value, imported) => {
    if (value !== 'maildir') imported.leave('mail_driver', value, 'mail is kept in a Maildir here')
  },
  mail_path: (value, imported) => imported.set('mail.path', homePath(value), 'mail_path'),
  mail_control_path: (value, imported) =>
    imported.set('mail.control_path', homePath(value), 'mail_control_path'),
  mail_index_path: (value, imported) => imported.set('mail.index_path', homePath(value), 'mail_index_path'),
  ssl: (value, imported) => {
    if (value === 'required') imported.set('auth.allow_cleartext', 'no', 'ssl')
  },
  ssl_cert: (value, imported) => file('tls.cert', value, 'ssl_cert', imported),
  ssl_key: (value, imported) => file('tls.key', value, 'ssl_key', imported),
  ssl_server_cert_file: (value, imported) => imported.set('tls.cert', value, 'ssl_server_cert_file'),
  ssl_server_key_file: (value, imported) => imported.set('tls.key', value, 'ssl_server_key_file'),
  disable_plaintext_auth: (value, imported) =>
    imported.set('auth.allow_cleartext', value === 'yes' ? 'no' : 'yes', 'disable_plaintext_auth'),
  hostname: (value, imported) => imported.set('hostname', value, 'hostname'),
  mail_max_userip_connections: (value, imported) =>
    imported.set('limits.max_userip_connections', value, 'mail_max_userip_connections'),
}

export function importDovecot(text: string, imported: Imported): void {
  const root = parse(text)
  takeSettings(root, imported)
  for (const section of root.sections) takeSection(section, imported)
  listeners(root, imported)
}

function takeSettings({ settings }: Section, imported: Imported): void {
  for (const [name, value] of settings) {
    if (pointless.test(name)) continue
    const act = Object.hasOwn(special, name) ? special[name] : undefined
    if (act !== undefined) {
      act(value, imported)
      continue
    }
    const key = homeOf(name, tablesInOrder)
    if (key === undefined) imported.leave(name, value, 'no equivalent')
    else imported.set(key, converted(key, value), name)
  }
}

function takeSection(section: Section, imported: Imported): void {
  const { name, settings } = section
  const driver = settings.get('driver') ?? name.split(' ')[1] ?? ''
  if (name === 'protocol pop3') takeSettings(section, imported)
  else if (name.startsWith('passdb') && driver === 'passwd-file') passwdFile(section, imported)
  else if (name.startsWith('passdb'))
    imported.leave(name, driver, 'users are in a passwd-file here, or known to a token server')
  else if (name.startsWith('userdb')) {
    if (driver !== 'passwd-file')
      imported.leave(name, driver, 'homes are in the passwd-file, or under data_dir')
  } else if (!pointless.test(name) && !name.startsWith('service ')) {
    imported.leave(name, `{ ${[...settings.keys()].join(', ')} }`, 'no equivalent')
  }
}

function passwdFile({ settings }: Section, imported: Imported): void {
  const args = settings.get('passwd_file_path') ?? settings.get('args') ?? ''
  const path = args.split(/\s+/).find((word) => word.startsWith('/'))
  if (path === undefined || path.includes('%'))
    imported.leave('passdb', args, 'one passwd-file for all users here')
  else imported.set('auth.passwd_file', path, 'passdb')
}

const homePath = (path: string): string => path.replace(/^~(?=\/|$)/, '%h')

function file(key: string, value: string, name: string, imported: Imported): void {
  if (value.startsWith('<')) imported.set(key, value.slice(1).trim(), name)
  else
    imported.leave(
      name,
      value,
      value.startsWith('#') ? `doveconf hides it: set ${key}` : `write it to a file: ${key}`,
    )
}

/** Dovecot's times (`10 mins`) and sizes (`50 M`) as ours. */
function converted(key: string, value: string): string {
  const { type } = entryOf(key.split('.'))!
  const [, amount = '', unit = ''] = /^(\d+)\s*([A-Za-z]*)$/.exec(value.trim()) ?? []
  if (type === 'duration' && amount !== '') {
    const letters = unit.toLowerCase()
    return `${amount}${letters.startsWith('ms') ? 'ms' : letters.slice(0, 1) || 's'}`
  }
  if (type === 'size') return value === 'unlimited' ? '0' : `${amount}${unit.replace(/B$/i, '')}`
  return value === 'unlimited' ? '0' : value
}

/** What a service listens on when it says nothing. */
const usual: readonly {
  readonly service: string
  readonly name: string
  readonly port: string
  readonly tls: boolean
}[] = [
  { service: 'pop3-login', name: 'pop3', port: '110', tls: false },
  { service: 'pop3-login', name: 'pop3s', port: '995', tls: true },
]

function listeners(root: Section, imported: Imported): void {
  const protocols = (root.settings.get('protocols') ?? 'imap pop3 lmtp').split(/\s+/)
  const hasTls = root.settings.get('ssl') !== 'no'
  const everywhere = (root.settings.get('listen') ?? '*').split(/[\s,]+/).filter((host) => host !== '::')
  const service = (name: string) => root.sections.find((one) => one.name === `service ${name}`)
  if (protocols.includes('pop3')) {
    const own = service('pop3-login')?.sections ?? []
    for (const { name, port, tls } of usual) {
      const settings = own.find((one) => one.name === `inet_listener ${name}`)?.settings
      const number = settings?.get('port') ?? port
      if (number === '0' || (tls && !hasTls)) continue
      const hosts =
        settings?.get('address')?.split(/[\s,]+/) ?? settings?.get('listen')?.split(/[\s,]+/) ?? everywhere
      for (const host of hosts) {
        imported.listen({
          service: 'pop3',
          address: `${host === '*' ? '' : bracketed(host)}:${number}`,
          tls: tls || settings?.get('ssl') === 'yes' ? 'implicit' : hasTls ? 'starttls' : 'off',
          proxy_protocol: settings?.get('haproxy') === 'yes',
        })
      }
    }
  }
  if (protocols.includes('lmtp')) {
    for (const { name, settings } of service('lmtp')?.sections ?? []) {
      const [kind, path = ''] = name.split(' ')
      const port = settings.get('port') ?? '24'
      const address =
        kind === 'inet_listener'
          ? `${bracketed(settings.get('address') ?? '127.0.0.1')}:${port}`
          : `unix:${path}`
      if (kind === 'unix_listener' && !path.startsWith('/')) {
        imported.leave(`service lmtp ${name}`, '', 'give the socket a whole path in a [[listener]]')
      } else imported.listen({ service: 'lmtp', address, tls: 'off', proxy_protocol: false })
    }
  }
}

const bracketed = (host: string): string => (host.includes(':') && !host.startsWith('[') ? `[${host}]` : host)

function parse(text: string): Section {
  const root: Section = { name: '', settings: new Map(), sections: [] }
  const open: Section[] = [root]
  for (const raw of text.split(/\r?\n/)) {
    const line = raw.trim()
    const current = open.at(-1)!
    if (line === '' || line.startsWith('#')) continue
    if (line === '}') {
      if (open.length > 1) open.pop()
    } else if (line.endsWith('{')) {
      const section: Section = {
        name: line.slice(0, -1).trim().replaceAll('"', ''),
        settings: new Map(),
        sections: [],
      }
      current.sections.push(section)
      open.push(section)
    } else {
      const [, name, value = ''] = /^([\w/.-]+)\s*=\s*(.*)$/.exec(line) ?? []
      if (name !== undefined) current.settings.set(name, value.replace(/^"(.*)"$/, '$1'))
    }
  }
  return root
}

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
/** What nobody has to do anything about, and why. */
const needless: readonly (readonly [names: RegExp, why: string])[] = [
  [
    /^(?:base_dir|state_dir|libexec_dir|default_(?!realm)\w+|mail_plugin_dir|dovecot_(?:config|storage)_version|(?:info_|debug_)?log_path|syslog_facility|auth_worker_\w+|import_environment|verbose_proctitle|shutdown_clients|instance_name|version_ignore|last_valid_\w+|first_valid_\w+)$/,
    'how Dovecot is installed and runs',
  ],
  [
    /^(?:imap\w*|lda\w*|sieve\w*|managesieve\w*|submission\w*|namespace\b.*|protocol (?!pop3$).*)$/,
    'for other protocols',
  ],
]

/** What has no place here, and where to look instead. */
const elsewhere: Readonly<Record<string, string>> = {
  mail_privileged_group: 'mailboxes belong to the user that the service runs as',
  mail_access_groups: 'mailboxes belong to the user that the service runs as',
  mail_uid: 'mailboxes belong to the user that the service runs as',
  mail_gid: 'mailboxes belong to the user that the service runs as',
  mail_plugins: 'there are no plugins',
  ssl_min_protocol: 'see tls.min_version',
  ssl_dh: 'key exchange is by elliptic curves',
  ssl_prefer_server_ciphers: 'see tls.ciphers',
}

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
  protocols: (_value, imported) => imported.use('protocols'),
  listen: (_value, imported) => imported.use('listen'),
  mail_driver: (value, imported) => {
    if (value !== 'maildir') imported.leave('mail_driver', value, 'mail is kept in a Maildir here')
    else imported.dismiss('mail_driver', value, 'it is always so')
  },
  mail_path: (value, imported) => imported.set('mail.path', homePath(value), 'mail_path'),
  mail_control_path: (value, imported) =>
    imported.set('mail.control_path', homePath(value), 'mail_control_path'),
  mail_index_path: (value, imported) => imported.set('mail.index_path', homePath(value), 'mail_index_path'),
  ssl: (value, imported) => {
    if (value === 'required') imported.set('auth.allow_cleartext', 'no', 'ssl')
    else imported.use('ssl')
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

/** Each setting becomes one of ours, or is named with a reason. */
export function importDovecot(text: string, imported: Imported): void {
  const root = parse(text, imported)
  listeners(root, imported)
  takeSettings(root, '', imported)
  for (const section of root.sections) takeSection(section, imported)
}

const reasonIn = (name: string): string | undefined => needless.find(([names]) => names.test(name))?.[1]

/** `prefix`: of the section they are in, for their names. */
function takeSettings({ settings }: Section, prefix: string, imported: Imported): void {
  for (const [name, value] of settings) {
    const why = reasonIn(name)
    const act = Object.hasOwn(special, name) ? special[name] : undefined
    if (why !== undefined) imported.dismiss(`${prefix}${name}`, value, why)
    else if (Object.hasOwn(elsewhere, name)) imported.leave(`${prefix}${name}`, value, elsewhere[name]!)
    else if (act !== undefined) act(value, imported)
    else {
      const key = homeOf(name, tablesInOrder)
      if (key === undefined) imported.leave(`${prefix}${name}`, value, 'no equivalent')
      else imported.set(key, converted(key, value), name)
    }
  }
}

function takeSection(section: Section, imported: Imported): void {
  const { name, settings } = section
  const driver = settings.get('driver') ?? name.split(' ')[1] ?? ''
  const why = reasonIn(name)
  if (name === 'protocol pop3') takeSettings(section, '', imported)
  else if (why !== undefined) imported.dismiss(name, contents(section), why)
  else if (name.startsWith('passdb') && driver === 'passwd-file') passwdFile(section, imported)
  else if (name.startsWith('passdb'))
    imported.leave(name, driver, 'users are in a passwd-file here, or known to a token server')
  else if (name.startsWith('userdb')) {
    if (driver === 'passwd-file')
      imported.dismiss(name, driver, 'the passwd-file of the passdb has the homes too')
    else imported.leave(name, driver, 'homes are in the passwd-file, or under data_dir')
  } else if (name === 'plugin') {
    for (const [setting, value] of settings)
      imported.leave(`plugin/${setting}`, value, 'there are no plugins')
  } else if (name.startsWith('service ')) takeService(section, imported)
  else imported.leave(name, contents(section), 'no equivalent')
}

/** Its listeners are known already. */
function takeService(section: Section, imported: Imported): void {
  const { name, settings, sections } = section
  const isOurs = name === 'service pop3-login' || name === 'service lmtp'
  for (const [setting, value] of settings) {
    if (isOurs) imported.leave(`${name}/${setting}`, value, 'see [limits] and [pools.connections]')
    else imported.dismiss(`${name}/${setting}`, value, 'how Dovecot is installed and runs')
  }
  for (const listener of isOurs ? [] : sections) {
    imported.leave(`${name}/${listener.name}`, contents(listener), 'what listens for whom is in [[listener]]')
  }
}

const contents = ({ settings, sections }: Section): string =>
  `{ ${[...settings.keys(), ...sections.map(({ name }) => name)].join(', ')} }`

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

function parse(text: string, imported: Imported): Section {
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
      else if (line.startsWith('!include'))
        imported.leave(
          '!include',
          line.replace(/^\S+\s*/, ''),
          'pipe the output of doveconf -n, which has it all',
        )
      else imported.leave('a line', line, 'it is no setting')
    }
  }
  return root
}

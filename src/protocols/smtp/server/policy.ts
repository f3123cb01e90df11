/** The configuration as the server asks it: who is local, who may relay, what the fixed replies are. */
import { BlockList, isIP } from 'node:net'
import { join, sep } from 'node:path'
import { domainToASCII } from 'node:url'
import type { Settings } from '../../../config/schema.ts'
import type { Config } from '../../../config/settings.ts'
import { createResolver, type DnsResolver } from '../../../dns/resolver.ts'
import { verifiedName } from '../../../dns/reverse.ts'
import { parseLiteral } from '../address.ts'
import { type lmtpServerSettings, parseNetwork, type SmtpdSettings } from './config.ts'
import type { ClientEvent, Peer, Service } from './state.ts'

/** The parts of the configuration that mail coming in depends on. */
export type ServerConfig = Pick<Config, 'hostname' | 'data_dir'> & {
  readonly smtpd: SmtpdSettings
  readonly mail: Pick<Config['mail'], 'local_domains' | 'save_crlf' | 'fsync'>
  readonly maildir: Pick<Config['maildir'], 'broken_filename_sizes' | 'copy_with_hardlinks'>
  readonly quota: Config['quota']
  readonly lmtp: Settings<typeof lmtpServerSettings>
  readonly auth: Pick<Config['auth'], 'allow_cleartext' | 'mechanisms'>
  readonly tls: Config['tls']
  readonly transport: Config['transport']
  readonly queue: Pick<Config['queue'], 'minfree' | 'fast_flush_domains'>
  readonly dns: Config['dns']
  readonly content: Pick<Config['content'], 'header_size_limit'>
}

/** Made once per thread and configuration; immutable. */
export class ServerPolicy {
  readonly config: ServerConfig
  readonly smtpd: SmtpdSettings
  readonly hostname: string
  /** Names of fields that are taken out of every header, in lower case. */
  readonly droppedFields: ReadonlySet<string>
  readonly #localDomains: ReadonlySet<string>
  #resolver: DnsResolver | undefined
  readonly #routedDomains: ReadonlySet<string>
  readonly #trusted: Networks
  readonly #bareNewlineExclusions: Networks
  readonly #xclient: Networks
  readonly #xforward: Networks
  readonly #unlimited: Networks
  readonly #rewritten: Networks
  readonly #forbidden: ReadonlySet<string>
  readonly #pointless: ReadonlySet<string>
  readonly #discarded: ReadonlySet<string>
  readonly #contentDir: string
  readonly #flushed: ReadonlySet<string>

  constructor(config: ServerConfig) {
    this.config = config
    this.smtpd = config.smtpd
    this.hostname = config.hostname
    this.#localDomains = new Set([config.hostname, ...config.mail.local_domains].map(normalDomain))
    this.#routedDomains = new Set(Object.keys(config.transport).map(normalDomain))
    const { smtpd } = config
    const networks = (list: readonly string[]) =>
      new Networks(list.flatMap((word) => (word === '$mynetworks' ? smtpd.mynetworks : [word])))
    const words = (list: readonly string[]) => new Set(list.map((word) => word.toUpperCase()))
    this.#trusted = networks(smtpd.mynetworks).with('unix')
    this.#bareNewlineExclusions = networks(smtpd.forbid_bare_newline_exclusions).with('unix')
    this.#contentDir = join(config.data_dir, 'queue', 'content', sep)
    this.#xclient = networks(smtpd.authorized_xclient_hosts)
    this.#xforward = networks(smtpd.authorized_xforward_hosts)
    this.#unlimited = networks(smtpd.client_event_limit_exceptions).with('unix')
    this.#rewritten = networks(smtpd.local_header_rewrite_clients)
    this.#forbidden = words(smtpd.forbidden_commands)
    this.#pointless = words(smtpd.noop_commands)
    const ignored = config.tls.requiretls_enable ? [] : ['REQUIRETLS']
    this.#discarded = words([...smtpd.discard_ehlo_keywords, ...ignored])
    this.droppedFields = new Set(smtpd.message_drop_headers.map((name) => name.toLowerCase()))
    this.#flushed = new Set(config.queue.fast_flush_domains.map(normalDomain))
  }

  /** Where content goes that is too large for memory. */
  contentFile(queueId: string): string {
    return this.#contentDir + queueId
  }

  /** The greeting with its CRLF. */
  greeting(service: Service): string {
    const text = this.smtpd.banner.replace('$myhostname', this.hostname)
    return `220 ${service === 'lmtp' ? text.replace(/\bESMTP\b/, 'LMTP') : text}\r\n`
  }

  /** Whether mail for `domain` is stored here. `peer` knows our address on this connection, for address literals. */
  isLocalDomain(domain: string, peer: Pick<Peer, 'localAddress'>): boolean {
    if (domain.charCodeAt(0) === 91) {
      const literal = parseLiteral(domain)
      return literal !== undefined && (literal === peer.localAddress || isLoopbackAddress(literal))
    }
    return this.#localDomains.has(normalDomain(domain))
  }

  /** Whether a domain of ours is stored elsewhere: it has an entry of its own in `[transport]`, and the queue takes its mail there. */
  isRoutedDomain(domain: string): boolean {
    return this.#routedDomains.has(normalDomain(domain))
  }

  /** `smtpd.mynetworks`. */
  isTrusted(address: string): boolean {
    return this.#trusted.has(address)
  }

  /** How a CR or LF alone in the mail of this client is treated. */
  bareNewlines(address: string): 'reject' | 'normalize' | 'note' {
    const rule = this.smtpd.forbid_bare_newline
    return rule === 'reject' && this.#bareNewlineExclusions.has(address) ? 'normalize' : rule
  }

  isForbiddenCommand(verb: string): boolean {
    return this.#forbidden.has(verb)
  }

  /** `smtpd.noop_commands`. */
  isNoopCommand(verb: string): boolean {
    return this.#pointless.size > 0 && this.#pointless.has(verb)
  }

  /** Whether an extension is not discarded. */
  offers(keyword: string): boolean {
    return this.#discarded.size === 0 || !this.#discarded.has(keyword)
  }

  mayXclient(address: string): boolean {
    return this.#xclient.has(address)
  }

  mayXforward(address: string): boolean {
    return this.#xforward.has(address)
  }

  /** Whether what a client does is counted against its limits. */
  isLimited(address: string): boolean {
    return !this.#unlimited.has(address) && !this.#xclient.has(address)
  }

  /** How often a client may do something in `anvil.rate_time_unit`; 0: no limit. */
  rateLimit(event: ClientEvent | 'connection'): number {
    return this.smtpd[rateLimits[event]]
  }

  /** Whether fields are added to mail of this client that it came without. */
  completesMailOf(peer: Peer, isLoggedIn: boolean): boolean {
    const { always_add_missing_headers: always, local_header_rewrite_clients: clients } = this.smtpd
    if (always || peer.service === 'submission') return true
    return clients.some((word) => {
      switch (word) {
        case 'permit_inet_interfaces':
          return peer.isLoopback || peer.address === peer.localAddress
        case 'permit_mynetworks':
          return peer.isTrusted
        case 'permit_sasl_authenticated':
          return isLoggedIn
        default:
          return this.#rewritten.has(peer.address)
      }
    })
  }

  /** The host name of a client, see `smtpd.peername_lookup`; undefined: nothing is to be looked up. */
  lookUpName({ address, isLoopback }: Peer): Promise<string | undefined> | undefined {
    if (isLoopback || !this.smtpd.peername_lookup || this.config.dns.disable_dns_lookups) return undefined
    if (isIP(address) === 0) return undefined
    this.#resolver ??= createResolver(this.config.dns)
    return verifiedName(this.#resolver, address)
  }

  /** `queue.fast_flush_domains`. */
  flushes(domain: string): boolean {
    for (let name = normalDomain(domain); name !== ''; name = name.replace(/^[^.]*\.?/, '')) {
      if (this.#flushed.has(name)) return true
    }
    return false
  }

  timeout({ isStressed }: Pick<Peer, 'isStressed'>): number {
    return isStressed ? Math.min(this.smtpd.timeout, this.smtpd.stress_timeout) : this.smtpd.timeout
  }

  hardErrorLimit({ isStressed }: Pick<Peer, 'isStressed'>): number {
    return isStressed ? this.smtpd.stress_hard_error_limit : this.smtpd.hard_error_limit
  }

  junkLimit({ isStressed }: Pick<Peer, 'isStressed'>): number {
    return isStressed ? this.smtpd.stress_junk_command_limit : this.smtpd.junk_command_limit
  }
}

const rateLimits = {
  connection: 'client_connection_rate_limit',
  message: 'client_message_rate_limit',
  recipient: 'client_recipient_rate_limit',
  auth: 'client_auth_rate_limit',
  tls: 'client_new_tls_session_rate_limit',
} as const

/** 127.0.0.0/8, ::1, or a unix socket. */
export function isLoopbackAddress(address: string): boolean {
  return address.startsWith('127.') || address === '::1' || address === 'unix'
}

function normalDomain(domain: string): string {
  const lower = domain.toLowerCase()
  return /[^\u0000-\u007f]/.test(lower) ? domainToASCII(lower) || lower : lower
}

/** Most addresses remembered; after that the list is asked again. */
const maxRemembered = 1_000

class Networks {
  readonly #list = new BlockList()
  /** Clients come back: the list is asked once for each. */
  readonly #known = new Map<string, boolean>()

  constructor(networks: readonly string[]) {
    for (const text of networks) {
      const network = parseNetwork(text)
      if (network !== undefined) this.#list.addSubnet(network.address, network.prefix, network.family)
    }
  }

  with(address: string): this {
    this.#known.set(address, true)
    return this
  }

  has(address: string): boolean {
    let known = this.#known.get(address)
    if (known === undefined) {
      const version = isIP(address)
      known = version !== 0 && this.#list.check(address, version === 4 ? 'ipv4' : 'ipv6')
      if (this.#known.size < maxRemembered) this.#known.set(address, known)
    }
    return known
  }
}

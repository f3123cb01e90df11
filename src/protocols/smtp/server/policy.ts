/** The configuration as the server asks it: who is local, who may relay, what the fixed replies are. */
import { BlockList, isIP } from 'node:net'
import { domainToASCII } from 'node:url'
import type { Config } from '../../../config/settings.ts'
import { parseLiteral } from '../address.ts'
import { parseNetwork, type SmtpdSettings } from './config.ts'
import type { Peer, Service } from './state.ts'

/** The parts of the configuration that mail coming in depends on. */
export type ServerConfig = Pick<Config, 'hostname' | 'data_dir'> & {
  readonly smtpd: SmtpdSettings
  readonly mail: Pick<Config['mail'], 'local_domains' | 'save_crlf' | 'fsync'>
  readonly auth: Pick<Config['auth'], 'allow_cleartext' | 'mechanisms'>
  readonly tls: Config['tls']
  readonly transport: Config['transport']
}

/** Made once per thread and configuration; immutable. */
export class ServerPolicy {
  readonly config: ServerConfig
  readonly smtpd: SmtpdSettings
  readonly hostname: string
  readonly #localDomains: ReadonlySet<string>
  readonly #routedDomains: ReadonlySet<string>
  readonly #trusted: Networks
  readonly #bareNewlineExclusions: Networks
  readonly #forbidden: ReadonlySet<string>

  constructor(config: ServerConfig) {
    this.config = config
    this.smtpd = config.smtpd
    this.hostname = config.hostname
    this.#localDomains = new Set([config.hostname, ...config.mail.local_domains].map(normalDomain))
    this.#routedDomains = new Set(Object.keys(config.transport).map(normalDomain))
    this.#trusted = new Networks(config.smtpd.mynetworks)
    this.#bareNewlineExclusions = new Networks(config.smtpd.forbid_bare_newline_exclusions)
    this.#forbidden = new Set(config.smtpd.forbidden_commands.map((word) => word.toUpperCase()))
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
}

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
  readonly #known = new Map<string, boolean>([['unix', true]])

  constructor(networks: readonly string[]) {
    for (const text of networks) {
      const network = parseNetwork(text)
      if (network !== undefined) this.#list.addSubnet(network.address, network.prefix, network.family)
    }
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

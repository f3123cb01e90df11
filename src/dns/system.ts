/** Which name servers to ask: those of the configuration, else those of the system (`resolv.conf(5)`). */
import { readFileSync, statSync } from 'node:fs'
import { isIP } from 'node:net'

export interface NameServerAddress {
  readonly address: string
  readonly port: number
}

export interface SystemDns {
  readonly servers: readonly NameServerAddress[]
  /** Domains tried for short names, when the resolver options ask for that. */
  readonly search: readonly string[]
}

/** Reads `address`, `address:port`, `[v6]:port`. Undefined when it is none of them. */
export function nameServerAddress(text: string): NameServerAddress | undefined {
  const match = isIP(text) !== 0 ? [text, text, undefined] : /^\[?([^\]]+)\]?:(\d{1,5})$/.exec(text)
  const plain = match ?? /^\[([^\]]+)\]$/.exec(text)
  const address = plain?.[1] ?? ''
  const port = Number(plain?.[2] ?? 53)
  // Without brackets the last colon of an IPv6 address would be taken for that of a port.
  const isMixed = isIP(address) === 6 && isIP(text) === 0 && !text.startsWith('[')
  return isIP(address) === 0 || isMixed || port < 1 || port > 65_535 ? undefined : { address, port }
}

/** How long the file is taken for granted, milliseconds. */
const checkIntervalMs = 5_000

/** `resolv.conf`, read again when it changed. */
export class SystemFile {
  readonly #path: string
  readonly #now: () => number
  #content: SystemDns = { servers: [{ address: '127.0.0.1', port: 53 }], search: [] }
  #version = ''
  #nextCheck = Number.NEGATIVE_INFINITY

  constructor(path: string, now: () => number) {
    this.#path = path
    this.#now = now
  }

  read(): SystemDns {
    const now = this.#now()
    if (now < this.#nextCheck) return this.#content
    this.#nextCheck = now + checkIntervalMs
    try {
      const { mtimeMs, size, ino } = statSync(this.#path)
      const version = `${ino}:${size}:${mtimeMs}`
      if (version !== this.#version) this.#content = parseResolvConf(readFileSync(this.#path, 'utf8'))
      this.#version = version
    } catch {
      // No file: the name server of this machine, as resolv.conf(5) says.
    }
    return this.#content
  }
}

/** At most three servers and six domains count, as in the C library. */
export function parseResolvConf(text: string): SystemDns {
  const servers: NameServerAddress[] = []
  let search: string[] = []
  for (const line of text.split('\n')) {
    const [keyword, ...values] = line
      .replace(/[#;].*$/, '')
      .trim()
      .split(/\s+/)
    if (keyword === 'nameserver') {
      const server = nameServerAddress((values[0] ?? '').replace(/%.*$/, ''))
      if (server !== undefined) servers.push(server)
    } else if (keyword === 'search' || keyword === 'domain') {
      search = values.map((name) => name.replace(/\.$/, '').toLowerCase()).filter((name) => name !== '')
    }
  }
  return {
    servers: servers.length === 0 ? [{ address: '127.0.0.1', port: 53 }] : servers.slice(0, 3),
    search: search.slice(0, 6),
  }
}

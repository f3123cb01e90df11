/**
 * XCLIENT of proxies and web mail: for whom they come.
 *
 *     XCLIENT key=value ...        keys in any case; those that are not known are ignored
 */
import { isIP } from 'node:net'

/** What it said; nothing: as it was. */
export interface XclientFacts {
  readonly remoteAddress?: string
  readonly remotePort?: number
  readonly localAddress?: string
  readonly localPort?: number
  readonly session?: string
  /** The client came to the proxy through TLS. */
  readonly tls?: boolean
}

const maxSession = 64
const hostName = /^(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?$/i

/** Undefined: a value is wrong, and then none counts. */
export function parseXclient(argument: string): XclientFacts | undefined {
  const facts: { -readonly [K in keyof XclientFacts]: XclientFacts[K] } = {}
  for (const word of argument.split(' ').filter(Boolean)) {
    const equals = word.indexOf('=')
    // As a key that is not known.
    if (equals === -1) continue
    const value = word.slice(equals + 1)
    switch (word.slice(0, equals).toUpperCase()) {
      case 'ADDR':
      case 'DESTADDR': {
        if (isIP(value) === 0) return undefined
        if (/^addr/i.test(word)) facts.remoteAddress = value
        else facts.localAddress = value
        break
      }
      case 'PORT':
      case 'DESTPORT': {
        const port = /^\d{1,5}$/.test(value) ? Number(value) : 0
        if (port < 1 || port > 65_535) return undefined
        if (/^port/i.test(word)) facts.remotePort = port
        else facts.localPort = port
        break
      }
      case 'SESSION':
        // It goes into log lines.
        if (/^[\x21-\x7e]+$/.test(value) && value.length <= maxSession) facts.session = value
        break
      case 'TTL':
        if (!/^\d{1,9}$/.test(value)) return undefined
        break
      case 'CLIENT-TRANSPORT':
        facts.tls = /^tls/i.test(value)
        break
      case 'DESTNAME':
        if (!hostName.test(value)) return undefined
        break
      case 'FORWARD':
        if (!/^[A-Za-z0-9+/]*={0,2}$/.test(value) || value.length % 4 !== 0) return undefined
    }
  }
  return facts
}

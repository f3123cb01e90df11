/**
 * Reports by HTTPS, RFC 8460 section 5.4. Whoever owns a domain says where they go: that must not make us talk to what only
 * we can reach.
 */
import { type RequestOptions, request } from 'node:https'
import { BlockList, isIP } from 'node:net'
import type { SecureContext } from 'node:tls'
import { type FindAddresses, lookupWith } from '../https-lookup.ts'

/** For all of it, whatever the server does. */
const limitMs = 60_000

export interface PostOptions {
  readonly context: SecureContext
  readonly find: FindAddresses
  /** `tlsrpt_https_private`. */
  readonly allowPrivate: boolean
}

/** Rejects with what went wrong: no answer of 2xx within a minute, or an address that is not of the public internet. */
export async function postReport(uri: string, body: Buffer, options: PostOptions): Promise<void> {
  const { hostname, port, pathname, search } = new URL(uri)
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  const usable = (address: string) => options.allowPrivate || isPublic(address)
  if (isIP(host) !== 0 && !usable(host)) throw new Error(notPublic(host))
  const find: FindAddresses = async (name) => {
    const found = await options.find(name)
    const good = found.filter(({ address }) => usable(address))
    if (good.length === 0 && found.length > 0) throw new Error(notPublic(name))
    return good
  }
  await new Promise<void>((resolve, reject) => {
    const outgoing = request({
      host,
      port: port === '' ? 443 : port,
      // RFC 6066 section 3: no addresses.
      ...(isIP(host) === 0 ? { servername: host } : {}),
      path: pathname + search,
      method: 'POST',
      headers: { 'Content-Type': 'application/tlsrpt+gzip', 'Content-Length': body.length },
      agent: false,
      secureContext: options.context,
      lookup: lookupWith(find),
    } as RequestOptions)
    const timer = setTimeout(() => outgoing.destroy(new Error('timed out')), limitMs)
    outgoing.on('close', () => clearTimeout(timer))
    outgoing.on('error', reject)
    outgoing.on('response', (response) => {
      const { statusCode = 0 } = response
      // Redirects lead elsewhere, and are no answer; what else it says is not read.
      response.destroy()
      if (statusCode >= 200 && statusCode < 300) resolve()
      else reject(new Error(`answered ${statusCode}`))
    })
    outgoing.end(body)
  })
}

const notPublic = (host: string): string =>
  `${host} is not on the public internet (tlsrpt_https_private = true allows it)`

/** RFC 6890 and its registries: loopback, private, link-local, shared, documentation, multicast, reserved. */
const special = new BlockList()
for (const [network, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
] as const) {
  special.addSubnet(network, bits, 'ipv4')
}

/** Of IPv6 only what is given out: 2000::/3, without documentation, 6to4 and Teredo, which have IPv4 inside. */
const given = new BlockList()
given.addSubnet('2000::', 3, 'ipv6')
for (const [network, bits] of [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
] as const) {
  special.addSubnet(network, bits, 'ipv6')
}

export function isPublic(address: string): boolean {
  if (isIP(address) === 4) return !special.check(address, 'ipv4')
  return given.check(address, 'ipv6') && !special.check(address, 'ipv6')
}

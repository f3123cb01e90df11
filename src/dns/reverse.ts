/** The name of an address, RFC 1035 section 3.5 and RFC 3596 section 2.5. */
import { isIPv4 } from 'node:net'
import type { DnsResolver } from './resolver.ts'

/**
 * The host name that an address says it has, if that name has the address too: otherwise anybody could call themselves
 * anything. Undefined: there is none, or it cannot be looked up now.
 */
export async function verifiedName(resolver: DnsResolver, address: string): Promise<string | undefined> {
  const answer = await resolver.query(reverseName(address), 'PTR')
  const name = answer.ok ? answer.records[0] : undefined
  // A name that is a number would pass for an address in every log.
  if (name === undefined || /^[0-9.]*$/.test(name)) return undefined
  const forward = await resolver.query(name, isIPv4(address) ? 'A' : 'AAAA')
  const wanted = reverseName(address)
  return forward.ok && forward.records.some((record) => reverseName(record) === wanted) ? name : undefined
}

/** `192.0.2.1` is `1.2.0.192.in-addr.arpa`, an IPv6 address has a label for each half octet. */
export function reverseName(address: string): string {
  if (isIPv4(address)) return `${address.split('.').reverse().join('.')}.in-addr.arpa`
  return `${[...halfOctets(address)].reverse().join('.')}.ip6.arpa`
}

function halfOctets(address: string): string {
  const [head = '', tail] = withoutDots(address).split('::')
  const groups = (text: string) => (text === '' ? [] : text.split(':'))
  const before = groups(head)
  const after = groups(tail ?? '')
  const zeros = tail === undefined ? [] : Array<string>(8 - before.length - after.length).fill('0')
  return [...before, ...zeros, ...after].map((group) => group.toLowerCase().padStart(4, '0')).join('')
}

/** The last four octets as two groups, where they are written as IPv4. */
function withoutDots(address: string): string {
  return address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a: string, b: string, c: string, d: string) => {
    const group = (high: string, low: string) => (Number(high) * 256 + Number(low)).toString(16)
    return `${group(a, b)}:${group(c, d)}`
  })
}

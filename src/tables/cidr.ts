/** `cidr:` tables: addresses and networks in order, with negation and `if` blocks. */
import { BlockList, isIP } from 'node:net'
import type { Table } from './result.ts'
import { type RuleLine, ruleTable } from './rules.ts'

/** `network/prefix result`, `!network/prefix result`, `if network/prefix` … `endif`. @throws TableError */
export function cidrTable(content: string, path: string): Table {
  return ruleTable(content, path, (line) => cidrRule(line))
}

function cidrRule({ text, negated }: RuleLine) {
  const match = /^(\S+)(?:\s+(.*))?$/s.exec(text)
  const pattern = match?.[1] ?? ''
  const contains = networkMatcher(pattern)
  if (typeof contains === 'string') return { problem: contains }
  const nothing: readonly string[] = []
  return {
    // An address of the other family is neither in the network nor outside of it.
    match: (key: string) => (contains(key) === !negated ? nothing : undefined),
    result: match?.[2] ?? '',
    // The result is taken as it stands.
    groups: -1,
  }
}

/**
 * What tests an address against `network/prefix`: undefined for what is no address of its family. A sentence when
 * there is something wrong with it.
 */
function networkMatcher(pattern: string): ((address: string) => boolean | undefined) | string {
  const [written = '', bits, ...more] = pattern
    .replace(/^\[(.*)\](.*)$/, '$1$2')
    .replace(/\]$/, '')
    .split('/')
  const family = isIP(written)
  if (family === 0 || more.length > 0)
    return `"${pattern}" is not an address or a network such as 192.0.2.0/24`
  const most = family === 4 ? 32 : 128
  const prefix = bits === undefined ? most : Number(bits)
  if (!/^\d{1,3}$/.test(bits ?? '0') || prefix > most) return `"/${bits}" is not a prefix (0 to ${most})`
  const kind = family === 4 ? 'ipv4' : 'ipv6'
  const network = new BlockList()
  network.addSubnet(written, prefix, kind)
  if (!isNetworkAddress(written, prefix, kind)) {
    return `"${written}" has bits set after the prefix /${prefix}`
  }
  return (address) => (isIP(address) === family ? network.check(address, kind) : undefined)
}

/** Whether all bits after the prefix are zero: then the address before it is not in the network. */
function isNetworkAddress(address: string, prefix: number, kind: 'ipv4' | 'ipv6'): boolean {
  return hostBits(octetsOf(address, kind), prefix).every((octet) => octet === 0)
}

function hostBits(octets: readonly number[], prefix: number): number[] {
  return octets.map((octet, index) => {
    const kept = Math.min(8, Math.max(0, prefix - index * 8))
    return octet & (0xff >> kept)
  })
}

/** The octets of a valid address. */
function octetsOf(address: string, kind: 'ipv4' | 'ipv6'): number[] {
  if (kind === 'ipv4') return address.split('.').map(Number)
  const text = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, ...parts: string[]) => {
    const [a = 0, b = 0, c = 0, d = 0] = parts.slice(0, 4).map(Number)
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`
  })
  const [head = '', tail] = text.split('::')
  const words = (part: string) =>
    part === '' ? [] : part.split(':').map((word) => Number.parseInt(word, 16))
  const first = words(head)
  const last = words(tail ?? '')
  const middle = new Array<number>(8 - first.length - last.length).fill(0)
  return [...first, ...middle, ...last].flatMap((word) => [word >> 8, word & 0xff])
}

/** What `[net]` and `dns_reply_filter` say about our own side of a delivery. */
import { isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { Family, ReplyFilter } from '../../../dns/resolver.ts'
import type { Maps } from '../../../tables/contract.ts'

/** `inet_protocols` as address families. */
export function familiesOf(protocols: readonly string[]): readonly Family[] {
  const all = protocols.includes('all')
  const families: Family[] = []
  if (all || protocols.includes('ipv4')) families.push(4)
  if (all || protocols.includes('ipv6')) families.push(6)
  return families
}

export interface OwnAddresses {
  /** For the detection of loops. */
  isOwnAddress(address: string): boolean
  /** The address to connect from: the only one of the family that is not loopback, when addresses are named at all. */
  ownAddressOf(family: Family): string | undefined
}

/** Our own addresses. Those of the machine are read once. */
export function ownAddresses(interfaces: readonly string[], proxies: readonly string[]): OwnAddresses {
  const machine = Object.values(networkInterfaces()).flatMap((list) => list ?? [])
  const listening = interfaces.flatMap((word) => {
    if (word === 'all') return machine.map(({ address }) => address)
    if (word === 'loopback-only')
      return machine.filter(({ internal }) => internal).map(({ address }) => address)
    return [word.replace(/^\[(.*)\]$/, '$1')]
  })
  const own = new Set([...listening, ...proxies])
  const isNamed = !interfaces.includes('all') && !interfaces.includes('loopback-only')
  return {
    isOwnAddress: (address) => own.has(address),
    ownAddressOf: (family) => {
      const usable = listening.filter((address) => isIP(address) === family && !isLoopback(address))
      return isNamed && usable.length === 1 ? usable[0] : undefined
    },
  }
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1'
}

/** `smtp_dns_reply_filter`: records with the result IGNORE are left out. */
export function replyFilter(maps: Maps): ReplyFilter | undefined {
  if (maps.isEmpty) return undefined
  return (record) => {
    const answer = maps.lookup(record)
    if (answer.kind === 'none') return 'keep'
    if (answer.kind === 'error') throw new Error(`dns_reply_filter: ${answer.detail}`)
    if (/^ignore$/i.test(answer.value.trim())) return 'drop'
    throw new Error(`dns_reply_filter: "${answer.value}" is no action (there is IGNORE)`)
  }
}

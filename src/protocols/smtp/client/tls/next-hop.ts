/** Next hops as keys of tables. */
import { findDomain, type Lookup, type Maps } from '../../../../tables/contract.ts'
import type { Destination } from '../destination.ts'

/** As written, without `inet:` and `unix:`. */
export const nexthopKey = ({ nexthop }: Destination): string => nexthop.replace(/^(?:unix|inet):/, '')

/** Looks for a next hop; one that is a domain and nothing else also by its parents, `.example.com`. */
export function findNexthop(maps: Maps, destination: Destination): Lookup {
  const key = nexthopKey(destination)
  // Not compared with the host: that is in A-labels, and keys are as written.
  const isDomain = destination.kind === 'host' && destination.mx && !/[:[\]]/.test(key)
  return isDomain ? findDomain(maps, key) : maps.lookup(key)
}

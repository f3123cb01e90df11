/** Names of web servers, looked up with the name servers of deliveries. */
import type { LookupFunction } from 'node:net'
import type { DnsResolver, Family, HostAddress } from '../../../../dns/resolver.ts'

/** The addresses of a name; none: it cannot be found. May reject with what forbids it. */
export type FindAddresses = (name: string) => Promise<readonly HostAddress[]>

export function findAddresses(resolver: DnsResolver, families: readonly Family[]): FindAddresses {
  return async (host) => {
    const answers = await Promise.all(
      families.map(async (family) => {
        const answer = await resolver.query(host, family === 4 ? 'A' : 'AAAA')
        return answer.ok ? answer.records.map((address) => ({ address, family })) : []
      }),
    )
    return answers.flat()
  }
}

/** In the form that sockets take one. */
export function lookupWith(find: FindAddresses): LookupFunction {
  return (name, { all }, callback) => {
    find(name).then(
      (addresses) => {
        const [first] = addresses
        if (first === undefined)
          callback(Object.assign(new Error(`${name} has no address`), { code: 'ENOTFOUND' }), [])
        else if (all === true) callback(null, [...addresses])
        else callback(null, first.address, first.family)
      },
      (error: Error) => callback(error, []),
    )
  }
}

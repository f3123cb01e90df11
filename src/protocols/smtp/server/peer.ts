/** Who is at the other end of a session, as far as it is known before it says anything, or after XCLIENT said it. */
import type { Endpoints } from '../../endpoints.ts'
import type { ClientFacts } from './client-facts.ts'
import { isLoopbackAddress, type ServerPolicy } from './policy.ts'
import type { SmtpSessionArgs } from './session.ts'
import type { Peer } from './state.ts'

export function peerOf(
  ends: Endpoints,
  { service, isStressed = false }: SmtpSessionArgs,
  policy: ServerPolicy,
): Peer {
  const address = ends.remoteAddress
  const isLoopback = isLoopbackAddress(address)
  return {
    service,
    address,
    port: ends.remotePort,
    ...(isLoopback && address !== 'unix' ? { name: 'localhost' } : {}),
    // Asked for only where a recipient is an address literal: it costs a system call.
    get localAddress() {
      return ends.localAddress
    },
    isLoopback,
    isTrusted: policy.isTrusted(address),
    isStressed,
  }
}

/** The client that `peer` speaks for. What it does not say is as before, but rights go with the address. */
export function otherPeer(peer: Peer, facts: ClientFacts, policy: ServerPolicy): Peer {
  const address = facts.address === undefined ? peer.address : (facts.address ?? 'unknown')
  const isSame = facts.address === undefined
  const name = facts.name === undefined ? (isSame ? peer.name : undefined) : (facts.name ?? undefined)
  const { service, isStressed } = peer
  return {
    service,
    isStressed,
    address,
    port: facts.port === undefined ? peer.port : (facts.port ?? 0),
    ...(name === undefined ? {} : { name }),
    localAddress: facts.localAddress ?? peer.localAddress,
    isLoopback: isLoopbackAddress(address),
    isTrusted: policy.isTrusted(address),
  }
}

/** The labels under which the connections of a request are kept and found again; see `cache/labels.ts`. */
import { destinationLabel, endpointLabel } from '../../../cache/labels.ts'
import type { DeliveryRequest } from '../../../queue/contract.ts'
import { needsMatch, type TlsLevel } from './tls/levels.ts'

/** Any connection to the destination will do. Neither TLS nor credentials are in it: a next hop has one policy. */
export function destinationLabelOf({ transport, nexthop, smtputf8 }: DeliveryRequest): string {
  return destinationLabel({ transport, nexthop, ...(smtputf8 === true ? { smtputf8 } : {}) })
}

/** A server as one next hop uses it. */
export interface EndpointUse {
  readonly host: string
  readonly address: string
  readonly port: number
  /** The next hop that is being tried; of a fallback relay, that. */
  readonly nexthop: string
  /** What the policy asks for. */
  readonly level: TlsLevel
}

/** One server address. Where the certificate has to match, it was checked for one next hop and one name alone. */
export function endpointLabelOf({ transport, smtputf8 }: DeliveryRequest, use: EndpointUse): string {
  const { address, port, host, nexthop, level } = use
  return endpointLabel({
    transport,
    address,
    port,
    tlsLevel: level,
    ...(needsMatch(level) ? { nexthop, host } : {}),
    ...(smtputf8 === true ? { smtputf8 } : {}),
  })
}

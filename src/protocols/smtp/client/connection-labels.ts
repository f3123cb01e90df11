/** The labels under which the connections of a request are kept and found again; see `cache/labels.ts`. */
import { destinationLabel, endpointLabel } from '../../../cache/labels.ts'
import type { DeliveryRequest } from '../../../queue/contract.ts'
import type { ClientSettings } from './config.ts'
import { needsMatch } from './tls/levels.ts'
import type { TlsPolicy } from './tls/policy.ts'

type SaslUse = Pick<ClientSettings, 'sasl_auth_enable' | 'sender_dependent_authentication'>

/**
 * Any connection to the destination will do. TLS is not in it: a next hop has one policy. Nor are credentials, unless
 * they depend on the sender.
 */
export function destinationLabelOf(request: DeliveryRequest, sasl: SaslUse): string {
  const { transport, nexthop, smtputf8, requiretls } = request
  return destinationLabel({
    transport,
    nexthop,
    ...senderOf(request, sasl),
    ...(smtputf8 === true ? { smtputf8 } : {}),
    ...(requiretls === true ? { requiretls } : {}),
  })
}

function senderOf({ sender }: DeliveryRequest, sasl: SaslUse): { readonly sender?: string } {
  return sasl.sasl_auth_enable && sasl.sender_dependent_authentication ? { sender } : {}
}

/** A server as one next hop uses it. */
export interface EndpointUse {
  readonly host: string
  readonly address: string
  readonly port: number
  /** The next hop that is being tried; of a fallback relay, that. */
  readonly nexthop: string
  /** Of that next hop. */
  readonly policy: Pick<TlsPolicy, 'level' | 'key' | 'servername'>
}

/**
 * One server address. A certificate that has to match was checked for one next hop and one name alone, credentials are
 * found by them, and what REQUIRETLS comes to is the next hop's as well.
 */
export function endpointLabelOf(request: DeliveryRequest, use: EndpointUse, sasl: SaslUse): string {
  const { transport, smtputf8, requiretls } = request
  const { address, port, host, nexthop, policy } = use
  const isOwn =
    needsMatch(policy.level) || sasl.sasl_auth_enable || requiretls === true || namesServer(policy)
  return endpointLabel({
    transport,
    address,
    port,
    tlsLevel: policy.key,
    ...senderOf(request, sasl),
    ...(isOwn ? { nexthop, host } : {}),
    ...(smtputf8 === true ? { smtputf8 } : {}),
    ...(requiretls === true ? { requiretls } : {}),
  })
}

/** Which of its certificates a server shows, and who it is then, depends on the name it was asked for. */
const namesServer = ({ level, servername }: EndpointUse['policy']): boolean =>
  level !== 'none' && (servername === 'nexthop' || servername === 'hostname')

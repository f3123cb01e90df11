/** Which account is used with a server, and with which mechanism. */
import { findAddress } from '../../../../tables/contract.ts'
import type { Course } from '../course.ts'
import { LocalDataError } from '../failure.ts'
import { type ClientMechanism, clientMechanisms, type SaslAccount } from './mechanisms.ts'

/**
 * The account for a server: by the sender where `sender_dependent_authentication` says so, by the name of the host, by
 * the next hop as it is written. Undefined: there is none.
 * @throws LocalDataError when the maps cannot be asked.
 */
export function findAccount(
  course: Course,
  server: { readonly host: string; readonly nexthop: string },
): SaslAccount | undefined {
  const { settings, maps, addresses } = course.env
  if (!settings.sasl_auth_enable) return undefined
  const tables = maps(settings.sasl_password_maps)
  const { sender } = course.request
  const bySender = course.protocol === 'smtp' && settings.sender_dependent_authentication && sender !== ''
  const answers = [
    () => (bySender ? findAddress(tables, sender, addresses).lookup : undefined),
    () => tables.lookup(server.host),
    () => tables.lookup(server.nexthop),
  ]
  for (const ask of answers) {
    const answer = ask()
    if (answer === undefined || answer.kind === 'none') continue
    if (answer.kind === 'error') throw new LocalDataError(`sasl_password_maps: ${answer.detail}`)
    const delimiter = settings.sasl_password_result_delimiter
    const at = answer.value.indexOf(delimiter)
    const user = at < 0 ? answer.value : answer.value.slice(0, at)
    const password = at < 0 ? '' : answer.value.slice(at + delimiter.length)
    return { user, password, authorization: settings.send_cyrus_sasl_authzid ? user : '' }
  }
  return undefined
}

export interface MechanismChoice {
  /** Names the server offers, upper case. */
  readonly offered: readonly string[]
  /** `sasl_mechanism_filter`. */
  readonly filter: readonly string[]
  /** Words of `sasl_security_options` that apply. */
  readonly demands: readonly string[]
  readonly hasBinding: boolean
}

/** The best mechanism that is allowed; undefined: none. */
export function chooseMechanism({
  offered,
  filter,
  demands,
  hasBinding,
}: MechanismChoice): ClientMechanism | undefined {
  return clientMechanisms.find(
    ({ name, properties, binds }) =>
      offered.includes(name) &&
      (binds !== true || hasBinding) &&
      passesFilter(name, filter) &&
      demands.every((demand) => (properties as readonly string[]).includes(demand)),
  )
}

/** The first pattern that fits decides: `name` allows, `!name` forbids. */
function passesFilter(name: string, filter: readonly string[]): boolean {
  if (filter.length === 0) return true
  for (const pattern of filter) {
    const forbids = pattern.startsWith('!')
    const wanted = (forbids ? pattern.slice(1) : pattern).toUpperCase()
    if (wanted === name || wanted === 'STATIC:ALL') return !forbids
  }
  return false
}

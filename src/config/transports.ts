/** `[transports.NAME]`, and what `[smtp]` and `[lmtp]` take from `[queue]`. */
import { queueKeyOf, type TransportProtocol, transportProtocols, transportTuning } from '../queue/config.ts'
import { nearest } from './nearest.ts'
import type { TransportConfig } from './settings.ts'

type Values = Record<string, unknown>

/** Transports that are there without a table. */
const builtIn = [...transportProtocols, 'relay'] as const

/**
 * The transports that have a table. Limits of `[smtp]` and `[lmtp]` that nobody set get the values of `[queue]`.
 * @param values The effective tables by name; `smtp` and `lmtp` are completed.
 */
export function composeTransports(
  names: ReadonlySet<string>,
  values: Readonly<Record<string, Values>>,
  written: ReadonlyMap<string, { readonly value: unknown }>,
): Readonly<Record<string, TransportConfig>> {
  for (const client of ['smtp', 'lmtp']) {
    const table = values[client]!
    for (const key of Object.keys(transportTuning)) {
      table[key] = written.get(`${client}.${key}`)?.value ?? values.queue![queueKeyOf(key)]
    }
  }
  return Object.fromEntries(Array.from(names, (name) => [name, composed(name, written)]))
}

function composed(name: string, written: ReadonlyMap<string, { readonly value: unknown }>): TransportConfig {
  const transport: Values = { protocol: protocolOf(name) }
  const prefix = `transports.${name}.`
  for (const [path, { value }] of written) {
    if (!path.startsWith(prefix)) continue
    const [key = '', below] = path.slice(prefix.length).split('.')
    if (below === undefined) transport[key] = value
    else transport[key] = { ...(transport[key] as Values | undefined), [below]: value }
  }
  return transport as unknown as TransportConfig
}

/** A transport with the name of a protocol speaks that; others speak SMTP. */
export const protocolOf = (name: string): TransportProtocol =>
  transportProtocols.find((protocol) => protocol === name) ?? 'smtp'

/** Routes to transports that nobody made. */
export function unknownTransports(
  routes: Readonly<Record<string, string>>,
  transports: Readonly<Record<string, TransportConfig>>,
): readonly { readonly domain: string; readonly problem: string }[] {
  const known = [...builtIn, ...Object.keys(transports)]
  return Object.entries(routes).flatMap(([domain, route]) => {
    const name = /^([a-z][a-z0-9_-]*):/i.exec(route)?.[1]?.toLowerCase()
    if (name === undefined || known.includes(name)) return []
    const guess = nearest(name, known)
    const hint = guess === undefined ? `make it with [transports.${name}]` : `did you mean ${guess}?`
    return [{ domain, problem: `transport: there is no transport ${name} (${hint})` }]
  })
}

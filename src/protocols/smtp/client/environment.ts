/** What an attempt works with: settings, resolver, clock, log, and the idle connections of its thread. */
import type { Lease } from '../../../cache/contract.ts'
import type { Settings } from '../../../config/schema.ts'
import type { DnsResolver, Family, QueryOptions } from '../../../dns/resolver.ts'
import type { ConnectionLease } from '../../../queue/contract.ts'
import type { AddressSearch, Maps, TableSource } from '../../../tables/contract.ts'
import type { ClientSettings } from './config.ts'
import type { contentSettings } from './content/config.ts'
import type { SaslFailures } from './sasl/known-failures.ts'
import type { Bind, Run, Session } from './session.ts'
import type { TlsClient } from './tls/client.ts'

/** Where a kept connection is to be found again. */
export interface KeepLabels {
  /** Empty: by its endpoint only. */
  readonly destination: string
  /** Destination that no longer leads to the endpoint; empty: none. */
  readonly unbind: string
  readonly ttlMs: number
}

/** Finds idle connections by their endpoint; the cache, see `cache/contract.ts`. */
export interface ConnectionFinder {
  /**
   * A connection that is the caller's from now on. `isHere`: its keeper is that of this thread. With `onlyHere` others
   * are not looked for. Undefined when there is none, or nobody answers.
   */
  find(
    endpoint: string,
    destination: string,
    onlyHere: boolean,
  ): Promise<{ readonly lease: Lease; readonly isHere: boolean } | undefined>
  /** What was lent was of no use. If it was not even taken, it is closed. */
  wasted(destination: string, lease: ConnectionLease): void
}

/** Holds idle connections of this thread; the keeper actor's, see `keeper.ts`. */
export interface SessionKeeper {
  take(connection: number): Session | undefined
  /** `false`: it was not taken, the caller says QUIT. */
  put(session: Session, labels: KeepLabels): boolean
}

export interface AddressMapping extends AddressSearch {
  readonly origin: string
  readonly propagateExtension: boolean
}

/** What an attempt works with; no actor in it, so that tests can run one plainly. */
export interface AttemptEnvironment {
  readonly protocol: 'smtp' | 'lmtp'
  readonly settings: ClientSettings
  readonly hostname: string
  readonly softBounce: boolean
  readonly dnsDisabled: boolean
  readonly families: readonly Family[]
  readonly contentDir: string
  readonly content: Settings<typeof contentSettings>
  /** `net.line_length_limit`: octets of a line of content that are looked at as one. */
  readonly lineLengthLimit: number
  /** Flags of the transport: fields to put in front of the content (`D`, `O`, `R`). */
  readonly flags: string
  /** `delivery_status_filter`. */
  readonly statusFilter: readonly TableSource[]
  /** `notify.classes`. */
  readonly notifyClasses: readonly string[]
  /** Sender of notices to the postmaster: none about its own mail. */
  readonly doubleBounceSender: string
  /** How addresses are looked up and rewritten by `generic_maps`. */
  readonly addresses: AddressMapping
  maps(sources: readonly TableSource[]): Maps
  /** `queue.minimal_backoff_time`: mail that waited for so long may fall back from TLS to plaintext. */
  readonly minimalBackoffMs: number
  readonly resolver: DnsResolver
  /** How the resolver is asked: with the reply filter of the transport. */
  readonly query: QueryOptions
  /** `net.known_tcp_ports`. */
  readonly knownPorts: Readonly<Record<string, string>>
  /** The only address of ours in that family that is not loopback, when `inet_interfaces` names just one. */
  ownAddressOf(family: Family): string | undefined
  readonly tls: TlsClient
  /** Logins that were refused; undefined: nothing is remembered. */
  readonly saslFailures: SaslFailures | undefined
  /** Of `[tls]`. */
  readonly tlsFeatures: { readonly requiretls_enable: boolean; readonly required_enable: boolean }
  /** Undefined: connections are not kept. Asked anew each time: a keeper can come and go. */
  keeper(): SessionKeeper | undefined
  /**
   * Whether the delivery takes a connection that could be kept along to its next request; `false`: it is for others.
   * Without it, all are.
   */
  readonly takesAlong?: (session: Session) => boolean
  readonly connections: ConnectionFinder
  isOwnAddress(address: string): boolean
  readonly run: Run
  readonly bind: Bind
  /** Milliseconds since the epoch. */
  now(): number
  /** Milliseconds on a clock that never jumps. */
  monotonic(): number
  random(): number
  /** As `log`, the first time only. */
  hint(event: string, facts: object): void
  /** `info`: the peer's doing; `warn`: ours or worth a look. */
  log(level: 'info' | 'warn', event: string, facts: object): void
}

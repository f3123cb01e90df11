/** Runs delivery requests without actors: the default message and configuration of the acceptance cases. */

import { createSecureContext } from 'node:tls'
import { defaults } from '../../../../src/config/schema.ts'
import type { DnsResolver, LookupResult, MxRecord } from '../../../../src/dns/resolver.ts'
import { attempt } from '../../../../src/protocols/smtp/client/attempt.ts'
import {
  type ClientSettings,
  clientSettings,
  inheritLmtp,
  smtpSettings,
} from '../../../../src/protocols/smtp/client/config.ts'
import type { AttemptEnvironment, SessionKeeper } from '../../../../src/protocols/smtp/client/environment.ts'
import type { DeliveryReport, DeliveryRequest } from '../../../../src/queue/contract.ts'

export interface Setup {
  readonly settings?: Partial<ClientSettings>
  readonly request?: Partial<DeliveryRequest>
  readonly environment?: Partial<AttemptEnvironment>
  readonly zone?: Zone
  readonly log?: LogLine[]
}

export interface LogLine {
  readonly level: string
  readonly event: string
  readonly facts: Record<string, unknown>
}

/** Records by name and type; a word instead of records is the kind of failure. */
export type Zone = Readonly<
  Record<
    string,
    {
      readonly mx?: readonly (readonly [number, string])[] | 'soft' | 'refused' | 'malformed'
      readonly a?: readonly string[] | 'soft' | 'refused' | 'malformed'
      readonly aaaa?: readonly string[] | 'soft'
    }
  >
>

export const bodyOf = (octets: number): Buffer => {
  const head = 'Subject: test\r\n\r\n'
  const line = `${'x'.repeat(68)}\r\n`
  return Buffer.from(`${(head + line.repeat(Math.ceil(octets / 70))).slice(0, octets - 2)}\r\n`)
}

export const content = bodyOf(1_000)

export function request(over: Partial<DeliveryRequest> = {}): DeliveryRequest {
  const bytes = over.content ?? { bytes: content }
  return {
    queueId: 'q1',
    transport: 'smtp',
    nexthop: 'd.test',
    sender: 's@client.test',
    size: 1_000,
    content: bytes,
    arrivedAt: Date.now(),
    activeAt: Date.now(),
    client: { address: '127.0.0.1', port: 1, protocol: 'ESMTP' },
    recipients: [{ id: 1, address: 'a@d.test' }],
    cacheConnection: false,
    ...over,
  }
}

export const recipients = (...addresses: string[]): DeliveryRequest['recipients'] =>
  addresses.map((address, index) => ({ id: index + 1, address }))

/** Answers from a table; what is not in it does not exist. Remembers what was asked. */
export class ZoneResolver implements DnsResolver {
  readonly asked: string[] = []
  readonly #zone: Zone

  constructor(zone: Zone) {
    this.#zone = zone
  }

  async mx(name: string): Promise<LookupResult<MxRecord>> {
    this.asked.push(`MX ${name}`)
    const records = this.#zone[name]?.mx
    if (records === undefined) return notFound
    if (typeof records === 'string') return { ok: false, kind: records, detail: 'scripted' }
    return { ok: true, records: records.map(([preference, exchange]) => ({ preference, exchange })) }
  }

  async address(name: string, family: 4 | 6): Promise<LookupResult<string>> {
    this.asked.push(`${family === 4 ? 'A' : 'AAAA'} ${name}`)
    const records = family === 4 ? this.#zone[name]?.a : this.#zone[name]?.aaaa
    if (records === undefined) return notFound
    if (typeof records === 'string') return { ok: false, kind: records, detail: 'scripted' }
    return { ok: true, records }
  }

  async native(name: string): Promise<LookupResult<{ address: string; family: 4 | 6 }>> {
    this.asked.push(`native ${name}`)
    if (name === 'hosts.test') return { ok: true, records: [{ address: '127.0.0.1', family: 4 }] }
    return notFound
  }
}

const notFound = { ok: false, kind: 'not-found', detail: 'no such name' } as const

/** The settings of the acceptance cases: no randomness, IPv4 first, no TLS. */
export function settingsOf(transport: string, over: Partial<ClientSettings> = {}): ClientSettings {
  const smtp = {
    ...defaults(smtpSettings),
    randomize_addresses: false,
    address_preference: 'ipv4' as const,
    tls_security_level: 'none' as const,
  }
  return { ...clientSettings(smtp, inheritLmtp(smtp, {}), transport), ...over }
}

export function environmentOf(setup: Setup, transport: string): AttemptEnvironment {
  return {
    settings: settingsOf(transport, setup.settings),
    hostname: 'client.test',
    softBounce: false,
    dnsDisabled: false,
    families: [4, 6],
    contentDir: '/nonexistent',
    minimalBackoffMs: 300_000,
    secureContext: () => createSecureContext(),
    resolver: new ZoneResolver(setup.zone ?? {}),
    keeper: () => undefined as SessionKeeper | undefined,
    isOwnAddress: (address) => address === '192.0.2.1',
    run: (task, argument) => task(argument as never),
    bind: (callback) => callback,
    now: () => Date.now(),
    random: () => 0.5,
    log: (level, event, facts) => {
      setup.log?.push({ level, event, facts: facts as Record<string, unknown> })
    },
    ...setup.environment,
  }
}

/** Performs a request and returns its report. */
export function deliver(setup: Setup): Promise<DeliveryReport> {
  const wanted = request(setup.request)
  return attempt(wanted, environmentOf(setup, wanted.transport)).run()
}

/** `sent`, `bounced 5.1.1` …, in the order of the recipients. */
export function outcome(report: DeliveryReport): string[] {
  return [...report.results]
    .sort((a, b) => a.id - b.id)
    .map(({ status, dsn }) => (status === 'sent' ? 'sent' : `${status} ${dsn}`))
}

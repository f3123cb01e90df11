/** Runs delivery requests without actors: the default message and configuration of the acceptance cases. */

import { defaults, type Settings } from '../../../../src/config/schema.ts'
import { netSettings } from '../../../../src/dns/config.ts'
import type {
  DnsAnswer,
  DnsResolver,
  LookupFailure,
  NativeAnswer,
  QueryOptions,
  RecordData,
  RecordType,
} from '../../../../src/dns/resolver.ts'
import { attempt } from '../../../../src/protocols/smtp/client/attempt.ts'
import {
  type ClientSettings,
  clientSettings,
  inheritLmtp,
  smtpSettings,
} from '../../../../src/protocols/smtp/client/config.ts'
import { contentSettings } from '../../../../src/protocols/smtp/client/content/config.ts'
import type { AttemptEnvironment, SessionKeeper } from '../../../../src/protocols/smtp/client/environment.ts'
import { TlsClient, type TlsClientOptions } from '../../../../src/protocols/smtp/client/tls/client.ts'
import { tlsEngineSettings } from '../../../../src/protocols/smtp/client/tls/config.ts'
import { Contexts } from '../../../../src/protocols/smtp/client/tls/contexts.ts'
import type { DeliveryReport, DeliveryRequest } from '../../../../src/queue/contract.ts'
import { Tables } from '../../../../src/tables/contract.ts'

export interface Setup {
  readonly settings?: Partial<ClientSettings>
  /** `body: undefined` takes the default 7BIT away. */
  readonly request?: Omit<Partial<DeliveryRequest>, 'body'> & {
    readonly body?: DeliveryRequest['body'] | undefined
  }
  readonly environment?: Partial<AttemptEnvironment>
  readonly content?: Partial<Settings<typeof contentSettings>>
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
      readonly mx?: readonly (readonly [number, string])[] | LookupFailure
      readonly a?: readonly string[] | LookupFailure
      readonly aaaa?: readonly string[] | LookupFailure
      readonly srv?: readonly RecordData['SRV'][] | LookupFailure
      readonly tlsa?: readonly RecordData['TLSA'][] | LookupFailure
      readonly txt?: readonly string[] | LookupFailure
      /** Name that has the records, when `name` is an alias of it. */
      readonly alias?: string
      readonly secure?: boolean
    }
  >
>

export const bodyOf = (octets: number): Buffer => {
  const head = 'Subject: test\r\n\r\n'
  const line = `${'x'.repeat(68)}\r\n`
  return Buffer.from(`${(head + line.repeat(Math.ceil(octets / 70))).slice(0, octets - 2)}\r\n`)
}

export const content = bodyOf(1_000)

export function request(over: NonNullable<Setup['request']> = {}): DeliveryRequest {
  const bytes = over.content ?? { bytes: content }
  return {
    queueId: 'q1',
    transport: 'smtp',
    nexthop: 'd.test',
    sender: 's@client.test',
    body: '7BIT',
    size: 1_000,
    content: bytes,
    arrivedAt: Date.now(),
    activeAt: Date.now(),
    client: { address: '127.0.0.1', port: 1, protocol: 'ESMTP' },
    recipients: [{ id: 1, address: 'a@d.test' }],
    cacheConnection: false,
    ...over,
  } as DeliveryRequest
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

  async query<T extends RecordType>(
    name: string,
    type: T,
    { dnssec = false }: QueryOptions = {},
  ): Promise<DnsAnswer<T>> {
    this.asked.push(`${type} ${name}`)
    const entry = this.#zone[name]
    const records = {
      A: entry?.a,
      AAAA: entry?.aaaa,
      MX: entry?.mx,
      SRV: entry?.srv,
      TLSA: entry?.tlsa,
      TXT: entry?.txt,
    }[type as 'A']
    if (records === undefined) return { ...notFound, name }
    if (typeof records === 'string') {
      return { ok: false, kind: records, detail: 'scripted', name, secure: dnssec && entry?.secure === true }
    }
    const data = (records as readonly unknown[]).map((record) =>
      type === 'MX'
        ? { preference: (record as [number, string])[0], exchange: (record as [number, string])[1] }
        : record,
    )
    const rname = entry?.alias ?? name
    return {
      ok: true,
      records: data as RecordData[T][],
      ttl: 60,
      name: rname,
      secure: dnssec && entry?.secure === true,
    }
  }

  async native(name: string): Promise<NativeAnswer> {
    this.asked.push(`native ${name}`)
    if (name === 'hosts.test') return { ok: true, records: [{ address: '127.0.0.1', family: 4 }] }
    return { ok: false, kind: 'not-found', detail: 'no such host', noHost: true }
  }
}

const notFound = { ok: false, kind: 'not-found', detail: 'no such name', secure: false } as const

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
  const settings = settingsOf(transport, setup.settings)
  const resolver = new ZoneResolver(setup.zone ?? {})
  const log = (level: 'info' | 'warn', event: string, facts: object) => {
    setup.log?.push({ level, event, facts: facts as Record<string, unknown> })
  }
  return {
    protocol: transport === 'lmtp' ? 'lmtp' : 'smtp',
    settings,
    hostname: 'client.test',
    softBounce: false,
    dnsDisabled: false,
    families: [4, 6],
    contentDir: '/nonexistent',
    content: { ...defaults(contentSettings), ...setup.content },
    lineLengthLimit: 2_048,
    flags: '',
    saslFailures: undefined,
    statusFilter: [],
    notifyClasses: ['resource', 'software'],
    doubleBounceSender: 'double-bounce@client.test',
    addresses: {
      delimiter: '+',
      isLocal: (domain) => domain === 'client.test',
      origin: 'client.test',
      propagateExtension: false,
    },
    maps: (sources) => tables.maps(sources),
    monotonic: () => performance.now(),
    minimalBackoffMs: 300_000,
    tlsFeatures: engine,
    tls: tlsClient(settings, transport, { resolver, warn: (event, facts) => log('warn', event, facts) }),
    resolver,
    query: {},
    knownPorts: netSettings.known_tcp_ports.default,
    ownAddressOf: () => undefined,
    keeper: () => undefined as SessionKeeper | undefined,
    hint: (event, facts) => log('info', event, facts),
    connections: { find: async () => undefined, wasted: () => {} },
    isOwnAddress: (address) => address === '192.0.2.1',
    run: (task, argument) => task(argument as never),
    bind: (callback) => callback,
    now: () => Date.now(),
    random: () => 0.5,
    log,
    ...setup.environment,
  }
}

const tables = new Tables({ now: () => Date.now(), warn: ({ where, what }) => console.warn(where, what) })

const engine = defaults(tlsEngineSettings)

export const tlsClient = (
  settings: ClientSettings,
  transport: string,
  over: Partial<TlsClientOptions> = {},
): TlsClient =>
  new TlsClient({
    transport,
    settings,
    engine,
    contexts: new Contexts(settings, engine),
    policyMaps: tables.maps(settings.tls_policy_maps),
    resolver: new ZoneResolver({}),
    sts: undefined,
    count: undefined,
    tally() {},
    loglevelMaps: tables.maps(settings.tls_loglevel_maps),
    warn() {},
    sessions: undefined,
    now: () => Date.now(),
    ...over,
  })

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

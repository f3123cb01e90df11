/**
 * All settings, joined from the folders they belong to, and the type of the effective configuration. Each
 * actor reads it as `context.setting<Config>('config')`: plain data with normalised values (milliseconds,
 * octets, absolute paths), the same on each thread.
 */
import { anvilSettings, limitsSettings } from '../accounting/config.ts'
import { cacheSettings as authCacheSettings, authSettings, penaltySettings } from '../auth/config.ts'
import { cacheSettings } from '../cache/config.ts'
import { dnsSettings, netSettings } from '../dns/config.ts'
import { proxyProtocolSettings } from '../listeners/config.ts'
import { mailboxSettings, maildirSettings, mailSettings, quotaSettings } from '../mailbox/config.ts'
import { capaSettings, loginSettings, pop3Settings, sessionLogSettings } from '../protocols/pop3/config.ts'
import {
  type LmtpSettings,
  lmtpSettings,
  type SmtpSettings,
  smtpSettings,
} from '../protocols/smtp/client/config.ts'
import { contentSettings, rewriteSettings } from '../protocols/smtp/client/content/config.ts'
import { lmtpServerSettings, smtpdSettings } from '../protocols/smtp/server/config.ts'
import {
  dsnSettings,
  notifySettings,
  queueSettings,
  serviceSettings,
  type TransportProtocol,
  type TransportTuning,
  transportSettings,
  transportTuning,
} from '../queue/config.ts'
import { map, type Settings } from './schema.ts'
import {
  adminSettings,
  clientCertSettings,
  generalSettings,
  type listenerServices,
  listenerSettings,
  logSettings,
  poolsSettings,
  type tlsModes,
  tlsSettings,
} from './tables.ts'

/** Table `[transport]`: free keys. */
export const transportSetting = map({
  default: {},
  doc: 'Destination domain to `transport:nexthop` (`smtp:[10.0.0.9]:25`, `lmtp:unix:/run/lmtp.sock`). `example.com` is the domain alone, `.example.com` what is below it, `*` everything; the most specific entry wins.',
  check: (routes) => {
    for (const [domain, route] of Object.entries(routes)) {
      if (!/^[a-z][a-z0-9_-]*:/i.test(route) && route !== '')
        return `"${route}" for ${domain} is not transport:nexthop, such as smtp:[10.0.0.9]:25`
    }
    return undefined
  },
})

/** The tables of a configuration file by name, in the order of the reference. `listener`, `transport` and `pools` are apart. */
export const tables = {
  proxy_protocol: proxyProtocolSettings,
  tls: tlsSettings,
  'tls.client_cert': clientCertSettings,
  auth: authSettings,
  'auth.penalty': penaltySettings,
  'auth.cache': authCacheSettings,
  mail: mailSettings,
  maildir: maildirSettings,
  mailbox: mailboxSettings,
  quota: quotaSettings,
  login: loginSettings,
  pop3: pop3Settings,
  'pop3.capa': capaSettings,
  smtpd: smtpdSettings,
  queue: queueSettings,
  dsn: dsnSettings,
  notify: notifySettings,
  service: serviceSettings,
  smtp: { ...smtpSettings, ...transportTuning },
  lmtp: { ...lmtpSettings, ...transportTuning, ...lmtpServerSettings },
  content: contentSettings,
  rewrite: rewriteSettings,
  cache: cacheSettings,
  dns: dnsSettings,
  net: netSettings,
  limits: limitsSettings,
  anvil: anvilSettings,
  log: { ...logSettings, ...sessionLogSettings },
  admin: adminSettings,
} as const

/** One `[transports.NAME]`: what was written there, and what it speaks. */
export interface TransportConfig extends Partial<TransportTuning> {
  readonly protocol: TransportProtocol
  readonly flags?: string
  /** Where it differs from `[smtp]`. */
  readonly smtp?: Partial<SmtpSettings>
  /** Where it differs from `[lmtp]`. */
  readonly lmtp?: Partial<LmtpSettings>
}

/** The tables below `[transports.NAME]`. */
export const transportClientSettings = { smtp: smtpSettings, lmtp: lmtpSettings } as const

/** One `[[listener]]`. `address` is `host:port`, `[v6]:port`, `:port` or `unix:/absolute/path`. */
export interface ListenerConfig {
  readonly service: (typeof listenerServices)[number]
  readonly address: string
  readonly tls: (typeof tlsModes)[number]
  readonly proxy_protocol: boolean
}

export type PoolName = keyof typeof poolsSettings
export type PoolConfig = Settings<(typeof poolsSettings)['connections']>

/** The effective configuration. */
export interface Config extends Settings<typeof generalSettings> {
  readonly listener: readonly ListenerConfig[]
  readonly proxy_protocol: Settings<typeof proxyProtocolSettings>
  readonly tls: Settings<typeof tlsSettings> & {
    readonly client_cert: Settings<typeof clientCertSettings>
  }
  /** `passwd_file` is filled in: never empty. */
  readonly auth: Settings<typeof authSettings> & {
    readonly penalty: Settings<typeof penaltySettings>
    readonly cache: Settings<typeof authCacheSettings>
  }
  readonly mail: Settings<typeof mailSettings>
  readonly maildir: Settings<typeof maildirSettings>
  readonly mailbox: Settings<typeof mailboxSettings>
  readonly quota: Settings<typeof quotaSettings>
  readonly login: Settings<typeof loginSettings>
  readonly pop3: Settings<typeof pop3Settings> & { readonly capa: Settings<typeof capaSettings> }
  readonly smtpd: Settings<typeof smtpdSettings>
  readonly queue: Settings<typeof queueSettings>
  readonly dsn: Settings<typeof dsnSettings>
  readonly notify: Settings<typeof notifySettings>
  readonly service: Settings<typeof serviceSettings>
  readonly smtp: SmtpSettings & TransportTuning
  /** What `[lmtp]` does not set is as in `[smtp]`, see `inheritLmtp`; limits of the queue as in `[queue]`. */
  readonly lmtp: LmtpSettings & TransportTuning & Settings<typeof lmtpServerSettings>
  /** Transports by name, beside those that need no table. */
  readonly transports: Readonly<Record<string, TransportConfig>>
  readonly content: Settings<typeof contentSettings>
  readonly rewrite: Settings<typeof rewriteSettings>
  readonly transport: Readonly<Record<string, string>>
  readonly cache: Settings<typeof cacheSettings>
  readonly dns: Settings<typeof dnsSettings>
  readonly net: Settings<typeof netSettings>
  readonly pools: { readonly [P in PoolName]: PoolConfig }
  readonly limits: Settings<typeof limitsSettings>
  readonly anvil: Settings<typeof anvilSettings>
  readonly log: Settings<typeof logSettings> & Settings<typeof sessionLogSettings>
  readonly admin: Settings<typeof adminSettings>
}

export { generalSettings, listenerSettings, poolsSettings, transportSettings }

/** A report about one domain and one day, RFC 8460: the JSON, and the mail that carries it. */
import { randomUUID } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import type { CountedEvent, ReportedPolicy } from './events.ts'

export interface ReportFacts {
  readonly domain: string
  /** `2026-11-28`. */
  readonly day: string
  readonly events: readonly CountedEvent[]
  /** Who reports. */
  readonly hostname: string
  readonly contact: string
}

/** Who reports say they come from: `tlsrpt_contact_info`, or the postmaster of this host. */
export const reportContact = (setting: string, hostname: string): string =>
  setting === '' ? `postmaster@${hostname}` : setting

export interface Report {
  readonly id: string
  readonly json: object
}

/** RFC 8460 section 4.4. */
export function buildReport({ domain, day, events, hostname, contact }: ReportFacts): Report {
  const id = `${day}T00.${randomUUID()}@${hostname}`
  const policies = new Map<string, { policy: ReportedPolicy; events: CountedEvent[] }>()
  for (const event of events) {
    const key = JSON.stringify(event.policy)
    const known = policies.get(key)
    if (known === undefined) policies.set(key, { policy: event.policy, events: [event] })
    else known.events.push(event)
  }
  return {
    id,
    json: {
      'organization-name': hostname,
      'date-range': { 'start-datetime': `${day}T00:00:00Z`, 'end-datetime': `${day}T23:59:59Z` },
      'contact-info': contact,
      'report-id': id,
      policies: [...policies.values()].map(({ policy, events: of }) => policyReport(policy, of, domain)),
    },
  }
}

function policyReport(policy: ReportedPolicy, events: readonly CountedEvent[], domain: string): object {
  const total = (some: readonly CountedEvent[]) => some.reduce((sum, { count }) => sum + count, 0)
  const failed = events.filter(({ failure }) => failure !== undefined)
  return {
    policy: {
      'policy-type': policy.type,
      ...(policy.lines.length === 0 ? {} : { 'policy-string': policy.lines }),
      'policy-domain': policy.domain === '' ? domain : policy.domain,
      ...(policy.mx.length === 0 ? {} : { 'mx-host': policy.mx }),
    },
    summary: {
      'total-successful-session-count': total(events.filter(({ failure }) => failure === undefined)),
      'total-failure-session-count': total(failed),
    },
    ...(failed.length === 0
      ? {}
      : {
          'failure-details': failed.map(({ failure, count }) => ({
            'result-type': failure!.type,
            ...given('sending-mta-ip', failure!.sendingIp),
            ...given('receiving-mx-hostname', failure!.mx),
            ...given('receiving-ip', failure!.receivingIp),
            'failed-session-count': count,
            ...given('additional-information', failure!.reason),
          })),
        }),
  }
}

const given = (key: string, value: string): object => (value === '' ? {} : { [key]: value })

/** Octets of a line of base64, RFC 2045 section 6.8. */
const lineLength = 76

/** The mail with the report, RFC 8460 section 5.3. `id` of the queue goes into Received and Message-ID. */
export function reportMail(
  report: Report,
  facts: ReportFacts,
  { to, queueId, now }: { readonly to: string; readonly queueId: string; readonly now: number },
): Buffer {
  const { hostname, domain, day, contact } = facts
  const compressed = gzipSync(JSON.stringify(report.json))
  const body = compressed.toString('base64').replaceAll(new RegExp(`.{${lineLength}}`, 'g'), '$&\r\n')
  const boundary = `=_${queueId}/${hostname}`
  const fileName = `${hostname}!${domain}!${Date.parse(`${day}T00:00:00Z`) / 1000}!${Date.parse(`${day}T23:59:59Z`) / 1000}!001.json.gz`
  const date = new Date(now).toUTCString().replace('GMT', '+0000')
  const lines = [
    `Received: by ${hostname} (mailactors) id ${queueId}; ${date}`,
    `From: TLS reports of ${hostname} <${contact}>`,
    `To: ${to}`,
    `Subject: Report Domain: ${domain} Submitter: ${hostname} Report-ID: <${report.id}>`,
    `Date: ${date}`,
    `Message-ID: <${queueId}@${hostname}>`,
    'Auto-Submitted: auto-generated',
    // What keeps TLS from working must not keep the report of it (RFC 8460 section 5.3, RFC 8689 section 5).
    'TLS-Required: No',
    `TLS-Report-Domain: ${domain}`,
    `TLS-Report-Submitter: ${hostname}`,
    'MIME-Version: 1.0',
    `Content-Type: multipart/report; report-type="tlsrpt";\r\n\tboundary="${boundary}"`,
    '',
    `--${boundary}`,
    'Content-Type: text/plain; charset=us-ascii',
    '',
    `This is how TLS went in sessions of ${hostname} for mail to ${domain}`,
    `on ${day} (UTC). The details are in the file that comes with it, as RFC 8460`,
    'describes it.',
    '',
    `--${boundary}`,
    'Content-Type: application/tlsrpt+gzip',
    'Content-Transfer-Encoding: base64',
    `Content-Disposition: attachment;\r\n\tfilename="${fileName}"`,
    '',
    body,
    `--${boundary}--`,
    '',
  ]
  return Buffer.from(lines.join('\r\n'))
}

/** Where a domain wants its reports: the `rua` of its one record `_smtp._tls.DOMAIN`, section 3. */
export function reportAddresses(texts: readonly string[]): readonly string[] {
  const records = texts.filter((text) => /^v=TLSRPTv1[ \t]*;/.test(text))
  if (records.length !== 1) return []
  const rua = records[0]!
    .split(';')
    .map((field) => field.trim())
    .find((field) => field.startsWith('rua='))
  const uris = rua?.slice('rua='.length).split(',') ?? []
  return uris.map((uri) => uri.trim()).filter((uri) => isAddress(uri) || isHttps(uri))
}

/** The address of `mailto:`; undefined: it is another kind. */
export function mailtoAddress(uri: string): string | undefined {
  return isAddress(uri) ? decodeURIComponent(uri.slice('mailto:'.length)) : undefined
}

function isAddress(uri: string): boolean {
  try {
    return (
      /^mailto:[^\s<>"@,;:?]+@[a-z0-9.-]+$/i.test(uri) && !/[\s<>"\x00-\x1f]/.test(decodeURIComponent(uri))
    )
  } catch {
    return false
  }
}

function isHttps(uri: string): boolean {
  const url = /^https:\/\/[\x21-\x7e]{1,2000}$/i.test(uri) ? URL.parse(uri) : null
  // A password would be ours to send, and to log.
  return url !== null && url.username === '' && url.password === ''
}

/** Sends a report where its domain wants it: as mail through our own queue, or by HTTPS. RFC 8460 section 5. */
import { request } from 'node:https'
import { gzipSync } from 'node:zlib'
import type { ActorContext } from '../../../../../actors/index.ts'
import type { DnsResolver } from '../../../../../dns/resolver.ts'
import type { QueueContract } from '../../../../../queue/contract.ts'
import { newQueueId } from '../../../../../queue/queue-id.ts'
import { readDkimKey, signMail } from './dkim.ts'
import {
  buildReport,
  mailtoAddress,
  type Report,
  type ReportFacts,
  reportAddresses,
  reportMail,
} from './report.ts'

/** What mail with reports is signed with. */
export interface DkimSettings {
  readonly tlsrpt_dkim_key_file: string
  readonly tlsrpt_dkim_selector: string
}

/** Destinations of one report; more are not served. */
const maxAddresses = 5
const httpsTimeoutMs = 30_000

export class ReportSender {
  readonly #context: ActorContext
  readonly #resolver: DnsResolver
  readonly #dkim: DkimSettings

  constructor(context: ActorContext, resolver: DnsResolver, dkim: DkimSettings) {
    this.#context = context
    this.#resolver = resolver
    this.#dkim = dkim
  }

  /** Never rejects. `false`: it could not be sent for now. */
  async send(facts: ReportFacts): Promise<boolean> {
    const { domain, day } = facts
    const answer = await this.#resolver.query(`_smtp._tls.${domain}`, 'TXT')
    if (!answer.ok && answer.kind !== 'not-found') {
      this.#log('tls.report-failed', { domain, day, reason: answer.detail })
      return false
    }
    const addresses = answer.ok ? reportAddresses(answer.records).slice(0, maxAddresses) : []
    // Nobody wants it.
    if (addresses.length === 0) return true
    const report = buildReport(facts)
    const sent = await Promise.all(addresses.map((uri) => this.#deliver(uri, report, facts)))
    return sent.every((isDone) => isDone)
  }

  async #deliver(uri: string, report: Report, facts: ReportFacts): Promise<boolean> {
    const { domain, day } = facts
    try {
      const to = mailtoAddress(uri)
      if (to === undefined) await post(uri, report)
      else await this.#mail(to, report, facts)
      this.#log('tls.report', { domain, day, to: uri, reportId: report.id })
      return true
    } catch (error) {
      this.#log('tls.report-failed', { domain, day, to: uri, reason: (error as Error).message })
      return false
    }
  }

  async #mail(to: string, report: Report, facts: ReportFacts): Promise<void> {
    const queue = this.#context.whereis<QueueContract>('queue')
    if (queue === undefined) throw new Error('the queue is not there')
    const now = this.#context.clock.now()
    const queueId = newQueueId(this.#context)
    const bytes = await this.#signed(reportMail(report, facts, { to, queueId, now }), facts.contact)
    const answer = await queue.ask('enqueue', {
      queueId,
      // No sender: a report that cannot be delivered is told to nobody.
      envelope: { sender: '', recipients: [{ address: to, notify: ['NEVER'] }], body: '7BIT' },
      content: { bytes },
      client: { address: '', port: 0, protocol: 'local' },
      arrivedAt: now,
    })
    if (answer.status !== 'queued') throw new Error(answer.reason)
  }

  async #signed(mail: Buffer, contact: string): Promise<Buffer> {
    const { tlsrpt_dkim_key_file: file, tlsrpt_dkim_selector: selector } = this.#dkim
    if (file === '') return mail
    return signMail(mail, { domain: domainOf(contact), selector, key: readDkimKey(file) })
  }

  #log(event: 'tls.report' | 'tls.report-failed', facts: object): void {
    const text = event === 'tls.report' ? 'a TLS report was sent' : 'a TLS report could not be sent'
    this.#context.log.info({ event, ...facts }, text)
  }
}

const domainOf = (address: string): string => address.slice(address.lastIndexOf('@') + 1)

function post(uri: string, report: Report): Promise<void> {
  return new Promise((resolve, reject) => {
    const outgoing = request(uri, {
      method: 'POST',
      headers: { 'Content-Type': 'application/tlsrpt+gzip' },
      agent: false,
      timeout: httpsTimeoutMs,
    })
    outgoing.on('timeout', () => outgoing.destroy(new Error('timed out')))
    outgoing.on('error', reject)
    outgoing.on('response', (response) => {
      const { statusCode = 0 } = response
      response.destroy()
      if (statusCode >= 200 && statusCode < 300) resolve()
      else reject(new Error(`answered ${statusCode}`))
    })
    outgoing.end(gzipSync(JSON.stringify(report.json)))
  })
}

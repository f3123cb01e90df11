/** Sends a report where its domain wants it: as mail through our own queue, or by HTTPS. RFC 8460 section 5. */
import type { SecureContext } from 'node:tls'
import { gzipSync } from 'node:zlib'
import type { ActorContext } from '../../../../../actors/index.ts'
import type { DnsResolver, Family } from '../../../../../dns/resolver.ts'
import type { QueueContract } from '../../../../../queue/contract.ts'
import { newQueueId } from '../../../../../queue/queue-id.ts'
import { findAddresses } from '../https-lookup.ts'
import { readDkimKey, signMail } from './dkim.ts'
import { postReport } from './post.ts'
import {
  buildReport,
  mailtoAddress,
  type Report,
  type ReportFacts,
  reportAddresses,
  reportMail,
} from './report.ts'

export interface ReportSettings {
  readonly tlsrpt_dkim_key_file: string
  readonly tlsrpt_dkim_selector: string
  readonly tlsrpt_https_private: boolean
}

export interface SenderOptions {
  readonly resolver: DnsResolver
  readonly families: readonly Family[]
  readonly settings: ReportSettings
  /** For web servers: the authorities that deliveries trust. */
  https(): SecureContext | Error
}

/** Destinations of one report; more are not served. */
const maxAddresses = 5

export class ReportSender {
  readonly #context: ActorContext
  readonly #options: SenderOptions

  constructor(context: ActorContext, options: SenderOptions) {
    this.#context = context
    this.#options = options
  }

  /** Never rejects. `false`: it could not be sent for now. */
  async send(facts: ReportFacts): Promise<boolean> {
    const { domain, day } = facts
    const answer = await this.#options.resolver.query(`_smtp._tls.${domain}`, 'TXT')
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
      if (to === undefined) await this.#post(uri, report)
      else await this.#mail(to, report, facts)
      this.#log('tls.report', { domain, day, to: uri, reportId: report.id })
      return true
    } catch (error) {
      this.#log('tls.report-failed', { domain, day, to: uri, reason: (error as Error).message })
      return false
    }
  }

  async #post(uri: string, report: Report): Promise<void> {
    const { resolver, families, settings, https } = this.#options
    const context = https()
    if (context instanceof Error) throw context
    await postReport(uri, gzipSync(JSON.stringify(report.json)), {
      context,
      find: findAddresses(resolver, families),
      allowPrivate: settings.tlsrpt_https_private,
    })
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
    const { tlsrpt_dkim_key_file: file, tlsrpt_dkim_selector: selector } = this.#options.settings
    if (file === '') return mail
    return signMail(mail, { domain: domainOf(contact), selector, key: readDkimKey(file) })
  }

  #log(event: 'tls.report' | 'tls.report-failed', facts: object): void {
    const text = event === 'tls.report' ? 'a TLS report was sent' : 'a TLS report could not be sent'
    this.#context.log.info({ event, ...facts }, text)
  }
}

const domainOf = (address: string): string => address.slice(address.lastIndexOf('@') + 1)

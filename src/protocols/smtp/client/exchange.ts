/** One mail over one session: what was announced is checked, the transaction made, its marks applied, the
 * connection kept or left. */
import type { DeliveryRequest } from '../../../queue/contract.ts'
import { xforwardCommands } from './commands.ts'
import { destinationLabelOf } from './connection-labels.ts'
import { type ContentPlan, planContent } from './content/plan.ts'
import type { Course } from './course.ts'
import { dataFailure, type Failure, isHard, isLoss, LocalDataError, localFailure } from './failure.ts'
import type { Session } from './session.ts'
import { type TransactionResult, transact } from './transaction.ts'

export class Exchange {
  readonly #course: Course
  /** The destination label is used up: servers after the first good one are kept by endpoint only. */
  #destinationSaved = false

  constructor(course: Course) {
    this.#course = course
  }

  /**
   * `miss`: a lent connection was of no use; nothing happened. `lost`: it broke, and with `mayRetry` nobody who was
   * left has been given up.
   */
  async use(
    session: Session,
    options: { probe: boolean; final: boolean; mayRetry?: boolean },
  ): Promise<'used' | 'miss' | 'lost'> {
    const { request } = this.#course
    const { settings } = this.#course.env
    this.#course.current = session
    session.deadlines = settings.per_request_deadline
    session.replyFilter = this.#course.replyFilter(session)
    const recipients = this.#course.dispositions.remaining
    // Of a new session it is known; one that was kept was opened for another mail.
    const refusal = (await this.#course.smtpUtf8Failure(session)) ?? this.#refusal(session)
    session.uses++
    this.#course.stamp(session, session.uses)
    session.transcript ??= this.#course.newTranscript()
    if (refusal !== undefined) {
      this.#course.dispositions.allFailed(refusal, this.#course.originOf(session), options.final)
      this.#course.dispositions.sessionWasNormal()
      this.#leave(session, { keep: refusal.scope === 'message', service: 'took', farewell: 'quit' })
      return 'used'
    }
    const planned = this.#plan(session)
    if ('scope' in planned) {
      this.#course.siteFailed(planned, session, options.final)
      this.#course.part(session, 'quit')
      return 'used'
    }
    if (options.probe && session.hasStrayInput) {
      // It would be taken for the reply to the probe, and each reply for that to the command before.
      session.destroy()
      this.#course.dispositions.stamp = undefined
      return 'miss'
    }
    const { plan, xforward } = planned
    const keep = this.#mayKeep(session)
    const result = await transact(session, {
      protocol: this.#course.protocol,
      settings,
      request: this.#course.request,
      recipients,
      commands: {
        features: session.features,
        quote: settings.quote_rfc821_envelope,
        body: this.#course.body,
        converting: plan.converting,
        // What the server says of AUTH counts where we log in at all.
        dummyAuth: settings.send_dummy_mail_auth && settings.sasl_auth_enable,
        mapAddress: plan.mapAddress,
      },
      prepend: plan.prepend,
      ...(plan.rewriter === undefined ? {} : { rewriter: plan.rewriter }),
      xforward,
      ...(request.probe === true ? { verify: settings.address_verify_target } : {}),
      keep,
      probe: options.probe,
      dotDelayMs: session.delayDot && this.#isOld() ? settings.pix_workaround_delay_time : 0,
      contentDir: this.#course.env.contentDir,
      bind: this.#course.env.bind,
      monotonic: this.#course.env.monotonic,
      warn: (event, facts) => this.#course.log('warn', event, facts),
    })
    if (result.probeFailed) {
      // Idle connections end; nobody is to blame, and no recipient knows.
      session.destroy()
      this.#course.dispositions.stamp = undefined
      return 'miss'
    }
    const lost = result.failure !== undefined && isLoss(result.failure)
    const again = lost && options.mayRetry === true
    this.#apply(result, session, { each: options.final, rest: options.final && !again }, recipients)
    this.#leave(session, {
      keep: keep && result.reusable && result.failure === undefined,
      service: serviceOf(result),
      farewell: result.farewell,
    })
    return lost ? 'lost' : 'used'
  }

  /** What the server announced that makes a transaction pointless. */
  #refusal(session: Session): Failure | undefined {
    const { size } = this.#course.request
    const { features, relay } = session
    const { settings } = this.#course.env
    if (features.sizeLimit > 0 && size > features.sizeLimit) {
      const reason = `the mail has ${size} octets; ${relay} takes ${features.sizeLimit} at most`
      return localFailure('message', '5.3.4', reason)
    }
    // Nobody asked the server for more than it has said: it may answer commands that were put in before TLS.
    if (settings.tls_block_early_mail_reply && session.tls !== undefined && session.hasStrayInput) {
      return localFailure('site', '4.7.0', `${relay} sent replies within TLS before it was asked for them`)
    }
    return undefined
  }

  /** What is sent to this server besides the envelope; a failure when a table cannot be asked. */
  #plan(session: Session): { plan: ContentPlan; xforward: readonly string[] } | Failure {
    const { env, request } = this.#course
    const { features } = session
    try {
      const forwards = env.settings.send_xforward_command && features.xforward.length > 0
      const isLocal = request.client.protocol === 'local' || env.isOwnAddress(request.client.address)
      return {
        plan: planContent(this.#course, features),
        xforward: forwards ? xforwardCommands(request, features, isLocal) : [],
      }
    } catch (error) {
      if (error instanceof LocalDataError) return dataFailure(error.message)
      throw error
    }
  }

  #isOld(): boolean {
    return (
      this.#course.env.now() - this.#course.request.arrivedAt >=
      this.#course.env.settings.pix_workaround_threshold_time
    )
  }

  /** Decided before the final dot is written, because QUIT goes with it. */
  #mayKeep(session: Session): boolean {
    const { settings } = this.#course.env
    if (!this.#course.request.cacheConnection || session.damaged) return false
    if (session.endpoint === '' || settings.connection_cache_time_limit <= 0) return false
    if (session.tls !== undefined && !session.tlsReusable) return false
    if (this.#course.env.keeper() === undefined) return false
    const limit = settings.connection_reuse_count_limit
    return !this.#isExpired(session) && (limit === 0 || session.uses <= limit)
  }

  #isExpired(session: Session): boolean {
    return performance.now() - session.connectedAt >= this.#course.env.settings.connection_reuse_time_limit
  }

  #apply(
    result: TransactionResult,
    session: Session,
    final: { each: boolean; rest: boolean },
    recipients: DeliveryRequest['recipients'],
  ): void {
    const origin = this.#course.originOf(session)
    const skipped = new Set<Failure>()
    for (const [index, mark] of result.marks.entries()) {
      const recipient = recipients[index]!
      if (mark?.kind === 'sent') this.#course.dispositions.sent(recipient, mark.dsn, mark.reason, origin)
      else if (mark?.kind === 'deliverable')
        this.#course.dispositions.deliverable(recipient, mark.dsn, mark.reason, origin)
      else if (mark?.kind === 'failed') {
        if (!skipped.has(mark.failure)) this.#course.skipped(mark.failure, session, final.each)
        skipped.add(mark.failure)
        this.#course.dispositions.failed(recipient, mark.failure, origin, final.each)
      } else if (result.failure !== undefined) {
        this.#course.dispositions.failed(recipient, result.failure, origin, final.rest)
      }
    }
    if (result.failure === undefined) this.#course.dispositions.sessionWasNormal()
    else {
      this.#course.skipped(result.failure, session, final.rest)
      if (result.failure.data === true) session.trouble.add('data')
      if (result.inDoubt)
        this.#course.log('warn', 'delivery.in-doubt', { relay: session.relay, reason: result.failure.reason })
    }
    if (result.damaged) this.#course.damaged = true
    if (result.folded) this.#course.log('info', 'delivery.lines-folded', { relay: session.relay })
    const { relay, garbageLines, cutLines } = session
    if (garbageLines > 0) this.#course.log('warn', 'delivery.garbage-replies', { relay, lines: garbageLines })
    if (cutLines > 0) this.#course.log('warn', 'delivery.long-replies', { relay, lines: cutLines })
  }

  /**
   * Keeps the session or parts with it. A server that only puts off or refuses is quick at it, and its connections are idle more
   * often than those of its equals: were they found by the destination, or time and again by their address, all mail
   * would go there. So it loses the name of the destination, and where it has rivals it is not kept twice for nothing.
   */
  #leave(
    session: Session,
    how: { keep: boolean; service: Service; farewell: TransactionResult['farewell'] },
  ): void {
    const { settings } = this.#course.env
    this.#course.current = undefined
    this.#course.review(session)
    const isUseful = how.service === 'took' || (how.service === 'refused' && !session.hasRivals)
    const mayStay = isUseful || !session.hasRivals || session.hasTaken
    const keeper =
      how.keep && mayStay && session.alive && !session.damaged ? this.#course.env.keeper() : undefined
    session.hasTaken = how.service === 'took'
    if (keeper !== undefined && !this.#isExpired(session)) {
      session.replyFilter = undefined
      // Found by the destination it would be the one that this delivery has just had.
      const isDone = this.#course.dispositions.remaining.length === 0
      if (isUseful && isDone && !this.#destinationSaved && this.#course.env.takesAlong?.(session) === true)
        return
      const label = destinationLabelOf(this.#course.request, settings)
      const kept = keeper.put(session, {
        destination: this.#destinationSaved || !isUseful ? '' : label,
        unbind: isUseful ? '' : label,
        ttlMs: settings.connection_cache_time_limit,
      })
      this.#destinationSaved ||= isUseful
      if (kept) return
    }
    // Less preferred servers must not take over the name of the destination.
    if (how.farewell !== 'none' && isUseful) this.#destinationSaved = true
    this.#course.part(session, how.farewell)
  }
}

/** What the server did for the mail: took it for somebody, refused it for good, or nothing. */
type Service = 'took' | 'refused' | 'nothing'

function serviceOf({ marks, failure }: TransactionResult): Service {
  if (marks.some((mark) => mark?.kind === 'sent' || mark?.kind === 'deliverable')) return 'took'
  const failures = [failure, ...marks.map((mark) => (mark?.kind === 'failed' ? mark.failure : undefined))]
  return failures.some((one) => one !== undefined && isHard(one)) ? 'refused' : 'nothing'
}

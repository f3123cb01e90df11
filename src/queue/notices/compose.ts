/** From the end of a pass to the notices that go out: which ones, to whom, with what in them. */
import type { ActiveMail, Ended } from '../active.ts'
import { expiresAt } from '../backoff.ts'
import type { DsnConfig, NotifyConfig, QueueConfig } from '../config.ts'
import type { NewMail } from '../contract.ts'
import type { Outcome } from '../store.ts'
import { failureAddressee, wantsDelay, wantsFailure, wantsSuccess } from './policy.ts'
import { buildReport, type ReportAction, type ReportedRecipient, type ReportKind } from './report.ts'

export interface NoticeSettings {
  readonly hostname: string
  readonly queue: QueueConfig
  readonly dsn: DsnConfig
  readonly notify: NotifyConfig
}

type Reason = Pick<Outcome, 'dsn' | 'reply' | 'remoteMta' | 'relay' | 'isFinal'>

/** A notice, ready to be queued. */
export interface Notice {
  readonly kind: ReportKind
  readonly mail: NewMail
}

export interface PassEnd {
  readonly mail: ActiveMail
  readonly now: number
  /** Recipients that are done and of interest. */
  readonly ended: readonly Ended[]
  /** Reads the beginning of the content; undefined: it is missing. */
  original(limit: number): Uint8Array | undefined
  newQueueId(): string
}

/** Content up to this size is returned in full when no other limit is set. */
const fullLimit = 1024 * 1024
/** Header that is returned at most. */
const headerLimit = 64 * 1024
/** Recipients that are named in one notice; a list of thousands helps nobody. */
const namedRecipients = 1000

/** Notices about recipients that are done: failures in one, successes in another. */
export function endNotices(end: PassEnd, settings: NoticeSettings): readonly Notice[] {
  const failed = end.ended.filter(({ outcome }) => outcome.status !== 'sent')
  const sent = end.ended.filter(({ outcome }) => outcome.status === 'sent')
  const notices: Notice[] = []
  const { sender } = end.mail.stored
  if (failed.length > 0) {
    const doubleBounce = `${settings.dsn.double_bounce_sender}@${settings.hostname}`
    const addressee = failureAddressee(sender, doubleBounce, settings.notify.classes)
    if (addressee.to === 'sender') {
      const told = failed.filter(({ recipient }) => wantsFailure(recipient.notify))
      if (told.length > 0) notices.push(notice('failure', end, told, sender, settings))
    } else if (addressee.to === 'postmaster') {
      const postmaster = qualified(settings.notify['2bounce_notice_recipient'], settings.hostname)
      notices.push(notice('failure', end, failed, postmaster, settings))
    }
  }
  const told = sent.filter(({ recipient }) => wantsSuccess(recipient.notify))
  if (sender !== '' && told.length > 0) notices.push(notice('success', end, told, sender, settings))
  return notices
}

/** Whether the sender may have to be told of a delay at the end of this pass. */
export function mayWarn(mail: ActiveMail, now: number, settings: QueueConfig): boolean {
  const { sender, warned, arrivedAt } = mail.stored
  const after = settings.delay_warning_time
  return after > 0 && sender !== '' && !warned && now - arrivedAt >= after
}

/** A warning about recipients that still wait, when there is one that wants it. */
export function delayNotice(
  end: Omit<PassEnd, 'ended'>,
  delayed: ActiveMail['delayed'],
  settings: NoticeSettings,
): Notice | undefined {
  const told = delayed.filter(({ recipient }) => wantsDelay(recipient.notify))
  return told.length === 0 ? undefined : notice('delay', end, told, end.mail.stored.sender, settings)
}

function notice(
  kind: ReportKind,
  end: Omit<PassEnd, 'ended'>,
  told: readonly Ended<Reason>[],
  to: string,
  settings: NoticeSettings,
): Notice {
  const { stored } = end.mail
  const { hostname } = settings
  const isCopy = to !== stored.sender
  const sizeLimit = settings.dsn.bounce_size_limit === 0 ? fullLimit : settings.dsn.bounce_size_limit
  const full = kind === 'failure' && !isCopy && stored.ret !== 'HDRS' && stored.size <= sizeLimit
  const queueId = end.newQueueId()
  const report = buildReport({
    kind,
    hostname,
    noticeId: queueId,
    to,
    now: end.now,
    recipients: told
      .slice(0, namedRecipients)
      .map(({ recipient, outcome }) => reported(recipient, outcome, action(kind, outcome))),
    queueId: stored.queueId,
    sender: stored.sender,
    arrivedAt: stored.arrivedAt,
    ...(stored.envid === undefined ? {} : { envid: stored.envid }),
    ...(stored.smtputf8 === undefined ? {} : { smtputf8: stored.smtputf8 }),
    ...(kind === 'delay' ? { retryUntil: expiresAt(stored.sender, stored.arrivedAt, settings.queue) } : {}),
    isCopy,
    original: end.original(full ? stored.size : headerLimit),
    full,
  })
  return {
    kind,
    mail: {
      queueId,
      envelope: {
        // A notice has no sender that could be answered; one to the postmaster has one that tells loops apart.
        sender: isCopy ? `${settings.dsn.double_bounce_sender}@${hostname}` : '',
        recipients: [{ address: to, notify: ['NEVER'] }],
        body: report.body,
        ...(stored.smtputf8 === true ? { smtputf8: true } : {}),
      },
      content: { bytes: report.bytes },
      client: { address: '', port: 0, protocol: 'local' },
      arrivedAt: end.now,
    },
  }
}

function reported(
  recipient: { readonly address: string; readonly origTo?: string; readonly orcpt?: string },
  outcome: Reason,
  what: ReportAction,
): ReportedRecipient {
  return {
    address: recipient.address,
    ...(recipient.origTo === undefined ? {} : { origTo: recipient.origTo }),
    ...(recipient.orcpt === undefined ? {} : { orcpt: recipient.orcpt }),
    action: what,
    dsn: outcome.dsn,
    reply: outcome.reply,
    ...(outcome.remoteMta === undefined ? {} : { remoteMta: outcome.remoteMta }),
  }
}

function action(kind: ReportKind, outcome: Reason): ReportAction {
  if (kind === 'failure') return 'failed'
  if (kind === 'delay') return 'delayed'
  return outcome.relay === 'local' || outcome.isFinal === true ? 'delivered' : 'relayed'
}

const qualified = (address: string, hostname: string): string =>
  address.includes('@') ? address : `${address}@${hostname}`

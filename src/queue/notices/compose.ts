/** From the end of a pass to the notices that go out: which ones, to whom, with what in them. */
import type { ActiveMail, Ended } from '../active.ts'
import { expiresAt } from '../backoff.ts'
import type { DsnConfig, NotifyConfig, QueueConfig } from '../config.ts'
import type { NewMail, Notify } from '../contract.ts'
import type { Outcome, StoredMail } from '../store.ts'
import { failureAddressee, wantsDelay, wantsFailure, wantsSuccess } from './policy.ts'
import {
  type Audience,
  buildReport,
  headerField,
  type ReportAction,
  type ReportedRecipient,
  type ReportFacts,
  type ReportKind,
} from './report.ts'
import type { Templates } from './template.ts'

export interface NoticeSettings {
  readonly hostname: string
  readonly queue: QueueConfig
  readonly dsn: DsnConfig
  readonly notify: NotifyConfig
  readonly templates: Templates
}

type Reason = Pick<Outcome, 'dsn' | 'reply' | 'remoteMta' | 'relay'>

/** A recipient that a notice is about. */
interface Told extends Ended<Reason> {
  readonly action: ReportAction
}

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
  /** Recipients that wait for another attempt. */
  readonly delayed: ActiveMail['delayed']
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

/** What the end of a pass gives rise to. */
export interface EndNotices {
  readonly notices: readonly Notice[]
  /** Even a notice about a notice could not be delivered: it ends here. */
  readonly isDropped: boolean
}

/** Notices about recipients that are done: failures, successes in another, and copies for the postmaster. */
export function endNotices(end: PassEnd, settings: NoticeSettings): EndNotices {
  const ended = end.ended.map((one): Told => ({ ...one, action: actionOf(one.outcome) }))
  const failed = (status: Outcome['status']): Told[] =>
    ended.filter((_, at) => end.ended[at]!.outcome.status === status)
  const notices: Notice[] = []
  const { stored } = end.mail
  const { notify } = settings
  const addressee = failureAddressee(stored.sender, doubleBounceSender(settings), notify.classes)
  // What was refused and what grew too old are told apart, as by Postfix.
  const groups = [failed('bounced'), failed('expired')].filter((group) => group.length > 0)
  for (const group of groups) {
    if (addressee.to === 'sender') {
      const told = group.filter(({ recipient }) => wantsFailure(recipient.notify))
      if (told.length > 0) notices.push(notice('failure', end, told, stored.sender, 'sender', settings))
      if (notify.classes.includes('bounce')) {
        notices.push(notice('failure', end, group, notify.bounce_notice_recipient, 'copy', settings))
      }
    } else if (addressee.to === 'postmaster') {
      notices.push(
        notice('failure', end, group, notify['2bounce_notice_recipient'], 'double-bounce', settings),
      )
    }
  }
  if (stored.sender === '') {
    // Nobody asked, or nobody can be told.
  } else if (stored.trace === 'verify' || isRecording(stored)) {
    const told = [...ended, ...end.delayed.map(delayed)]
    notices.push(notice('verify', end, told, stored.sender, 'sender', settings))
  } else {
    const told = ended.filter(
      ({ action, recipient }) => action !== 'failed' && owesSuccess(stored, recipient.notify, settings.queue),
    )
    if (told.length > 0) notices.push(notice('success', end, told, stored.sender, 'sender', settings))
  }
  return { notices, isDropped: groups.length > 0 && addressee.to === 'nobody' && addressee.why === 'double' }
}

/** Whether this is the attempt that the sender wanted to hear of in any case. */
export const isRecording = ({ trace, state }: Pick<StoredMail, 'trace' | 'state'>): boolean =>
  trace === 'record' && state === 'active'

/** Whether the sender is told that a recipient got the mail: asked for it, or was told that it is late. */
export function owesSuccess(
  { sender, warned }: Pick<StoredMail, 'sender' | 'warned'>,
  notify: readonly Notify[] | undefined,
  settings: Pick<QueueConfig, 'confirm_delay_cleared'>,
): boolean {
  if (sender === '') return false
  return wantsSuccess(notify) || (settings.confirm_delay_cleared && warned && wantsDelay(notify))
}

const doubleBounceSender = ({ dsn, hostname }: NoticeSettings): string =>
  qualified(dsn.double_bounce_sender, hostname)

/** Whether the sender may have to be told of a delay at the end of this pass. */
export function mayWarn(mail: ActiveMail, now: number, settings: QueueConfig): boolean {
  const { sender, warned, arrivedAt } = mail.stored
  const after = settings.delay_warning_time
  return after > 0 && sender !== '' && !warned && now - arrivedAt >= after
}

/** Warnings about recipients that still wait: to the sender when it wants one, and to the postmaster. */
export function delayNotices(end: PassEnd, settings: NoticeSettings): readonly Notice[] {
  const { sender } = end.mail.stored
  const all = end.delayed.map(delayed)
  const told = all.filter(({ recipient }) => wantsDelay(recipient.notify))
  const notices: Notice[] = []
  if (told.length > 0) notices.push(notice('delay', end, told, sender, 'sender', settings))
  if (settings.notify.classes.includes('delay')) {
    notices.push(notice('delay', end, all, settings.notify.delay_notice_recipient, 'copy', settings))
  }
  return notices
}

function notice(
  kind: ReportKind,
  end: PassEnd,
  told: readonly Told[],
  addressee: string,
  audience: Audience,
  settings: NoticeSettings,
): Notice {
  const { stored } = end.mail
  const { hostname, dsn } = settings
  const to = audience === 'sender' ? addressee : qualified(addressee, hostname)
  const sizeLimit = dsn.bounce_size_limit === 0 ? fullLimit : dsn.bounce_size_limit
  // RFC 8689 section 5: what must not travel without TLS does not go back in full, and not without.
  const mayReturn = stored.ret !== 'HDRS' && stored.requiretls !== true
  const wantsFull = kind === 'failure' && audience !== 'copy' && mayReturn && stored.size <= sizeLimit
  const original = end.original(wantsFull ? stored.size : headerLimit)
  const queueId = end.newQueueId()
  const report = buildReport({
    kind,
    hostname,
    noticeId: queueId,
    to,
    now: end.now,
    recipients: told.slice(0, namedRecipients).map(reported),
    queueId: stored.queueId,
    sender: stored.sender,
    arrivedAt: stored.arrivedAt,
    ...(stored.envid === undefined ? {} : { envid: stored.envid }),
    ...(stored.smtputf8 === undefined ? {} : { smtputf8: stored.smtputf8 }),
    ...(kind === 'delay' ? { retryUntil: expiresAt(stored.sender, stored.arrivedAt, settings.queue) } : {}),
    ...(dsn.enable_threaded_bounces ? threadOf(original) : {}),
    namesOriginals: settings.queue.enable_original_recipient,
    audience,
    template: settings.templates[kind],
    original,
    full: wantsFull,
  })
  return {
    kind,
    mail: {
      queueId,
      envelope: {
        // A notice has no sender that could be answered; one to the postmaster has one that tells loops apart.
        sender: audience === 'sender' ? '' : doubleBounceSender(settings),
        recipients: [{ address: to, notify: ['NEVER'] }],
        body: report.body,
        ...(stored.smtputf8 === true ? { smtputf8: true } : {}),
        ...(stored.requiretls === true ? { requiretls: true } : {}),
      },
      content: { bytes: report.bytes },
      client: { address: '', port: 0, protocol: 'local' },
      arrivedAt: end.now,
    },
  }
}

/** What names the mail that a notice is about, if that has a Message-ID. */
function threadOf(original: Uint8Array | undefined): { thread?: ReportFacts['thread'] & object } {
  if (original === undefined) return {}
  const id = (text: string): string[] => text.match(/<[^<>\s]{1,250}>/g) ?? []
  const [messageId] = id(headerField(original, 'Message-ID'))
  if (messageId === undefined) return {}
  // Long threads: the first and the last ones are what programs look at.
  const references = id(headerField(original, 'References'))
  const kept = references.length > 20 ? [references[0]!, ...references.slice(-19)] : references
  return { thread: { messageId, references: kept.join('\r\n\t') } }
}

function reported({ recipient, outcome, action }: Told): ReportedRecipient {
  return {
    address: recipient.address,
    ...(recipient.origTo === undefined ? {} : { origTo: recipient.origTo }),
    ...(recipient.orcpt === undefined ? {} : { orcpt: recipient.orcpt }),
    action,
    dsn: outcome.dsn,
    reply: outcome.reply,
    relay: outcome.relay,
    ...(outcome.remoteMta === undefined ? {} : { remoteMta: outcome.remoteMta }),
  }
}

const delayed = (one: Ended<Reason>): Told => ({ ...one, action: 'delayed' })

function actionOf({ status, relay, isFinal }: Outcome): ReportAction {
  switch (status) {
    case 'bounced':
    case 'expired':
      return 'failed'
    case 'sent':
      return relay === 'local' || isFinal === true ? 'delivered' : 'relayed'
    default:
      return status
  }
}

const qualified = (address: string, hostname: string): string =>
  address.includes('@') ? address : `${address}@${hostname}`

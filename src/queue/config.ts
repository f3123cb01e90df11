import { boolean, duration, integer, list, type Settings, size, string } from '../config/schema.ts'

const seconds = 1000
const minutes = 60 * seconds
const hours = 60 * minutes
const days = 24 * hours

/** A feedback amount: a number from 0 to 1, or `x/concurrency`, or `x/sqrt_concurrency`. */
function checkFeedback(value: string): string | undefined {
  const match = /^\s*(\d+(?:\.\d*)?|\.\d+)\s*(?:\/\s*(?:sqrt_)?concurrency)?\s*$/.exec(value)
  if (match !== null && Number(match[1]) <= 1) return undefined
  return 'must be a number from 0 to 1, optionally followed by /concurrency or /sqrt_concurrency'
}

/** Table `[queue]`. */
export const queueSettings = {
  run_delay: duration({
    default: 300 * seconds,
    min: 1 * seconds,
    doc: 'How often the queue looks for deferred mail whose time was missed. Mail that becomes due on time does not wait for it.',
  }),
  minimal_backoff_time: duration({
    default: 300 * seconds,
    min: 1 * seconds,
    doc: 'Shortest wait between two attempts to deliver deferred mail, and how long a destination that failed completely is left alone.',
  }),
  maximal_backoff_time: duration({
    default: 4000 * seconds,
    min: 1 * seconds,
    doc: 'Longest wait between two attempts. Between the two limits a mail waits as long again as it is old.',
  }),
  maximal_queue_lifetime: duration({
    default: 5 * days,
    max: 90 * days,
    doc: 'Age at which mail that still cannot be delivered goes back to its sender. 0: after the first attempt.',
  }),
  bounce_queue_lifetime: duration({
    default: 5 * days,
    max: 90 * days,
    doc: 'The same for mail with the null sender, such as failure notices. It is then dropped.',
  }),
  delay_warning_time: duration({
    default: 0,
    doc: 'Age at which the sender is told once that mail is still waiting. 0: never.',
  }),
  initial_destination_concurrency: integer({
    default: 5,
    min: 1,
    doc: 'Deliveries at the same time to a destination of which nothing is known yet.',
  }),
  default_destination_concurrency_limit: integer({
    default: 20,
    min: 0,
    doc: 'Most deliveries at the same time to one destination. 0: no limit but default_process_limit.',
  }),
  default_destination_concurrency_positive_feedback: string({
    default: '1',
    check: checkFeedback,
    doc: 'How much a delivery that found its destination well widens the window: a number from 0 to 1, number/concurrency or number/sqrt_concurrency.',
  }),
  default_destination_concurrency_negative_feedback: string({
    default: '1',
    check: checkFeedback,
    doc: 'How much a delivery that found its destination in trouble narrows the window; same forms.',
  }),
  default_destination_concurrency_failed_cohort_limit: integer({
    default: 1,
    min: 0,
    doc: 'After as many windows full of failures in a row a destination counts as dead for minimal_backoff_time. 0: never.',
  }),
  default_destination_recipient_limit: integer({
    default: 50,
    min: 0,
    doc: 'Most recipients in one delivery. 0: no limit.',
  }),
  default_process_limit: integer({
    default: 100,
    min: 1,
    doc: 'Most deliveries at the same time, over all destinations.',
  }),
  qmgr_message_active_limit: integer({
    default: 20_000,
    min: 1,
    doc: 'Most mails in memory for delivery; all others wait on disk.',
  }),
  qmgr_message_recipient_limit: integer({
    default: 20_000,
    min: 1,
    doc: 'Most recipients in memory for delivery.',
  }),
  qmgr_daemon_timeout: duration({
    default: 1000 * seconds,
    min: 10 * seconds,
    doc: 'A delivery that takes longer than this is ended and counts as crashed; its recipients are tried again later.',
  }),
  defer_transports: list({
    default: [],
    doc: 'Transports whose mail waits in the queue until `queue flush` asks for it.',
  }),
  active_content_limit: size({
    default: 64 * 1024 * 1024,
    doc: 'Content kept in memory between arrival and the first delivery, over all mails; what is more is read back from disk.',
  }),
  max_messages: integer({
    default: 0,
    min: 0,
    doc: 'Mails the queue holds at most; beyond it new mail is refused for the time being (4.3.1). 0: no limit.',
  }),
  minfree: size({
    default: 16 * 1024 * 1024,
    doc: 'Free space that must remain on the disk of the queue; below it new mail is refused for the time being (4.3.1). Postfix wants 1.5 times message_size_limit at least, which the default is for the default limit: raise both together. 0: no check.',
  }),
  enable_original_recipient: boolean({
    default: true,
    doc: 'Whether the address before rewriting is logged and reported where it differs.',
  }),
}

/** Table `[dsn]`: notifications to senders. */
export const dsnSettings = {
  bounce_size_limit: size({
    default: 50_000,
    doc: 'Mail up to this size is returned in full with a failure notice, larger mail with its header only. 0: always in full, up to 1 MiB.',
  }),
  double_bounce_sender: string({
    default: 'double-bounce',
    doc: 'Local part of the sender of notices to the postmaster. Mail to it is dropped.',
  }),
}

/** Table `[notify]`: what the postmaster hears of. */
export const notifySettings = {
  classes: list({
    default: ['resource', 'software'],
    doc: 'Classes of trouble the postmaster is told of. The queue knows 2bounce: a failure notice could not be delivered; bounce: implies it, and sends copies of all failure notices; delay: copies of delay warnings.',
  }),
  bounce_notice_recipient: string({ default: 'postmaster', doc: 'Who gets the copies of class bounce.' }),
  '2bounce_notice_recipient': string({
    default: 'postmaster',
    doc: 'Who gets the notices of class 2bounce.',
  }),
  delay_notice_recipient: string({ default: 'postmaster', doc: 'Who gets the copies of class delay.' }),
}

/** Table `[queue]` as code sees it: milliseconds and octets. */
export type QueueConfig = Settings<typeof queueSettings>
export type DsnConfig = Settings<typeof dsnSettings>
export type NotifyConfig = Settings<typeof notifySettings>

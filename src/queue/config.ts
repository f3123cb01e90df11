import {
  boolean,
  choice,
  duration,
  integer,
  list,
  maps,
  path,
  type Settings,
  size,
  string,
  type Table,
} from '../config/schema.ts'

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

/** What each transport may have of its own, without the prefix `default_`. */
const tuningDefaults = {
  destination_concurrency_limit: integer({
    default: 20,
    min: 0,
    doc: 'Most deliveries at the same time to one destination. 0: no limit but that of the transport.',
  }),
  destination_concurrency_positive_feedback: string({
    default: '1',
    check: checkFeedback,
    doc: 'How much a delivery that found its destination well widens the window: a number from 0 to 1, number/concurrency or number/sqrt_concurrency.',
  }),
  destination_concurrency_negative_feedback: string({
    default: '1',
    check: checkFeedback,
    doc: 'How much a delivery that found its destination in trouble narrows the window; same forms.',
  }),
  destination_concurrency_failed_cohort_limit: integer({
    default: 1,
    min: 0,
    doc: 'After as many windows full of failures in a row a destination counts as dead for minimal_backoff_time. 0: never.',
  }),
  destination_recipient_limit: integer({
    default: 50,
    min: 0,
    doc: 'Most recipients in one delivery. 0: no limit. 1: each recipient address is a destination of its own, with its own limits.',
  }),
  destination_rate_delay: duration({
    default: 0,
    doc: 'Pause after each delivery to a destination; then there is one at a time. 0: none.',
  }),
  transport_rate_delay: duration({
    default: 0,
    doc: 'Pause between the starts of two deliveries of a transport, whatever their destinations. 0: none.',
  }),
  recipient_limit: integer({
    default: 20_000,
    min: 1,
    doc: 'Most recipients in memory for one transport.',
  }),
  extra_recipient_limit: integer({
    default: 1000,
    min: 0,
    doc: 'Recipients beyond recipient_limit that mails which overtake a large one may have in memory.',
  }),
  recipient_refill_limit: integer({
    default: 100,
    min: 1,
    doc: 'Recipients of a large mail are read from disk when there is room for as many.',
  }),
  recipient_refill_delay: duration({
    default: 5 * seconds,
    min: 1 * seconds,
    doc: 'Or after this time, when there is room for less.',
  }),
  delivery_slot_cost: integer({
    default: 5,
    min: 0,
    doc: 'Small mails overtake a large one: each so many deliveries of the large one earn one delivery to a mail that overtakes it. 0 or 1: mails go strictly in their order.',
  }),
  delivery_slot_loan: integer({
    default: 3,
    min: 0,
    doc: 'Deliveries a small mail may have on credit when it overtakes.',
  }),
  delivery_slot_discount: integer({
    default: 50,
    min: 0,
    max: 100,
    doc: 'Percentage of the deliveries of a small mail that need not be earned before it overtakes.',
  }),
  minimum_delivery_slots: integer({
    default: 3,
    min: 0,
    doc: 'A mail is only overtaken when it earns at least as many deliveries in all.',
  }),
  process_limit: integer({
    default: 100,
    min: 1,
    doc: 'Most deliveries at the same time of one transport.',
  }),
}

const prefixed = <T extends Table>(table: T): { [K in keyof T as `default_${string & K}`]: T[K] } =>
  Object.fromEntries(Object.entries(table).map(([key, entry]) => [`default_${key}`, entry])) as never

const initialConcurrency = integer({
  default: 5,
  min: 1,
  doc: 'Deliveries at the same time to a destination of which nothing is known yet.',
})

const tuningTable = { initial_destination_concurrency: initialConcurrency, ...tuningDefaults }

/** The keys of a transport in its own table: `[smtp]`, `[lmtp]`, `[transports.NAME]`. Unset: as in `[queue]`. */
export const transportTuning = Object.fromEntries(
  Object.entries(tuningTable).map(([key, entry]) => [
    key,
    { ...entry, doc: `${entry.doc} Unset: as \`queue.${queueKeyOf(key)}\`.` },
  ]),
) as typeof tuningTable

/** The key of `[queue]` that a transport's own key stands for. */
export function queueKeyOf(key: string): string {
  return key.startsWith('initial_') ? key : `default_${key}`
}

/** Values of all of them. */
export type TransportTuning = Settings<typeof transportTuning>
export type TransportProtocol = (typeof transportProtocols)[number]

/** What a transport of the name speaks. */
export const transportProtocols = ['smtp', 'lmtp', 'local', 'error', 'retry', 'discard'] as const

/** Table `[transports.NAME]`, beside the keys of `transportTuning` and a table of what differs from `[smtp]`. */
export const transportSettings = {
  flags: string({
    default: '',
    doc: 'Letters: `R` puts Return-Path in front of what is delivered, `O` X-Original-To, `D` Delivered-To (mail that has the same already is returned as a loop); D and O need `destination_recipient_limit = 1`. `X`: the server has the mailboxes, and notices say "delivered".',
    check: (value) =>
      /^[DORX]*$/.test(value) ? undefined : `"${value}" has other letters than D, O, R and X`,
  }),
  protocol: choice(transportProtocols, {
    default: 'smtp',
    doc: 'What the transport does: `smtp` and `lmtp` deliver as `[smtp]` and `[lmtp]` say, with the differences in `[transports.NAME.smtp]` or `[transports.NAME.lmtp]`; `local` delivers to mailboxes of this service, `error` returns all mail, `retry` defers it, `discard` drops it.',
  }),
  ...transportTuning,
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
  confirm_delay_cleared: boolean({
    default: false,
    doc: 'Whether a sender who was told of a delay is also told when the mail arrives after all.',
  }),
  initial_destination_concurrency: initialConcurrency,
  ...prefixed(tuningDefaults),
  transport_retry_time: duration({
    default: 60 * seconds,
    min: 1 * seconds,
    doc: 'How long a transport whose deliveries cannot be started is left alone.',
  }),
  qmgr_message_active_limit: integer({
    default: 20_000,
    min: 1,
    doc: 'Most mails in memory for delivery; all others wait on disk.',
  }),
  qmgr_message_recipient_limit: integer({
    default: 20_000,
    min: 1,
    doc: 'Most recipients in memory for delivery, but for those that qmgr_message_recipient_minimum grants.',
  }),
  qmgr_message_recipient_minimum: integer({
    default: 10,
    min: 1,
    doc: 'Recipients of a mail that come into memory however many are there already.',
  }),
  qmgr_clog_warn_time: duration({
    default: 300 * seconds,
    doc: 'A destination that has more than a fifth of the mails in memory is named in the log, no more often than this. 0: never.',
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
  fast_flush_domains: list({
    default: [],
    doc: 'Domains, with those below them, whose waiting mail a client may ask for with ETRN (RFC 1985). For others it is told 459. `queue flush --site` takes any.',
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
  address_verify_pending_request_limit: integer({
    default: 5000,
    min: 1,
    doc: 'Most recipients in memory that are only asked for (`send -bv`), so that they do not get in the way of mail; more are reported as undeliverable for now (4.3.2).',
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
  bounce_template_file: path({
    default: '',
    doc: 'File with the texts of notices, in the form of Postfix: `failure_template`, `delay_template`, `success_template` and `verify_template`, each with Charset, From, Subject and Postmaster-Subject, and text with `$name` in it. Empty: the built-in texts.',
  }),
  double_bounce_sender: string({
    default: 'double-bounce',
    doc: 'Local part of the sender of notices to the postmaster. Mail to it is dropped.',
  }),
  default_delivery_status_filter: maps({
    default: [],
    doc: 'Other codes and words for results of deliveries: the key is the code and the reason (`5.1.1 550 no such user`), the result the new ones. Failures may become temporary or final, a success stays one.',
  }),
  soft_bounce: boolean({
    default: false,
    doc: 'Whether every failure counts as temporary: the mail stays in the queue and nothing is returned. For tests of a new configuration.',
  }),
  enable_threaded_bounces: boolean({
    default: false,
    doc: 'Whether notices name the mail they are about in References and In-Reply-To, so that mail programs show them together.',
  }),
}

/** Table `[service]`. */
export const serviceSettings = {
  in_flow_delay: duration({
    default: 1 * seconds,
    max: 10 * seconds,
    doc: 'How long new mail is held up before its acknowledgement while the queue has more mail than fits in memory: who sends faster than it can be delivered is slowed down. 0: not at all.',
  }),
}

/** Table `[notify]`: what the postmaster hears of. */
export const notifySettings = {
  classes: list({
    default: ['resource', 'software'],
    doc: 'Classes of trouble the postmaster is told of. protocol: a server broke the protocol, data: a lookup table could not be asked, both with the transcript of the session; 2bounce: a failure notice could not be delivered; bounce: implies it, and sends copies of all failure notices; delay: copies of delay warnings.',
  }),
  error_notice_recipient: string({
    default: 'postmaster',
    doc: 'Who gets the transcripts of sessions with servers, of the classes protocol and data.',
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
export type ServiceConfig = Settings<typeof serviceSettings>
export type DsnConfig = Settings<typeof dsnSettings>
export type NotifyConfig = Settings<typeof notifySettings>

/** The rows of the stored queue as code sees them. */
import type { ClientInfo, NewMail, Notify, RecipientResult, Trace } from './contract.ts'

export type MailState = 'active' | 'deferred' | 'hold' | 'corrupt'
export const stateNumbers = { active: 0, deferred: 1, hold: 2, corrupt: 3 } as const
export const stateNames = ['active', 'deferred', 'hold', 'corrupt'] as const

/** A mail without its recipients and content. */
export interface StoredMail {
  /** Key of the mail, and of its first recipient. */
  readonly id: number
  readonly queueId: string
  readonly arrivedAt: number
  readonly size: number
  readonly sender: string
  readonly state: MailState
  /** How many recipients it had when it came. */
  readonly recipients: number
  readonly warned: boolean
  /** An operator wants it returned to its sender at the next attempt. */
  readonly expire: boolean
  /** CRC-32 of the content; undefined: not known. */
  readonly crc?: number
  readonly client: ClientInfo
  readonly envid?: string
  readonly ret?: 'FULL' | 'HDRS'
  readonly body?: '7BIT' | '8BITMIME'
  readonly smtputf8?: boolean
  readonly requiretls?: boolean
  readonly trace?: Trace
  /** Name below `content/`; undefined: inline. */
  readonly file?: string
}

/** A recipient that is not done. */
export interface StoredRecipient {
  readonly id: number
  readonly mail: number
  readonly address: string
  /** `transport:nexthop` of the last attempt; empty before. */
  readonly site: string
  /** Milliseconds since the epoch; 0: never tried; -1: parked. */
  readonly nextAttempt: number
  readonly attempts: number
  readonly origTo?: string
  readonly orcpt?: string
  readonly notify?: readonly Notify[]
  readonly reason?: string
  readonly tried?: Tried
  /** What is stored of it cannot be understood. */
  readonly isDamaged?: boolean
  /** Done, but its notice is not sent yet. */
  readonly outcome?: Outcome
}

/** The last attempt that left a recipient in the queue. */
export interface Tried extends Pick<RecipientResult, 'relay' | 'remoteMta'> {
  /** Milliseconds since the epoch. */
  readonly at: number
}

/** How a recipient ended, kept until its sender is told. */
export interface Outcome extends Omit<RecipientResult, 'id' | 'status'> {
  readonly status: 'sent' | 'bounced' | 'expired' | 'deliverable' | 'undeliverable'
}

export type Row = Readonly<Record<string, unknown>>

/** What was just stored, without reading it again. */
export function storedMail(
  { queueId, arrivedAt, envelope, content, client }: NewMail,
  id: number,
  file?: string,
): StoredMail {
  const { recipients, ...rest } = envelope
  return {
    id,
    queueId,
    arrivedAt,
    size: 'bytes' in content ? content.bytes.length : content.size,
    state: 'active',
    recipients: recipients.length,
    warned: false,
    expire: false,
    client,
    ...rest,
    ...(file === undefined ? {} : { file }),
    ...('file' in content && content.crc !== undefined ? { crc: content.crc } : {}),
  }
}

/** @throws SyntaxError when the row is damaged. */
export function toMail(row: Row): StoredMail {
  const envelope = JSON.parse(String(row.envelope)) as Pick<
    StoredMail,
    'client' | 'envid' | 'ret' | 'body' | 'smtputf8' | 'requiretls' | 'trace'
  >
  return {
    id: Number(row.id),
    queueId: String(row.queue_id),
    arrivedAt: Number(row.arrived),
    size: Number(row.size),
    sender: String(row.sender),
    state: stateNames[Number(row.state)] ?? 'corrupt',
    recipients: Number(row.recipients),
    warned: row.warned === 1,
    expire: row.expire === 1,
    ...envelope,
    ...(typeof row.crc === 'number' ? { crc: row.crc } : {}),
    ...(typeof row.file === 'string' ? { file: row.file } : {}),
  }
}

export function toRecipient(row: Row): StoredRecipient {
  const detail = parsed<Pick<StoredRecipient, 'origTo' | 'orcpt' | 'notify'>>(row.detail)
  const tried = parsed<Tried>(row.tried)
  const outcome = parsed<Outcome>(row.outcome)
  const isDamaged = [detail, tried, outcome].includes('damaged')
  return {
    id: Number(row.id),
    mail: Number(row.mail),
    address: String(row.address),
    site: String(row.site),
    nextAttempt: Number(row.next_attempt),
    attempts: Number(row.attempts),
    ...(typeof detail === 'object' ? detail : {}),
    ...(typeof row.reason === 'string' ? { reason: row.reason } : {}),
    ...(typeof tried === 'object' ? { tried } : {}),
    ...(typeof outcome === 'object' ? { outcome } : {}),
    ...(isDamaged ? { isDamaged } : {}),
  }
}

function parsed<T extends object>(text: unknown): T | 'damaged' | undefined {
  if (typeof text !== 'string') return undefined
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as T) : 'damaged'
  } catch {
    return 'damaged'
  }
}

/** What the index keeps of a mailbox beside its mails, and how all of it is cut into writes. */
import type { IndexWrite } from './index-store.ts'
import type { UidListRecord } from './uidlist.ts'
import type { ListIdentity } from './uidlist-file.ts'

/** As JSON. */
export interface StoredState {
  readonly uidValidity: number
  readonly nextUid: number
  readonly guid: string
  readonly otherKeys: string
  readonly list: ListIdentity
  readonly lines: number
  readonly newTime: string
  readonly curTime: string
  readonly tmpTime: number
  readonly lastListed: number
  /** UIDs that another program gave to mails that were not seen yet. */
  readonly unseen: readonly UidListRecord[]
  /** Of all pages: a row that is missing, or not of this state, is noticed. */
  readonly sum: number
}

/** Rows of one commit: the storage thread has others to serve. */
const rowsOfCommit = 256

/** At least one write, the first of them with the reset. */
export function inParts(
  maildir: string,
  rows: NonNullable<IndexWrite['pages']>,
  reset: boolean,
): IndexWrite[] {
  const parts: IndexWrite[] = []
  for (let i = 0; i === 0 || i < rows.length; i += rowsOfCommit) {
    const pages = rows.slice(i, i + rowsOfCommit)
    parts.push({ maildir, pages, ...(reset && i === 0 ? { reset: true } : {}) })
  }
  return parts
}

/** Undefined: it makes no sense. */
export function readState(json: string): StoredState | undefined {
  try {
    const state = JSON.parse(json) as StoredState
    const isSound =
      Number.isSafeInteger(state.uidValidity) &&
      Number.isSafeInteger(state.nextUid) &&
      typeof state.list === 'string' &&
      Number.isSafeInteger(state.lastListed) &&
      Array.isArray(state.unseen) &&
      typeof state.otherKeys === 'string' &&
      Number.isFinite(state.tmpTime)
    return isSound ? state : undefined
  } catch {
    return undefined
  }
}

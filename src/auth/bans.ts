/** Addresses that may not log in for a while after many wrong passwords: `auth.ban_after`. */
import { networkOf, WrongPasswords } from './wrong-passwords.ts'

interface Record {
  failures: number
  /** Of the last that counted. */
  changedAt: number
  bannedAt: number | undefined
  readonly wrong: WrongPasswords
}

export interface BanSettings {
  readonly ban_after: number
  readonly ban_time: number
}

/** Addresses under observation; the one quiet for longest is forgotten first. */
const maxRecords = 100_000

export class Bans {
  readonly #records = new Map<string, Record>()

  has(address: string, now: number, { ban_after, ban_time }: BanSettings): boolean {
    if (ban_after === 0 || this.#records.size === 0) return false
    const since = this.#records.get(networkOf(address))?.bannedAt
    return since !== undefined && now - since < ban_time
  }

  /** Counts a wrong login. True: with it the ban begins. Those of an address that is banned do not count. */
  failed(address: string, credentials: string | undefined, now: number, settings: BanSettings): boolean {
    if (settings.ban_after === 0 || this.has(address, now, settings)) return false
    const key = networkOf(address)
    const known = this.#records.get(key)
    const isOver =
      known === undefined || known.bannedAt !== undefined || now - known.changedAt >= settings.ban_time
    const record: Record = isOver
      ? { failures: 0, changedAt: now, bannedAt: undefined, wrong: new WrongPasswords() }
      : known
    if (!record.wrong.isNew(credentials)) return false
    record.failures++
    record.changedAt = now
    if (record.failures >= settings.ban_after) record.bannedAt = now
    this.#records.delete(key)
    this.#records.set(key, record)
    this.#expire(now, settings.ban_time)
    return record.bannedAt !== undefined
  }

  /** The oldest are in front. */
  #expire(now: number, ban_time: number): void {
    for (const [key, { changedAt }] of this.#records) {
      if (this.#records.size <= maxRecords && now - changedAt < ban_time) return
      this.#records.delete(key)
    }
  }
}

/** What a snapshot has, as lists; usable outside of a test, too. */
import { type OpenOptions, Page, type Snapshot } from '../../src/mailbox/contract.ts'

/** A session that asks for nothing special. */
export const look: OpenOptions = { keepNew: false, deletedFlag: '' }

const pagesOf = (snapshot: Snapshot) => snapshot.pages.map((bytes) => Page.of(bytes))

export const uids = (snapshot: Snapshot) => pagesOf(snapshot).flatMap((page) => [...page.uids])
export const sizes = (snapshot: Snapshot) => pagesOf(snapshot).flatMap((page) => [...page.sizes])
export const flags = (snapshot: Snapshot) => pagesOf(snapshot).flatMap((page) => [...page.flags])
export const names = (snapshot: Snapshot) => pagesOf(snapshot).flatMap((page) => page.names ?? [])
export const keys = (snapshot: Snapshot) =>
  pagesOf(snapshot).flatMap((page) =>
    page.keysText === '' ? Array<string>(page.count).fill('') : page.keysText.split('\n').slice(0, -1),
  )

/** UIDs by base name: what clients see as UIDLs, with the validity. */
export const identities = (snapshot: Snapshot) =>
  names(snapshot).map((name, i) => `${name.split(':')[0]} ${uids(snapshot)[i]} ${snapshot.uidValidity}`)

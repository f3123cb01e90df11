/** Making and reading the columns of a `Snapshot`. */
import { inNewFlag, type Snapshot, seenFlag } from './contract.ts'
import { isSeen } from './maildir-name.ts'
import type { StoredMail } from './pack.ts'
import { keyOf } from './uidlist.ts'

const bytesOf = (array: Uint32Array | Float64Array): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength)

/** Columns of `mails`, which are in the order of UIDs, in the order POP3 numbers them. */
export function makeSnapshot(uidValidity: number, mails: readonly StoredMail[]): Snapshot {
  const ordered = inPop3Order(mails)
  const count = ordered.length
  const uids = new Uint32Array(count)
  const sizes = new Float64Array(count)
  const flags = new Uint8Array(count)
  let names = ''
  let uidls = ''
  let fixedUidls = false
  for (let i = 0; i < count; i++) {
    const mail = ordered[i]!
    uids[i] = mail.uid
    sizes[i] = mail.virtual
    flags[i] = (isSeen(mail.name) ? seenFlag : 0) | (mail.inNew ? inNewFlag : 0)
    names += `${mail.name}\n`
    if (mail.keys === '') {
      uidls += '\n'
      continue
    }
    // An empty P stands for the base name, as Dovecot writes it.
    const uidl = keyOf(mail.keys, 'P')
    if (uidl !== undefined) fixedUidls = true
    uidls += `${uidl === '' ? mail.base : (uidl ?? '')}\n`
  }
  return {
    uidValidity,
    count,
    uids: bytesOf(uids),
    sizes: bytesOf(sizes),
    flags,
    names,
    uidls: fixedUidls ? uidls : '',
  }
}

/** Mails with a number from an earlier server (key `O`) come first, by it; the others follow by UID. */
function inPop3Order(mails: readonly StoredMail[]): readonly StoredMail[] {
  const numbered: { readonly mail: StoredMail; readonly order: number }[] = []
  for (const mail of mails) {
    if (mail.keys === '') continue
    const order = Number(keyOf(mail.keys, 'O') ?? Number.NaN)
    if (Number.isSafeInteger(order)) numbered.push({ mail, order })
  }
  if (numbered.length === 0) return mails
  const first = new Set(numbered.map(({ mail }) => mail))
  numbered.sort((a, b) => a.order - b.order || a.mail.uid - b.mail.uid)
  return [...numbered.map(({ mail }) => mail), ...mails.filter((mail) => !first.has(mail))]
}

/** u32 column as numbers. Copies when the bytes are not aligned, as after crossing a thread. */
export function readUids(bytes: Uint8Array): Uint32Array {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes)
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >>> 2)
}

/** f64 column as numbers, a copy: the reader fills in what it finds out. */
export function readSizes(bytes: Uint8Array): Float64Array {
  const copy = new Uint8Array(bytes)
  return new Float64Array(copy.buffer, 0, copy.byteLength >>> 3)
}

/** For `UpdateRequest`. */
export const uidBytes = (uids: readonly number[]): Uint8Array => bytesOf(Uint32Array.from(uids))

/** For `UpdateRequest.sized`. */
export const sizeBytes = (sizes: readonly number[]): Uint8Array => bytesOf(Float64Array.from(sizes))

/**
 * UID validities that a user's mailboxes have had. `dovecot-uidvalidity` has the last one, eight hexadecimal digits; an
 * empty file `dovecot-uidvalidity.<the same digits>` beside it is the marker: whoever can rename it to the next number
 * has that one, so no two programs get the same.
 */
import { closeSync, readdirSync, renameSync, unlinkSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { errnoOf } from './errors.ts'
import { createTemporary, readText } from './open-file.ts'
import { inheritFrom } from './ownership.ts'

const fileName = 'dovecot-uidvalidity'
/** Somebody else took the next one so often: there is something wrong with the markers. */
const attempts = 10
const largest = 0xffff_ffff

const hex = (value: number): string => value.toString(16).padStart(8, '0')

/** One that was never used in this control folder. Where nothing is on record it is the time. */
export function newUidValidity(folder: string, nowSeconds: number): number {
  const path = join(folder, fileName)
  const last = readLast(path)
  for (let next = last + 1; last !== 0 && next <= Math.min(last + attempts, largest); next++) {
    if (!moved(`${path}.${hex(next - 1)}`, `${path}.${hex(next)}`)) continue
    keepLast(folder, path, next)
    return next
  }
  return rescanned(folder, path, last, nowSeconds)
}

/** Without a marker that fits: one more than any marker says. */
function rescanned(folder: string, path: string, last: number, nowSeconds: number): number {
  const markers = markersIn(folder)
  const highest = Math.max(last, ...markers)
  const next = highest === 0 || highest >= largest ? Math.max(nowSeconds, 1) : highest + 1
  try {
    const marker = createTemporary(`${path}.${hex(next)}`)
    inheritFrom(folder, marker)
    closeSync(marker)
    for (const value of markers) if (value !== next) unlinkSync(`${path}.${hex(value)}`)
  } catch (error) {
    // Only a record against repeating a number; the uid list itself is what must be written.
    if (errnoOf(error) === undefined) throw error
  }
  keepLast(folder, path, next)
  return next
}

/** 0: nothing that makes sense. */
function readLast(path: string): number {
  try {
    const text = readText(path)
    return /^[0-9a-f]{8}/i.test(text) ? Number.parseInt(text.slice(0, 8), 16) : 0
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return 0
  }
}

function markersIn(folder: string): number[] {
  try {
    return readdirSync(folder).flatMap((name) => {
      const digits = name.startsWith(`${fileName}.`) ? name.slice(fileName.length + 1) : ''
      return /^[0-9a-f]{8}$/i.test(digits) ? [Number.parseInt(digits, 16)] : []
    })
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return []
  }
}

function moved(from: string, to: string): boolean {
  try {
    renameSync(from, to)
    return true
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return false
  }
}

function keepLast(folder: string, path: string, value: number): void {
  try {
    const temporary = `${path}.tmp`
    const fd = createTemporary(temporary)
    try {
      inheritFrom(folder, fd)
      writeSync(fd, hex(value))
    } finally {
      closeSync(fd)
    }
    renameSync(temporary, path)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
  }
}

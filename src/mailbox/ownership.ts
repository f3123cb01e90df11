/**
 * Files of a mailbox get the mode and the owner of its Maildir, so that other programs that serve it, as other
 * users of the system perhaps, can go on with what we write.
 */
import { chownSync, fchmodSync, fchownSync, statSync } from 'node:fs'
import { geteuid } from 'node:process'
import { errnoOf } from './errors.ts'

/** Applies to an open file that we made. A file system without owners is no reason to fail. */
export function inheritFrom(maildir: string, fd: number): void {
  try {
    const { mode, uid, gid } = statSync(maildir)
    if ((mode & 0o066) !== 0) fchmodSync(fd, mode & 0o666)
    if (geteuid?.() === 0 && uid !== 0) fchownSync(fd, uid, gid)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
  }
}

/** Only who is root can give files away. */
export function ownAs(example: string, path: string): void {
  try {
    const { uid, gid } = statSync(example)
    if (geteuid?.() === 0 && uid !== 0) chownSync(path, uid, gid)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
  }
}

/** Files of both Maildirs have the same owner and mode. @throws file system errors */
export function areAlike(maildir: string, other: string): boolean {
  const a = statSync(maildir)
  const b = statSync(other)
  return a.uid === b.uid && a.gid === b.gid && (a.mode & 0o066) === (b.mode & 0o066)
}

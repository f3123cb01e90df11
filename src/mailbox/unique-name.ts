import { pid } from 'node:process'
import { threadId } from 'node:worker_threads'

// Names must be unique in the whole process, whatever runs in it: this is why it is not part of any actor.
let sequence = 0
let lastMicroseconds = 0

/** A file name that no other delivery on this host uses. Times never go back within a thread. */
export function uniqueName(hostname: string): string {
  const now = Math.max(Math.floor((performance.timeOrigin + performance.now()) * 1000), lastMicroseconds + 1)
  lastMicroseconds = now
  const seconds = Math.floor(now / 1_000_000)
  const host = hostname
    .replaceAll('/', '\\057')
    .replaceAll(':', '\\072')
    .replaceAll(/[\s,\0]/g, '_')
  return `${seconds}.M${now % 1_000_000}P${pid}T${threadId}Q${++sequence}.${host}`
}

/**
 * A process that opens a mailbox, changes it, and is killed before its Nth change of the disk:
 *
 *     node crash-victim.ts ROOT N
 *
 * Changes are calls of `node:fs` that write, make, rename, remove or flush something, and statements of SQLite. What a
 * client would have been told is printed before the next one: the identity of each mail after the opening, and `done`
 * when QUIT would have been answered.
 */
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import process from 'node:process'
import { DatabaseSync } from 'node:sqlite'

const [, , root = '', last = '0'] = process.argv
const limit = Number(last)
let steps = 0

function step(): void {
  if (++steps === limit) process.kill(process.pid, 'SIGKILL')
}

const functions = fs as unknown as Record<string, (...args: unknown[]) => unknown>
const changing = ['renameSync', 'unlinkSync', 'rmdirSync', 'mkdirSync', 'fsync', 'fsyncSync', 'linkSync']
for (const name of [...changing, 'fchmodSync', 'fchownSync', 'chownSync']) {
  const real = functions[name]!
  functions[name] = (...args) => {
    step()
    return real(...args)
  }
}
const { openSync, writeSync } = fs
functions.openSync = (path, flags, ...rest) => {
  if (flags !== 'r') step()
  return openSync(path as string, flags as string, ...(rest as [number]))
}
functions.writeSync = (...args) => {
  // Stdout is no disk.
  if (args[0] !== 1) step()
  return (writeSync as (...args: unknown[]) => number)(...args)
}
syncBuiltinESMExports()
const { exec } = DatabaseSync.prototype
DatabaseSync.prototype.exec = function (sql: string) {
  step()
  exec.call(this, sql)
}

const { IndexStore } = await import('../../src/mailbox/index-store.ts')
const { Mailbox } = await import('../../src/mailbox/mailbox.ts')
const { deliver } = await import('../../src/mailbox/deliver.ts')
const { uidBytes, sizeBytes } = await import('../../src/mailbox/snapshot.ts')
const { defaults } = await import('../../src/config/schema.ts')
const config = await import('../../src/mailbox/config.ts')
const { silentLog } = await import('../../src/actors/index.ts')
const { identities, uids, look } = await import('./columns.ts')

const maildir = join(root, 'Maildir')
const store = IndexStore.open(join(root, 'index.db'))
const mailbox = new Mailbox({
  maildir,
  hostname: 'h',
  log: silentLog,
  settings: {
    mail: defaults(config.mailSettings),
    maildir: defaults(config.maildirSettings),
    mailbox: defaults(config.mailboxSettings),
  },
  index: {
    load: async (path) => store.load(path) ?? null,
    save: async (write) => store.write([write]),
  },
})
const snapshot = await mailbox.open(look)
for (const identity of identities(snapshot)) writeSync(1, `${identity}\n`)
const all = uids(snapshot)
const { uidValidity } = snapshot
await mailbox.update({
  uidValidity,
  seen: uidBytes([all[0]!]),
  expunge: uidBytes([all[1]!, all[3]!]),
  flag: { uids: uidBytes([all[2]!]), keyword: '$Word' },
  sized: { uids: uidBytes([all[0]!]), sizes: sizeBytes([32]) },
  uidls: { uids: uidBytes([all[4]!]), values: 'kept\n' },
})
writeSync(1, 'done\n')
await deliver(maildir, { bytes: Buffer.from('a: b\n\n') }, { hostname: 'h' })
writeSync(1, 'delivered\n')
await mailbox.open(look)
await mailbox.close()
store.close()
writeSync(1, `steps ${steps}\n`)

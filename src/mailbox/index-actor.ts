/**
 * Owner of the index database, registered as `mailbox-index`. Commits in groups: writes that arrive while the
 * actor is busy share the next transaction, so that many sessions cost few flushes.
 */
import { join } from 'node:path'
import { type ActorContext, actor, type Contract, Deferred } from '../actors/index.ts'
import { IndexStore, type IndexWrite, type StoredIndex } from './index-store.ts'

export type MailboxIndexContract = Contract<{
  load(maildir: string): StoredIndex | null
  /** Answers after the commit: '' or what went wrong. */
  save(write: IndexWrite): string
}>

/** Writes of one transaction. Bounds how long a commit keeps the storage thread busy. */
const groupLimit = 500

class IndexOwner {
  readonly #store: IndexStore
  readonly #flushSoon: () => void
  #waiting: { readonly write: IndexWrite; readonly done: Deferred<string> }[] = []

  constructor(context: ActorContext<MailboxIndexContract>, dataDir: string) {
    const file = join(dataDir, 'index', 'index.db')
    this.#store = IndexStore.open(file, {
      onTrouble: (what, why) => context.log.error({ event: 'mailbox.index', path: file, error: why }, what),
    })
    this.#flushSoon = context.bind(() => this.#flush())
  }

  load(maildir: string): StoredIndex | null {
    // Not before what was asked to be written: the reader must see it.
    this.#flush()
    return this.#store.load(maildir) ?? null
  }

  save(write: IndexWrite): Deferred<string> {
    const done = new Deferred<string>()
    this.#waiting.push({ write, done })
    if (this.#waiting.length === 1) setImmediate(this.#flushSoon)
    return done
  }

  terminate(): void {
    this.#flush()
    this.#store.close()
  }

  #flush(): void {
    while (this.#waiting.length > 0) {
      const group = this.#waiting.splice(0, groupLimit)
      let failure = ''
      try {
        this.#store.write(group.map(({ write }) => write))
      } catch (error) {
        failure = (error as Error).message || 'index write failed'
      }
      for (const { done } of group) done.resolve(failure)
    }
  }
}

export const mailboxIndex = actor<MailboxIndexContract>({
  name: 'mailbox-index',
  module: import.meta.url,
  init: (context) => new IndexOwner(context, context.setting<{ data_dir: string }>('config')!.data_dir),
})

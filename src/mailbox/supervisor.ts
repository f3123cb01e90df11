/** Supervision of stored mail; lives on the storage thread. */
import { supervisor } from '../actors/index.ts'
import { mailboxIndex } from './index-actor.ts'
import { mailboxesActor } from './mailboxes.ts'

/** Mailbox actors come and go with their users; one that crashes is started again by the next request. */
export const mailboxSupervisor = supervisor<undefined>({
  name: 'mailbox-supervisor',
  module: import.meta.url,
  init: () => ({ strategy: 'one_for_one', concurrent: true, children: [] }),
})

/**
 * Started in this order and stopped in reverse: `mailboxes` takes no more requests, then the mailboxes write what
 * they have, then the index closes. `mailboxes` knows which actor owns which Maildir, so they begin anew together:
 * were the owners to outlive it, a second one could be started beside them.
 */
export const mailboxStores = supervisor<undefined>({
  name: 'mailbox-stores',
  module: import.meta.url,
  init: () => ({
    strategy: 'one_for_all',
    intensity: 3,
    periodMs: 10_000,
    children: [
      // Room for the last commit on a slow disk.
      { id: 'index', actor: mailboxIndex, args: undefined, registerAs: 'mailbox-index', shutdown: 10_000 },
      {
        id: 'children',
        actor: mailboxSupervisor,
        args: undefined,
        registerAs: 'mailbox-supervisor',
        shutdown: 'infinity',
      },
      { id: 'mailboxes', actor: mailboxesActor, args: undefined, registerAs: 'mailboxes' },
    ],
  }),
})

/**
 * The supervision tree of the mail system, as data:
 *
 *     root                     one_for_one, main
 *     ├─ accounting            sessions per user and address
 *     ├─ anvil                 what each client does
 *     ├─ auth                  the passwd-file
 *     ├─ stores                rest_for_one, storage
 *     │   ├─ mailboxes         the mailbox index, one actor per open mailbox
 *     │   ├─ cache             idle connections
 *     │   ├─ outbound          rest_for_one: deliveries, queue
 *     │   ├─ tls-store         what deliveries know of TLS together
 *     │   └─ sasl-failures     logins at servers that were refused
 *     ├─ sessions              dynamic, temporary children in `connections`
 *     ├─ listeners             one per [[listener]]
 *     └─ admin                 control socket, admin page
 *
 * Stopped in reverse: first nobody new comes in, then sessions say goodbye, and the stores close last.
 */
import { join } from 'node:path'
import { accountingActor } from './accounting/accounting.ts'
import { anvilActor } from './accounting/anvil.ts'
import { type AnyActorDefinition, type ChildSpec, supervisor } from './actors/index.ts'
import type { Administered } from './admin/contract.ts'
import { controlActor } from './admin/control.ts'
import { type AdminPageArgs, adminPageActor } from './admin/http.ts'
import { authActor } from './auth/auth.ts'
import type { AuthArgs } from './auth/hasher.ts'
import { cacheActor } from './cache/cache.ts'
import type { Config, ListenerConfig } from './config/settings.ts'
import { listenerActor } from './listeners/listener.ts'
import { mailboxStores } from './mailbox/supervisor.ts'
import { pop3Session } from './protocols/pop3/session.ts'
import { delivery } from './protocols/smtp/client/delivery.ts'
import { saslFailures } from './protocols/smtp/client/sasl/known-failures.ts'
import { tlsStore } from './protocols/smtp/client/tls/store.ts'
import { smtpSession } from './protocols/smtp/server/session.ts'
import { deliveries } from './queue/deliveries.ts'
import { queueManager } from './queue/manager.ts'

/** A dynamic supervisor: it starts with no children, and they are all temporary. */
export const dynamic = supervisor<undefined>({
  name: 'dynamic',
  module: import.meta.url,
  init: () => ({ strategy: 'one_for_one', concurrent: true, children: [] }),
})

/**
 * The queue manager starts delivery actors and counts on them: without their supervisor it cannot work, so it
 * restarts with it.
 */
export const outbound = supervisor<undefined>({
  name: 'outbound',
  module: import.meta.url,
  init: () => ({
    strategy: 'rest_for_one',
    intensity: 3,
    periodMs: 10_000,
    children: [
      { id: 'deliveries', actor: deliveries, args: undefined, registerAs: 'deliveries' },
      // Room for the last commit on a slow disk.
      { id: 'queue', actor: queueManager, args: { delivery }, registerAs: 'queue', shutdown: 10_000 },
    ],
  }),
})

/** What owns files: it lives on the one storage thread. */
export const stores = supervisor<undefined>({
  name: 'stores',
  module: import.meta.url,
  init: () => ({
    strategy: 'rest_for_one',
    // More than a second crash in ten seconds is a store that cannot be opened; the root decides then.
    intensity: 3,
    periodMs: 10_000,
    children: [
      // Registers `mailboxes`, `mailbox-index` and `mailbox-supervisor`.
      { id: 'mailboxes', actor: mailboxStores, args: undefined, shutdown: 'infinity' },
      { id: 'cache', actor: cacheActor, args: undefined, registerAs: 'cache' },
      { id: 'outbound', actor: outbound, args: undefined, shutdown: 'infinity' },
      // Last: deliveries do without them for a moment, and the death of the thread is one restart for the root, not three.
      { id: 'tls-store', actor: tlsStore, args: undefined, registerAs: 'tls-store' },
      { id: 'sasl-failures', actor: saslFailures, args: undefined, registerAs: 'sasl-failures' },
    ],
  }),
})

const sessionActors: Readonly<
  Record<string, { actor: AnyActorDefinition; busy: string; watched?: boolean }>
> = {
  pop3: {
    actor: pop3Session,
    busy: '-ERR [SYS/TEMP] Too many connections, try again later.',
    watched: true,
  },
  smtp: { actor: smtpSession, busy: '421 4.3.2 Too many connections, try again later' },
  submission: { actor: smtpSession, busy: '421 4.3.2 Too many connections, try again later' },
  lmtp: { actor: smtpSession, busy: '421 4.3.2 Too many connections, try again later' },
}

/** Its children may change while it runs, see `listener-changes.ts`; a restart begins with those of the configuration. */
export const listeners = supervisor<undefined>({
  name: 'listeners',
  module: import.meta.url,
  init: (context) => ({
    strategy: 'one_for_one',
    intensity: 5,
    periodMs: 10_000,
    children: context
      .setting<Config>('config')!
      .listener.filter((listener) => listener.service !== 'admin')
      .map(listenerSpec),
  }),
})

/** What serves one `[[listener]]` of any service but `admin`. */
export function listenerSpec(listener: ListenerConfig): ChildSpec {
  const session = sessionActors[listener.service]!
  return {
    id: `${listener.service} ${listener.address}`,
    actor: listenerActor,
    args: {
      listener,
      session: session.actor,
      busy: session.busy,
      ...(session.watched !== undefined && { watched: session.watched }),
    },
  }
}

/** Registered name of the admin page at `address`. */
export const adminPageName = (address: string): string => `admin-page ${address}`

export interface AdminArgs {
  readonly service: Administered
}

/** What serves one `[[listener]]` of the service `admin`. */
export function adminPageSpec(listener: ListenerConfig, service: Administered): ChildSpec {
  const { address } = listener
  const tls = listener.tls === 'implicit' ? 'implicit' : 'off'
  return {
    id: `page ${address}`,
    actor: adminPageActor,
    args: { address, tls, service } satisfies AdminPageArgs,
    registerAs: adminPageName(address),
  }
}

export const admin = supervisor<AdminArgs>({
  name: 'admin',
  module: import.meta.url,
  init: (context, { service }) => {
    const { data_dir: dataDir, listener: wanted } = context.setting<Config>('config')!
    return {
      strategy: 'one_for_one',
      intensity: 5,
      periodMs: 10_000,
      children: [
        { id: 'control', actor: controlActor, args: { path: join(dataDir, 'control.sock'), service } },
        ...wanted
          .filter((listener) => listener.service === 'admin')
          .map((listener) => adminPageSpec(listener, service)),
      ],
    }
  },
})

/** The children of the root supervisor, in the order they start. */
export function mailTree(service: Administered & AuthArgs): readonly ChildSpec[] {
  return [
    { id: 'accounting', actor: accountingActor, args: undefined, registerAs: 'accounting' },
    { id: 'anvil', actor: anvilActor, args: undefined, registerAs: 'anvil' },
    { id: 'auth', actor: authActor, args: { checkElsewhere: service.checkElsewhere }, registerAs: 'auth' },
    { id: 'stores', actor: stores, args: undefined, placement: { pool: 'storage' }, shutdown: 'infinity' },
    // The sessions' goodbye takes a few seconds at most; a client that does not read does not hold up the stop.
    { id: 'sessions', actor: dynamic, args: undefined, registerAs: 'sessions', shutdown: 5_000 },
    {
      id: 'listeners',
      actor: listeners,
      args: undefined,
      registerAs: 'listeners',
      shutdown: 'infinity',
    },
    { id: 'admin', actor: admin, args: { service }, registerAs: 'admin', shutdown: 'infinity' },
  ]
}

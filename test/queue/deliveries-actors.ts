/** Actors of deliveries.test.ts: in a module of their own, because other threads import it. */
import { type ActorRef, actor, type Contract, type ExitReason } from '../../src/actors/index.ts'
import type { DeliveriesContract } from '../../src/queue/deliveries.ts'

/** In the place of a keeper. */
export type Holder = Contract<{ ping(): number; dieThread(): void }>

export const holder = actor<Holder>({
  name: 'holder',
  module: import.meta.url,
  init: (context) => ({
    ping: () => context.self.thread,
    dieThread() {
      process.exit(3)
    },
  }),
})

/** In the place of the queue: how each delivery ended, by its key. */
export type Owner = Contract<{
  attachTo(deliveries: ActorRef<DeliveriesContract>): void
  deliveryEnded(key: number, reason: ExitReason): void
  returned(recipient: number): void
  ends(): { readonly [key: string]: string }
}>

export const owner = actor<Owner>({
  name: 'owner',
  module: import.meta.url,
  init: (context) => {
    const ends: Record<string, string> = {}
    return {
      attachTo: (supervisor) => void supervisor.tell('attach', context.self),
      deliveryEnded: (key, reason) => {
        ends[key] = reason.kind
      },
      returned() {},
      ends: () => ends,
    }
  },
})

/** A delivery that has nothing to do. */
export const quick = actor<Record<never, never>>({
  name: 'quick',
  module: import.meta.url,
  init: (context) => {
    context.stop()
    return {}
  },
})

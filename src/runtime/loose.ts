import { type AnyRef, actor, type Contract, type ExitReason } from '../actors/index.ts'
import type { Ref } from './ref.ts'

/** How long each may take to end at the stop of the system. */
const shutdownMs = 5_000

/**
 * The parent of actors started with `system.spawn`: it restarts nothing, and ends them in reverse start order. Made by
 * the system itself, never by another thread, so that it can be handed the table it shares with the system.
 */
export const looseActors = actor<Contract<Record<never, never>>, { readonly children: Map<number, Ref> }>({
  name: 'loose',
  // As in root.ts.
  module: 'mailactors:loose',
  init(context, { children }) {
    context.trapExit()
    return {
      handleExit(ref: AnyRef, _reason: ExitReason) {
        children.delete(ref.id)
      },
      async terminate() {
        for (const ref of [...children.values()].reverse()) {
          await new Promise<ExitReason>((resolve) => context.runtime.stopChild(ref, shutdownMs, resolve))
        }
      },
    }
  },
})

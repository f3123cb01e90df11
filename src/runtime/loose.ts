import { actor, type Contract, type ExitReason } from '../actors/index.ts'
import type { Ref } from './ref.ts'

/** How long each may take to end at the stop of the system. */
const shutdownMs = 5_000

/**
 * The parent of actors started with `system.spawn`: it restarts nothing, and ends them in reverse start order. Made by
 * the system itself, never by another thread, so that it can be handed a function: `children` are those it is linked
 * to, oldest first.
 */
export const looseActors = actor<Contract<Record<never, never>>, { readonly children: () => readonly Ref[] }>(
  {
    name: 'loose',
    // As in root.ts.
    module: 'mailactors:loose',
    init(context, { children }) {
      context.trapExit()
      return {
        async terminate() {
          for (const ref of [...children()].reverse()) {
            await new Promise<ExitReason>((resolve) => context.runtime.stopChild(ref, shutdownMs, resolve))
          }
        },
      }
    },
  },
)

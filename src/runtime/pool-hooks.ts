/** Code of the program at the turning points of each thread of a pool. */
import { UsageError } from '../actors/index.ts'

/** Of which thread a hook is called. */
export interface HookPlace {
  readonly pool: string
  readonly thread: number
}

/**
 * What the module named by `PoolOptions.hooks` may export. It is imported in main and in each thread of the pool.
 */
export interface PoolHooks {
  /** In main, just before a thread is started. Synchronous. What it throws keeps the thread from starting. */
  preInit?(place: HookPlace): void
  /** In the thread, before any actor starts there. What it throws ends the thread. */
  postInit?(place: HookPlace): void | Promise<void>
  /**
   * In the thread, from its event loop: first after `postInit`, then after as many milliseconds as it returned; -1: when
   * something has been done there, looked for four times a second. What it throws ends the thread. With `recycle` the
   * thread is drained and replaced, and `loop` not called any more: for code or tables that have changed.
   */
  loop?(place: HookPlace): number | 'recycle'
  /**
   * In the thread, before each actor is started there; `kind` is the name of its definition. What it throws is the reason
   * why the actor does not start. With `recycle` the thread is drained and replaced after it.
   */
  preAccept?(place: HookPlace & { readonly kind: string }): 'recycle' | undefined | void
  /** In the thread, before it ends as it was asked to. */
  exit?(place: HookPlace): void | Promise<void>
}

const names = ['preInit', 'postInit', 'loop', 'preAccept', 'exit'] as const

/** @throws UsageError when the module cannot be imported, or exports something else under one of the names. */
export async function loadHooks(module: string): Promise<PoolHooks> {
  let exported: Record<string, unknown>
  try {
    exported = await import(module)
  } catch (error) {
    throw new UsageError(`hooks ${module} cannot be imported: ${(error as Error).message}`, { module })
  }
  for (const name of names) {
    const hook = exported[name]
    if (hook !== undefined && typeof hook !== 'function') {
      throw new UsageError(`hooks ${module}: ${name} is not a function`, { module })
    }
  }
  return exported as PoolHooks
}

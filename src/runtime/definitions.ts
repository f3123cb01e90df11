import { Definition } from '../actors/definition.ts'
import { type AnyActorDefinition, UsageError } from '../actors/index.ts'
import { currentActor } from './cell.ts'

/**
 * Actor definitions known to this thread. They cross threads as module and name; what is not known yet is imported
 * when the first actor of it starts.
 */
export class Definitions {
  readonly #known = new Map<string, AnyActorDefinition>()

  /** The definition of that name, loaded or about to be. */
  revive(module: string, name: string): AnyActorDefinition {
    const key = `${module}\n${name}`
    const known = this.#known.get(key)
    if (known !== undefined) return known
    const lazy = new LazyDefinition(module, name, (definition) => this.#known.set(key, definition))
    this.#known.set(key, lazy)
    return lazy
  }
}

/** Stands for a definition whose module is imported by the first `init`. */
class LazyDefinition extends Definition implements AnyActorDefinition {
  readonly #found: (definition: AnyActorDefinition) => void
  #loaded: AnyActorDefinition | undefined
  #loading: Promise<AnyActorDefinition> | undefined

  constructor(module: string, name: string, found: (definition: AnyActorDefinition) => void) {
    super({ module, name })
    this.#found = found
  }

  get type(): 'worker' | 'supervisor' {
    return this.#loaded?.type ?? 'worker'
  }

  get maxQueue(): number {
    return this.#loaded?.maxQueue ?? 10_000
  }

  init(context: unknown, args: unknown): unknown {
    if (this.#loaded !== undefined) return this.#loaded.init(context, args)
    this.#loading ??= this.#load()
    return this.#loading.then((definition) => definition.init(context, args))
  }

  async #load(): Promise<AnyActorDefinition> {
    const { module, name } = this
    // What a module sets up for itself is nobody's in particular, least of all the first actor's that needs it.
    const exported: Record<string, unknown> = await currentActor.exit(() => import(module))
    for (const value of Object.values(exported)) {
      if (!isDefinition(value) || value.name !== name) continue
      this.#loaded = value
      this.#found(value)
      return value
    }
    this.#loading = undefined
    throw new UsageError(`actor '${name}' is not exported by its module, so no other thread can start it`, {
      actor: name,
      module,
    })
  }
}

function isDefinition(value: unknown): value is AnyActorDefinition {
  return typeof value === 'object' && value !== null && (value as { kind?: unknown }).kind === 'actor'
}

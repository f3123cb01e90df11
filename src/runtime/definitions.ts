import { Definition, madeIn } from '../actors/definition.ts'
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

  get limit(): 'solitary' | 'unlimited' | undefined {
    return this.#loaded?.limit
  }

  get throttleMs(): number {
    return this.#loaded?.throttleMs ?? 0
  }

  get resident(): boolean {
    return this.#loaded?.resident ?? false
  }

  init(context: unknown, args: unknown): unknown {
    if (this.#loaded !== undefined) return this.#loaded.init(context, args)
    this.#loading ??= this.#load()
    return this.#loading.then((definition) => definition.init(context, args))
  }

  async #load(): Promise<AnyActorDefinition> {
    const { module, name } = this
    const already = madeIn(module, name)
    // Not imported when it need not be: the program's own module may wait at its top for what this thread is to do.
    if (already !== undefined && already !== 'several') return this.#use(already)
    // What a module sets up for itself is nobody's in particular, least of all the first actor's that needs it.
    const exported: Record<string, unknown> = await currentActor.exit(() => import(module))
    const made = Object.values(exported).find((value) => isDefinition(value) && value.name === name)
    const definition = (made as AnyActorDefinition | undefined) ?? madeIn(module, name)
    if (definition !== undefined && definition !== 'several') return this.#use(definition)
    this.#loading = undefined
    const why =
      definition === 'several'
        ? 'is not the only one of its name in its module, and none is exported'
        : 'is not exported, nor made at the top of its module'
    throw new UsageError(`actor '${name}' ${why}, so no other thread can start it`, { actor: name, module })
  }

  #use(definition: AnyActorDefinition): AnyActorDefinition {
    this.#loaded = definition
    this.#found(definition)
    return definition
  }
}

function isDefinition(value: unknown): value is AnyActorDefinition {
  return typeof value === 'object' && value !== null && (value as { kind?: unknown }).kind === 'actor'
}

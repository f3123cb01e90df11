import { UsageError } from '../actors/index.ts'
import type { Ref } from './ref.ts'

/** Told of changes made on this thread, so that the other threads can follow. */
export interface RegistryObserver {
  registered(name: string, ref: Ref, replaces: number): void
  unregistered(name: string, ref: Ref): void
}

// Only names whose actor moves between threads need it, and those are few.
const rememberedNames = 10_000

/** Registered names as this thread knows them. */
export class Registry {
  readonly #names = new Map<string, Ref>()
  readonly #namesOf = new Map<number, string[]>()
  /** Id of the actor that had the name last: tells a restart from a conflict when threads disagree for a moment. */
  readonly #last = new Map<string, number>()
  observer: RegistryObserver | undefined
  /** A name belongs to someone now, on whatever thread. */
  onFound: ((name: string, ref: Ref) => void) | undefined

  whereis(name: string): Ref | undefined {
    return this.#names.get(name)
  }

  /** @throws UsageError when another actor has the name. */
  register(name: string, ref: Ref): void {
    if (this.#names.get(name)?.id === ref.id) return
    this.mustBeFree(name)
    this.#add(name, ref)
    this.observer?.registered(name, ref, this.#last.get(name) ?? 0)
    this.#remember(name, ref)
  }

  /** @throws UsageError when an actor has the name, or it is none. */
  mustBeFree(name: string): void {
    if (typeof name !== 'string' || name === '') throw new UsageError('registered name is missing')
    const holder = this.#names.get(name)
    if (holder !== undefined) throw new UsageError(`name '${name}' is taken`, { name, holder: holder.id })
  }

  #remember(name: string, ref: Ref): void {
    this.#last.delete(name)
    this.#last.set(name, ref.id)
    if (this.#last.size <= rememberedNames) return
    const [oldest] = this.#last.keys()
    if (oldest !== undefined) this.#last.delete(oldest)
  }

  unregister(name: string, ref: Ref): void {
    if (this.forget(name, ref.id)) this.observer?.unregistered(name, ref)
  }

  /** What another thread registered. `false`: the name belongs to someone else. */
  learn(name: string, ref: Ref, replaces: number): boolean {
    const holder = this.#names.get(name)
    if (holder !== undefined && holder.id !== ref.id && holder.id !== replaces) return false
    if (holder !== undefined) this.forget(name, holder.id)
    this.#add(name, ref)
    this.#remember(name, ref)
    return true
  }

  /** Removes the name if it is this actor's. */
  forget(name: string, id: number): boolean {
    if (this.#names.get(name)?.id !== id) return false
    this.#names.delete(name)
    const names = this.#namesOf.get(id)?.filter((other) => other !== name) ?? []
    if (names.length === 0) this.#namesOf.delete(id)
    else this.#namesOf.set(id, names)
    return true
  }

  /** Frees all names of an actor that is about to end, on every thread: its successor may come first. */
  release(ref: Ref): void {
    for (const name of this.#namesOf.get(ref.id) ?? []) this.unregister(name, ref)
  }

  /** Removes all names of an actor that ended. */
  forgetActor(id: number): void {
    for (const name of this.#namesOf.get(id) ?? []) this.forget(name, id)
  }

  #add(name: string, ref: Ref): void {
    this.#names.set(name, ref)
    const names = this.#namesOf.get(ref.id)
    if (names === undefined) this.#namesOf.set(ref.id, [name])
    else if (!names.includes(name)) names.push(name)
    this.onFound?.(name, ref)
  }

  /** Removes all names of actors for which `gone` holds. */
  forgetAll(gone: (ref: Ref) => boolean): void {
    for (const [name, ref] of [...this.#names]) if (gone(ref)) this.forget(name, ref.id)
  }

  entries(): IterableIterator<[string, Ref]> {
    return this.#names.entries()
  }
}

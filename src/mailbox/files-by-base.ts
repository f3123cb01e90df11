import type { MailFile } from './register.ts'

/**
 * Files of a Maildir by the base name of their mail. Kept as names alone, those of `new/` with a slash in front: in a
 * large mailbox an object for each would be most of the work of opening it.
 */
export class FilesByBase {
  readonly #names = new Map<string, string>()

  get size(): number {
    return this.#names.size
  }

  get bases(): Iterable<string> {
    return this.#names.keys()
  }

  get(base: string): MailFile | undefined {
    const name = this.#names.get(base)
    return name === undefined ? undefined : fileOf(name)
  }

  has(base: string): boolean {
    return this.#names.has(base)
  }

  set(base: string, { name, inNew }: MailFile): void {
    this.#names.set(base, inNew ? `/${name}` : name)
  }

  /** As `set`, for a file in `cur/`; false: there was one of this base. Quicker than to look first. */
  addToCur(base: string, name: string): boolean {
    const before = this.#names.size
    this.#names.set(base, name)
    return this.#names.size > before
  }

  delete(base: string): void {
    this.#names.delete(base)
  }
}

const fileOf = (name: string): MailFile =>
  name[0] === '/' ? { name: name.slice(1), inNew: true } : { name, inNew: false }

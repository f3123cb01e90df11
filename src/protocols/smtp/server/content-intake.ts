/** Mail content as it comes to a session, after DATA or in the chunks of BDAT: whose the octets are, and when they end. */
import { IncomingMail, type IncomingOptions } from './incoming.ts'
import type { Effect } from './state.ts'

/** What the octets that came last have completed. */
export type Completed =
  /** All content of a mail. */
  | { readonly kind: 'mail'; readonly mail: IncomingMail }
  /** A chunk that is not the last, or that was refused. */
  | {
      readonly kind: 'chunk'
      readonly octets: number
      readonly isLast: boolean
      readonly refusal: string | undefined
    }

type Chunk = Extract<Effect, { kind: 'chunk' }> & { left: number }

export class ContentIntake {
  readonly #options: (form: 'data' | 'chunks') => IncomingOptions
  #mail: IncomingMail | undefined
  #chunk: Chunk | undefined
  #isData = false

  constructor(options: (form: 'data' | 'chunks') => IncomingOptions) {
    this.#options = options
  }

  /** What comes now is content, no commands. */
  get isReceiving(): boolean {
    return this.#isData || this.#chunk !== undefined
  }

  /** Octets that wait for the disk. */
  get backlog(): number {
    return this.#mail?.backlog ?? 0
  }

  beginData(): void {
    this.#mail = new IncomingMail(this.#options('data'))
    this.#isData = true
  }

  /** A chunk without octets is complete at once. */
  beginChunk(effect: Extract<Effect, { kind: 'chunk' }>): Completed | undefined {
    if (effect.refusal === undefined) this.#mail ??= new IncomingMail(this.#options('chunks'))
    this.#chunk = { ...effect, left: effect.octets }
    return effect.octets === 0 ? this.#endChunk(this.#chunk) : undefined
  }

  /** Takes octets; `used`: how many of them were content. */
  receive(octets: Buffer): { readonly used: number; readonly completed: Completed | undefined } {
    const chunk = this.#chunk
    if (chunk === undefined) {
      const mail = this.#mail!
      const end = mail.push(octets)
      if (end === -1) return { used: octets.length, completed: undefined }
      this.#isData = false
      this.#mail = undefined
      return { used: end, completed: { kind: 'mail', mail } }
    }
    const used = Math.min(chunk.left, octets.length)
    if (chunk.refusal === undefined)
      this.#mail!.push(used === octets.length ? octets : octets.subarray(0, used))
    chunk.left -= used
    return { used, completed: chunk.left === 0 ? this.#endChunk(chunk) : undefined }
  }

  /** What was received is wanted no more: nothing of it stays. A chunk that is under way is read to its end. */
  drop(): void {
    this.#mail?.discard()
    this.#mail = undefined
    this.#isData = false
  }

  #endChunk(chunk: Chunk): Completed {
    this.#chunk = undefined
    const { octets, isLast } = chunk
    const mail = this.#mail
    const refusal = chunk.refusal ?? (isLast ? undefined : mail?.refusal())
    if (refusal !== undefined || mail === undefined) {
      this.drop()
      return { kind: 'chunk', octets, isLast, refusal }
    }
    if (!isLast) return { kind: 'chunk', octets, isLast, refusal: undefined }
    this.#mail = undefined
    mail.endChunks()
    return { kind: 'mail', mail }
  }
}

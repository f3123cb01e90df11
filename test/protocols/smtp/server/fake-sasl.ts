import type { SaslReply, VerifyResult } from '../../../../src/auth/contract.ts'
import type { Identity, SaslExchange, SaslHost } from '../../../../src/auth/sasl/mechanism.ts'
import { startExchange } from '../../../../src/auth/sasl/mechanisms.ts'

/** The exchanges of an auth actor that offers PLAIN and LOGIN, and knows passwords by a function. */
export class FakeSasl {
  readonly #check: (identity: Identity, password: string) => VerifyResult
  readonly #open = new Map<number, SaslExchange>()
  #newest = 0

  constructor(check: (identity: Identity, password: string) => VerifyResult) {
    this.#check = check
  }

  get open(): number {
    return this.#open.size
  }

  saslStart(mechanism: string, initial: Uint8Array | null): SaslReply {
    this.#open.set(
      ++this.#newest,
      startExchange(mechanism, { isName: () => true } as Partial<SaslHost> as SaslHost)!,
    )
    return this.#step(this.#newest, initial === null ? undefined : Buffer.from(initial))
  }

  saslNext(exchange: number, response: Uint8Array): SaslReply {
    return this.#step(exchange, Buffer.from(response))
  }

  saslCancel(exchange: number): void {
    this.#open.delete(exchange)
  }

  #step(number: number, response: Buffer | undefined): SaslReply {
    const exchange = this.#open.get(number)
    if (exchange === undefined) return { kind: 'failure', reason: 'internal', user: '' }
    const step = exchange.next(response)
    if (step instanceof Promise) throw new Error('only PLAIN and LOGIN')
    if (step.kind === 'challenge') return { kind: 'challenge', exchange: number, data: step.data }
    this.#open.delete(number)
    if (step.kind === 'failure') return { kind: 'failure', reason: step.reason, user: step.user }
    if (step.kind !== 'password') throw new Error('only PLAIN and LOGIN')
    const { identity, password } = step
    const isOther = identity.authorization !== '' && identity.authorization !== identity.user
    const result = isOther
      ? { ok: false as const, reason: 'credentials' as const }
      : this.#check(identity, password)
    return result.ok
      ? { kind: 'success', account: result.account }
      : { kind: 'failure', reason: result.reason, user: identity.user }
  }
}

/** The actors of the benchmark of ours. A module of its own, so that other threads import nothing else. */
import type { ActorRef, AnyRef, Contract } from '../../src/index.ts'
import { ours } from './ours-library.ts'
import { perTurn } from './workload.ts'

const { actor, Deferred } = ours

type Result = { relay: string; code: number; reply: string }

export type Sink = Contract<{
  take(destination: string, result: Result, note: string): void
  /** Answers when this many messages in all were taken. */
  until(count: number): number
  pong(back: AnyRef, result: Result, note: string): void
  echo(destination: string, result: Result, note: string): string
}>

export const sink = actor<Sink>({
  name: 'sink',
  module: import.meta.url,
  init(context) {
    let count = 0
    let target = -1
    let waiter = new Deferred<number>()
    return {
      take() {
        if (++count === target) waiter.resolve(count)
      },
      until(wanted) {
        if (count >= wanted) return count
        target = wanted
        waiter = new Deferred<number>()
        return waiter
      },
      pong(back, result, note) {
        ;(back as ActorRef<Source>).tell('ping', context.self, result, note)
      },
      echo: (destination) => destination,
    }
  },
})

export type Source = Contract<{
  /** Sends messages for `ms` and answers how many. */
  flood(to: AnyRef, ms: number): number
  pump(): void
  rally(to: AnyRef, ms: number): readonly number[]
  ping(from: AnyRef, result: Result, note: string): void
}>

export const source = actor<Source>({
  name: 'source',
  module: import.meta.url,
  init(context) {
    const note = 'a'.repeat(92)
    let to: ActorRef<Sink>
    let end = 0
    let sent = 0
    let done: InstanceType<typeof Deferred<number>>
    let rallied: InstanceType<typeof Deferred<readonly number[]>>
    let samples: number[] = []
    let last = 0
    const self = () => context.self as ActorRef<Source>
    return {
      flood(sink, ms) {
        to = sink as ActorRef<Sink>
        sent = 0
        end = performance.now() + ms
        done = new Deferred()
        self().tell('pump')
        return done
      },
      pump() {
        for (let i = 0; i < perTurn; i++) {
          const result = { relay: 'mx.example.org', code: 250, reply: '2.0.0 Ok: queued as 4B1234' }
          if (!to.tell('take', 'example.org:25', result, note)) {
            // No room: what was refused is sent later.
            setImmediate(() => self().tell('pump'))
            return
          }
          sent++
        }
        if (performance.now() < end) self().tell('pump')
        else done.resolve(sent)
      },
      rally(sink, ms) {
        to = sink as ActorRef<Sink>
        end = performance.now() + ms
        samples = []
        last = 0
        rallied = new Deferred()
        const result = { relay: 'mx.example.org', code: 250, reply: '2.0.0 Ok: queued as 4B1234' }
        to.tell('pong', context.self, result, note)
        return rallied
      },
      ping(_from, result) {
        const now = performance.now()
        if (last > 0) samples.push(now - last)
        last = now
        if (now < end) to.tell('pong', context.self, { ...result }, note)
        else rallied.resolve(samples)
      },
    }
  },
})

export type Link = Contract<{
  next(ref: AnyRef): void
  token(hops: number, destination: string, result: Result, note: string): void
}>

/** One of a ring: hands each token on until it has made all its hops. */
class RingLink {
  #next: ActorRef<Link> | undefined
  readonly #done: () => void

  constructor(done: () => void) {
    this.#done = done
  }

  next(ref: AnyRef): void {
    this.#next = ref as ActorRef<Link>
  }

  token(hops: number, destination: string, result: Result, note: string): void {
    if (hops === 0) this.#done()
    else this.#next!.tell('token', hops - 1, destination, result, note)
  }
}

export const ringLink = actor<Link, { readonly done: () => void }>({
  name: 'ring-link',
  module: import.meta.url,
  init: (_context, { done }) => new RingLink(done),
})

/** State as small as a counter's. */
class Idle {
  #total = 0

  add(by: number): void {
    this.#total += by
  }

  total(): number {
    return this.#total
  }
}

export const idle = actor<Contract<{ add(by: number): void; total(): number }>>({
  name: 'idle',
  module: import.meta.url,
  init: () => new Idle(),
})

/** Actors that do everything wrong, in a module of their own because other threads import it. */
import { AsyncResource } from 'node:async_hooks'
import { EventEmitter } from 'node:events'
import {
  type AnyRef,
  actor,
  type Contract,
  Deferred,
  type Down,
  type ExitReason,
  supervisor,
} from '../../src/index.ts'

type Way =
  | 'timeout'
  | 'immediate'
  | 'microtask'
  | 'nextTick'
  | 'rejection'
  | 'laterRejection'
  | 'emitter'
  | 'bound'
type Odd = 'thenThrows' | 'thenTwice' | 'thenNever' | 'proxy' | 'foreignPromise' | 'nested'

type End = Pick<ExitReason, 'kind' | 'message'>

export type Faulty = Contract<{
  ping(): number
  never(): number
  count(): void
  counted(): number
  stop(): void
  odd(how: Odd): number
  throwFrom(how: Way): void
  /** The kind of the end, once it comes. */
  watch(ref: AnyRef): End
  block(): void
  exhaust(): void
  exit(): void
  throwOutside(): void
  rejectOutside(): void
}>

export interface FaultyArgs {
  readonly throwIn?: 'init' | 'asyncInit' | 'terminate' | 'asyncTerminate'
}

const odd: Record<Odd, () => unknown> = {
  thenThrows: () => ({
    // biome-ignore lint/suspicious/noThenProperty: the point of the test
    then() {
      throw new Error('then failed')
    },
  }),
  thenTwice: () => ({
    // biome-ignore lint/suspicious/noThenProperty: the point of the test
    then(resolve: (value: number) => void) {
      resolve(1)
      resolve(2)
      throw new Error('and failed')
    },
  }),
  // biome-ignore lint/suspicious/noThenProperty: the point of the test
  thenNever: () => ({ then() {} }),
  proxy: () =>
    new Proxy(
      {},
      {
        get() {
          throw new Error('do not look')
        },
      },
    ),
  // biome-ignore lint/suspicious/noThenProperty: the point of the test
  foreignPromise: () => ({ then: (resolve: (value: number) => void) => setImmediate(resolve, 2) }),
  async nested() {
    const deferred = new Deferred<number>()
    deferred.resolve(3)
    return deferred
  },
}

const fail = (how: string) => (): never => {
  throw new Error(how)
}

const throwFrom: Record<Way, (how: string, bind: (callback: () => void) => () => void) => void> = {
  timeout: (how) => void setTimeout(fail(how), 1),
  immediate: (how) => void setImmediate(fail(how)),
  microtask: (how) => queueMicrotask(fail(how)),
  nextTick: (how) => process.nextTick(fail(how)),
  rejection: (how) => void Promise.reject(new Error(how)),
  laterRejection: (how) =>
    void (async () => {
      await new Promise((resolve) => setTimeout(resolve, 1))
      throw new Error(how)
    })(),
  emitter: (how) => {
    const emitter = new EventEmitter()
    emitter.on('x', fail(how))
    setTimeout(() => emitter.emit('x'), 1)
  },
  bound: (how, bind) => void outside.runInAsyncScope(() => setTimeout(bind(fail(how)), 1)),
}

/** No actor's context. */
const outside = new AsyncResource('outside')

export const faulty = actor<Faulty, FaultyArgs>({
  name: 'faulty',
  module: import.meta.url,
  init(context, { throwIn }) {
    if (throwIn === 'init') throw new Error('init')
    if (throwIn === 'asyncInit') return Promise.reject(new Error('asyncInit'))
    let counted = 0
    let watching: Deferred<End> | undefined
    return {
      ping: () => context.self.thread,
      never: () => new Deferred<number>(),
      count() {
        counted++
      },
      counted: () => counted,
      stop: () => context.stop(),
      odd: (how) => odd[how]() as number,
      throwFrom: (how) => throwFrom[how](how, (callback) => context.bind(callback)),
      watch(ref) {
        context.monitor(ref)
        const reply = new Deferred<End>()
        watching = reply
        return reply
      },
      handleDown({ reason }: Down) {
        watching?.resolve(reason)
      },
      block() {
        for (;;);
      },
      exhaust() {
        const all: unknown[] = []
        for (;;) all.push(Array.from({ length: 10_000 }, (_, i) => ({ i })))
      },
      exit: () => process.exit(3),
      throwOutside: () => void outside.runInAsyncScope(() => setTimeout(fail('outside'), 1)),
      rejectOutside: () =>
        void outside.runInAsyncScope(() => setTimeout(() => Promise.reject(new Error('outside')), 1)),
      terminate() {
        if (throwIn === 'terminate') throw new Error('terminate')
        if (throwIn === 'asyncTerminate') return Promise.reject(new Error('asyncTerminate'))
        return undefined
      },
    }
  },
})

/** Takes a few turns of the event loop to start. */
export const slow = actor<Contract<{ x(): void }>>({
  name: 'slow',
  module: import.meta.url,
  async init() {
    for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve))
    return { x() {} }
  },
})

export const slowTree = supervisor<undefined>({
  name: 'slow-tree',
  module: import.meta.url,
  init: () => ({
    strategy: 'one_for_all',
    children: [
      { id: 'a', actor: slow },
      { id: 'b', actor: slow },
    ],
  }),
})

export const tree = supervisor<undefined>({
  name: 'tree',
  module: import.meta.url,
  init: () => ({
    strategy: 'one_for_one',
    children: [
      { id: 'first', actor: slow },
      { id: 'bad', actor: faulty, args: { throwIn: 'init' } },
    ],
  }),
})

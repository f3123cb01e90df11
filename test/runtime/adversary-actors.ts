/** Actors of the adversary tests: in a module of their own, because other threads import it. */
import { type ActorRef, type AnyRef, actor, type Contract, Deferred } from '../../src/index.ts'

export type Worker = Contract<{
  ping(): number
  /** Replies after a random number of turns. */
  work(turns: number): number
  /** Never replies. */
  never(): number
  note(number: number): void
  notes(): readonly number[]
  /** Ends the thread, as a crash of the runtime would. */
  dieThread(): void
  /** Blocks the thread for ever. */
  block(): void
  /** Asks another worker `count` times, `never` every tenth time; the number of asks that settled, by how. */
  asks(other: ActorRef, count: number): { readonly [how: string]: number }
  /** Tells another worker `count` numbers, waiting a turn after a refusal; how many were taken. */
  flood(other: ActorRef, count: number): number
  find(name: string): number
  watch(other: AnyRef): string
  take(value: string | number): string
}>

export const worker = actor<Worker, { name?: string } | undefined>({
  name: 'worker',
  module: import.meta.url,
  init(context) {
    const notes: number[] = []
    const downs = new Map<number, Deferred<string>>()
    return {
      ping: () => context.self.thread,
      async work(turns) {
        for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve))
        return turns
      },
      never: () => new Deferred<number>(),
      note(number) {
        notes.push(number)
      },
      notes: () => notes,
      dieThread() {
        process.exit(3)
      },
      block() {
        for (;;);
      },
      async asks(other, count) {
        const how: Record<string, number> = {}
        const asks: Promise<void>[] = []
        for (let i = 0; i < count; i++) {
          const ask =
            i % 10 === 9
              ? other.askWith({ timeoutMs: Infinity }, 'never')
              : other.askWith({ timeoutMs: Infinity }, 'work', i % 3)
          asks.push(
            ask.then(
              () => {
                how.reply = (how.reply ?? 0) + 1
              },
              (error: { code: string }) => {
                how[error.code] = (how[error.code] ?? 0) + 1
              },
            ),
          )
          if (i % 16 === 0) await new Promise((resolve) => setImmediate(resolve))
        }
        await Promise.all(asks)
        return how
      },
      async flood(other, count) {
        for (let i = 0; i < count; ) {
          if (other.tell('note', i)) i++
          else await new Promise((resolve) => setImmediate(resolve))
        }
        return count
      },
      find: (name) => context.whereis(name)?.id ?? 0,
      watch(other) {
        const down = new Deferred<string>()
        downs.set(context.monitor(other), down)
        return down
      },
      take: (value) => typeof value,
      handleDown({ monitor, reason }) {
        downs.get(monitor)?.resolve(reason.kind)
      },
    }
  },
})

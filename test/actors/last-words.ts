/** In a module of its own, as another thread imports it. */
import { type ActorRef, actor, type Contract } from '../../src/index.ts'

export type Listener = Contract<{
  listen(count: number): void
  word(n: number): void
  heard(): readonly string[]
}>

export const speaker = actor<Contract<{ speak(to: ActorRef<Listener>, count: number): void }>>({
  name: 'speaker',
  module: import.meta.url,
  init: (context) => ({
    speak(to, count) {
      for (let n = 1; n <= count; n++) to.tell('word', n)
      context.stop()
    },
  }),
})

/** Starts speakers on another thread, and hears what they say and how they end. */
export const listener = actor<Listener>({
  name: 'listener',
  module: import.meta.url,
  init(context) {
    const heard: string[] = []
    return {
      listen(count) {
        const ref = context.spawnLink(speaker, undefined, { placement: { pool: 'speakers' } })
        context.monitor(ref)
        ref.tell('speak', context.self, count)
      },
      word: (n) => void heard.push(String(n)),
      heard: () => heard,
      handleDown: ({ reason }) => void heard.push(reason.kind),
    }
  },
})

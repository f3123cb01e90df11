/** The actors of the settlement tests, in a file that threads can load. */
import { type ActorRef, actor, type Contract, Deferred, supervisor } from '../../src/index.ts'

export type Node = Contract<{
  reply(): number
  hold(): number
  release(): void
  wait(ms: number): number
  never(): number
  fail(): number
  quit(): number
  forward(to: Peer): number
}>
type Peer = ActorRef<Node>

export const node = actor<Node>({
  name: 'node',
  module: import.meta.url,
  maxQueue: 5,
  init(context) {
    const held: Deferred<number>[] = []
    return {
      reply: () => 1,
      hold() {
        const reply = new Deferred<number>()
        held.push(reply)
        return reply
      },
      release() {
        for (const reply of held.splice(0)) reply.resolve(2)
      },
      wait(ms) {
        const reply = new Deferred<number>()
        held.push(reply)
        context.sendAfter(ms, 'release')
        return reply
      },
      never: () => new Promise<number>(() => {}),
      fail() {
        throw new Error('failed')
      },
      quit() {
        context.stop()
        return 3
      },
      async forward(to) {
        return await (to as ActorRef<Node>).askWith({ timeoutMs: 700 }, 'wait', 300)
      },
    }
  },
})

export const branch = supervisor<undefined>({
  name: 'branch',
  module: import.meta.url,
  init: () => ({ strategy: 'one_for_one', intensity: 2, children: [] }),
})

import { actor, type Contract } from 'mailactors'

export type Counter = Contract<{ add(by: number): number; where(): number }>

export const counter = actor<Counter, { start: number }>({
  name: 'counter',
  module: import.meta.url,
  init({ self }, { start }) {
    let total = start
    return {
      add(by) {
        total += by
        return total
      },
      where: () => self.thread,
    }
  },
})

import { actor, type Contract } from 'mailactors'

export type Greeter = Contract<{
  greet(name: string): string
  where(): number
  remind(ms: number): void
  reminded(): number
}>

export const greeter = actor<Greeter>({
  name: 'greeter',
  module: import.meta.url,
  init(context) {
    let reminded = 0
    return {
      greet: (name) => `Hello ${name}`,
      where: () => context.self.thread,
      remind(ms) {
        if (ms > 0) context.sendAfter(ms, 'remind', 0)
        else reminded++
      },
      reminded: () => reminded,
    }
  },
})

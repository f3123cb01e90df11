/** Takes one job after the other. Every answer may be missing, so every step can be repeated. */
import { createHash } from 'node:crypto'
import { actor, type Contract } from 'mailactors'
import type { Job } from './job-store.ts'
import type { Queue } from './queue.ts'

export type Worker = Contract<{
  /** There may be a job. */
  wake(): void
}>

/** Before the queue is asked again: it was away, or it restarted and has forgotten who waits. */
const retryMs = 50
const lookMs = 1_000

export const worker = actor<Worker>({
  name: 'worker',
  module: import.meta.url,
  init(context) {
    let isBusy = false
    let timer = 0

    const lookAgain = (ms: number): void => {
      isBusy = false
      context.cancelTimer(timer)
      timer = context.sendAfter(ms, 'wake')
    }
    const take = (): void => {
      const queue = context.whereis<Queue>('queue')
      if (queue === undefined) {
        lookAgain(retryMs)
        return
      }
      isBusy = true
      queue.ask('take', context.self).then(
        context.bind((job: Job | undefined) => {
          if (job === undefined) lookAgain(lookMs)
          else report(job.key, digest(job.text))
        }),
        context.bind(() => lookAgain(retryMs)),
      )
    }
    const report = (key: string, result: string): void => {
      const queue = context.whereis<Queue>('queue')
      const repeat = context.bind(() => report(key, result))
      const again = context.bind(() => setTimeout(repeat, retryMs))
      if (queue === undefined) again()
      else queue.ask('done', context.self, key, result).then(context.bind(take), context.bind(again))
    }

    context.sendAfter(0, 'wake')
    return {
      wake() {
        if (!isBusy) take()
      },
    }
  },
})

/** The work itself: some milliseconds of a processor. */
function digest(text: string): string {
  let result = text
  for (let round = 0; round < 500; round++) result = createHash('sha256').update(result).digest('hex')
  return result
}

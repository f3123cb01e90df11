import { type ErrorDetails, MailactorsError } from '../actors/index.ts'
import { TestSystem, type TestSystemOptions } from './test-system.ts'

export interface ExploreOptions extends Omit<TestSystemOptions, 'seed'> {
  /** How many seeds, from 1 on; or the seeds themselves, to replay those that failed. Default 100. */
  readonly seeds?: number | readonly number[]
  /**
   * What is tried under each seed, from a fresh system on. What it awaits is waited for as by `TestSystem.run`: the clock
   * moves when nothing else is left to do. It fails by throwing. Draws of its own come from `test.random`.
   */
  scenario(test: TestSystem): Promise<void>
  /** What has to hold after the system has stopped. */
  after?(test: TestSystem): void | Promise<void>
  /** A scenario that takes more steps than that has failed. Default 100 000. */
  readonly maxSteps?: number
  /** Lines of the schedule in the message of a failure. Default 60; the error has all in `trace`. */
  readonly traceLines?: number
}

export interface Explored {
  readonly seeds: number
  /** Steps of all runs together. */
  readonly steps: number
}

/** A scenario failed under a seed. `cause` is what it threw; the same seed fails again. */
export class ExploreError extends MailactorsError {
  readonly code = 'MA_EXPLORE'
  readonly seed: number
  /** What happened, step by step. */
  readonly trace: readonly string[]

  constructor(
    message: string,
    details: ErrorDetails & { seed: number },
    options: ErrorOptions,
    trace: readonly string[],
  ) {
    super(message, details, options)
    this.seed = details.seed
    this.trace = trace
  }
}

/**
 * Runs a scenario under many seeds, each with another order of events. The first that fails ends it.
 *
 *     await explore({ seeds: 500, threads: { workers: 2 }, scenario: async (test) => { … } })
 *
 * @throws ExploreError with the seed and the schedule; run it again with `seeds: [thatSeed]`.
 */
export async function explore(options: ExploreOptions): Promise<Explored> {
  const { seeds = 100 } = options
  const list = typeof seeds === 'number' ? Array.from({ length: seeds }, (_, i) => i + 1) : seeds
  let steps = 0
  for (const seed of list) steps += await runSeed(options, seed)
  return { seeds: list.length, steps }
}

async function runSeed(options: ExploreOptions, seed: number): Promise<number> {
  const { seeds: _, scenario, after, maxSteps = 100_000, traceLines = 60, ...rest } = options
  const test = await TestSystem.start({ ...rest, seed })
  try {
    const tooLong = test.endlessAfter(maxSteps)
    await test.run(Promise.race([scenario(test), tooLong]))
    await Promise.race([test.stop(), tooLong])
    await after?.(test)
  } catch (error) {
    const all = test.trace()
    const shown = all.slice(-traceLines)
    // Its own failure, if any, is a consequence.
    test.stop().catch(() => {})
    throw new ExploreError(
      [
        `seed ${seed} fails: ${error instanceof Error ? error.message : String(error)}`,
        `replay it with seeds: [${seed}]`,
        `the last ${shown.length} of ${test.steps} steps:`,
        ...shown.map((line) => `  ${line}`),
      ].join('\n'),
      { seed, steps: test.steps },
      { cause: error },
      all,
    )
  }
  return test.steps
}

/** What a benchmark is: contestants that do the same work in turn, and the columns that are compared. */

/** Numbers of one run, by the keys of the columns. */
export type Measurement = Readonly<Record<string, number>>

export interface Contestant {
  readonly name: string
  /** Why it cannot take part on this machine. */
  readonly unavailable?: string | undefined
  /** One run from a fresh start to a full stop. */
  run(): Promise<Measurement>
}

export interface Column {
  readonly key: string
  readonly title: string
  /** Which way is better; none: it is shown, not compared. */
  readonly better?: 'more' | 'less'
  readonly digits?: number
}

export interface ScenarioOptions {
  /** A directory of its own for everything it writes, on the disk that is measured. */
  readonly dir: string
  /** Short runs: to see that it works, not what it gives. */
  readonly quick: boolean
}

export interface Scenario {
  readonly name: string
  /** One line: what is measured, with the numbers that matter. */
  readonly summary: string
  readonly columns: readonly Column[]
  /** Rounds when the user does not say. */
  readonly rounds: number
  contestants(options: ScenarioOptions): Promise<readonly Contestant[]> | readonly Contestant[]
}

export interface ContestantResult {
  readonly name: string
  readonly unavailable?: string
  readonly runs: readonly Measurement[]
  readonly failures: readonly string[]
}

export interface ScenarioResult {
  readonly scenario: string
  readonly summary: string
  readonly rounds: number
  readonly contestants: readonly ContestantResult[]
}

/**
 * Rounds A B C A B C: noise of the machine hits all alike. A run that fails is recorded and the others go on.
 */
export async function runScenario(
  scenario: Scenario,
  contestants: readonly Contestant[],
  rounds: number,
  onRun: (name: string, round: number, result: Measurement | Error) => void,
): Promise<ScenarioResult> {
  const runs = new Map<string, Measurement[]>(contestants.map(({ name }) => [name, []]))
  const failures = new Map<string, string[]>(contestants.map(({ name }) => [name, []]))
  for (let round = 1; round <= rounds; round++) {
    for (const contestant of contestants) {
      if (contestant.unavailable !== undefined) continue
      try {
        const measurement = await contestant.run()
        runs.get(contestant.name)?.push(measurement)
        onRun(contestant.name, round, measurement)
      } catch (error) {
        const failure = error instanceof Error ? error : new Error(String(error))
        failures.get(contestant.name)?.push(failure.message)
        onRun(contestant.name, round, failure)
      }
    }
  }
  return {
    scenario: scenario.name,
    summary: scenario.summary,
    rounds,
    contestants: contestants.map(({ name, unavailable }) => ({
      name,
      ...(unavailable !== undefined && { unavailable }),
      runs: runs.get(name) ?? [],
      failures: failures.get(name) ?? [],
    })),
  }
}

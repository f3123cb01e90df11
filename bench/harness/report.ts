import type { Column, ContestantResult, ScenarioResult } from './scenario.ts'
import { median } from './statistics.ts'

const format = (value: number, digits: number): string =>
  Number.isFinite(value) ? value.toFixed(digits) : '–'

const valuesOf = (contestant: ContestantResult, key: string): number[] =>
  contestant.runs.map((run) => run[key] ?? Number.NaN).filter(Number.isFinite)

/** Least, median and most of each column, and how often we are ahead of each other contestant by the medians. */
export function table(result: ScenarioResult, columns: readonly Column[]): string {
  const rows: string[][] = [['', ...columns.map((column) => column.title)]]
  const [ours, ...others] = result.contestants
  for (const contestant of result.contestants) {
    if (contestant.unavailable !== undefined) continue
    rows.push([
      contestant.name,
      ...columns.map(({ key, digits = 0 }) => {
        const values = valuesOf(contestant, key)
        if (values.length === 0) return '–'
        const spread = [Math.min(...values), median(values), Math.max(...values)]
        return values.length === 1
          ? format(values[0] ?? Number.NaN, digits)
          : spread.map((value) => format(value, digits)).join(' / ')
      }),
    ])
  }
  for (const other of others) {
    if (ours === undefined || other.runs.length === 0 || ours.runs.length === 0) continue
    rows.push([
      `${ours.name} : ${other.name}`,
      ...columns.map(({ key, better }) => {
        if (better === undefined) return ''
        const ratio = median(valuesOf(ours, key)) / median(valuesOf(other, key))
        if (!Number.isFinite(ratio)) return '–'
        return `${format(better === 'more' ? ratio : 1 / ratio, 2)} x`
      }),
    ])
  }
  const widths = rows[0]?.map((_, at) => Math.max(...rows.map((row) => row[at]?.length ?? 0))) ?? []
  const lines = rows.map((row) =>
    row
      .map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0)))
      .join('  ')
      .trimEnd(),
  )
  lines.splice(1, 0, '-'.repeat(Math.max(...lines.map((line) => line.length))))
  return lines.join('\n')
}

/** The table with its heading and what was left out or failed. */
export function report(result: ScenarioResult, columns: readonly Column[]): string {
  const notes = result.contestants.flatMap(({ name, unavailable, failures }) => [
    ...(unavailable === undefined ? [] : [`${name}: left out: ${unavailable}`]),
    ...failures.map((failure) => `${name}: a run failed: ${failure}`),
  ])
  const spread = result.rounds > 1 ? 'least / median / most' : 'one run'
  return [
    `${result.scenario}: ${result.summary}`,
    `${result.rounds} interleaved rounds; ${spread}; a ratio above 1 means the first is better`,
    '',
    table(result, columns),
    ...notes.map((note, at) => (at === 0 ? `\n${note}` : note)),
  ].join('\n')
}

/** Numbers and tables for people. */

/** `850 B`, `4.2 KiB`, `17 MiB`. */
export function octetsText(octets: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = octets
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${value >= 10 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

/** The two largest units: `3d 4h`, `5m 12s`, `0s`. */
export function spanText(ms: number): string {
  const units: readonly (readonly [string, number])[] = [
    ['d', 86_400],
    ['h', 3_600],
    ['m', 60],
    ['s', 1],
  ]
  let seconds = Math.max(0, Math.floor(ms / 1_000))
  const parts: string[] = []
  for (const [name, size] of units) {
    if (seconds >= size) parts.push(`${Math.floor(seconds / size)}${name}`)
    seconds %= size
  }
  return parts.slice(0, 2).join(' ') || '0s'
}

export interface Column {
  readonly title: string
  readonly right?: boolean
}

/** Columns as wide as their widest cell; the last one is not padded. Controls from outside never reach the terminal. */
export function tableText(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const cells = [columns.map(({ title }) => title), ...rows.map((row) => row.map(visible))]
  const widths = columns.map((_, index) => Math.max(...cells.map((row) => row[index]?.length ?? 0)))
  return cells
    .map((row) =>
      columns
        .map(({ right }, index) => {
          const cell = row[index] ?? ''
          const width = widths[index] ?? 0
          return right === true
            ? cell.padStart(width)
            : index === columns.length - 1
              ? cell
              : cell.padEnd(width)
        })
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('')
}

/** Text from outside without terminal controls. */
export function visible(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, '?')
}

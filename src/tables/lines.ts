/** The line format that all table files share: comments, empty lines, lines that go on. */

export interface LogicalLine {
  /** Where it stands: `FILE:LINE` of its first line. */
  readonly where: string
  readonly text: string
}

/**
 * A line that begins with white space continues the one before it. Empty lines and lines whose first character
 * is `#` are left out, also between a line and what continues it.
 */
export function logicalLines(content: string, path: string): LogicalLine[] {
  const lines: { where: string; text: string }[] = []
  content.split('\n').forEach((physical, index) => {
    const line = physical.endsWith('\r') ? physical.slice(0, -1) : physical
    const trimmed = line.trimStart()
    if (trimmed === '' || trimmed.startsWith('#')) return
    const last = lines.at(-1)
    // White space at the very beginning continues nothing: such a line stands for itself.
    if (trimmed !== line && last !== undefined) last.text += line
    else lines.push({ where: `${path}:${index + 1}`, text: trimmed })
  })
  return lines.map(({ where, text }) => ({ where, text: text.trimEnd() }))
}

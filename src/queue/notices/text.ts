/** Text of strangers in our own mail: made harmless and cut into lines. */

/** Control characters become `?`, line ends a space; others beyond ASCII too unless `utf8`. */
export function maskText(text: string, utf8: boolean): string {
  const oneLine = text.replaceAll(/[\r\n\t]+/g, ' ').replaceAll(/[\x00-\x1f\x7f]/g, '?')
  return utf8 ? oneLine : oneLine.replaceAll(/[^\x20-\x7e]/g, '?')
}

/**
 * Cuts at spaces so that lines have at most `width` characters, later ones after `indent`. A word that is longer
 * stays whole up to 900 characters, because a line may have 998 (RFC 5322 section 2.1.1).
 */
export function wrapText(text: string, width: number, indent = ''): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ').flatMap((word) => word.match(/.{1,900}/gsu) ?? [])) {
    if (line === '') line = lines.length === 0 ? word : indent + word
    else if (line.length + 1 + word.length <= width) line += ` ${word}`
    else {
      lines.push(line)
      line = indent + word
    }
  }
  lines.push(line)
  return lines
}

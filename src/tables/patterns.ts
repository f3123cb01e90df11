/** `regexp:` and `pcre:` tables: `/pattern/flags result`. */

import type { Table } from './result.ts'
import { type RuleBody, type RuleLine, ruleTable } from './rules.ts'
import { type Dialect, PatternError, translatePattern } from './translate.ts'

/** @throws TableError */
export function patternTable(content: string, path: string, dialect: Dialect): Table {
  return ruleTable(content, path, (line) => patternRule(line, dialect))
}

function patternRule({ text, negated, isCondition }: RuleLine, dialect: Dialect): RuleBody {
  const delimiter = text[0] ?? ''
  if (delimiter === '' || /[\w\s]/.test(delimiter)) return { problem: `"${text}" is not /pattern/ result` }
  const end = closingDelimiter(text, delimiter)
  if (end < 0) return { problem: `the "${delimiter}" that ends the pattern is missing` }
  const [, flags = '', result = ''] = /^(\S*)\s*(.*)$/s.exec(text.slice(end + 1)) ?? []
  try {
    const { source, groups } = translatePattern(text.slice(1, end), flags, dialect)
    const regExp = new RegExp(source)
    return { match: matcher(regExp, groups, negated || isCondition, negated), result, groups }
  } catch (error) {
    if (error instanceof PatternError) return { problem: error.message }
    if (error instanceof SyntaxError)
      return { problem: error.message.replace(/^Invalid regular expression: /, '') }
    throw error
  }
}

/** What stands between the delimiters is the pattern as it is: a backslash keeps the next character from ending it. */
function closingDelimiter(text: string, delimiter: string): number {
  for (let at = 1; at < text.length; at++) {
    if (text[at] === '\\') at++
    else if (text[at] === delimiter) return at
  }
  return -1
}

function matcher(regExp: RegExp, groups: number, isTest: boolean, negated: boolean) {
  const nothing: readonly string[] = []
  if (isTest || groups === 0) {
    return (key: string) => (regExp.test(key) !== negated ? nothing : undefined)
  }
  const names = Array.from({ length: groups }, (_, index) => `g${index + 1}`)
  return (key: string) => {
    const found = regExp.exec(key)?.groups
    return found === undefined ? undefined : names.map((name) => found[name])
  }
}

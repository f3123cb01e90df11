/** What `regexp:`, `pcre:` and `cidr:` have in common: rules in order, negation, nested `if` blocks, `$1` in results. */
import { type LogicalLine, logicalLines } from './lines.ts'
import { found, type Lookup, none, type Query, type Table, TableError, type TableProblem } from './result.ts'

/** A line without its `if` and its `!`. */
export interface RuleLine {
  readonly text: string
  readonly negated: boolean
  /** No result belongs here. */
  readonly isCondition: boolean
}

/** What a rule matches; `problem` when the line cannot be understood. */
export type RuleBody =
  | {
      /** The groups of the match, or undefined when there is none. Negation is in it. */
      readonly match: (key: string) => readonly (string | undefined)[] | undefined
      readonly result: string
      /** How many groups the result may refer to. */
      readonly groups: number
    }
  | { readonly problem: string }

type Part = string | number

type Rule =
  | { readonly kind: 'rule'; readonly match: Match; readonly parts: readonly Part[] }
  /** `end`: index of the rule after the block. */
  | { readonly kind: 'if'; readonly match: Match; end: number }

type Match = (key: string) => readonly (string | undefined)[] | undefined

/** Builds a table of rules; `body` reads what stands on a line. @throws TableError with all that is wrong. */
export function ruleTable(content: string, path: string, body: (line: RuleLine) => RuleBody): Table {
  const problems: TableProblem[] = []
  const rules: Rule[] = []
  const open: { readonly rule: Extract<Rule, { kind: 'if' }>; readonly where: string }[] = []
  for (const line of logicalLines(content, path)) {
    const problem = addLine(line, rules, open, body)
    if (problem !== undefined) problems.push({ where: line.where, what: problem })
  }
  for (const { where } of open) problems.push({ where, what: 'the endif of this if is missing' })
  if (problems.length > 0) throw new TableError(problems)
  return new RuleTable(rules)
}

function addLine(
  { text, where }: LogicalLine,
  rules: Rule[],
  open: { readonly rule: Extract<Rule, { kind: 'if' }>; readonly where: string }[],
  body: (line: RuleLine) => RuleBody,
): string | undefined {
  if (/^endif(?![a-z0-9])/i.test(text)) {
    const last = open.pop()
    if (last === undefined) return 'endif without an if'
    last.rule.end = rules.length
    return undefined
  }
  const condition = /^if(?![a-z0-9])\s*(.*)$/is.exec(text)
  const isCondition = condition !== null
  const [, marks = '', rest = ''] = /^([!\s]*)(.*)$/s.exec(condition?.[1] ?? text) ?? []
  const negated = marks.replaceAll(/\s/g, '').length % 2 === 1
  const read = body({ text: rest, negated, isCondition })
  // A condition that cannot be read still opens a block, or its endif would be a second error.
  if (isCondition) {
    const rule = { kind: 'if' as const, match: 'match' in read ? read.match : () => undefined, end: 0 }
    rules.push(rule)
    open.push({ rule, where })
    if ('problem' in read) return read.problem
    return read.result === '' ? undefined : `"${read.result}" is not expected after an if`
  }
  if ('problem' in read) return read.problem
  if (read.result === '') return 'the result after the pattern is missing'
  const parts = read.groups < 0 ? [read.result] : resultParts(read.result)
  if (typeof parts === 'string') return parts
  const outside = parts.find((part) => typeof part === 'number' && (negated || part > read.groups))
  if (outside !== undefined) {
    return negated ? `$${outside} has no meaning after "!"` : `the pattern has no group for $${outside}`
  }
  rules.push({ kind: 'rule', match: read.match, parts })
  return undefined
}

/** `$1`, `${1}`, `$(1)`; `$$` is a dollar sign. A sentence when it is none of them. */
function resultParts(text: string): readonly Part[] | string {
  const parts: Part[] = []
  let rest = text
  while (rest !== '') {
    const dollar = rest.indexOf('$')
    if (dollar < 0) {
      parts.push(rest)
      break
    }
    if (dollar > 0) parts.push(rest.slice(0, dollar))
    const after = rest.slice(dollar)
    const match = /^\$(?:(\$)|\{([^}]*)\}|\(([^)]*)\)|(\w+))/.exec(after)
    const name = match?.[2] ?? match?.[3] ?? match?.[4]
    if (match?.[1] !== undefined) parts.push('$')
    else if (match === null || name === undefined || !/^[1-9]\d{0,2}$/.test(name)) {
      return `"${after.slice(0, 12)}" in the result is not $1, \${1} or $$ (write \${1}x for group 1 before an x)`
    } else parts.push(Number(name))
    rest = after.slice(match[0].length)
  }
  return parts
}

class RuleTable implements Table {
  readonly #rules: readonly Rule[]

  constructor(rules: readonly Rule[]) {
    this.#rules = rules
  }

  lookup({ key, partial }: Query): Lookup {
    if (partial) return none
    for (let index = 0; index < this.#rules.length; index++) {
      const rule = this.#rules[index]!
      const groups = rule.match(key)
      if (rule.kind === 'if') {
        if (groups === undefined) index = rule.end - 1
      } else if (groups !== undefined) {
        return found(
          rule.parts.map((part) => (typeof part === 'number' ? (groups[part - 1] ?? '') : part)).join(''),
        )
      }
    }
    return none
  }
}

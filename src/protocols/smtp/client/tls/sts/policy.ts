/** MTA-STS, RFC 8461: the record that says there is a policy, the policy itself, and which exchangers it allows. */

export interface StsPolicy {
  readonly domain: string
  /** Of the record that was valid when the policy was fetched. */
  readonly id: string
  readonly mode: 'enforce' | 'testing' | 'none'
  readonly mx: readonly string[]
  /** Seconds. */
  readonly maxAge: number
  /** As it was fetched, without line ends. */
  readonly lines: readonly string[]
  /** Milliseconds since the epoch. */
  readonly fetchedAt: number
}

export const expiryOf = ({ fetchedAt, maxAge }: StsPolicy): number => fetchedAt + maxAge * 1000

/** Longest life of a policy, RFC 8461 section 3.2: about a year. Who asks for more gets that. */
const maxMaxAge = 31_557_600

/**
 * The id of the record among the TXT records of `_mta-sts.DOMAIN`, section 3.1. Undefined: there is none, or more than
 * one, or it is broken; then the domain has no policy.
 */
export function stsRecordId(texts: readonly string[]): string | undefined {
  const records = texts.filter((text) => /^v=STSv1[ \t]*(?:;|$)/.test(text))
  if (records.length !== 1) return undefined
  const fields = records[0]!.split(';').map((field) => field.trim())
  const id = fields.find((field) => /^id[ \t]*=/.test(field))
  return id && /^id[ \t]*=[ \t]*([A-Za-z0-9]{1,32})$/.exec(id)?.[1]
}

/** Reads a policy, section 3.2. Returns what is wrong as a string. */
export function parseStsPolicy(
  text: string,
  { domain, id, now }: { readonly domain: string; readonly id: string; readonly now: number },
): StsPolicy | string {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '')
  const fields = new Map<string, string>()
  const mx: string[] = []
  for (const line of lines) {
    const match = /^([A-Za-z0-9][A-Za-z0-9_.-]*)[ \t]*:[ \t]*(.*?)[ \t]*$/.exec(line)
    if (match === null) return `a line is not name: value (${printable(line)})`
    const [, name = '', value = ''] = match
    if (name === 'mx') mx.push(value.toLowerCase())
    // Of fields given twice the first counts.
    else if (!fields.has(name)) fields.set(name, value)
  }
  if (fields.get('version') !== 'STSv1') return 'its version is not STSv1'
  const mode = fields.get('mode')
  if (mode !== 'enforce' && mode !== 'testing' && mode !== 'none') return 'it has no mode'
  const age = fields.get('max_age') ?? ''
  if (!/^\d{1,10}$/.test(age)) return 'its max_age makes no sense'
  if (mode !== 'none' && mx.length === 0) return 'it names no mx'
  const odd = mx.find((pattern) => !/^(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/.test(pattern))
  if (odd !== undefined) return `an mx is no name (${printable(odd)})`
  return {
    domain,
    id,
    mode,
    mx,
    maxAge: Math.min(Number(age), maxMaxAge),
    lines: lines.map(printable),
    fetchedAt: now,
  }
}

/** Section 4.1: the name, or with `*` as exactly one label in front. */
export function mxMatches(host: string, patterns: readonly string[]): boolean {
  const name = host.toLowerCase()
  const dot = name.indexOf('.')
  return patterns.some((pattern) =>
    pattern.startsWith('*.')
      ? dot > 0 && name.slice(dot + 1) === pattern.slice(2).toLowerCase()
      : name === pattern.toLowerCase(),
  )
}

const printable = (text: string): string => text.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 400)

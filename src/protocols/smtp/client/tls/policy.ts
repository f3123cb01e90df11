/**
 * What TLS has to be like towards a next hop: a level and its attributes, from the settings or from an entry of
 * `tls_policy_maps`. An entry that cannot be understood is no policy at all: mail waits rather than go out with less
 * protection than somebody meant.
 */
import { createHash } from 'node:crypto'
import type { ClientSettings } from '../config.ts'
import { isFingerprint } from './certificates.ts'
import { isRequired, needsMatch, needsTrust, type TlsLevel, tlsLevels } from './levels.ts'
import { type CipherGrade, cipherGrades, protocolRange } from './parameters.ts'

/** Of MTA-STS: which exchangers there may be, and what came of the policy. */
export interface StsFacts {
  readonly domain: string
  /** RFC 8461 section 4.1: `mx.example.com`, `*.example.com`. */
  readonly mxPatterns: readonly string[]
  /** The lines of the policy, for reports. */
  readonly lines: readonly string[]
  /** Failures are reported and have no other consequence. */
  readonly testing: boolean
}

export interface TlsPolicy {
  readonly level: TlsLevel
  /** Names all that it demands: connections made under another one are of no use to it. Of one transport. */
  readonly key: string
  readonly protocols: readonly string[]
  readonly ciphers: CipherGrade
  readonly excluded: readonly string[]
  /** Names at `verify` and `secure`, digests at `fingerprint`. */
  readonly match: readonly string[]
  /** As `tls_servername`. */
  readonly servername: string
  readonly trustAnchorFiles: readonly string[]
  readonly sts?: StsFacts
  /** Where it comes from, for people: `smtp.tls_security_level`, or the key of the table. */
  readonly source: string
  /** What an entry of a table says by itself. */
  readonly given: GivenAttributes
  /** Attributes of an entry that mean nothing: its level is `none`. */
  readonly ignored: readonly string[]
}

/** Attributes of an entry that stand in for settings. */
export interface GivenAttributes {
  readonly protocols?: readonly string[]
  readonly ciphers?: CipherGrade
  readonly exclude?: readonly string[]
  /** `tls_connection_reuse`. */
  readonly reuse?: boolean
}

/** The same policy where the DNS has nothing that would serve its level. */
export function loweredTo(level: TlsLevel, policy: TlsPolicy, settings: ClientSettings): TlsPolicy {
  return { ...policy, ...parametersOf(level, policy.given, settings), level }
}

/** Versions and ciphers, which differ between levels that are a favour and those that are demanded. */
export function parametersOf(
  level: TlsLevel,
  given: GivenAttributes,
  settings: ClientSettings,
): Pick<TlsPolicy, 'protocols' | 'ciphers' | 'excluded'> {
  const mandatory = isRequired(level)
  const exclude = given.exclude ?? [
    ...settings.tls_exclude_ciphers,
    ...(mandatory ? settings.tls_mandatory_exclude_ciphers : []),
  ]
  return {
    protocols: given.protocols ?? (mandatory ? settings.tls_mandatory_protocols : settings.tls_protocols),
    ciphers: given.ciphers ?? (mandatory ? settings.tls_mandatory_ciphers : settings.tls_ciphers),
    excluded: exclude.flatMap((names) => names.split(/[\s,:]+/)).filter((name) => name !== ''),
  }
}

export type PolicyResult =
  | { readonly ok: true; readonly policy: TlsPolicy }
  | { readonly ok: false; readonly reason: string; readonly dsn: '4.7.5' | '4.3.0' | '4.7.10' | '5.7.10' }

export const badPolicy = (reason: string): PolicyResult => ({ ok: false, reason, dsn: '4.7.5' })

/** The policy of `level` as the settings have it. */
export function policyOf(level: TlsLevel, settings: ClientSettings, source: string): PolicyResult {
  return finish({ level, source }, settings)
}

interface Draft {
  level: TlsLevel
  source: string
  protocols?: readonly string[]
  ciphers?: CipherGrade
  exclude?: readonly string[]
  reuse?: boolean
  match?: readonly string[]
  servername?: string
  tafile?: string[]
  sts?: StsFacts
  ignored?: readonly string[]
}

/** Reads an entry of a policy table, `secure match=.example.com ciphers=high`. `key` names it in messages. */
export function parsePolicy(value: string, settings: ClientSettings, key: string): PolicyResult {
  const [levelWord = '', ...words] = value.trim().split(/[\s,]+/)
  const source = `tls_policy_maps, ${key}`
  const fail = (reason: string) => badPolicy(`the TLS policy of ${key} is invalid: ${reason}`)
  const level = tlsLevels.find((name) => name === levelWord.toLowerCase())
  if (level === undefined) return fail(`\`${levelWord}\` is not a level (${tlsLevels.join(', ')})`)
  const draft: Draft = { level, source }
  // Nothing is protected that a mistake in them could leave open.
  if (level === 'none') return finish({ ...draft, ignored: attributesOf(words) }, settings, key)
  const seen = new Map<string, string>()
  for (const word of attributesOf(words)) {
    const at = word.indexOf('=')
    if (at < 1) return fail(`\`${word}\` is not name=value`)
    const name = word.slice(0, at).toLowerCase()
    const text = word.slice(at + 1)
    const rule = attributes[name]
    if (rule === undefined) return fail(`there is no attribute \`${name}\``)
    if (rule.levels?.(level) === false) return fail(`\`${name}\` does not go with the level ${level}`)
    if (text === '' && rule.mayBeEmpty !== true) return fail(`\`${name}\` has no value`)
    if (seen.has(name) && rule.several !== true) return fail(`\`${name}\` is given twice`)
    seen.set(name, text)
    const problem = rule.read(text, draft)
    if (problem !== undefined) return fail(`${name}: ${problem}`)
  }
  const sts = stsFacts(seen, draft)
  if (typeof sts === 'string') return fail(sts)
  if (sts !== undefined) draft.sts = sts
  return finish(draft, settings, key)
}

/** `{ name = value with spaces }` is one word. */
function attributesOf(words: readonly string[]): readonly string[] {
  const joined = words.join(' ')
  const found: string[] = []
  for (const match of joined.matchAll(/\{\s*([^}]*?)\s*\}|(\S+)/g)) {
    found.push(match[1] === undefined ? match[2]! : match[1].replace(/\s*=\s*/, '='))
  }
  return found
}

interface Attribute {
  /** Default: all. */
  readonly levels?: (level: TlsLevel) => boolean
  readonly several?: true
  /** As in Postfix: nothing is restricted then. */
  readonly mayBeEmpty?: true
  /** Returns what is wrong. */
  read(text: string, draft: Draft): string | undefined
}

const noted = { read: () => undefined }

const attributes: Readonly<Record<string, Attribute>> = {
  protocols: {
    mayBeEmpty: true,
    read(text, draft) {
      draft.protocols = wordsOf(text, ':')
      const range = protocolRange(draft.protocols)
      return typeof range === 'string' ? range : undefined
    },
  },
  ciphers: {
    read(text, draft) {
      const grade = cipherGrades.find((name) => name === text.toLowerCase())
      if (grade === undefined) return `\`${text}\` is no grade (${cipherGrades.join(', ')})`
      draft.ciphers = grade
      return undefined
    },
  },
  exclude: {
    mayBeEmpty: true,
    read(text, draft) {
      draft.exclude = wordsOf(text, ':')
      return undefined
    },
  },
  match: {
    levels: (level) => needsMatch(level) && level !== 'dane' && level !== 'dane-only',
    several: true,
    read(text, draft) {
      draft.match = [...(draft.match ?? []), ...wordsOf(text, draft.level === 'fingerprint' ? '|' : ':')]
      return undefined
    },
  },
  // With DANE the records say which name is sent; what is given here is for servers that have none.
  servername: {
    read(text, draft) {
      if (!isHostName(text)) return `\`${text}\` is not a host name`
      draft.servername = text
      return undefined
    },
  },
  tafile: {
    levels: needsTrust,
    several: true,
    read(text, draft) {
      if (!text.startsWith('/')) return `\`${text}\` is not an absolute path`
      draft.tafile = [...(draft.tafile ?? []), text]
      return undefined
    },
  },
  // Of these two the last one counts, as in Postfix.
  connection_reuse: {
    several: true,
    read(text, draft) {
      draft.reuse = text.toLowerCase() === 'yes'
      return yesOrNo(text)
    },
  },
  enable_rpk: { several: true, read: yesOrNo },
  policy_type: {
    read: (text) => (text === 'sts' || text === 'no-policy-found' ? undefined : `\`${text}\` is not known`),
  },
  policy_domain: noted,
  policy_ttl: {
    read: (text) => (/^\d{1,10}$/.test(text) ? undefined : `\`${text}\` is no number of seconds`),
  },
  policy_string: { ...noted, several: true },
  mx_host_pattern: {
    several: true,
    read: (text, draft) => {
      const patterns = draft.sts?.mxPatterns ?? []
      draft.sts = { domain: '', lines: [], testing: false, mxPatterns: [...patterns, text] }
      return undefined
    },
  },
  policy_failure: noted,
}

const wordsOf = (text: string, separator: string): string[] =>
  text.split(separator).filter((word) => word !== '')

/** Labels of letters, digits, `-` and `_`, and not an address. */
function isHostName(text: string): boolean {
  const label = '(?!-)[A-Za-z0-9_-]{1,63}(?<!-)'
  return text.length < 256 && new RegExp(`^${label}(\\.${label})*$`).test(text) && !/^[\d.]+$/.test(text)
}

function yesOrNo(text: string): string | undefined {
  return /^(?:yes|no)$/i.test(text) ? undefined : `\`${text}\` is neither yes nor no`
}

/** Attributes of a plug-in for MTA-STS, joined. Only with `policy_type=sts` do they mean anything. */
function stsFacts(seen: ReadonlyMap<string, string>, draft: Draft): StsFacts | undefined | string {
  const type = seen.get('policy_type')
  if (type === undefined) {
    const stray = [...seen.keys()].find((name) => name.startsWith('policy_') || name === 'mx_host_pattern')
    return stray === undefined ? undefined : `\`${stray}\` without policy_type`
  }
  const patterns = draft.sts?.mxPatterns ?? []
  delete draft.sts
  if (type !== 'sts' || patterns.length === 0) return undefined
  return { domain: seen.get('policy_domain') ?? '', mxPatterns: patterns, lines: [], testing: false }
}

function finish(draft: Draft, settings: ClientSettings, key = ''): PolicyResult {
  const { level } = draft
  const { protocols, ciphers, exclude } = draft
  const given = {
    ...(protocols === undefined ? {} : { protocols }),
    ...(ciphers === undefined ? {} : { ciphers }),
    ...(exclude === undefined ? {} : { exclude }),
    ...(draft.reuse === undefined ? {} : { reuse: draft.reuse }),
  }
  const named = draft.match ?? defaultMatch(level, settings)
  // What is no digest fits nothing; with nothing else there is nothing to fit.
  const match = level === 'fingerprint' ? named.filter(isFingerprint) : named
  if (needsMatch(level) && level !== 'dane' && level !== 'dane-only' && match.length === 0) {
    const where = key === '' ? draft.source : `the TLS policy of ${key}`
    return badPolicy(`${where}: the level ${level} without anything to match (match=)`)
  }
  if (settings.tls_wrappermode && !isRequired(level)) {
    return badPolicy(`tls_wrappermode needs a level of encrypt or more; ${draft.source} says ${level}`)
  }
  return {
    ok: true,
    policy: {
      level,
      key: keyOf(draft),
      ...parametersOf(level, given, settings),
      match,
      servername: draft.servername ?? settings.tls_servername,
      trustAnchorFiles: draft.tafile ?? settings.tls_trust_anchor_file,
      ...(draft.sts === undefined ? {} : { sts: draft.sts }),
      source: draft.source,
      given,
      ignored: draft.ignored ?? [],
    },
  }
}

/** The level, and a digest of what is not as the settings have it. */
function keyOf({ level, source: _, ...own }: Draft): string {
  const said = JSON.stringify(own)
  if (level === 'none' || said === '{}') return level
  return `${level}/${createHash('sha256').update(said).digest('base64url').slice(0, 16)}`
}

function defaultMatch(level: TlsLevel, settings: ClientSettings): readonly string[] {
  switch (level) {
    case 'fingerprint':
      return settings.tls_fingerprint_cert_match
    case 'verify':
      return settings.tls_verify_cert_match
    case 'secure':
      return settings.tls_secure_cert_match
    default:
      return []
  }
}

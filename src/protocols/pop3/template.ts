/**
 * Texts with variables, as Dovecot's settings have them: `%{name}`, the single letters of its version 2.3, and `%%`.
 * A variable without a value is empty.
 */

/** Long names, and the letter of each that has one. */
export type Variables = Readonly<Record<string, string>>

/** Of who is connected. */
const connectionVariables = {
  user: 'u',
  username: 'n',
  domain: 'd',
  session: '',
  service: '',
  remote_ip: '',
  remote_port: '',
  local_ip: '',
  local_port: '',
} as const

/** Of `pop3.logout_format`. */
export const logoutVariables = {
  top_count: 't',
  top_bytes: 'p',
  retr_count: 'r',
  retr_bytes: 'b',
  deleted_count: 'd',
  deleted_bytes: '',
  message_count: 'm',
  message_bytes: 's',
  input: 'i',
  output: 'o',
  uidl_change: 'u',
  ...withoutLetters(connectionVariables),
} as const

/** Of `log.login_elements`. */
export const loginVariables = {
  ...connectionVariables,
  remote_ip: 'r',
  local_ip: 'l',
  mechanism: 'm',
  secured: 'c',
  mail_pid: 'e',
} as const

/** Of `log.login_format`. */
export const loginFormatVariables = { message: '$', elements: 's' } as const

/** Of `log.mail_prefix`. */
export const prefixVariables = {
  ...connectionVariables,
  mail_pid: 'p',
  remote_ip: 'r',
  local_ip: 'l',
} as const

function withoutLetters<T extends Variables>(variables: T): { readonly [K in keyof T]: '' } {
  return Object.fromEntries(Object.keys(variables).map((name) => [name, ''])) as { [K in keyof T]: '' }
}

const pattern = /%(?:\{([^}]*)\}|(.)|$)/gs

/** The long name of a variable as it is written; undefined: there is none. `%` itself is `%`. */
function nameOf(
  long: string | undefined,
  letter: string | undefined,
  variables: Variables,
): string | undefined {
  if (letter === '%') return '%'
  if (long !== undefined) return Object.hasOwn(variables, long) ? long : undefined
  return Object.entries(variables).find(([, short]) => short !== '' && short === letter)?.[0]
}

/** For `check` of a setting. */
export const checkTemplate =
  (variables: Variables) =>
  (text: string): string | undefined => {
    for (const [whole, long, letter] of text.matchAll(pattern)) {
      if (nameOf(long, letter, variables) === undefined) return `unknown variable ${whole}`
    }
    return undefined
  }

/** For the documentation of a setting. */
export const describeVariables = (variables: Variables): string =>
  Object.entries(variables)
    .map(([name, letter]) => (letter === '' ? `\`${name}\`` : `\`${name}\` (\`%${letter}\`)`))
    .join(', ')

/** A template ready for use: literal text, and names of variables. */
type Parts = readonly (string | { readonly name: string })[]

/** Lines are written for every session, and templates are few: each is taken apart once. */
const compiled = new WeakMap<Variables, Map<string, Parts>>()

function partsOf(text: string, variables: Variables): Parts {
  const known = compiled.get(variables) ?? new Map<string, Parts>()
  compiled.set(variables, known)
  let parts = known.get(text)
  if (parts === undefined) {
    const made: (string | { name: string })[] = []
    let end = 0
    for (const match of text.matchAll(pattern)) {
      const [whole, long, letter] = match
      const name = nameOf(long, letter, variables) ?? ''
      made.push(text.slice(end, match.index), name === '%' ? '%' : { name })
      end = match.index + whole.length
    }
    made.push(text.slice(end))
    parts = made.filter((part) => part !== '')
    known.set(text, parts)
  }
  return parts
}

/** Names of the variables that a template uses. */
export const variablesIn = (text: string, variables: Variables): readonly string[] =>
  partsOf(text, variables).flatMap((part) => (typeof part === 'string' ? [] : [part.name]))

/** Fills in a template that `checkTemplate` accepts. `valueFor` is asked for what it uses alone. */
export function fillIn(
  text: string,
  variables: Variables,
  valueFor: (name: string) => string | number,
): string {
  let filled = ''
  for (const part of partsOf(text, variables)) filled += typeof part === 'string' ? part : valueFor(part.name)
  return filled
}

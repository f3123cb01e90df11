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

/** Whether a template uses a variable; computing some costs something. */
export const usesVariable = (text: string, name: string, variables: Variables): boolean =>
  [...text.matchAll(pattern)].some(([, long, letter]) => nameOf(long, letter, variables) === name)

/** Fills in a template that `checkTemplate` accepts. */
export const fillIn = (
  text: string,
  variables: Variables,
  values: Readonly<Record<string, string | number>>,
): string =>
  text.replace(pattern, (_, long: string | undefined, letter: string | undefined) => {
    const name = nameOf(long, letter, variables)
    return name === '%' ? '%' : String(values[name ?? ''] ?? '')
  })

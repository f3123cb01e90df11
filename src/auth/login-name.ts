/** Login names as they are looked for, whatever the mechanism. */

/** The name with the default domain, or undefined when it has characters that names here do not have. */
export function loginName(
  name: string,
  settings: {
    readonly default_domain: string
    readonly username_chars: string
    readonly username_format: string
  },
): string | undefined {
  if (name === '') return undefined
  const { default_domain, username_chars, username_format } = settings
  if (username_chars !== '') {
    for (const character of name) if (!username_chars.includes(character)) return undefined
  }
  const full = default_domain === '' || name.includes('@') ? name : `${name}@${default_domain}`
  const at = full.lastIndexOf('@')
  const values = {
    u: full,
    n: at < 0 ? full : full.slice(0, at),
    d: at < 0 ? '' : full.slice(at + 1),
  }
  return username_format.replace(/%([LU]?)([und])/g, (_, letters: string, key: string) => {
    const value = values[key as keyof typeof values]
    return letters === 'L' ? value.toLowerCase() : letters === 'U' ? value.toUpperCase() : value
  })
}

/** `user*master`: who logs in, and as whom. */
export function splitMaster(name: string, separator: string): { user: string; authorization: string } {
  const at = separator === '' ? -1 : name.lastIndexOf(separator)
  return at <= 0
    ? { user: name, authorization: '' }
    : { user: name.slice(at + separator.length), authorization: name.slice(0, at) }
}

/** Login names as they are looked for, whatever the mechanism. */

/** The name with the default domain, or undefined when it has characters that names here do not have. */
export function loginName(
  name: string,
  settings: { readonly default_domain: string; readonly username_chars: string },
): string | undefined {
  if (name === '') return undefined
  const { default_domain, username_chars } = settings
  if (username_chars !== '') {
    for (const character of name) if (!username_chars.includes(character)) return undefined
  }
  return default_domain === '' || name.includes('@') ? name : `${name}@${default_domain}`
}

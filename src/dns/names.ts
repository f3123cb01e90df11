/** Names that can be asked for, and names that hosts can have. */
import { isIP } from 'node:net'

/** What can be put into a question at all: RFC 1035 section 3.1. An address is no name. */
export function isQueryName(name: string): boolean {
  const labels = name.split('.')
  return (
    name.length <= 253 &&
    isIP(name) === 0 &&
    labels.every((label) => label.length > 0 && label.length <= 63 && /^[\x21-\x7e]*$/.test(label))
  )
}

/** Host names of RFC 1123 section 2.1, with `_` allowed because it is used; not a name of numbers only. */
export function isHostname(name: string): boolean {
  const label = '(?!-)[a-z0-9_-]{1,63}(?<!-)'
  return (
    name.length <= 254 &&
    new RegExp(`^${label}(\\.${label})*\\.?$`, 'i').test(name) &&
    !/^[0-9.]+$/.test(name)
  )
}

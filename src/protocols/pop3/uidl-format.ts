/**
 * The `uidl_format` template: literal text and keys with modifiers.
 *
 *     %[0][width][X|x]key      X: upper-case hexadecimal, x: lower-case; width pads (with zeros after a 0)
 *
 * Keys: `u` uid, `v` uid validity, `f` base file name, `g` GUID of the mail (the base name, if it has no other), `%` a percent sign. As in Dovecot
 * 2.3, `%08Xu` of uid 10 is `0000000a`: its `X` gives lower-case digits, so ours does, and so does `x`.
 */

/** What a UIDL can be made of. */
export interface UidlSource {
  readonly uid: number
  readonly uidValidity: number
  /** File name up to the first `:`. */
  readonly fileName: string
  readonly guid: string
}

type Part =
  | string
  | {
      readonly key: 'u' | 'v' | 'f' | 'g'
      readonly hex: boolean
      readonly width: number
      readonly zero: boolean
    }

const partPattern = /%(0?)([0-9]{0,3})([Xx]?)([a-zA-Z%])/g

/** A compiled format: gives the UIDL of one mail. Its result is not checked for length. */
export type UidlFormatter = (source: UidlSource) => string

function parse(format: string): Part[] | string {
  const parts: Part[] = []
  let end = 0
  for (const match of format.matchAll(partPattern)) {
    const [whole, zero, width, hex, key] = match
    if (match.index > end) parts.push(format.slice(end, match.index))
    end = match.index + whole.length
    if (key === '%') parts.push('%')
    else if (key === 'u' || key === 'v' || key === 'f' || key === 'g') {
      parts.push({ key, hex: hex !== '', width: Number(width || '0'), zero: zero === '0' })
    } else if (key === 'm') {
      return 'the header checksum %m does not exist in a Maildir'
    } else {
      return `unknown key '${whole}'`
    }
  }
  if (format.slice(end).includes('%')) return `unknown key in '${format.slice(end)}'`
  if (end < format.length) parts.push(format.slice(end))
  return parts
}

/**
 * Says what is wrong with a format, or undefined. A UIDL has 1 to 70 characters from 0x21 to 0x7e (RFC 1939
 * section 7); file names can be longer, so formats with `%f` or `%g` are checked mail by mail instead.
 */
export function checkUidlFormat(format: string): string | undefined {
  const parts = parse(format)
  if (typeof parts === 'string') return parts
  if (!parts.some((part) => typeof part !== 'string' && part.key !== 'v')) {
    return 'must contain %u, %f or %g, or all mails would have the same UIDL'
  }
  let longest = 0
  for (const part of parts) {
    if (typeof part === 'string') {
      if (!/^[\x21-\x7e]*$/.test(part)) return 'must consist of printable ASCII without spaces'
      longest += part.length
    } else {
      if (!part.zero && part.width > 1) return 'a width needs a leading 0: UIDLs have no spaces'
      longest += Math.max(part.width, part.key === 'g' || part.key === 'f' ? 1 : part.hex ? 8 : 10)
    }
  }
  return longest > 70 ? `makes UIDLs of ${longest} characters, 70 are allowed` : undefined
}

/** Whether UIDLs of this format have the file name in them, or the GUID, which mostly is the file name. */
export function usesFileName(format: string): boolean {
  const parts = parse(format)
  return (
    typeof parts !== 'string' && parts.some((part) => typeof part !== 'string' && 'fg'.includes(part.key))
  )
}

/** Compiles a format that `checkUidlFormat` accepts. */
export function compileUidlFormat(format: string): UidlFormatter {
  const parts = parse(format)
  if (typeof parts === 'string') throw new RangeError(`uidl_format: ${parts}`)
  // The default, and what nearly everyone has; worth not walking a list for a hundred thousand mails.
  if (format === '%08Xu%08Xv') {
    let validity = -1
    let suffix = ''
    return ({ uid, uidValidity }) => {
      if (uidValidity !== validity) {
        validity = uidValidity
        suffix = uidValidity.toString(16).padStart(8, '0')
      }
      return uid.toString(16).padStart(8, '0') + suffix
    }
  }
  return (source) => {
    let text = ''
    for (const part of parts) {
      if (typeof part === 'string') {
        text += part
        continue
      }
      switch (part.key) {
        case 'u':
        case 'v': {
          const value = part.key === 'u' ? source.uid : source.uidValidity
          text += value.toString(part.hex ? 16 : 10).padStart(part.width, '0')
          break
        }
        case 'f':
          text += source.fileName
          break
        case 'g':
          text += source.guid
          break
      }
    }
    return text
  }
}

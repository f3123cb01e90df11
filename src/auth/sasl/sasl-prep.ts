/**
 * SASLprep, RFC 4013: the profile of stringprep for names and passwords. Unicode has grown since; as RFC 8265 does, its
 * present tables are used, and unassigned code points are not looked for.
 */

/** Mapped to nothing: RFC 3454 table B.1. */
const ignored = /\u034f|[\u180b-\u180d]|[\ufe00-\ufe0f]|[\u00ad\u1806\u200b-\u200d\u2060\ufeff]/gu
/** Other spaces become the space: RFC 3454 table C.1.2. */
const spaces = /[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/gu
/** Controls, private use, surrogates, non-characters, what changes the display: tables C.2 to C.9. */
const prohibited =
  /\u0340|\u0341|[\p{Cc}\p{Co}\p{Cs}\u2028\u2029\u200e\u200f\u202a-\u202e\u206a-\u206f\u{fdd0}-\u{fdef}\ufff9-\ufffd\u2ff0-\u2ffb\u{e0001}\u{e0020}-\u{e007f}]/u
const rightToLeft = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/u
const ascii = /^[ -~]*$/

/** The prepared text; undefined when it contains what must not be there. */
export function saslPrep(text: string): string | undefined {
  if (ascii.test(text)) return text
  const prepared = text.replaceAll(ignored, '').replaceAll(spaces, ' ').normalize('NFKC')
  if (prohibited.test(prepared)) return undefined
  // RFC 3454 section 6: text with a right-to-left letter has no left-to-right one, and is such at both ends.
  if (rightToLeft.test(prepared)) {
    if (/\p{Lu}|\p{Ll}|[\p{Script=Latin}\p{Script=Greek}\p{Script=Cyrillic}]/u.test(prepared))
      return undefined
    if (!rightToLeft.test(prepared.at(0)!) || !rightToLeft.test(prepared.at(-1)!)) return undefined
  }
  return prepared
}

/** ESMTP parameters of MAIL and RCPT: RFC 1870 (SIZE), 6152 (BODY), 6531 (SMTPUTF8), 3461 (DSN), 4954 (AUTH), 8689 (REQUIRETLS). */
import type { Notify } from '../../../queue/contract.ts'
import { decodeXtext } from '../xtext.ts'
import type { Parameters } from './command.ts'
import * as replies from './replies.ts'

export interface MailParameters {
  /** As declared by the client; undefined: not given. */
  readonly size: number | undefined
  readonly body: '7BIT' | '8BITMIME' | undefined
  readonly smtputf8: boolean
  /** RFC 8689. */
  readonly requiretls: boolean
  readonly ret: 'FULL' | 'HDRS' | undefined
  readonly envid: string | undefined
}

export interface RecipientParameters {
  readonly notify: readonly Notify[] | undefined
  readonly orcpt: string | undefined
}

const noMailParameters: MailParameters = {
  size: undefined,
  body: undefined,
  smtputf8: false,
  requiretls: false,
  ret: undefined,
  envid: undefined,
}
const noRecipientParameters: RecipientParameters = { notify: undefined, orcpt: undefined }

/** A string is the reply that refuses them. */
export function readMailParameters(
  parameters: Parameters,
  offers: { readonly dsn: boolean; readonly requireTls: boolean },
): MailParameters | string {
  if (parameters.length === 0) return noMailParameters
  let { size, body, smtputf8, requiretls, ret, envid } = noMailParameters
  for (const [keyword, value] of parameters) {
    // A keyword without the value it needs is another keyword.
    if (value === undefined) {
      if (keyword === 'SMTPUTF8') smtputf8 = true
      else if (keyword === 'REQUIRETLS' && offers.requireTls) requiretls = true
      else return replies.unknownParameter
      continue
    }
    switch (keyword) {
      case 'SIZE':
        // RFC 1870 section 4: up to 20 digits. With more it is certainly too large.
        if (!/^[0-9]+$/.test(value)) return replies.badParameter('SIZE')
        size = Number(value)
        if (!Number.isSafeInteger(size)) return replies.tooLarge
        break
      case 'BODY': {
        const word = value.toUpperCase()
        // BINARYMIME is not offered: mail is kept and sent as lines.
        if (word !== '7BIT' && word !== '8BITMIME') return replies.unknownParameter
        body = word
        break
      }
      case 'RET': {
        const word = value.toUpperCase()
        if (!offers.dsn) return replies.noDsn
        if (ret !== undefined || (word !== 'FULL' && word !== 'HDRS')) return replies.badParameter('RET')
        ret = word
        break
      }
      case 'ENVID': {
        if (!offers.dsn) return replies.noDsn
        // RFC 3461 section 4.4: at most 100 characters; what it encodes must be printable.
        const decoded = envid !== undefined || value.length > 100 ? undefined : decodeXtext(value)
        if (decoded === undefined || decoded === '' || !isPrintable(decoded)) {
          return replies.badParameter('ENVID')
        }
        envid = decoded
        break
      }
      case 'AUTH':
        // Who the mail came from according to the client, RFC 4954 section 5. Nobody here asks for it.
        if (value !== '<>' && decodeXtext(value) === undefined) return replies.badParameter('AUTH')
        break
      default:
        return replies.unknownParameter
    }
  }
  return { size, body, smtputf8, requiretls, ret, envid }
}

/** A string is the reply that refuses them. */
export function readRecipientParameters(
  parameters: Parameters,
  offersDsn: boolean,
): RecipientParameters | string {
  if (parameters.length === 0) return noRecipientParameters
  let { notify, orcpt } = noRecipientParameters
  for (const [keyword, value] of parameters) {
    if (value === undefined || (keyword !== 'NOTIFY' && keyword !== 'ORCPT')) return replies.unknownParameter
    if (!offersDsn) return replies.noDsn
    if (keyword === 'NOTIFY') {
      notify = notify === undefined ? readNotify(value) : undefined
      if (notify === undefined) return replies.badParameter('NOTIFY')
    } else {
      if (orcpt !== undefined || !isOrcpt(value)) return replies.badParameter('ORCPT')
      orcpt = value
    }
  }
  return { notify, orcpt }
}

/** `NEVER`, or a list of the others: RFC 3461 section 4.1. A word twice, or none between two commas, does no harm. */
function readNotify(value: string): readonly Notify[] | undefined {
  const words = value
    .toUpperCase()
    .split(',')
    .filter((word) => word !== '')
  if (words.length === 0) return undefined
  if (words.every((word) => word === 'NEVER')) return ['NEVER']
  const known = new Set<Notify>()
  for (const word of words) {
    if (word !== 'SUCCESS' && word !== 'FAILURE' && word !== 'DELAY') return undefined
    known.add(word)
  }
  return [...known]
}

/** `addr-type ";" xtext`, RFC 3461 section 4.2; RFC 6533 has a type utf-8 with escapes and plain UTF-8. */
function isOrcpt(value: string): boolean {
  if (value.length > 500) return false
  const match = /^([A-Za-z0-9-]+);(.*)$/u.exec(value)
  if (match === null) return false
  if (match[1]!.toLowerCase() === 'utf-8') return true
  // A raw octet above 127 is let through: it is passed on as it came.
  const decoded = decodeXtext(match[2]!.replace(/[^!-~]/gu, ''))
  return decoded !== undefined && isPrintable(decoded)
}

function isPrintable(text: string): boolean {
  return !/[\u0000-\u001f\u007f]/.test(text)
}

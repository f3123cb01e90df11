/** ESMTP parameters of MAIL and RCPT: RFC 1870 (SIZE), 6152 (BODY), 6531 (SMTPUTF8), 3461 (DSN), 4954 (AUTH). */
import type { Notify } from '../../../queue/contract.ts'
import { decodeXtext } from '../xtext.ts'
import type { Parameters } from './command.ts'
import * as replies from './replies.ts'

export interface MailParameters {
  /** As declared by the client; undefined: not given. */
  readonly size: number | undefined
  readonly body: '7BIT' | '8BITMIME' | undefined
  readonly smtputf8: boolean
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
  ret: undefined,
  envid: undefined,
}
const noRecipientParameters: RecipientParameters = { notify: undefined, orcpt: undefined }

/** A string is the reply that refuses them. */
export function readMailParameters(parameters: Parameters): MailParameters | string {
  if (parameters.size === 0) return noMailParameters
  let { size, body, smtputf8, ret, envid } = noMailParameters
  for (const [keyword, value] of parameters) {
    switch (keyword) {
      case 'SIZE':
        // RFC 1870 section 4: up to 20 digits.
        if (value === true || !/^[0-9]{1,20}$/.test(value)) return replies.badParameter('SIZE')
        size = Number(value)
        break
      case 'BODY': {
        const word = value === true ? '' : value.toUpperCase()
        if (word !== '7BIT' && word !== '8BITMIME') return replies.badParameter('BODY')
        body = word
        break
      }
      case 'SMTPUTF8':
        if (value !== true) return replies.badParameter('SMTPUTF8')
        smtputf8 = true
        break
      case 'RET': {
        const word = value === true ? '' : value.toUpperCase()
        if (word !== 'FULL' && word !== 'HDRS') return replies.badParameter('RET')
        ret = word
        break
      }
      case 'ENVID': {
        // RFC 3461 section 4.4: at most 100 characters; what it encodes must be printable.
        const decoded = value === true || value.length > 100 ? undefined : decodeXtext(value)
        if (decoded === undefined || !isPrintable(decoded)) return replies.badParameter('ENVID')
        envid = decoded
        break
      }
      case 'AUTH':
        // Who the mail came from according to the client, RFC 4954 section 5. Nobody here asks for it.
        if (value === true || (value !== '<>' && decodeXtext(value) === undefined)) {
          return replies.badParameter('AUTH')
        }
        break
      default:
        return replies.unknownParameter
    }
  }
  return { size, body, smtputf8, ret, envid }
}

/** A string is the reply that refuses them. */
export function readRecipientParameters(
  parameters: Parameters,
  smtputf8: boolean,
): RecipientParameters | string {
  if (parameters.size === 0) return noRecipientParameters
  let { notify, orcpt } = noRecipientParameters
  for (const [keyword, value] of parameters) {
    switch (keyword) {
      case 'NOTIFY':
        notify = value === true ? undefined : readNotify(value)
        if (notify === undefined) return replies.badParameter('NOTIFY')
        break
      case 'ORCPT':
        if (value === true || !isOrcpt(value, smtputf8)) return replies.badParameter('ORCPT')
        orcpt = value
        break
      default:
        return replies.unknownParameter
    }
  }
  return { notify, orcpt }
}

/** `NEVER`, or a list of the others, each once: RFC 3461 section 4.1. */
function readNotify(value: string): readonly Notify[] | undefined {
  const words = value.toUpperCase().split(',')
  if (words.length === 1 && words[0] === 'NEVER') return ['NEVER']
  const known = new Set<Notify>()
  for (const word of words) {
    if (word !== 'SUCCESS' && word !== 'FAILURE' && word !== 'DELAY') return undefined
    if (known.has(word)) return undefined
    known.add(word)
  }
  return [...known]
}

/** `addr-type ";" xtext`, RFC 3461 section 4.2; RFC 6533 has a type utf-8 with escapes and plain UTF-8. */
function isOrcpt(value: string, smtputf8: boolean): boolean {
  if (value.length > 500) return false
  const match = /^([A-Za-z0-9-]+);(.+)$/u.exec(value)
  if (match === null) return false
  const address = match[2]!
  if (match[1]!.toLowerCase() === 'utf-8') {
    return /^[!-~\u0080-\u{10ffff}]+$/u.test(address) && (smtputf8 || !/[^!-~]/.test(address))
  }
  const decoded = decodeXtext(address)
  return decoded !== undefined && isPrintable(decoded)
}

function isPrintable(text: string): boolean {
  return !/[\u0000-\u001f\u007f]/.test(text)
}

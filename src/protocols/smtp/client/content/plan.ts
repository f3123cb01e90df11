/**
 * What has to be done to the content of a mail for one server: fields in front, conversion, checks, other addresses.
 * Most mail needs nothing of it.
 */
import { mapAddress } from '../../../../tables/contract.ts'
import { quoteAddress } from '../address.ts'
import type { Course } from '../course.ts'
import type { Features } from '../ehlo.ts'
import { LocalDataError } from '../failure.ts'
import { ContentChecks } from './checks.ts'
import { mimeLimits } from './mime-walker.ts'
import { octetsOf, textOf } from './octets.ts'
import { ContentRewriter } from './rewriter.ts'

export interface ContentPlan {
  readonly converting: boolean
  /** Octets as latin1. */
  readonly prepend: string
  readonly rewriter?: ContentRewriter
  /** `generic_maps` for addresses of the envelope. */
  mapAddress(address: string): string
}

/** @throws LocalDataError when a table cannot be asked. */
export function planContent(course: Course, features: Features): ContentPlan {
  const { settings, content, lineLengthLimit, maps } = course.env
  const { smtputf8 } = course.request
  const converting =
    !content.disable_mime_output_conversion &&
    !features.eightBitMime &&
    course.body !== '7BIT' &&
    !(smtputf8 === true && features.smtpUtf8)
  const checks = new ContentChecks(
    {
      header: maps(settings.header_checks),
      mimeHeader: maps(settings.mime_header_checks),
      nestedHeader: maps(settings.nested_header_checks),
      body: maps(settings.body_checks),
    },
    {
      acted: (action, where, line, text) => {
        const facts = { action, where, line: line.slice(0, 200), ...(text === '' ? {} : { text }) }
        course.log('info', 'delivery.content-check', facts)
      },
      warn: (problem) => course.log('warn', 'delivery.content-check-odd', { problem }),
    },
  )
  const checked = checks.ofHeaders || checks.ofBodies
  const generic = genericMap(course)
  const plan = {
    converting,
    prepend: prependedFields(course, generic ?? ((address) => address)),
    mapAddress: (address: string) => generic?.(address) ?? address,
  }
  if (!converting && !checked && generic === undefined) return plan
  return {
    ...plan,
    rewriter: new ContentRewriter({
      limits: mimeLimits(content),
      lineLimit: lineLengthLimit,
      convert: converting,
      ...(checked ? { checks } : {}),
      ...(generic === undefined ? {} : { mapAddress: inOctets(generic) }),
    }),
  }
}

type AddressMap = (address: string) => string | undefined

function genericMap(course: Course): AddressMap | undefined {
  const { settings, maps, addresses } = course.env
  const tables = maps(settings.generic_maps)
  if (tables.isEmpty) return undefined
  return (address) => {
    const answer = mapAddress(tables, address, addresses)
    if (answer.kind === 'error') throw new LocalDataError(`generic_maps: ${answer.detail}`)
    if (answer.kind === 'none') return undefined
    const [first = '', ...more] = answer.value.split(/\s*,\s*/)
    if (more.length > 0) course.log('warn', 'delivery.generic-odd', { address, result: answer.value })
    return first
  }
}

/** Addresses of header fields come as octets. */
function inOctets(map: AddressMap): AddressMap {
  return (address) => {
    const mapped = map(textOf(address))
    return mapped === undefined ? undefined : octetsOf(mapped)
  }
}

/** Return-Path, X-Original-To and Delivered-To, as the flags of the transport ask for them. */
function prependedFields({ env, request, dispositions }: Course, map: AddressMap): string {
  const { flags } = env
  if (!/[DOR]/.test(flags)) return ''
  const [recipient] = dispositions.remaining
  const written = (address: string) => octetsOf(quoteAddress(address === '' ? '' : (map(address) ?? address)))
  let fields = ''
  if (flags.includes('R')) fields += `Return-Path: <${written(request.sender)}>\r\n`
  if (recipient === undefined) return fields
  if (flags.includes('O')) fields += `X-Original-To: ${written(recipient.origTo ?? recipient.address)}\r\n`
  if (flags.includes('D')) fields += `Delivered-To: ${written(recipient.address)}\r\n`
  return fields
}

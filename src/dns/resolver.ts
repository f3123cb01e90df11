/**
 * Questions to the DNS, as mail asks them. The answers are values: what a failed lookup means for mail is decided
 * by who asks. Nothing is cached, as Postfix caches nothing: a name server near by does that, knows when to forget,
 * and is where an operator looks when a change does not show. Equal questions at the same time are asked once.
 */
import { lookup } from 'node:dns'
import type { Settings } from '../config/schema.ts'
import type { dnsSettings } from './config.ts'
import { recordData, recordText } from './data.ts'
import { askServer } from './exchange.ts'
import { isQueryName } from './names.ts'
import type { DnsAnswer, Family, LookupFailure, NativeAnswer, RecordData, RecordType } from './records.ts'
import { type NameServerAddress, nameServerAddress, SystemFile } from './system.ts'
import { plainName, type Question, type Response, type WireRecord } from './wire.ts'

export { recordText } from './data.ts'
export type * from './records.ts'

/** Records of one set that are looked at. */
const maxRecords = 100

/** Aliases that are asked for one after the other. */
const maxAliases = 10

/** Questions under way at once; more wait for their turn. */
const maxConcurrent = 256

/** Records a filter leaves out; throws when the filter itself fails. */
export type ReplyFilter = (record: string) => 'keep' | 'drop'

export interface QueryOptions {
  /** Ask for DNSSEC, and take `secure` from the answer. The name server is trusted: it should be on this machine. */
  readonly dnssec?: boolean
  /** `smtp_dns_resolver_options`: `res_defnames`, `res_dnsrch`. */
  readonly search?: readonly string[]
  readonly filter?: ReplyFilter | undefined
}

/** Never rejects. Names are A-labels without a trailing dot. */
export interface DnsResolver {
  query<T extends RecordType>(name: string, type: T, options?: QueryOptions): Promise<DnsAnswer<T>>
  /** As the system looks up hosts: hosts file and whatever else it is set up for. */
  native(name: string): Promise<NativeAnswer>
}

/** The resolver of `[dns]`. Servers that are no addresses were refused with the configuration. */
export function createResolver(
  settings: Settings<typeof dnsSettings>,
  { systemFile = '/etc/resolv.conf', warn = () => {} }: ResolverOptions = {},
): DnsResolver {
  return new NetworkResolver(settings, new SystemFile(systemFile, () => performance.now()), warn)
}

export interface ResolverOptions {
  /** Default `/etc/resolv.conf`. */
  readonly systemFile?: string
  /** What is wrong with the name servers, for the log. */
  warn?(text: string): void
}

class NetworkResolver implements DnsResolver {
  readonly #settings: Settings<typeof dnsSettings>
  readonly #system: SystemFile
  readonly #configured: readonly NameServerAddress[]
  readonly #asked = new Map<string, Promise<Outcome>>()
  readonly #waiting: (() => void)[] = []
  readonly #warn: (text: string) => void
  #running = 0
  #isProbed = false

  constructor(settings: Settings<typeof dnsSettings>, system: SystemFile, warn: (text: string) => void) {
    this.#warn = warn
    this.#settings = settings
    this.#system = system
    this.#configured = settings.servers.flatMap((text) => nameServerAddress(text) ?? [])
  }

  async query<T extends RecordType>(
    name: string,
    type: T,
    options: QueryOptions = {},
  ): Promise<DnsAnswer<T>> {
    let answer: DnsAnswer<T> | undefined
    for (const candidate of this.#candidates(plainName(name), options.search ?? [])) {
      const next = await this.#follow(candidate, type, options)
      if (options.dnssec === true && !next.secure) this.#probe()
      // Of several names that are not there, the one that was asked for is told of.
      if (next.ok || next.kind !== 'not-found') return next
      answer ??= next
    }
    return answer!
  }

  /** Once: whether the name servers check signatures at all. Nobody waits for it. */
  #probe(): void {
    const { dnssec_probe: probe } = this.#settings
    if (this.#isProbed || probe === '') return
    this.#isProbed = true
    const [type = '', name = ''] = probe.split(':')
    // The root has no labels, and is a name all the same.
    const question = { name: plainName(name), type: type.toUpperCase() as RecordType, dnssec: true }
    this.#ask(question).then(
      (outcome) => {
        if ('failure' in outcome || !outcome.response.authenticated) {
          const why = 'failure' in outcome ? outcome.failure : 'its answer comes without proof'
          this.#warn(`the name servers seem not to check DNSSEC signatures (${probe}: ${why})`)
        }
      },
      () => {},
    )
  }

  /** As the C library's search: a short name gets our domains first, one with dots last. */
  #candidates(name: string, options: readonly string[]): readonly string[] {
    const isShort = !name.includes('.')
    const isSearching = options.includes('res_dnsrch')
    const isWanted = isShort ? options.includes('res_defnames') : isSearching
    if (!isWanted) return [name]
    const { search } = this.#system.read()
    const longer = (isSearching ? search : search.slice(0, 1)).map((domain) => `${name}.${domain}`)
    return isShort ? [...longer, name] : [name, ...longer]
  }

  async #follow<T extends RecordType>(
    asked: string,
    type: T,
    { dnssec = false, filter }: QueryOptions,
  ): Promise<DnsAnswer<T>> {
    let name = asked
    let secure = dnssec
    const failed = (kind: LookupFailure, detail: string): DnsAnswer<T> => ({
      ok: false,
      kind,
      detail,
      name,
      secure,
    })
    for (let aliases = 0; aliases <= maxAliases; aliases++) {
      if (!isQueryName(name)) return { ...failed('not-found', 'not a domain name'), secure: false }
      const outcome = await this.#ask({ name, type, dnssec })
      if ('failure' in outcome) return { ...failed('soft', outcome.failure), secure: false }
      const { response } = outcome
      secure &&= response.authenticated
      const found = recordsOf(response.answers, name, type)
      const alias = found.name
      if (response.rcode !== 0) return { ...failure(response.rcode), ok: false, name: alias, secure }
      if (found.records.length > 0) return usable(found.records, { type, name: alias, secure, filter })
      if (alias === name) return failed('not-found', 'no records of this type')
      name = alias
    }
    const warning = `more than ${maxAliases} aliases in a row`
    return { ok: false, kind: 'not-found', detail: warning, warning, name, secure }
  }

  /** Equal questions at the same time share one answer. */
  #ask(question: Question): Promise<Outcome> {
    const key = `${question.type} ${question.name} ${question.dnssec}`
    let asked = this.#asked.get(key)
    if (asked === undefined) {
      asked = this.#inTurn(question).finally(() => this.#asked.delete(key))
      this.#asked.set(key, asked)
    }
    return asked
  }

  async #inTurn(question: Question): Promise<Outcome> {
    if (this.#running >= maxConcurrent) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    else this.#running++
    try {
      return await this.#askAll(question)
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#running--
      else next()
    }
  }

  /** Each server in turn, as often as `tries` says. One that answers with a failure is not asked again. */
  async #askAll(question: Question): Promise<Outcome> {
    const { tries, timeout } = this.#settings
    let left = this.#configured.length > 0 ? this.#configured : this.#system.read().servers
    let refusal: Response | undefined
    let reason = 'no name server'
    for (let round = 0; round < tries && left.length > 0; round++) {
      const silent: NameServerAddress[] = []
      for (const server of left) {
        try {
          const response = await askServer(server, question, timeout)
          if (response.rcode === 0 || response.rcode === 3) return { response }
          // Of several, the one that leaves hope counts.
          if (refusal === undefined || failure(response.rcode).kind === 'soft') refusal = response
        } catch (error) {
          reason = (error as Error).message
          silent.push(server)
        }
      }
      left = silent
    }
    // As long as one server was silent, nobody knows what it would have said.
    return refusal !== undefined && left.length === 0 ? { response: refusal } : { failure: reason }
  }

  native(name: string): Promise<NativeAnswer> {
    return new Promise((resolve) => {
      lookup(name, { all: true, order: 'verbatim' }, (error, found) => {
        if (error === null) {
          const records = found.map(({ address, family }) => ({ address, family: family as Family }))
          resolve({ ok: true, records: records.slice(0, maxRecords) })
        } else resolve(nativeFailure(error))
      })
    })
  }
}

type Outcome = { readonly response: Response } | { readonly failure: string }

function nativeFailure({ code = '', message }: NodeJS.ErrnoException): NativeAnswer {
  const isTemporary = ['EAI_AGAIN', 'EAI_MEMORY', 'EAI_SYSTEM'].includes(code)
  const noHost = ['ENOTFOUND', 'EAI_NONAME', 'EAI_NODATA', 'EAI_AGAIN'].includes(code)
  return {
    ok: false,
    kind: isTemporary ? 'soft' : noHost ? 'not-found' : 'refused',
    detail: code === 'ENOTFOUND' ? 'no such host' : code || message,
    noHost,
  }
}

/** The records of a type at the end of the aliases in one answer, and the name they belong to. */
function recordsOf(
  answers: readonly WireRecord[],
  asked: string,
  type: RecordType,
): { readonly records: readonly WireRecord[]; readonly name: string } {
  let name = asked
  const seen = new Set<string>()
  while (!seen.has(name)) {
    seen.add(name)
    const records = answers.filter((record) => record.type === type && record.name === name)
    if (records.length > 0) return { records, name }
    const alias = answers.find((record) => record.type === 'CNAME' && record.name === name)
    if (alias === undefined) break
    name = plainName(alias.data as string)
  }
  return { records: [], name }
}

function usable<T extends RecordType>(
  found: readonly WireRecord[],
  { type, name, secure, filter }: { type: T; name: string; secure: boolean; filter: ReplyFilter | undefined },
): DnsAnswer<T> {
  const failed = (kind: LookupFailure, detail: string): DnsAnswer<T> => ({
    ok: false,
    kind,
    detail,
    name,
    secure,
  })
  const good = found
    .map(({ data, ttl }) => ({ data: recordData(type, data), ttl }))
    .filter((record): record is { data: RecordData[T]; ttl: number } => record.data !== undefined)
  if (good.length === 0) return failed('malformed', 'the records make no sense')
  let kept = good
  try {
    if (filter !== undefined) {
      kept = good.filter(({ data, ttl }) => filter(recordText(name, ttl, type, data)) === 'keep')
    }
  } catch (error) {
    return failed('soft', (error as Error).message)
  }
  if (kept.length === 0) return failed('filtered', 'the reply filter leaves nothing')
  const records = kept.slice(0, maxRecords)
  return {
    ok: true,
    records: records.map(({ data }) => data),
    ttl: Math.min(...records.map(({ ttl }) => ttl)),
    name,
    secure,
  }
}

/** What a response code means. Which of them may pass is as the C library has it, and so Postfix. */
function failure(rcode: number): { readonly kind: LookupFailure; readonly detail: string } {
  switch (rcode) {
    case 3:
      return { kind: 'not-found', detail: 'no such name' }
    case 2:
      return { kind: 'soft', detail: 'the name server failed (SERVFAIL)' }
    case 4:
      return { kind: 'soft', detail: 'the name server cannot answer such questions (NOTIMP)' }
    case 5:
      return { kind: 'soft', detail: 'the name server refuses to answer (REFUSED)' }
    case 1:
      return { kind: 'refused', detail: 'the name server does not understand the question (FORMERR)' }
    default:
      return { kind: 'refused', detail: `the name server answers with code ${rcode}` }
  }
}

/** Addresses of hosts: both families, DNS and the system, and what their failures mean for the mail. */
import { isIP } from 'node:net'
import { isHostname } from '../../../dns/names.ts'
import type {
  DnsAnswer,
  DnsResolver,
  Family,
  LookupFailure,
  NativeAnswer,
  QueryOptions,
} from '../../../dns/resolver.ts'
import { type Failure, isHard, localFailure, softened } from './failure.ts'

export interface FoundAddress {
  /** The name that was asked for, or the address that stood there itself. */
  readonly qname: string
  /** The name that has the address: what aliases led to. */
  readonly rname: string
  readonly address: string
  readonly family: Family
  /** DNSSEC vouches for the address. */
  readonly secure: boolean
}

export interface HostLookupOptions {
  readonly resolver: DnsResolver
  /** Ordered: `dns`, `native`. */
  readonly methods: readonly string[]
  readonly families: readonly Family[]
  readonly query: QueryOptions
  warn(event: string, facts: object): void
}

type Failed = Extract<DnsAnswer<'A' | 'MX'>, { ok: false }>

/** Remembers the failure to report when nothing is found. Once one was soft, none is hard. */
export class LookupFailures {
  #failure: Failure | undefined

  get last(): Failure | undefined {
    return this.#failure
  }

  /** Notes a failed question. */
  dns({ kind, detail }: { readonly kind: LookupFailure; readonly detail: string }, question: string): void {
    const [dsn, after] = dnsCodes[kind]
    this.#note(dsn, after, `lookup of ${question} failed: ${detail}`)
  }

  native({ kind, detail, noHost }: Extract<NativeAnswer, { ok: false }>, host: string): void {
    const what = noHost ? '4.4' : '3.0'
    this.#note(`${kind === 'soft' ? 4 : 5}.${what}`, `4.${what}`, `lookup of host ${host} failed: ${detail}`)
  }

  other(dsn: string, reason: string): void {
    this.#note(dsn, softened(localFailure('lookup', dsn, reason)).dsn, reason)
  }

  #note(dsn: string, afterSoft: string, reason: string): void {
    const wasSoft = this.#failure !== undefined && !isHard(this.#failure)
    this.#failure = localFailure('lookup', wasSoft ? afterSoft : dsn, reason)
  }
}

/** The code of each kind of failure, and the one it has after a soft failure. */
const dnsCodes: Readonly<Record<LookupFailure, readonly [string, string]>> = {
  'not-found': ['5.4.4', '4.4.4'],
  soft: ['4.4.3', '4.4.3'],
  refused: ['5.4.3', '4.4.3'],
  malformed: ['5.4.4', '4.4.4'],
  filtered: ['4.7.0', '4.7.0'],
}

/**
 * Addresses of a host. None: the failure is noted, by the function that is returned, so that lookups may run at the
 * same time and their failures still count in the order of the exchangers.
 */
export async function hostAddresses(
  host: string,
  options: HostLookupOptions,
): Promise<{ readonly found: readonly FoundAddress[]; note(failures: LookupFailures): void }> {
  const nothing = () => {}
  if (isIP(host) !== 0) return literalAddress(host, options)
  // RFC 6761 section 6.3: these names are loopback whatever a name server says.
  if (host === 'localhost' || host.endsWith('.localhost'))
    return { found: loopback(host, options), note: nothing }
  const { resolver, families, methods } = options
  const notes: ((failures: LookupFailures) => void)[] = []
  const note = (failures: LookupFailures) => {
    for (const one of notes) one(failures)
  }
  if (methods.includes('dns')) {
    const answers = await Promise.all(
      families.map((family) => resolver.query(host, family === 4 ? 'A' : 'AAAA', options.query)),
    )
    const found = answers.flatMap((answer, index) =>
      answer.ok
        ? answer.records.map((address) => ({
            qname: host,
            rname: answer.name,
            address,
            family: families[index]!,
            secure: answer.secure,
          }))
        : [],
    )
    if (found.length > 0) return { found, note }
    const worst = pickWorst(answers.filter((answer): answer is Failed => !answer.ok))
    if (worst.warning !== undefined) options.warn('delivery.dns-odd', { name: host, reason: worst.warning })
    notes.push((failures) => failures.dns(worst, `${host}, type ${families.includes(4) ? 'A' : 'AAAA'}`))
    if (worst.kind !== 'not-found') return { found: [], note }
  }
  if (!methods.includes('native') || !isHostname(host)) return { found: [], note }
  const answer = await resolver.native(host)
  if (!answer.ok) {
    notes.push((failures) => failures.native(answer, host))
    return { found: [], note }
  }
  const usable = answer.records.filter(({ family }) => families.includes(family))
  if (usable.length === 0) {
    notes.push((failures) => failures.other('5.4.4', `${host} has no address of an enabled protocol`))
  }
  return { found: usable.map((one) => ({ qname: host, rname: host, ...one, secure: false })), note }
}

function literalAddress(address: string, { families }: HostLookupOptions) {
  const family: Family = isIP(address) === 6 ? 6 : 4
  if (!families.includes(family)) {
    return {
      found: [],
      note: (failures: LookupFailures) => failures.other('5.4.4', `the protocol of ${address} is disabled`),
    }
  }
  return { found: [{ qname: address, rname: address, address, family, secure: false }], note: () => {} }
}

function loopback(host: string, { families }: HostLookupOptions): FoundAddress[] {
  return families.map((family) => ({
    qname: host,
    rname: host,
    address: family === 4 ? '127.0.0.1' : '::1',
    family,
    secure: false,
  }))
}

/** Soft dominates: what cannot be known now may be there later. */
function pickWorst(failed: readonly Failed[]): Failed {
  const rank: Record<LookupFailure, number> = {
    soft: 4,
    filtered: 3,
    refused: 2,
    malformed: 1,
    'not-found': 0,
  }
  return failed.reduce((worst, answer) => (rank[answer.kind] > rank[worst.kind] ? answer : worst))
}

/** DNS messages. The only file that knows the library which takes them apart. */
import { randomInt } from 'node:crypto'
import packet, { type Answer as PacketAnswer } from 'dns-packet'
import type { RecordType } from './records.ts'

/** Octets we take over UDP: what passes everywhere without fragments, see DNS flag day 2020. */
const udpPayload = 1_232

export interface Question {
  /** Without a trailing dot. */
  readonly name: string
  readonly type: RecordType
  /** Ask for proof, and whether the name server found it. */
  readonly dnssec: boolean
}

export interface WireRecord {
  /** Lower case, without a trailing dot. */
  readonly name: string
  readonly type: string
  readonly ttl: number
  readonly data: unknown
}

export interface Response {
  readonly rcode: number
  readonly truncated: boolean
  readonly authenticated: boolean
  readonly answers: readonly WireRecord[]
}

/** A question ready to be sent; `edns` is left out for servers that do not know it. */
export function encodeQuestion(
  { name, type, dnssec }: Question,
  edns: boolean,
): { id: number; octets: Buffer } {
  const id = randomInt(65_536)
  const flags = packet.RECURSION_DESIRED | (dnssec ? packet.AUTHENTIC_DATA : 0)
  const octets = packet.encode({
    type: 'query',
    id,
    flags,
    questions: [{ name, type, class: 'IN' }],
    additionals: edns
      ? [
          {
            type: 'OPT',
            name: '.',
            udpPayloadSize: udpPayload,
            extendedRcode: 0,
            ednsVersion: 0,
            flags: dnssec ? packet.DNSSEC_OK : 0,
            flag_do: dnssec,
            options: [],
          },
        ]
      : [],
  })
  return { id, octets }
}

/** Whether these octets answer our question: RFC 5452 section 9.1. Nothing else of them is looked at. */
export function answersQuestion(octets: Buffer, id: number, { name, type }: Question): boolean {
  if (octets.length < 12 || octets.readUInt16BE(0) !== id || (octets[2]! & 0x80) === 0) return false
  const rcode = octets[3]! & 0x0f
  // Servers that cannot read a question do not repeat it.
  if (octets.readUInt16BE(4) === 0) return rcode === 1 || rcode === 4 || rcode === 5
  try {
    const { questions } = packet.decode(
      Buffer.concat([octets.subarray(0, 6), Buffer.alloc(6), octets.subarray(12)]),
    )
    const asked = questions?.[0]
    return asked?.type === type && plainName(asked.name) === plainName(name)
  } catch {
    return false
  }
}

/** @throws when the octets are no DNS message. */
export function decodeResponse(octets: Buffer): Response {
  const truncated = (octets[2]! & 0x02) !== 0
  const rcode = octets[3]! & 0x0f
  const authenticated = (octets[3]! & 0x20) !== 0
  // A cut message may end anywhere, and is asked for again.
  if (truncated) return { rcode, truncated, authenticated, answers: [] }
  const { answers = [] } = packet.decode(octets)
  return { rcode, truncated, authenticated, answers: answers.flatMap(wireRecord) }
}

function wireRecord(record: PacketAnswer): WireRecord[] {
  if (record.type === 'OPT' || !('data' in record)) return []
  return [{ name: plainName(record.name), type: record.type, ttl: record.ttl ?? 0, data: record.data }]
}

/** Lower case, no trailing dot; the root is empty. */
export function plainName(name: string): string {
  return (name.endsWith('.') ? name.slice(0, -1) : name).toLowerCase()
}

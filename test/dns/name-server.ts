/** A small real name server on loopback: answers from a table over UDP and TCP, fails as told. */
import { createSocket, type Socket } from 'node:dgram'
import { createServer, type Server } from 'node:net'
import packet, { type Answer as PacketAnswer } from 'dns-packet'

export type Answer =
  | { readonly rcode: number; readonly records?: readonly RecordText[] }
  | { readonly silent: true }
  /** Changes octets behind the question, as a broken or hostile server would. */
  | { readonly mangled: (answer: Buffer, from: number) => void; readonly records: readonly RecordText[] }
  /** Octets in place of a message; the id and the question of the query are put in front. */
  | { readonly garbage: Buffer }
  /** Also sends answers that a forger would, before the real one. */
  | { readonly forged: true; readonly records: readonly RecordText[] }
  | {
      readonly records: readonly RecordText[]
      /** The AD bit, when it was asked for. */
      readonly secure?: boolean
      /** Over UDP it does not fit. */
      readonly truncated?: boolean
      /** Queries with EDNS get FORMERR. */
      readonly old?: boolean
    }

/**
 * A record as in a zone file, without class: `d.test 60 MX 10 m1.test`, `MX 10 m1.test`. Owner and ttl may be left
 * out: the name that was asked for, 60 s.
 */
export type RecordText = string

const typeNumbers: Readonly<Record<number, string>> = {
  1: 'A',
  2: 'NS',
  5: 'CNAME',
  12: 'PTR',
  15: 'MX',
  16: 'TXT',
  28: 'AAAA',
  33: 'SRV',
  52: 'TLSA',
}

export class NameServer {
  /** `TYPE name`, in the order they came. */
  readonly questions: string[] = []
  readonly ports = new Set<number>()
  readonly ids: number[] = []
  #udp: Socket | undefined
  #tcp: Server | undefined
  #answers: Readonly<Record<string, Answer>>

  private constructor(answers: Readonly<Record<string, Answer>>) {
    this.#answers = answers
  }

  /** Answers by `TYPE name`; what is not there is NXDOMAIN, or no data when the name has other records. */
  static async start(
    answers: Readonly<Record<string, Answer>>,
    { address = '127.0.0.1', port = 0 }: { address?: string; port?: number } = {},
  ): Promise<NameServer> {
    const server = new NameServer(answers)
    // The same port for both: another one may have the TCP port of a free UDP port.
    for (let attempt = 0; ; attempt++) {
      try {
        await server.#listen(address, port)
        return server
      } catch (error) {
        if (attempt === 10 || port !== 0) throw error
      }
    }
  }

  async #listen(address: string, port: number): Promise<void> {
    const udp = createSocket('udp4')
    this.#udp = udp
    udp.on('message', (query, from) => {
      this.ports.add(from.port)
      for (const reply of this.#replies(query, 'udp')) udp.send(reply, from.port, from.address)
    })
    await new Promise<void>((resolve, reject) => {
      udp.once('error', reject)
      udp.bind(port, address, resolve)
    })
    const tcp = createServer((socket) => {
      socket.on('error', () => {})
      let received = Buffer.alloc(0)
      socket.on('data', (chunk) => {
        received = Buffer.concat([received, chunk])
        if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return
        for (const reply of this.#replies(received.subarray(2), 'tcp')) {
          const length = Buffer.alloc(2)
          length.writeUInt16BE(reply.length)
          socket.write(Buffer.concat([length, reply]))
        }
      })
    })
    this.#tcp = tcp
    await new Promise<void>((resolve, reject) => {
      tcp.once('error', (error) => {
        udp.close()
        reject(error)
      })
      tcp.listen(udp.address().port, address, resolve)
    })
  }

  /** Answers otherwise from now on. */
  set answers(answers: Readonly<Record<string, Answer>>) {
    this.#answers = answers
  }

  get address(): string {
    const { address, port } = this.#udp!.address()
    return `${address}:${port}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => this.#udp!.close(() => resolve()))
    await new Promise<void>((resolve) => this.#tcp!.close(() => resolve()))
  }

  #replies(query: Buffer, transport: 'udp' | 'tcp'): Buffer[] {
    const { id = 0, questions = [], additionals = [] } = packet.decode(query)
    const question = questions[0]!
    const type = typeof question.type === 'string' ? question.type : (typeNumbers[question.type] ?? '')
    const name = question.name.toLowerCase()
    const key = `${type} ${name}`
    this.questions.push(key)
    this.ids.push(id)
    const isKnown = Object.keys(this.#answers).some((one) => one.endsWith(` ${name}`))
    const answer: Answer = this.#answers[key] ?? { rcode: isKnown ? 0 : 3 }
    if ('silent' in answer) return []
    const reply = (rcode: number, records: readonly RecordText[], flags = 0, replyId = id) =>
      packet.encode({
        type: 'response',
        id: replyId,
        flags: packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE | rcode | flags,
        questions: [question],
        answers: records.map((text) => parsed(text, name)),
      })
    if ('garbage' in answer)
      return [Buffer.concat([reply(0, ['A 192.0.2.9']).subarray(0, 12 + name.length + 6), answer.garbage])]
    if ('rcode' in answer) return [reply(answer.rcode, answer.records ?? [])]
    const hasEdns = additionals.some((one) => one.type === 'OPT')
    if ('old' in answer && answer.old && hasEdns) return [reply(1, [])]
    if ('truncated' in answer && answer.truncated && transport === 'udp') {
      return [reply(0, [], packet.TRUNCATED_RESPONSE)]
    }
    const isAsked = (query[3]! & 0x20) !== 0
    const good = reply(
      0,
      answer.records,
      'secure' in answer && answer.secure && isAsked ? packet.AUTHENTIC_DATA : 0,
    )
    if ('mangled' in answer) {
      answer.mangled(good, 12 + (name === '' ? 1 : name.length + 2) + 4)
      return [good]
    }
    if (!('forged' in answer)) return [good]
    const other = packet.encode({
      type: 'response',
      id,
      questions: [{ name: 'other.test', type: question.type }],
      answers: [parsed('A 192.0.2.66', name)],
    })
    return [reply(0, ['A 192.0.2.66'], 0, (id + 1) & 0xffff), other, Buffer.from('junk'), query, good]
  }
}

function parsed(text: RecordText, asked: string): PacketAnswer {
  const words = text.split(' ')
  const at = words.findIndex((word) => Object.values(typeNumbers).includes(word))
  const type = words[at]!
  const [name = asked, ttl = '60'] = words.slice(0, at)
  const data = words.slice(at + 1)
  const common = { name, ttl: Number(ttl) }
  switch (type) {
    case 'MX':
      return { ...common, type, data: { preference: Number(data[0]), exchange: data[1]! } }
    case 'SRV': {
      const [priority, weight, port] = data.map(Number)
      return {
        ...common,
        type,
        data: { priority: priority!, weight: weight!, port: port!, target: data[3]! },
      }
    }
    case 'TLSA': {
      const [usage, selector, matchingType] = data.map(Number)
      return {
        ...common,
        type,
        data: {
          usage: usage!,
          selector: selector!,
          matchingType: matchingType!,
          certificate: Buffer.from(data[3]!, 'hex'),
        },
      }
    }
    case 'TXT':
      return { ...common, type, data: [data.join(' ')] }
    default:
      return { ...common, type: type as 'A', data: data[0]! }
  }
}

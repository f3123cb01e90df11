/** A small real name server on loopback: answers from a table over UDP, fails as told. */
import { createSocket, type Socket } from 'node:dgram'

export type Answer =
  | { readonly rcode: number }
  | { readonly silent: true }
  | { readonly records: readonly RecordData[] }

export type RecordData =
  | { readonly type: 'A'; readonly address: string; readonly name?: string }
  | { readonly type: 'AAAA'; readonly address: readonly number[] }
  | { readonly type: 'MX'; readonly preference: number; readonly exchange: string; readonly name?: string }
  | { readonly type: 'CNAME'; readonly target: string; readonly name?: string }

const types: Readonly<Record<string, number>> = { A: 1, CNAME: 5, MX: 15, AAAA: 28 }
const typeNames: Readonly<Record<number, string>> = { 1: 'A', 5: 'CNAME', 15: 'MX', 28: 'AAAA' }

export class NameServer {
  readonly questions: string[] = []
  readonly #socket: Socket
  readonly #answers: Readonly<Record<string, Answer>>

  private constructor(answers: Readonly<Record<string, Answer>>) {
    this.#answers = answers
    this.#socket = createSocket('udp4', (query, from) => {
      const reply = this.#reply(query)
      if (reply !== undefined) this.#socket.send(reply, from.port, from.address)
    })
  }

  /** Answers by `TYPE name`; what is not there is NXDOMAIN. */
  static async start(answers: Readonly<Record<string, Answer>>): Promise<NameServer> {
    const server = new NameServer(answers)
    await new Promise<void>((resolve) => server.#socket.bind(0, '127.0.0.1', resolve))
    return server
  }

  get address(): string {
    return `127.0.0.1:${this.#socket.address().port}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => this.#socket.close(() => resolve()))
  }

  #reply(query: Buffer): Buffer | undefined {
    const labels: string[] = []
    let at = 12
    while (query[at] !== 0) {
      labels.push(query.toString('latin1', at + 1, at + 1 + query[at]!))
      at += query[at]! + 1
    }
    const name = labels.join('.').toLowerCase()
    const question = query.subarray(12, at + 5)
    const key = `${typeNames[query.readUInt16BE(at + 1)]} ${name}`
    this.questions.push(key)
    const answer = this.#answers[key] ?? { rcode: 3 }
    if ('silent' in answer) return undefined
    const header = Buffer.alloc(12)
    query.copy(header, 0, 0, 2)
    header.writeUInt16BE(0x8180 | ('rcode' in answer ? answer.rcode : 0), 2)
    header.writeUInt16BE(1, 4)
    const records = 'records' in answer ? answer.records : []
    header.writeUInt16BE(records.length, 6)
    return Buffer.concat([header, question, ...records.map((record) => encode(record, name))])
  }
}

function encode(record: RecordData, asked: string): Buffer {
  const data = dataOf(record)
  const fixed = Buffer.alloc(10)
  fixed.writeUInt16BE(types[record.type]!, 0)
  fixed.writeUInt16BE(1, 2)
  fixed.writeUInt32BE(60, 4)
  fixed.writeUInt16BE(data.length, 8)
  const name = 'name' in record && record.name !== undefined ? record.name : asked
  return Buffer.concat([nameOf(name), fixed, data])
}

function dataOf(record: RecordData): Buffer {
  switch (record.type) {
    case 'A':
      return Buffer.from(record.address.split('.').map(Number))
    case 'AAAA':
      return Buffer.from(record.address)
    case 'CNAME':
      return nameOf(record.target)
    case 'MX': {
      const preference = Buffer.alloc(2)
      preference.writeUInt16BE(record.preference)
      return Buffer.concat([preference, nameOf(record.exchange)])
    }
  }
}

function nameOf(name: string): Buffer {
  const labels = name.split('.').filter((label) => label !== '')
  return Buffer.concat([
    ...labels.map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label, 'latin1')])),
    Buffer.from([0]),
  ])
}

/**
 * A POP3 client in lock step: send something, wait for the whole answer. Made for load: the end of an answer is seen
 * from its last five octets (byte-stuffing makes CR LF . CR LF unique), so bodies are not scanned, except when
 * several answers are awaited at once.
 */
import net from 'node:net'

const DASH = 0x2d
const LF = 0x0a
/** CR LF . CR LF as one number. */
const DOT_LINE = 0x0d0a2e0d0a
const FIVE_OCTETS = 2 ** 40
const END = Buffer.from('\r\n.\r\n', 'latin1')
const ANSWER_TIMEOUT_MS = 60_000

interface Waiting {
  readonly resolve: (text: string) => void
  readonly reject: (error: Error) => void
}

export interface Pop3Endpoint {
  readonly host: string
  readonly port: number
}

export class Pop3Connection {
  /** Octets received so far. */
  octets = 0
  readonly #socket: net.Socket
  #waiting: Waiting | undefined
  #isMulti = false
  #isSeveral = false
  #left = 0
  #firstOctet = 0
  #tail = 0
  #carry: Buffer = Buffer.alloc(0)
  #text = ''

  /** Connects at once. Connections of one client may share `buffer`: no two of them receive at the same time. */
  constructor(endpoint: Pop3Endpoint, buffer: Buffer) {
    this.#socket = net.connect({
      ...endpoint,
      noDelay: true,
      onread: {
        buffer,
        callback: (length, chunk) => {
          this.#receive(length, chunk as Buffer)
          return true
        },
      },
    })
    this.#socket.setTimeout(ANSWER_TIMEOUT_MS, () => this.#socket.destroy(new Error('no answer for 60 s')))
    this.#socket.on('error', (error) => this.#fail(error))
    this.#socket.on('close', () => this.#fail(new Error('connection closed')))
  }

  greeting(): Promise<string> {
    return this.#answer(false, 1)
  }

  /** One command with a one-line answer; rejects with the text of an `-ERR`. */
  single(command: string): Promise<string> {
    const answer = this.#answer(false, 1)
    this.#socket.write(`${command}\r\n`, 'latin1')
    return answer
  }

  /** `count` pipelined commands with multi-line answers. */
  multi(commands: string, count = 1): Promise<string> {
    const answer = this.#answer(true, count)
    this.#socket.write(`${commands}\r\n`, 'latin1')
    return answer
  }

  async login(user: string, password: string): Promise<void> {
    await this.greeting()
    await this.single(`USER ${user}`)
    await this.single(`PASS ${password}`)
  }

  end(): void {
    this.#socket.destroy()
  }

  #answer(isMulti: boolean, count: number): Promise<string> {
    this.#isMulti = isMulti
    this.#isSeveral = count > 1
    this.#left = count
    this.#firstOctet = 0
    this.#tail = 0
    this.#carry = Buffer.alloc(0)
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject }
    })
  }

  #receive(length: number, chunk: Buffer): void {
    this.octets += length
    if (this.#firstOctet === 0) {
      this.#firstOctet = chunk[0] ?? 0
      if (this.#firstOctet === DASH || !this.#isMulti) {
        this.#text = chunk.toString('latin1', 0, Math.min(length, 120)).trimEnd()
      }
    }
    if (this.#isSeveral) {
      this.#scan(length, chunk)
      return
    }
    for (let at = length > 5 ? length - 5 : 0; at < length; at++) {
      this.#tail = (this.#tail * 256 + (chunk[at] ?? 0)) % FIVE_OCTETS
    }
    const isSingle = !this.#isMulti || this.#firstOctet === DASH
    if (isSingle ? chunk[length - 1] === LF : this.#tail === DOT_LINE) this.#done()
  }

  /** Counts the ends of several answers in a row; one may lie across two chunks. */
  #scan(length: number, chunk: Buffer): void {
    const seam = Buffer.concat([this.#carry, chunk.subarray(0, Math.min(4, length))])
    if (seam.includes(END)) this.#left -= 1
    let at = chunk.indexOf(END)
    while (at !== -1 && at + END.length <= length) {
      this.#left -= 1
      at = chunk.indexOf(END, at + END.length)
    }
    // A copy: the chunk's memory is used again.
    this.#carry = Buffer.from(length >= 4 ? chunk.subarray(length - 4, length) : seam.subarray(-4))
    if (this.#left === 0) this.#done()
  }

  #done(): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    if (this.#firstOctet === DASH) waiting?.reject(new Error(this.#text))
    else waiting?.resolve(this.#text)
  }

  #fail(error: Error): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.reject(error)
  }
}

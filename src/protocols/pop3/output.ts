/**
 * What goes to the client. Replies of one turn leave in one write; when the client does not read, the session
 * is told to wait, so that what is kept for it stays bounded.
 */
import type { Socket } from 'node:net'

/** Text of one turn is written once it is this long: a burst of commands must not pile up its answers. */
const turnOctets = 16 * 1024

export class Output {
  /** Octets given to the socket. */
  octets = 0
  /** Is told what is given to the socket. */
  tap: ((text: string) => void) | undefined
  #socket: Socket
  readonly #highWater: number
  readonly #drained: () => void
  #text = ''
  #blocked = false
  #ended = false
  readonly #written = () => {
    // Half of the limit: not to go back and forth for every line.
    if (!this.#blocked || this.#socket.writableLength >= this.#highWater / 2) return
    this.#blocked = false
    this.#drained()
  }

  /** `drained` is called when there is room again after `blocked` was true. */
  constructor(socket: Socket, highWater: number, drained: () => void) {
    this.#socket = socket
    this.#highWater = highWater
    this.#drained = drained
  }

  /** Writes to another socket from now on, such as TLS over the first. */
  moveTo(socket: Socket): void {
    this.#socket = socket
    this.#blocked = false
  }

  /** The client has not yet taken what it was sent: wait for `drained` before making more. */
  get blocked(): boolean {
    return this.#blocked
  }

  /** The system has taken all of it. */
  get isIdle(): boolean {
    return this.#socket.writableLength === 0 && this.#text === '' && !this.#ended
  }

  /** Adds text in latin1. It leaves with `flush`, or when there is much of it. */
  add(text: string): void {
    this.#text = this.#text === '' ? text : this.#text + text
    if (this.#text.length >= turnOctets) this.flush()
  }

  /** Sends `length` octets of a buffer, which is given back when they have left. What was added before goes first. */
  send(buffer: Buffer, length: number, giveBack: () => void): void {
    this.flush()
    if (this.#ended) return
    this.octets += length
    this.tap?.(buffer.toString('latin1', 0, length))
    this.#socket.write(buffer.subarray(0, length), () => {
      giveBack()
      this.#written()
    })
    if (this.#socket.writableLength >= this.#highWater) this.#blocked = true
  }

  flush(): void {
    if (this.#text === '') return
    const text = this.#text
    this.#text = ''
    if (this.#ended) return
    this.octets += text.length
    this.tap?.(text)
    this.#socket.write(text, 'latin1', this.#written)
    if (this.#socket.writableLength >= this.#highWater) this.#blocked = true
  }

  /** Sends what there is and ends the connection; after this nothing is sent. */
  end(): void {
    this.flush()
    this.#ended = true
    this.#socket.destroySoon()
  }

  /** Nothing is sent any more. */
  abandon(): void {
    this.#text = ''
    this.#ended = true
  }
}

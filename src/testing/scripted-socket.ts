import type { Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { MailactorsError } from '../actors/index.ts'
import { asSocket } from '../runtime/stream-socket.ts'

/** What came was not what the script says, or nothing more can come. */
export class ScriptError extends MailactorsError {
  readonly code = 'MA_SCRIPT'
}

/**
 * A connection without a network: `socket` is for the actor (`spawn(session, args, { socket })`, which gets it by
 * `context.takeSocket()`), this end is for the test. Nothing of it takes time, so that a TestSystem's clock decides alone.
 * The actor's end has what a stream has, and neither addresses nor a timeout of its own.
 */
export class ScriptedSocket {
  readonly socket: Socket
  readonly #toActor = new PassThrough()
  readonly #fromActor = new PassThrough()
  #received = ''
  #hasEnded = false
  #wake: () => void = () => {}

  constructor() {
    // Latin 1: an octet is a character, and a script may have any.
    this.#fromActor.setEncoding('latin1')
    this.#fromActor.on('data', (text: string) => {
      this.#received += text
      this.#wake()
    })
    this.#fromActor.on('close', () => this.#ended())
    this.#fromActor.on('end', () => this.#ended())
    this.socket = asSocket(this.#toActor, this.#fromActor, true)
    this.socket.on('close', () => this.#ended())
  }

  #ended(): void {
    this.#hasEnded = true
    this.#wake()
  }

  /** Whether the actor has ended its side, or closed. */
  get hasEnded(): boolean {
    return this.#hasEnded
  }

  /** What the actor has written and no script has asked for. */
  get received(): string {
    return this.#received
  }

  send(text: string | Uint8Array): void {
    this.#toActor.write(typeof text === 'string' ? Buffer.from(text, 'latin1') : text)
  }

  /** No more is sent: the actor sees the end of the client's side. */
  end(): void {
    this.#toActor.end()
  }

  /** The connection breaks. */
  destroy(): void {
    this.socket.destroy()
  }

  /** The next line of the actor, without its end. @throws ScriptError when it has ended without one. */
  async line(): Promise<string> {
    for (;;) {
      const end = this.#received.indexOf('\n')
      if (end >= 0) {
        const line = this.#received.slice(0, end).replace(/\r$/, '')
        this.#received = this.#received.slice(end + 1)
        return line
      }
      if (this.#hasEnded) throw new ScriptError(`the connection ended; what was left: '${this.#received}'`)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  /**
   * Plays a dialog, a line each: `C: text` is sent with CRLF, `S: text` must be the actor's next line, `S~ regexp` must match
   * it, and `close` waits for the actor to end its side. Empty lines and those that begin with `#` say nothing.
   *
   * @throws ScriptError with the line of the script, what was expected and what came.
   */
  async play(script: string): Promise<void> {
    for (const [index, raw] of script.split('\n').entries()) {
      const line = raw.trim()
      if (line === '' || line.startsWith('#')) continue
      const [, what = '', text = ''] = /^(C:|S:|S~|close)\s?(.*)$/.exec(line) ?? []
      if (what === 'C:') this.send(`${text}\r\n`)
      else if (what === 'S:' || what === 'S~') await this.#expect(index + 1, what, text)
      else if (what === 'close') await this.#untilEnd(index + 1)
      else throw new ScriptError(`line ${index + 1}: '${line}' begins with none of C:, S:, S~, close`)
    }
  }

  async #expect(number: number, how: string, text: string): Promise<void> {
    const got = await this.line()
    if (how === 'S:' ? got === text : new RegExp(text).test(got)) return
    throw new ScriptError(`line ${number}: expected '${text}', got '${got}'`, { expected: text, got })
  }

  async #untilEnd(number: number): Promise<void> {
    while (!this.#hasEnded) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    if (this.#received === '') return
    throw new ScriptError(`line ${number}: expected the end, got '${this.#received}'`, {
      got: this.#received,
    })
  }
}

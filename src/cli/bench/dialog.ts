/** A client's side of a protocol of lines: says something, waits for the whole reply. */
import { connect, type Socket } from 'node:net'

export class Dialog {
  readonly #socket: Socket
  readonly #isWhole: (text: string) => boolean
  #input = ''
  #answer: { resolve(text: string): void; reject(error: Error): void } | undefined
  #failure: Error | undefined

  /** `isWhole`: whether what has come is a whole reply. */
  constructor(port: number, isWhole: (text: string) => boolean) {
    this.#isWhole = isWhole
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.#socket.setEncoding('latin1')
    this.#socket.on('data', (text: string) => {
      this.#input += text
      this.#look()
    })
    this.#socket.on('error', (error) => this.#fail(error))
    this.#socket.on('close', () => this.#fail(new Error('the connection was closed')))
  }

  reply(): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#answer = { resolve, reject }
      this.#look()
    })
  }

  ask(text: string): Promise<string> {
    this.#socket.write(text, 'latin1')
    return this.reply()
  }

  close(last: string): void {
    this.#socket.end(last)
  }

  #look(): void {
    const answer = this.#answer
    if (answer === undefined) return
    if (this.#isWhole(this.#input)) {
      const text = this.#input
      this.#input = ''
      this.#answer = undefined
      answer.resolve(text)
    } else if (this.#failure !== undefined) answer.reject(this.#failure)
  }

  #fail(error: Error): void {
    this.#failure ??= error
    this.#look()
  }
}

/** The last line of an SMTP reply has come. */
export const isSmtpReply = (text: string): boolean => /(?:^|\n)\d{3} [^\n]*\n$/.test(text)
/** One line of POP3, or an answer of many. */
export const isPop3Line = (text: string): boolean => text.endsWith('\r\n')
export const isPop3Lines = (text: string): boolean =>
  text.startsWith('-ERR') ? isPop3Line(text) : text.endsWith('\r\n.\r\n')

/** Lock-step clients for tests: they show what a client sees, line by line, and never wait without a deadline. */
import net from 'node:net'
import { within } from './until.ts'

export type Target = number | string

export class LineClient {
  readonly socket: net.Socket
  /** Resolves when the connection is gone, by whichever side. */
  readonly closed: Promise<void>
  #received = ''
  #isClosed = false
  #wake: () => void = () => undefined

  protected constructor(socket: net.Socket) {
    this.socket = socket
    // Octets, one character each: what the peer sent, whatever its encoding.
    socket.setEncoding('latin1')
    socket.on('data', (chunk: string) => {
      this.#received += chunk
      this.#wake()
    })
    socket.on('error', () => undefined)
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.#isClosed = true
        this.#wake()
        resolve()
      })
    })
  }

  /** A TCP port of the loopback, or the path of a socket. */
  protected static async socketTo(target: Target): Promise<net.Socket> {
    const socket =
      typeof target === 'number' ? net.connect(target, '127.0.0.1') : net.connect({ path: target })
    socket.setNoDelay(true)
    await within(
      `a connection to ${target}`,
      new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve)
        socket.once('error', reject)
      }),
    )
    return socket
  }

  write(octets: string | Buffer): void {
    this.socket.write(typeof octets === 'string' ? Buffer.from(octets, 'latin1') : octets)
  }

  /** The next line without its CRLF. Throws when the connection ends before it. */
  async line(deadlineMs = 30_000): Promise<string> {
    const end = performance.now() + deadlineMs
    for (;;) {
      const at = this.#received.indexOf('\r\n')
      if (at !== -1) {
        const line = this.#received.slice(0, at)
        this.#received = this.#received.slice(at + 2)
        return line
      }
      if (this.#isClosed) throw new Error(`connection closed; last octets: ${JSON.stringify(this.#received)}`)
      await within(
        'a line',
        new Promise<void>((resolve) => {
          this.#wake = resolve
        }),
        Math.max(1, end - performance.now()),
      )
    }
  }

  /** Everything up to the end of the connection. */
  async rest(deadlineMs = 30_000): Promise<string> {
    await within('the end of the connection', this.closed, deadlineMs)
    return this.#received
  }

  /** Gone without a word, as a client whose cable was pulled (RST). */
  vanish(): void {
    this.socket.resetAndDestroy()
  }

  close(): void {
    this.socket.destroy()
  }
}

export interface SmtpReply {
  readonly code: number
  /** Texts after the code. */
  readonly lines: readonly string[]
  readonly text: string
}

export class SmtpClient extends LineClient {
  /** Connects and takes the greeting. */
  static async connect(target: Target): Promise<SmtpClient> {
    const client = new SmtpClient(await LineClient.socketTo(target))
    const greeting = await client.reply()
    if (greeting.code !== 220) throw new Error(`greeting: ${greeting.code} ${greeting.text}`)
    return client
  }

  async reply(deadlineMs = 30_000): Promise<SmtpReply> {
    const lines: string[] = []
    for (;;) {
      const line = await this.line(deadlineMs)
      const match = /^([2-5][0-9]{2})(?:([ -])(.*))?$/.exec(line)
      if (match === null) throw new Error(`not an SMTP reply: ${JSON.stringify(line)}`)
      lines.push(match[3] ?? '')
      if (match[2] !== '-') return { code: Number(match[1]), lines, text: lines.join('\n') }
    }
  }

  async command(line: string, deadlineMs = 30_000): Promise<SmtpReply> {
    this.write(`${line}\r\n`)
    return this.reply(deadlineMs)
  }

  /** As `command`, but throws unless the reply has this code. */
  async expect(code: number, line: string): Promise<SmtpReply> {
    const reply = await this.command(line)
    if (reply.code !== code) throw new Error(`${line}: ${reply.code} ${reply.text}`)
    return reply
  }

  /** One mail transaction; returns the reply to the end of data. `content` has CRLF lines and no stuffing. */
  async send(mail: { from: string; to: readonly string[]; content: string }): Promise<SmtpReply> {
    await this.expect(250, `MAIL FROM:<${mail.from}>`)
    for (const recipient of mail.to) await this.expect(250, `RCPT TO:<${recipient}>`)
    await this.expect(354, 'DATA')
    this.write(`${mail.content.replace(/^\./gm, '..')}\r\n.\r\n`)
    return this.reply(30_000)
  }
}

export class Pop3Client extends LineClient {
  static async connect(target: Target): Promise<Pop3Client> {
    const client = new Pop3Client(await LineClient.socketTo(target))
    const greeting = await client.line()
    if (!greeting.startsWith('+OK')) throw new Error(`greeting: ${greeting}`)
    return client
  }

  static async login(target: Target, user: string, password = 'secret'): Promise<Pop3Client> {
    const client = await Pop3Client.connect(target)
    await client.ok(`USER ${user}`)
    await client.ok(`PASS ${password}`)
    return client
  }

  async command(line: string): Promise<string> {
    this.write(`${line}\r\n`)
    return this.line()
  }

  /** As `command`, but throws unless the answer is `+OK`. */
  async ok(line: string): Promise<string> {
    const answer = await this.command(line)
    if (!answer.startsWith('+OK')) throw new Error(`${line}: ${answer}`)
    return answer
  }

  /** A command with a multi-line answer; returns its lines, byte-stuffing removed. */
  async multi(line: string): Promise<string[]> {
    await this.ok(line)
    const lines: string[] = []
    for (;;) {
      const next = await this.line()
      if (next === '.') return lines
      lines.push(next.startsWith('.') ? next.slice(1) : next)
    }
  }
}

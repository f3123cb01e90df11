/**
 * An SMTP server that takes everything, counts it, and misbehaves when asked to. For tests on the outbound path: it
 * keeps the envelope and the content of every mail it answered 250 for.
 */
import net from 'node:net'
import { createSecureContext, type SecureContext, TLSSocket } from 'node:tls'

export interface SunkMail {
  readonly from: string
  readonly recipients: readonly string[]
  /** Octets as latin1, dot-stuffing removed, without the final dot. */
  readonly content: string
}

/**
 * Decides a reply: text (with or without CRLF), `drop` to close without a word, `stall` to never answer, a promise to
 * give the usual reply when it resolves, undefined for the usual reply. `verb` is CONNECT, EHLO, HELO, LHLO, MAIL, RCPT, DATA, `.`, RSET, NOOP or QUIT.
 */
export type Misbehave = (verb: string, line: string, sink: SmtpSink) => string | Promise<void> | undefined

export interface SinkOptions {
  readonly misbehave?: Misbehave
  /** EHLO keywords; default PIPELINING, 8BITMIME, SIZE, ENHANCEDSTATUSCODES. */
  readonly extensions?: readonly string[]
  /** Port, when it must be a certain one; default any. */
  readonly port?: number
  /** Default 127.0.0.1. */
  readonly host?: string
  /** Whether mails are kept to be looked at, default true. */
  readonly keep?: boolean
  /** PEM: STARTTLS is offered. */
  readonly tls?: { readonly cert: string; readonly key: string }
}

export class SmtpSink {
  readonly mails: SunkMail[] = []
  /** How often each recipient was answered 250 at the end of data. */
  readonly deliveries = new Map<string, number>()
  connections = 0
  /** Mails that were answered 250. */
  count = 0
  /** STARTTLS, and mails that came over it. */
  handshakes = 0
  securedMails = 0
  /** @internal */
  readonly secureContext: SecureContext | undefined
  readonly #server: net.Server
  readonly #sockets = new Set<net.Socket>()
  readonly #options: SinkOptions
  #port = 0

  private constructor(options: SinkOptions) {
    this.#options = options
    this.secureContext = options.tls && createSecureContext(options.tls)
    this.#server = net.createServer({ noDelay: true }, (socket) => this.#serve(socket))
  }

  static async start(options: SinkOptions = {}): Promise<SmtpSink> {
    const sink = new SmtpSink(options)
    await new Promise<void>((resolve, reject) => {
      sink.#server.once('error', reject)
      sink.#server.listen(
        { port: options.port ?? 0, host: options.host ?? '127.0.0.1', backlog: 1000 },
        resolve,
      )
    })
    sink.#port = (sink.#server.address() as net.AddressInfo).port
    return sink
  }

  get port(): number {
    return this.#port
  }

  /** Connections that are open now. */
  get open(): number {
    return this.#sockets.size
  }

  /** As `smtp.relayhost` wants it. */
  get nexthop(): string {
    return `[127.0.0.1]:${this.#port}`
  }

  /** Drops all connections, which is what servers do with idle ones; with RST, or for its own direction only. */
  hangUp(how: 'close' | 'reset' | 'half' = 'close'): void {
    for (const socket of this.#sockets) {
      if (how === 'close') socket.destroy()
      else if (how === 'reset') socket.resetAndDestroy()
      else socket.end()
    }
  }

  /** Says something on all connections, asked or not. */
  say(text: string): void {
    for (const socket of this.#sockets) socket.write(text, 'latin1')
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #serve(socket: net.Socket): void {
    this.connections += 1
    this.#sockets.add(socket)
    socket.on('close', () => this.#sockets.delete(socket))
    socket.on('error', () => undefined)
    const session = new SinkSession(this, socket, this.#options)
    session.listen(socket)
  }

  /** @internal */
  keep(mail: SunkMail): void {
    this.count += 1
    if (this.#options.keep === false) return
    this.mails.push(mail)
    for (const recipient of mail.recipients) {
      this.deliveries.set(recipient, (this.deliveries.get(recipient) ?? 0) + 1)
    }
  }
}

class SinkSession {
  readonly #sink: SmtpSink
  #socket: net.Socket
  readonly #options: SinkOptions
  #input = ''
  #isData = false
  #isStalled = false
  #from = ''
  #recipients: string[] = []

  constructor(sink: SmtpSink, socket: net.Socket, options: SinkOptions) {
    this.#sink = sink
    this.#socket = socket
    this.#options = options
    this.#answer('CONNECT', '', () => '220 sink.test ESMTP')
  }

  listen(socket: net.Socket): void {
    socket.on('data', (chunk: Buffer) => this.#receive(chunk.toString('latin1')))
  }

  #startTls(): void {
    const plain = this.#socket
    plain.removeAllListeners('data')
    this.#input = ''
    const secured = new TLSSocket(plain, { isServer: true, secureContext: this.#sink.secureContext })
    secured.on('error', () => undefined)
    this.#socket = secured
    this.#sink.handshakes += 1
    this.listen(secured)
  }

  #receive(chunk: string): void {
    this.#input += chunk
    while (!this.#isStalled && !this.#socket.destroyed) {
      if (this.#isData) {
        const end = this.#input.startsWith('.\r\n') ? 0 : this.#input.indexOf('\r\n.\r\n')
        if (end === -1) return
        const content = end === 0 ? '' : this.#input.slice(0, end + 2)
        this.#input = this.#input.slice(end === 0 ? 3 : end + 5)
        this.#isData = false
        this.#endOfData(content)
        continue
      }
      const at = this.#input.indexOf('\r\n')
      if (at === -1) return
      const line = this.#input.slice(0, at)
      this.#input = this.#input.slice(at + 2)
      this.#command(line)
    }
  }

  #endOfData(content: string): void {
    const mail = {
      from: this.#from,
      recipients: this.#recipients,
      content: content.replace(/^\.\./gm, '.'),
    }
    this.#recipients = []
    this.#answer('.', '', () => {
      if (this.#socket instanceof TLSSocket) this.#sink.securedMails += 1
      this.#sink.keep(mail)
      return '250 2.0.0 kept'
    })
  }

  #command(line: string): void {
    const verb = line.split(' ', 1)[0]?.toUpperCase() ?? ''
    const path = /<([^>]*)>/.exec(line)?.[1] ?? ''
    this.#answer(verb, line, () => {
      switch (verb) {
        case 'EHLO':
        case 'LHLO':
          return this.#hello()
        case 'MAIL':
          this.#from = path
          this.#recipients = []
          return '250 2.1.0 ok'
        case 'RCPT':
          this.#recipients.push(path)
          return '250 2.1.5 ok'
        case 'DATA':
          if (this.#recipients.length === 0) return '554 5.5.1 no recipients'
          this.#isData = true
          return '354 go on'
        case 'STARTTLS':
          return this.#canStartTls ? '220 go on' : '500 5.5.2 unknown'
        case 'QUIT':
          return '221 2.0.0 bye'
        case 'HELO':
        case 'RSET':
        case 'NOOP':
          return '250 2.0.0 ok'
        default:
          return '500 5.5.2 unknown'
      }
    })
    if (verb === 'QUIT' && !this.#isStalled) this.#socket.end()
    if (verb === 'STARTTLS' && this.#canStartTls) this.#startTls()
  }

  get #canStartTls(): boolean {
    return this.#sink.secureContext !== undefined && !(this.#socket instanceof TLSSocket)
  }

  #hello(): string {
    const keywords = this.#options.extensions ?? ['PIPELINING', '8BITMIME', 'SIZE', 'ENHANCEDSTATUSCODES']
    const lines = ['sink.test', ...keywords, ...(this.#canStartTls ? ['STARTTLS'] : [])]
    return lines.map((text, index) => `250${index === lines.length - 1 ? ' ' : '-'}${text}`).join('\r\n')
  }

  #answer(verb: string, line: string, usual: () => string): void {
    const odd = this.#options.misbehave?.(verb, line, this.#sink)
    if (odd === 'drop') this.#socket.destroy()
    else if (odd === 'stall') this.#isStalled = true
    else if (odd instanceof Promise) void odd.then(() => this.#write(usual()))
    else this.#write(odd ?? usual())
  }

  #write(reply: string): void {
    // A reply that is given late may find nobody.
    if (!this.#socket.destroyed) this.#socket.write(`${reply.trimEnd()}\r\n`)
  }
}

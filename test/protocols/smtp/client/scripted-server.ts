/**
 * A real TCP server that follows a script: what to answer to each command, what to answer after the content, where
 * to hang up. It records every command and what arrived in one flight.
 */
import { createServer, type Server, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { type SecureContext, TLSSocket } from 'node:tls'

export interface Script {
  /** Default `220 mx.test ESMTP`; null: say nothing. */
  readonly greeting?: Answer
  /** Keywords of EHLO and LHLO. */
  readonly keywords?: readonly string[]
  /** Answer by command prefix, the first that fits: text, several in turn, null for silence, `close` to hang up. */
  readonly answers?: Readonly<Record<string, Answer | readonly Answer[]>>
  /** Answers that depend on what came; undefined: as usual. */
  readonly respond?: (command: string) => string | undefined
  /** After the content: one reply, or for LMTP one each. */
  readonly dot?: Answer | readonly Answer[]
  /** Sends every reply one octet at a time, in writes of their own. */
  readonly trickle?: boolean
  /** Answers this verb octet by octet. */
  readonly drip?: { readonly verb: string; readonly reply: string; readonly everyMs: number }
  /** Stops reading after this many octets of content. */
  readonly stallAfter?: number
  /** Sends this and hangs up after so many octets of content. */
  readonly interrupt?: { readonly after: number; readonly reply: string }
  /** Greets, then hangs up after so long without a command (default never). */
  readonly idleCloseMs?: number
  /** Said unasked after the last reply to the dot. */
  readonly afterDot?: string
  /** Answers STARTTLS with 220 and a handshake. */
  readonly tls?: TlsScript
}

export interface TlsScript {
  readonly context: SecureContext
  /** TLS from the first octet on. */
  readonly implicit?: boolean
  /** Keywords of EHLO within TLS; default: those without. */
  readonly keywords?: readonly string[]
  /** Instead of a handshake: says this, hangs up, or falls silent. */
  readonly broken?: string | 'close' | 'reset' | 'silence'
  /** A handshake, and what follows, of which so many octets of the server arrive before it hangs up. */
  readonly cutAfter?: number
  /** Sent in the same write as the reply to STARTTLS, or unasked once TLS is there. */
  readonly injected?: string
  /** Asks the client for a certificate. */
  readonly requestCert?: boolean
  readonly early?: string
}

export type Answer = string | null | { readonly close: string }

export interface Recorded {
  /** Commands in order; content is `CONTENT`. */
  readonly commands: string[]
  /** What arrived together: commands joined by a space after each pause of the client. */
  readonly flights: string[]
  /** Content as received, with its final dot. */
  readonly content: string[]
  closed: boolean
  /** SNI; undefined: none. */
  servername?: string | undefined
  /** Version of TLS. */
  protocol?: string | null
  /** The TLS session is one from before. */
  resumed?: boolean
  /** Name in the client's certificate; empty: it has shown none. */
  client?: string
}

export class ScriptedServer {
  readonly sessions: Recorded[] = []
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #scripts: readonly Script[]
  #waiting: (() => void)[] = []

  /** The n-th connection follows the n-th script; later ones the last. */
  constructor(scripts: readonly Script[]) {
    this.#scripts = scripts
    this.#server = createServer((socket) => this.#serve(socket))
  }

  static async start(...scripts: readonly Script[]): Promise<ScriptedServer> {
    const server = new ScriptedServer(scripts.length === 0 ? [{}] : scripts)
    await server.listen({ port: 0, host: '127.0.0.1' })
    return server
  }

  static async startAt(path: string, ...scripts: readonly Script[]): Promise<ScriptedServer> {
    const server = new ScriptedServer(scripts)
    await server.listen({ path })
    return server
  }

  listen(where: { port: number; host: string } | { path: string }): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(where, resolve)
    })
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port
  }

  get commands(): string[] {
    return this.sessions.flatMap(({ commands }) => commands)
  }

  /** Resolves when `condition` holds; the condition is looked at whenever something arrives. */
  async until(condition: () => boolean, deadlineMs = 5_000): Promise<void> {
    const end = Date.now() + deadlineMs
    while (!condition()) {
      if (Date.now() > end) throw new Error(`not in time; seen: ${JSON.stringify(this.sessions)}`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 200)
        this.#waiting.push(() => {
          clearTimeout(timer)
          resolve()
        })
      })
    }
  }

  /** Ends all connections from our side. */
  hangUp(): void {
    for (const socket of this.#sockets) socket.end()
  }

  sayToAll(text: string): void {
    for (const socket of this.#sockets) socket.write(text)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #changed(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const wake of waiting) wake()
  }

  #serve(socket: Socket): void {
    const script = this.#scripts[Math.min(this.sessions.length, this.#scripts.length - 1)]!
    const record: Recorded = { commands: [], flights: [], content: [], closed: false }
    this.sessions.push(record)
    this.#sockets.add(socket)
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('close', () => {
      record.closed = true
      this.#sockets.delete(socket)
      this.#changed()
    })
    const dialog = new Dialog(socket, script, record)
    dialog.changed = () => this.#changed()
    if (script.tls?.implicit === true) {
      dialog.secure(script.tls, () => dialog.say(script.greeting ?? '220 mx.test ESMTP'))
      return
    }
    dialog.listen()
    if (script.greeting !== null) dialog.say(script.greeting ?? '220 mx.test ESMTP')
  }
}

/** The socket until so many octets were written. */
function cut(socket: Socket, octets: number): Duplex {
  let left = octets
  const carrier = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      const part = chunk.subarray(0, left)
      left -= part.length
      if (part.length > 0) socket.write(part)
      if (left === 0) socket.end()
      done()
    },
    final(done) {
      socket.end(done)
    },
  })
  carrier.on('error', () => {})
  socket.on('data', (chunk) => carrier.push(chunk))
  socket.on('close', () => carrier.destroy())
  return carrier
}

class Dialog {
  changed: () => void = () => {}
  #socket: Socket
  #secured = false
  readonly #script: Script
  readonly #record: Recorded
  readonly #turns = new Map<string, number>()
  #buffer = ''
  #inContent = false
  #accepted = 0
  #lmtp = false
  #queue: Promise<void> = Promise.resolve()

  constructor(socket: Socket, script: Script, record: Recorded) {
    this.#socket = socket
    this.#script = script
    this.#record = record
  }

  readonly #onData = (chunk: Buffer): void => {
    this.take(chunk.toString('latin1'))
    this.changed()
  }

  listen(): void {
    this.#socket.on('data', this.#onData)
  }

  secure(tls: TlsScript, then?: () => void): void {
    const plain = this.#socket
    plain.off('data', this.#onData)
    this.#buffer = ''
    if (tls.broken !== undefined) {
      // Not before the client has begun: what comes with the reply to STARTTLS counts for nothing.
      plain.once('data', () => {
        if (tls.broken === 'close') plain.end()
        else if (tls.broken === 'reset') plain.resetAndDestroy()
        else if (tls.broken !== 'silence') plain.write(tls.broken!)
      })
      plain.on('data', () => {})
      return
    }
    const carrier = tls.cutAfter === undefined ? plain : cut(plain, tls.cutAfter)
    const secured = new TLSSocket(carrier, {
      isServer: true,
      secureContext: tls.context,
      requestCert: tls.requestCert === true,
      rejectUnauthorized: false,
    })
    secured.on('error', () => {})
    // Of a failed handshake.
    secured.on('_tlsError', () => plain.destroy())
    secured.on('secure', () => {
      this.#record.commands.push('handshake')
      const { servername } = secured as { servername?: string | false }
      this.#record.servername = servername === false ? undefined : servername
      this.#record.protocol = secured.getProtocol()
      this.#record.resumed = secured.isSessionReused()
      this.#record.client = String(secured.getPeerCertificate()?.subject?.CN ?? '')
      this.changed()
      then?.()
    })
    this.#socket = secured
    this.#secured = true
    this.listen()
  }

  say(answer: Answer): void {
    if (answer === null) return
    const text = typeof answer === 'string' ? answer : answer.close
    const bytes = text === '' ? '' : `${text.replaceAll('\n', '\r\n')}\r\n`
    const close = typeof answer !== 'string'
    if (this.#script.trickle !== true) {
      if (bytes !== '') this.#socket.write(bytes)
      if (close) this.#socket.end()
      return
    }
    this.#queue = this.#queue.then(async () => {
      for (const char of bytes) {
        await new Promise<void>((resolve) => this.#socket.write(char, () => setImmediate(resolve)))
      }
      if (close) this.#socket.end()
    })
  }

  take(text: string): void {
    this.#buffer += text
    const flight: string[] = []
    for (;;) {
      if (this.#inContent) {
        if (this.#overdue()) return
        const end = this.#contentEnd()
        if (end < 0) break
        const content = this.#buffer.slice(0, end)
        this.#buffer = this.#buffer.slice(end)
        this.#inContent = false
        this.#record.content.push(content)
        this.#record.commands.push('CONTENT')
        flight.push('CONTENT')
        this.#answerDot()
        continue
      }
      const lf = this.#buffer.indexOf('\r\n')
      if (lf < 0) break
      const command = this.#buffer.slice(0, lf)
      this.#buffer = this.#buffer.slice(lf + 2)
      this.#record.commands.push(command)
      flight.push(command.split(/[ :]/)[0]!.toUpperCase())
      this.#command(command)
    }
    if (flight.length > 0) this.#record.flights.push(flight.join(' '))
  }

  #contentEnd(): number {
    if (this.#buffer.startsWith('.\r\n')) return 3
    const at = this.#buffer.indexOf('\r\n.\r\n')
    return at < 0 ? -1 : at + 5
  }

  /** The script ends the content early; true: nothing more is read. */
  #overdue(): boolean {
    const { stallAfter, interrupt } = this.#script
    if (stallAfter !== undefined && this.#buffer.length >= stallAfter) {
      this.#socket.pause()
      return true
    }
    if (interrupt !== undefined && this.#buffer.length >= interrupt.after) {
      this.#socket.pause()
      this.#socket.write(`${interrupt.reply}\r\n`, () => setTimeout(() => this.#socket.destroy(), 20))
      return true
    }
    return false
  }

  #command(command: string): void {
    const verb = command.split(/[ :]/)[0]!.toUpperCase()
    if (verb === 'LHLO') this.#lmtp = true
    if (verb === 'MAIL' || verb === 'RSET') this.#accepted = 0
    const { drip } = this.#script
    if (drip?.verb === verb) {
      this.#drip(`${drip.reply}\r\n`, drip.everyMs)
      return
    }
    const answer = this.#answerTo(command, verb)
    if (verb === 'RCPT' && typeof answer === 'string' && answer.startsWith('2')) this.#accepted++
    const said = typeof answer === 'string' ? answer : (answer?.close ?? '')
    if (verb === 'DATA' && /(?:^|\n)3[^\n]*$/.test(said)) this.#inContent = true
    const { tls } = this.#script
    if (verb === 'STARTTLS' && tls !== undefined && typeof answer === 'string' && answer.startsWith('2')) {
      this.say(answer + (tls.injected === undefined ? '' : `\n${tls.injected}`))
      this.secure(tls)
      return
    }
    const early = verb === 'EHLO' && this.#secured && tls?.early !== undefined ? `\n${tls.early}` : ''
    this.say(early === '' ? answer : answer + early)
  }

  #drip(octets: string, everyMs: number): void {
    if (octets === '' || this.#socket.destroyed) return
    this.#socket.write(octets[0]!)
    setTimeout(() => this.#drip(octets.slice(1), everyMs), everyMs)
  }

  #answerTo(command: string, verb: string): Answer {
    const response = this.#script.respond?.(command)
    if (response !== undefined) return response
    for (const [prefix, answers] of Object.entries(this.#script.answers ?? {})) {
      if (prefix === '' ? command !== '' : !command.toUpperCase().startsWith(prefix.toUpperCase())) continue
      if (!Array.isArray(answers)) return answers as Answer
      const turn = this.#turns.get(prefix) ?? 0
      this.#turns.set(prefix, turn + 1)
      return answers[Math.min(turn, answers.length - 1)]!
    }
    switch (verb) {
      case 'EHLO':
      case 'LHLO': {
        const { keywords = [], tls } = this.#script
        const offer = tls === undefined || this.#secured ? [] : ['STARTTLS']
        const lines = ['mx.test', ...offer, ...((this.#secured ? tls?.keywords : undefined) ?? keywords)]
        return lines.map((line, i) => `250${i === lines.length - 1 ? ' ' : '-'}${line}`).join('\n')
      }
      case 'DATA':
        return '354 go on'
      case 'QUIT':
        return { close: '221 bye' }
      default:
        return '250 2.0.0 ok'
    }
  }

  #answerDot(): void {
    const { dot, afterDot } = this.#script
    const answers = (
      dot === undefined ? ['250 2.0.0 ok'] : Array.isArray(dot) ? dot : [dot]
    ) as readonly Answer[]
    const count = this.#lmtp ? this.#accepted : 1
    for (let i = 0; i < count; i++) this.say(answers[Math.min(i, answers.length - 1)]!)
    if (afterDot !== undefined) this.say(afterDot)
  }
}

/** A POP3 server with real sockets, stores and mailboxes on one thread, and a client that speaks in octets. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tls from 'node:tls'
import { accountingActor } from '../../../src/accounting/accounting.ts'
import type { ChildSpec, Logger } from '../../../src/actors/index.ts'
import { authActor } from '../../../src/auth/auth.ts'
import { loadConfig } from '../../../src/config/loader.ts'
import type { Config } from '../../../src/config/settings.ts'
import { createMaildir } from '../../../src/mailbox/deliver.ts'
import { mailboxStores } from '../../../src/mailbox/supervisor.ts'
import { pop3Session } from '../../../src/protocols/pop3/session.ts'
import { ActorSystem } from '../../../src/runtime/system.ts'
import { TestSystem } from '../../../src/testing/index.ts'

export const m1 = 'From: a\nSubject: one\n\nhello\n'
export const m2 = 'Subject: two\n\n.\n..\n.x\nend\n'
export const m3 = 'Subject: three\n\nno newline at end'

export interface LogLine {
  readonly event?: string
  readonly [key: string]: unknown
}

export interface ServerOptions {
  /** `key=value` of the configuration. */
  readonly set?: readonly string[]
  /** More lines of the passwd-file. */
  readonly users?: readonly string[]
  /** Values that the configuration's ranges do not allow, such as short timeouts. */
  readonly pop3?: Partial<Config['pop3']>
  /** As while their supervisor restarts them. */
  readonly withoutMailboxes?: boolean
  /** The clock stands still until `advance`. */
  readonly virtualTime?: boolean
  readonly hooks?: { readonly socket?: (socket: Socket) => void }
}

export class Pop3Server {
  readonly root = mkdtempSync(join(tmpdir(), 'pop3-'))
  readonly log: LogLine[] = []
  #system: ActorSystem | undefined
  #virtual: TestSystem | undefined
  #server: Server | undefined
  #sessions = 0
  readonly #clients: Client[] = []

  static async start(options: ServerOptions = {}): Promise<Pop3Server> {
    const server = new Pop3Server()
    await server.#start(options)
    return server
  }

  async #start(options: ServerOptions): Promise<void> {
    const users = ['alice:{PLAIN}secret', 'bob:{PLAIN}p w  d', 'dave:{PLAIN}other', ...(options.users ?? [])]
    writeFileSync(join(this.root, 'users'), `${users.join('\n')}\n`)
    const set = [
      `data_dir=${this.root}`,
      'hostname=mx.test',
      'auth.failure_delay=0',
      'auth.internal_failure_delay=0',
      'auth.penalty.enabled=false',
      ...(options.set ?? []),
    ]
    const loaded = loadConfig({ file: false, set, cwd: this.root })
    const config: Config = { ...loaded, pop3: { ...loaded.pop3, ...options.pop3 } }
    const children: ChildSpec[] = [
      { id: 'accounting', actor: accountingActor, args: undefined, registerAs: 'accounting' },
      { id: 'auth', actor: authActor, args: undefined, registerAs: 'auth' },
      ...(options.withoutMailboxes === true
        ? []
        : [{ id: 'stores', actor: mailboxStores, args: undefined, shutdown: 'infinity' } as const]),
    ]
    const start = { settings: { config }, log: this.#logger(), children }
    if (options.virtualTime === true) this.#virtual = await TestSystem.start(start)
    else this.#system = await ActorSystem.start(start)
    const listener = config.listener.find(({ service }) => service === 'pop3')!
    this.#server = createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true }, (socket) => {
      options.hooks?.socket?.(socket)
      const session = `s${++this.#sessions}`
      const args = { service: 'pop3', listener, session }
      ;(this.#system ?? this.#virtual!).spawn(pop3Session, args, { socket })
    })
    await new Promise<void>((resolve) => this.#server!.listen(0, '127.0.0.1', resolve))
  }

  #logger(): Logger {
    const write = (facts: object) => {
      this.log.push(facts as LogLine)
    }
    return {
      trace() {},
      debug() {},
      info: write,
      warn: write,
      error: write,
      fatal: write,
      isLevelEnabled: () => true,
    }
  }

  /** Lines of one event. */
  events(event: string): LogLine[] {
    return this.log.filter((line) => line.event === event)
  }

  get port(): number {
    return (this.#server!.address() as AddressInfo).port
  }

  maildir(user = 'alice'): string {
    return join(this.root, 'mail', user, 'Maildir')
  }

  /** File names in the user's folders, sorted, `new/` with its folder in front. */
  files(user = 'alice'): string[] {
    const list = (folder: string) => readdirSync(join(this.maildir(user), folder)).sort()
    return [...list('cur'), ...list('new').map((name) => `new/${name}`)]
  }

  /** Writes a file below the user's Maildir. */
  put(path: string, content: string, user = 'alice'): void {
    createMaildir(this.maildir(user))
    writeFileSync(join(this.maildir(user), path), content, 'latin1')
  }

  /** Fixture MB1: three mails of 32, 32 and 35 octets, the second seen, the third in new/. */
  mb1(user = 'alice'): void {
    this.put('cur/1700000001.M1P1.h:2,', m1, user)
    this.put('cur/1700000002.M2P1.h:2,S', m2, user)
    this.put('new/1700000003.M3P1.h', m3, user)
    const lines = '1 :1700000001.M1P1.h\n2 :1700000002.M2P1.h\n3 :1700000003.M3P1.h\n'
    this.put('dovecot-uidlist', `3 V1700000000 N4 G0123456789abcdef0123456789abcdef\n${lines}`, user)
  }

  /** `localAddress`: a client from elsewhere, as far as the server can tell. */
  async connect(localAddress?: string): Promise<Client> {
    const client = await Client.connect(this.port, localAddress)
    this.#clients.push(client)
    return client
  }

  /** A client that has logged in; what was said so far is read. */
  async login(user = 'alice', password = 'secret'): Promise<Client> {
    const client = await this.connect()
    client.send(`USER ${user}\r\nPASS ${password}\r\n`)
    await client.lines(3)
    return client
  }

  /** Sends octets in the given pieces, then FIN; returns all that came back. */
  async script(pieces: readonly string[]): Promise<string> {
    const client = await this.connect()
    for (const piece of pieces) {
      client.send(piece)
      if (pieces.length > 1) await client.flushed()
    }
    client.end()
    return client.rest()
  }

  /** Moves the virtual clock, giving sockets time to follow. */
  async advance(ms: number): Promise<void> {
    await this.#virtual!.advance(ms)
  }

  /** Stops the system as a shutdown does; sessions say goodbye. */
  async shutdown(): Promise<void> {
    const system = this.#system ?? this.#virtual
    this.#system = undefined
    this.#virtual = undefined
    await system?.stop()
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.destroy()
    this.#server?.close()
    await this.shutdown()
    rmSync(this.root, { recursive: true, force: true })
  }
}

export class Client {
  readonly socket: Socket
  #received = ''
  #ended = false
  #error: string | undefined
  #wake: (() => void) | undefined

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.#received += chunk.toString('latin1')
      this.#wake?.()
    })
    socket.on('close', () => {
      this.#ended = true
      this.#wake?.()
    })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#error = error.code
    })
  }

  static async connect(port: number, localAddress?: string): Promise<Client> {
    const options = { port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true }
    const socket = connect(localAddress === undefined ? options : { ...options, localAddress })
    const client = new Client(socket)
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
    // Half open would leave it up to us: we follow the server.
    socket.on('end', () => socket.end())
    return client
  }

  /** Speaks through a socket that is connected, TLS for instance. */
  static over(socket: Socket): Client {
    return new Client(socket)
  }

  /** TLS over this connection from now on; nothing that was received may be left. */
  async secured(options: tls.ConnectionOptions = {}): Promise<Client> {
    this.socket.removeAllListeners('data')
    const secured = tls.connect({ socket: this.socket, rejectUnauthorized: false, ...options })
    const client = new Client(secured)
    await new Promise<void>((resolve, reject) => {
      secured.once('secureConnect', resolve)
      secured.once('error', reject)
    })
    return client
  }

  /** Code of the error that ended the connection. */
  get error(): string | undefined {
    return this.#error
  }

  send(text: string): void {
    this.socket.write(text, 'latin1')
  }

  end(): void {
    this.socket.end()
  }

  destroy(): void {
    this.socket.destroy()
  }

  /** Waits until what was sent has left, and the server had a turn to read it. */
  async flushed(): Promise<void> {
    while (this.socket.writableLength > 0) await new Promise((resolve) => setImmediate(resolve))
    for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve))
  }

  async #until(done: () => boolean, what: string): Promise<void> {
    const deadline = performance.now() + 30_000
    while (!done()) {
      if (this.#ended || performance.now() > deadline) {
        throw new Error(
          `${what}: ${this.#ended ? 'the connection ended' : 'nothing came'} after ${JSON.stringify(this.#received.slice(-300))}`,
        )
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1_000)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  /** Takes the next lines, without their ends. */
  async lines(count: number): Promise<string[]> {
    await this.#until(() => this.#received.split('\r\n').length > count, `${count} lines`)
    const parts = this.#received.split('\r\n')
    this.#received = parts.slice(count).join('\r\n')
    return parts.slice(0, count)
  }

  async line(): Promise<string> {
    return (await this.lines(1))[0]!
  }

  /** Sends a command and takes its one line. */
  async ask(command: string): Promise<string> {
    this.send(`${command}\r\n`)
    return this.line()
  }

  /** Sends a command and takes its multi-line answer: the status line, and the lines before the dot. */
  async list(command: string): Promise<{ status: string; lines: string[] }> {
    this.send(`${command}\r\n`)
    const status = await this.line()
    const lines: string[] = []
    if (!status.startsWith('+OK')) return { status, lines }
    for (let line = await this.line(); line !== '.'; line = await this.line()) lines.push(line)
    return { status, lines }
  }

  /** Everything until the server closes. */
  async rest(): Promise<string> {
    const deadline = performance.now() + 30_000
    while (!this.#ended) {
      if (performance.now() > deadline)
        throw new Error(`not closed after ${JSON.stringify(this.#received.slice(-300))}`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1_000)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    return this.#received
  }
}

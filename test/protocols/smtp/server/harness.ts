/**
 * The real session actor on a real system, between real `auth` and `queue` actors that are simpler than those of
 * the service: users are given, and the queue remembers what it got and refuses when told to.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Duplex, duplexPair } from 'node:stream'
import { onTestFinished } from 'vitest'
import { anvilActor } from '../../../../src/accounting/anvil.ts'
import { actor, type Contract, Deferred, type Logger } from '../../../../src/actors/index.ts'
import { authSettings } from '../../../../src/auth/config.ts'
import type { Account, AuthContract, VerifyResult } from '../../../../src/auth/contract.ts'
import { defaults } from '../../../../src/config/schema.ts'
import { clientCertSettings, tlsSettings } from '../../../../src/config/tables.ts'
import { dnsSettings } from '../../../../src/dns/config.ts'
import { maildirSettings, mailSettings, quotaSettings } from '../../../../src/mailbox/config.ts'
import { contentSettings } from '../../../../src/protocols/smtp/client/content/config.ts'
import {
  lmtpServerSettings,
  type SmtpdSettings,
  smtpdSettings,
} from '../../../../src/protocols/smtp/server/config.ts'
import type { ServerConfig } from '../../../../src/protocols/smtp/server/policy.ts'
import { type SmtpSessionArgs, smtpSession } from '../../../../src/protocols/smtp/server/session.ts'
import type {
  EnqueueResult,
  NewMail,
  OperationPage,
  OperationResult,
  QueueOperation,
  QueueSelection,
} from '../../../../src/queue/contract.ts'
import { ActorSystem } from '../../../../src/runtime/system.ts'
import { until, within } from '../../../support/until.ts'
import { FakeSasl } from './fake-sasl.ts'

export interface FakeQueue {
  readonly mails: NewMail[]
  /** Recipients that were asked for with ETRN. */
  readonly flushed: string[]
  /** What `enqueue` answers; a thrown error ends the queue actor. */
  answer: (mail: NewMail) => EnqueueResult | Promise<EnqueueResult>
}

type EnqueueOnly = Contract<{
  enqueue(mail: NewMail): EnqueueResult
  operate(operation: QueueOperation, selection: QueueSelection, page: OperationPage): OperationResult
}>

const fakeQueue = actor<EnqueueOnly, FakeQueue>({
  name: 'fake-queue',
  module: import.meta.url,
  init: (_context, queue) => ({
    async enqueue(mail) {
      const result = await queue.answer(mail)
      if (result.status === 'queued') queue.mails.push(mail)
      return result
    },
    operate(operation, { recipient = '' }, { after }) {
      queue.flushed.push(`${operation} ${recipient} ${after}`)
      return { done: [], missing: [], next: after === '' ? 'Q2' : '', until: 'Q3' }
    },
  }),
})

/** Knows ann and bob, password `secret`; the address `trouble` cannot be looked up, as with an unreadable passwd-file. */
const fakeAuth = actor<AuthContract, { readonly home: string; readonly users: readonly string[] }>({
  name: 'fake-auth',
  module: import.meta.url,
  init: (_context, { home, users }) => {
    const accountOf = (address: string): Account | null => {
      const name = (address.split('@')[0] ?? '').toLowerCase()
      if (!users.includes(name)) return null
      return { user: name, home: join(home, name), maildir: join(home, name, 'Maildir') }
    }
    const verify = (user: string, password: string): VerifyResult => {
      const account = accountOf(user)
      return account !== null && password === 'secret'
        ? { ok: true, account }
        : { ok: false, reason: 'credentials' }
    }
    const sasl = new FakeSasl(({ user }, password) => verify(user, password))
    return {
      verify,
      verifyApop: () => ({ ok: false, reason: 'credentials' }),
      saslStart: (mechanism, initial) => sasl.saslStart(mechanism, initial),
      saslNext: (exchange, response) => sasl.saslNext(exchange, response),
      saslCancel: (exchange) => sasl.saslCancel(exchange),
      account(address) {
        if (!address.startsWith('trouble')) return accountOf(address)
        const unknown = new Deferred<Account | null>()
        unknown.reject(new Error('no lookups for trouble'))
        return unknown
      },
      reload() {},
    }
  },
})

export interface LogLine {
  readonly [key: string]: unknown
}

function recorder(lines: LogLine[]): Logger {
  const write = (facts: object) => void lines.push(facts as LogLine)
  return {
    trace: () => {},
    debug: () => {},
    info: write,
    warn: write,
    error: write,
    fatal: write,
    isLevelEnabled: () => true,
  }
}

export interface ServerOptions {
  readonly service?: SmtpSessionArgs['service']
  readonly smtpd?: Partial<SmtpdSettings>
  readonly auth?: Partial<ServerConfig['auth']>
  readonly mail?: Partial<ServerConfig['mail']>
  readonly quota?: Partial<ServerConfig['quota']>
  readonly maildir?: Partial<ServerConfig['maildir']>
  readonly lmtp?: Partial<ServerConfig['lmtp']>
  readonly tls?: { readonly cert: string; readonly key: string }
  readonly listenerTls?: 'off' | 'starttls' | 'implicit'
  readonly transport?: Readonly<Record<string, string>>
  readonly users?: readonly string[]
  /** Serve a unix socket instead of TCP. */
  readonly unix?: boolean
  readonly withoutQueue?: boolean
  /** `queue.minfree`. */
  readonly minfree?: number
  /** `queue.fast_flush_domains`. */
  readonly fastFlush?: readonly string[]
  readonly isStressed?: boolean
  readonly dns?: Partial<ServerConfig['dns']>
}

/** Settings as the configuration has them, defaults but for what is given. */
export function serverConfig(dataDir: string, options: ServerOptions = {}): ServerConfig {
  return {
    hostname: 'mx.test',
    data_dir: dataDir,
    // Mail is kept as it came, unless a test is about that.
    smtpd: {
      ...defaults(smtpdSettings),
      local_header_rewrite_clients: [],
      peername_lookup: false,
      ...options.smtpd,
    },
    mail: { ...defaults(mailSettings), ...options.mail },
    maildir: { ...defaults(maildirSettings), ...options.maildir },
    quota: { ...defaults(quotaSettings), ...options.quota },
    lmtp: { ...defaults(lmtpServerSettings), ...options.lmtp },
    auth: { ...defaults(authSettings), ...options.auth },
    tls: { ...defaults(tlsSettings), client_cert: defaults(clientCertSettings), ...options.tls },
    transport: options.transport ?? {},
    queue: { minfree: options.minfree ?? 0, fast_flush_domains: options.fastFlush ?? [] },
    dns: { ...defaults(dnsSettings), ...options.dns },
    content: defaults(contentSettings),
  }
}

export class TestServer {
  readonly dir: string
  readonly queue: FakeQueue
  readonly log: LogLine[]
  readonly system: ActorSystem
  readonly port: number
  readonly path: string
  /** Sessions that ended by an error of ours. */
  readonly crashes: string[] = []
  readonly #args: SmtpSessionArgs
  readonly #server: net.Server
  #sessions = 0

  private constructor(
    dir: string,
    queue: FakeQueue,
    log: LogLine[],
    system: ActorSystem,
    args: SmtpSessionArgs,
    server: net.Server,
  ) {
    this.dir = dir
    this.queue = queue
    this.log = log
    this.system = system
    this.#args = args
    this.#server = server
    const address = server.address()
    this.port = typeof address === 'object' && address !== null ? address.port : 0
    this.path = typeof address === 'string' ? address : ''
    system.events.on('actor.terminated', ({ name, reason }) => {
      if (name === 'smtp-session' && reason.kind === 'error') this.crashes.push(reason.stack ?? '')
    })
    server.on('connection', (socket) => this.serve(socket))
  }

  static async start(options: ServerOptions = {}): Promise<TestServer> {
    const dir = mkdtempSync(join(tmpdir(), 'ma-smtpd-'))
    mkdirSync(join(dir, 'queue'))
    const queue: FakeQueue = { mails: [], flushed: [], answer: () => ({ status: 'queued' }) }
    const log: LogLine[] = []
    const users = options.users ?? ['ann', 'bob']
    const system = await ActorSystem.start({
      settings: { config: serverConfig(dir, options) },
      log: recorder(log),
      intensity: 100,
      children: [
        { id: 'anvil', actor: anvilActor, args: undefined, registerAs: 'anvil' },
        { id: 'auth', actor: fakeAuth, args: { home: join(dir, 'mail'), users }, registerAs: 'auth' },
        ...(options.withoutQueue === true
          ? []
          : [{ id: 'queue', actor: fakeQueue, args: queue, registerAs: 'queue' }]),
      ],
    })
    const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true })
    const path = join(dir, 's')
    await new Promise<void>((resolve) => {
      if (options.unix === true) server.listen(path, resolve)
      else server.listen(0, '127.0.0.1', resolve)
    })
    const args: SmtpSessionArgs = {
      service: options.service ?? 'smtp',
      session: 's',
      isStressed: options.isStressed ?? false,
      listener: {
        service: options.service ?? 'smtp',
        address: options.unix === true ? `unix:${path}` : '127.0.0.1:0',
        tls: options.listenerTls ?? 'off',
        proxy_protocol: false,
      },
    }
    const made = new TestServer(dir, queue, log, system, args, server)
    onTestFinished(() => made.stop())
    return made
  }

  /** Starts a session on a connection. */
  serve(socket: net.Socket): void {
    this.#sessions += 1
    this.system.spawn(smtpSession, { ...this.#args, session: `s${this.#sessions}` }, { socket })
  }

  /** A connection in memory: each write of the client is one chunk for the server, whatever its size. */
  connectInMemory(remoteAddress = '127.0.0.1'): Duplex {
    const [ours, theirs] = duplexPair()
    const socket = Object.assign(theirs, {
      remoteAddress,
      remotePort: 4000,
      localAddress: '127.0.0.1',
      bytesRead: 0,
      bytesWritten: 0,
      destroySoon: () => theirs.end(() => theirs.destroy()),
    })
    this.serve(socket as unknown as net.Socket)
    return ours
  }

  connect(): net.Socket {
    const socket = this.path === '' ? net.connect(this.port, '127.0.0.1') : net.connect(this.path)
    socket.setNoDelay(true)
    return socket
  }

  /** Sends everything and FIN, and returns all that came back until the server closed. */
  exchange(script: string): Promise<string> {
    return converse(this.connect(), [Buffer.from(script, 'latin1')])
  }

  events(event: string): LogLine[] {
    return this.log.filter((line) => line.event === event)
  }

  /** Contents of the mails in a user's `new/`. */
  maildrop(user: string): string[] {
    const folder = join(this.dir, 'mail', user, 'Maildir', 'new')
    try {
      return readdirSync(folder)
        .sort()
        .map((name) => readFileSync(join(folder, name), 'latin1'))
    } catch {
      return []
    }
  }

  /** Names of content files of the queue. */
  contentFiles(): string[] {
    try {
      return readdirSync(join(this.dir, 'queue', 'content'))
    } catch {
      return []
    }
  }

  async sessionsEnded(): Promise<void> {
    await until('all sessions ended', async () =>
      (await this.system.inspect()).every((row) => row.name !== 'smtp-session'),
    )
  }

  async stop(): Promise<void> {
    this.#server.close()
    await this.system.stop()
    rmSync(this.dir, { recursive: true, force: true })
  }
}

/** Writes the chunks, then FIN; resolves with what came until the other side closed. */
export function converse(stream: Duplex, chunks: readonly Buffer[]): Promise<string> {
  return within(
    'the end of a conversation',
    new Promise<string>((resolve) => {
      const received: Buffer[] = []
      stream.on('data', (chunk: Buffer) => received.push(chunk))
      stream.on('error', () => {})
      stream.on('close', () => resolve(Buffer.concat(received).toString('latin1')))
      for (const chunk of chunks) stream.write(chunk)
      stream.end()
    }),
  )
}

/** The reply codes of a transcript, continuation lines left out. */
export function codes(transcript: string): number[] {
  return transcript
    .split('\r\n')
    .filter((line) => /^[0-9]{3}(?: |$)/.test(line))
    .map((line) => Number(line.slice(0, 3)))
}

export const bytesOf = (mail: NewMail): string =>
  'bytes' in mail.content ? Buffer.from(mail.content.bytes).toString('latin1') : ''

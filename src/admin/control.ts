/**
 * The control socket, `DATA_DIR/control.sock`, mode 0600: whoever may open it may do everything.
 *
 * A request is one line of JSON, `{"command":"queue.list","args":{…}}`; with `"octets":N`, N raw octets follow
 * its newline. The answer is lines: `{"item":…}` any number of times, then `{"end":…}` or
 * `{"error":{"exitCode":69,"message":"…"}}`. Requests of one connection are answered in order.
 */
import { createServer, type Server, type Socket } from 'node:net'
import { type ActorContext, actor, type Contract } from '../actors/index.ts'
import { listenAt } from '../listeners/listen.ts'
import { commandFailure, commands } from './commands.ts'
import type { Administered } from './contract.ts'

/** Longest request line, in octets: an envelope of a thousand recipients fits. */
const maxLine = 1024 * 1024
/** Largest submitted mail that is taken over the control socket, in octets. */
const maxOctets = 128 * 1024 * 1024

const usage = 64
const internal = 70

interface Request {
  readonly command: string
  readonly args: Readonly<Record<string, unknown>>
  readonly octets: number
}

/** Cuts the octets of one client into requests. Throws an Error with a text for the client. */
export class RequestReader {
  #chunks: Buffer[] = []
  #length = 0
  #request: Request | undefined

  push(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#length += chunk.length
  }

  /** The next whole request, or undefined when more octets are needed. */
  next(): (Request & { content: Buffer }) | undefined {
    if (this.#request === undefined) {
      const all = this.#joined()
      const end = all.indexOf(0x0a)
      if (end < 0) {
        if (all.length > maxLine) throw new Error('request line too long')
        return undefined
      }
      this.#request = parseRequest(all.toString('utf8', 0, end))
      this.#keep(all.subarray(end + 1))
    }
    const request = this.#request
    if (this.#length < request.octets) return undefined
    const all = this.#joined()
    this.#request = undefined
    this.#keep(all.subarray(request.octets))
    return { ...request, content: all.subarray(0, request.octets) }
  }

  #joined(): Buffer {
    const [first = Buffer.alloc(0)] = this.#chunks
    const all = this.#chunks.length <= 1 ? first : Buffer.concat(this.#chunks, this.#length)
    this.#keep(all)
    return all
  }

  #keep(rest: Buffer): void {
    this.#chunks = rest.length === 0 ? [] : [rest]
    this.#length = rest.length
  }
}

function parseRequest(line: string): Request {
  let parsed: unknown
  try {
    parsed = JSON.parse(line)
  } catch (cause) {
    throw new Error('request is not JSON', { cause })
  }
  const { command, args = {}, octets = 0 } = (parsed ?? {}) as Record<string, unknown>
  if (typeof command !== 'string') throw new Error('request has no command')
  if (typeof args !== 'object' || args === null) throw new Error('args must be an object')
  if (typeof octets !== 'number' || !Number.isSafeInteger(octets) || octets < 0 || octets > maxOctets) {
    throw new Error(`octets must be 0..${maxOctets}`)
  }
  return { command, args: args as Record<string, unknown>, octets }
}

class ControlServer {
  readonly #context: ActorContext
  readonly #path: string
  readonly #service: Administered
  readonly #clients = new Set<Socket>()
  #server: Server | undefined

  constructor(context: ActorContext, { path, service }: ControlArgs) {
    this.#context = context
    this.#path = path
    this.#service = service
  }

  async listen(): Promise<this> {
    const server = createServer(this.#context.bind((client: Socket) => this.#serve(client)))
    this.#server = server
    await listenAt(server, this.#context, { address: `unix:${this.#path}`, service: 'control', mode: 0o600 })
    return this
  }

  terminate(): void {
    this.#server?.close()
    for (const client of this.#clients) client.destroySoon()
  }

  #serve(client: Socket): void {
    this.#clients.add(client)
    const reader = new RequestReader()
    let busy = false
    const pump = async (): Promise<void> => {
      if (busy) return
      busy = true
      try {
        for (let request = reader.next(); request !== undefined; request = reader.next()) {
          await this.#answer(client, request)
        }
      } catch (error) {
        writeLine(client, { error: { exitCode: usage, message: (error as Error).message } })
        client.destroySoon()
      }
      busy = false
    }
    client.on('close', () => this.#clients.delete(client))
    client.on('error', () => client.destroy())
    client.on('data', (chunk: Buffer) => {
      reader.push(chunk)
      void pump()
    })
  }

  async #answer(client: Socket, request: Request & { content: Buffer }): Promise<void> {
    const command = Object.hasOwn(commands, request.command) ? commands[request.command] : undefined
    if (command === undefined) {
      writeLine(client, { error: { exitCode: usage, message: `unknown command ${request.command}` } })
      return
    }
    const send = async (item: unknown): Promise<void> => {
      if (!writeLine(client, { item })) await drained(client)
    }
    try {
      writeLine(client, { end: (await command(this.#service, request, send)) ?? null })
    } catch (error) {
      const failure = commandFailure(error)
      if (failure.exitCode === internal) {
        const { stack } = error as Error
        this.#context.log.error(
          { event: 'control.error', command: request.command, error: stack },
          'command failed',
        )
      }
      writeLine(client, { error: failure })
    }
  }
}

function writeLine(client: Socket, value: unknown): boolean {
  return client.destroyed || client.write(`${JSON.stringify(value)}\n`)
}

function drained(client: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      client.off('drain', done)
      client.off('close', done)
      resolve()
    }
    client.on('drain', done)
    client.on('close', done)
  })
}

export interface ControlArgs {
  readonly path: string
  /** The service itself: this actor stays on the main thread, beside it. */
  readonly service: Administered
}

// biome-ignore lint/complexity/noBannedTypes: no messages: everything comes by the socket
export const controlActor = actor<Contract<{}>, ControlArgs>({
  name: 'control',
  module: import.meta.url,
  init: (context, args) => new ControlServer(context, args).listen(),
})

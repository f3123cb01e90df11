/**
 * TLS that breaks at every point: a proxy between the client and a real server cuts the connection, falls silent, or
 * changes an octet, after each number of octets in either direction. Whatever happens: the attempt comes to its end
 * with one result, at a level that demands TLS no octet of the mail is seen in plaintext, and the mail is not taken
 * twice for one `sent`.
 */
import { connect, createServer, type Server, type Socket } from 'node:net'
import { createSecureContext } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Authority } from '../../../../support/certificates.ts'
import { deliver, outcome } from '../harness.ts'
import { ScriptedServer } from '../scripted-server.ts'

type Fault = 'cut' | 'reset' | 'silence' | 'flip' | 'insert'
type Direction = 'up' | 'down'

/** Passes octets on, and does one thing wrong. */
class FaultProxy {
  readonly seen: Buffer[] = []
  fault: { kind: Fault; direction: Direction; after: number } | undefined
  happened = false
  readonly octets = { up: 0, down: 0 }
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(target: number) {
    this.#server = createServer((client) => {
      const server = connect({ port: target, host: '127.0.0.1' })
      for (const socket of [client, server]) {
        this.#sockets.add(socket)
        socket.setNoDelay(true)
        socket.on('error', () => {})
        socket.on('close', () => this.#sockets.delete(socket))
      }
      client.on('data', (chunk) => {
        this.seen.push(chunk)
        this.#pass('up', chunk, client, server)
      })
      server.on('data', (chunk) => this.#pass('down', chunk, server, client))
      client.on('close', () => server.destroy())
      server.on('close', () => client.end())
    })
  }

  static async start(target: number): Promise<FaultProxy> {
    const proxy = new FaultProxy(target)
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port
  }

  begin(fault: FaultProxy['fault']): void {
    this.fault = fault
    this.happened = false
    this.seen.length = 0
    this.octets.up = 0
    this.octets.down = 0
  }

  #pass(direction: Direction, chunk: Buffer, from: Socket, to: Socket): void {
    const before = this.octets[direction]
    this.octets[direction] += chunk.length
    const { fault } = this
    if (this.happened && fault?.kind === 'silence' && fault.direction === direction) return
    const at = fault === undefined ? -1 : fault.after - before
    if (
      fault === undefined ||
      this.happened ||
      fault.direction !== direction ||
      at < 0 ||
      at >= chunk.length
    ) {
      to.write(chunk)
      return
    }
    this.happened = true
    const head = chunk.subarray(0, at)
    switch (fault.kind) {
      case 'cut':
        to.end(head)
        from.destroy()
        break
      case 'reset':
        to.write(head, () => to.resetAndDestroy())
        from.resetAndDestroy()
        break
      case 'silence':
        to.write(head)
        break
      case 'flip': {
        const changed = Buffer.from(chunk)
        changed[at]! ^= 0x55
        to.write(changed)
        break
      }
      case 'insert':
        to.write(Buffer.concat([head, Buffer.from('250 2.0.0 put in\r\n'), chunk.subarray(at)]))
        break
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

let server: ScriptedServer
let proxy: FaultProxy
/** Octets of a whole session in each direction. */
let whole = { up: 0, down: 0 }

beforeAll(async () => {
  const authority = await Authority.make()
  const { cert, key } = await authority.issue({ names: ['m1.d.test'] })
  server = await ScriptedServer.start({ tls: { context: createSecureContext({ cert, key }) } })
  proxy = await FaultProxy.start(server.port)
  proxy.begin(undefined)
  expect(await attempt('encrypt')).toBe('sent')
  whole = { ...proxy.octets }
})
afterAll(async () => {
  await proxy[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

async function attempt(level: 'may' | 'encrypt', aged = false): Promise<string> {
  const report = await deliver({
    request: {
      nexthop: `[127.0.0.1]:${proxy.port}`,
      ...(aged ? { arrivedAt: Date.now() - 400_000 } : {}),
    },
    settings: {
      tls_security_level: level,
      starttls_timeout: 150,
      helo_timeout: 150,
      mail_timeout: 150,
      rcpt_timeout: 150,
      data_init_timeout: 150,
      data_done_timeout: 150,
    },
  })
  expect(report.results).toHaveLength(1)
  return outcome(report)[0]!
}

const mailsTaken = () => server.commands.filter((command) => command === 'CONTENT').length

/** Where things go wrong: each place at the start and the end, and a sample between. */
function places(total: number, count: number): number[] {
  const step = Math.max(1, Math.floor(total / count))
  return Array.from({ length: Math.ceil(total / step) }, (_, i) => i * step)
}

describe.each(['cut', 'reset', 'flip', 'insert', 'silence'] as const)('%s', (kind) => {
  const count = kind === 'silence' ? 12 : 45
  it.each(['up', 'down'] as const)(
    'in the direction %s, at the level encrypt',
    { timeout: 60_000 },
    async (direction) => {
      const outcomes = new Map<string, number>()
      for (const after of places(whole[direction], count)) {
        proxy.begin({ kind, direction, after })
        const before = mailsTaken()
        const result = await attempt('encrypt')
        const plain = Buffer.concat(proxy.seen).toString('latin1')
        expect(plain, `${kind} ${direction} ${after}`).not.toMatch(/MAIL FROM|RCPT TO|Subject/)
        if (result === 'sent') expect(mailsTaken() - before, `${kind} ${direction} ${after}`).toBe(1)
        else
          expect(result, `${kind} ${direction} ${after}`).toMatch(
            /^(deferred 4\.(4\.[12]|7\.[45]|0\.0)|bounced 5\.)/,
          )
        outcomes.set(result, (outcomes.get(result) ?? 0) + 1)
      }
      // What is broken late breaks a session that has begun.
      expect([...outcomes.keys()]).toContain(kind === 'insert' ? 'deferred 4.7.5' : 'deferred 4.4.2')
    },
  )
})

describe('at the level may, mail that has waited', () => {
  it.each(['up', 'down'] as const)(
    'goes in plaintext, once, whatever is cut %s',
    { timeout: 60_000 },
    async (direction) => {
      for (const after of places(whole[direction], 25)) {
        proxy.begin({ kind: 'cut', direction, after })
        const result = await attempt('may', true)
        // Before TLS was asked for it is a server that cannot be reached, and after that plaintext gets through.
        expect(result, `${direction} ${after}`).toMatch(/^sent$|^deferred 4\.4\.2$/)
      }
    },
  )
})

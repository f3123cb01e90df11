/** Several scripted servers on one port, and the zone that leads to them. */
import type { Zone } from './harness.ts'
import { type Script, ScriptedServer } from './scripted-server.ts'

/** Servers at 127.0.0.1, 127.0.0.2 … on one port; null: nothing listens there. */
export class Farm {
  readonly servers: (ScriptedServer | undefined)[] = []
  port = 0

  static async start(scripts: readonly (Script | null)[]): Promise<Farm> {
    const farm = new Farm()
    for (let attempt = 0; attempt < 20; attempt++) {
      try {
        await farm.#listen(scripts)
        return farm
      } catch (error) {
        // The port is free at one address and taken at another: again with another port.
        if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
        await farm[Symbol.asyncDispose]()
      }
    }
    throw new Error('no port is free on all addresses')
  }

  async #listen(scripts: readonly (Script | null)[]): Promise<void> {
    this.servers.length = 0
    // The port is reserved by a server of its own, so that it is known even when the first is to be missing.
    const anchor = new ScriptedServer([{}])
    await anchor.listen({ host: '127.0.0.99', port: 0 })
    this.port = anchor.port
    this.servers.push(anchor)
    for (const [index, script] of scripts.entries()) {
      if (script === null) {
        this.servers.push(undefined)
        continue
      }
      const server = new ScriptedServer([script])
      await server.listen({ host: `127.0.0.${index + 1}`, port: this.port })
      this.servers.push(server)
    }
  }

  /** The n-th server, from 1. */
  at(n: number): ScriptedServer {
    return this.servers[n]!
  }

  /** Sessions per server. */
  get visits(): number[] {
    return this.servers.slice(1).map((server) => server?.sessions.length ?? 0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.servers.map((server) => server?.[Symbol.asyncDispose]()))
  }
}

/** `d.test` with exchangers m1, m2 … at preferences 10, 20 … */
export function zoneOf(count: number, equal = false): Zone {
  const zone: Record<string, Zone[string]> = {}
  const mx: [number, string][] = []
  for (let n = 1; n <= count; n++) {
    mx.push([equal ? 10 : n * 10, `m${n}.test`])
    zone[`m${n}.test`] = { a: [`127.0.0.${n}`] }
  }
  return { ...zone, 'd.test': { mx } }
}

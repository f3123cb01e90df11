/**
 * What each client of a service does: how many connections it has open, and how often it connected, sent MAIL, RCPT, AUTH
 * or began TLS in the current unit of time. Postfix's anvil(8). Only counts; who asks decides what is too much.
 */
import type { ClientActivity, ClientUse } from './contract.ts'

interface Client {
  connections: number
  /** Milliseconds, monotonic: when the current unit began. */
  since: number
  readonly rates: Record<ClientActivity, number>
}

/** Clients remembered at most. Beyond it the one forgotten is who came first: an attacker with many addresses costs others their counts, not us our memory. */
const maxClients = 100_000

export interface ClientPeak {
  readonly activity: ClientActivity | 'count'
  readonly value: number
  readonly service: string
  readonly address: string
}

export class Clients {
  readonly #clients = new Map<string, Client>()
  readonly #peaks = new Map<ClientPeak['activity'], ClientPeak>()

  /** `unitMs`: `anvil.rate_time_unit`. */
  connected(service: string, address: string, now: number, unitMs: number): ClientUse {
    const client = this.#client(service, address, now, unitMs)
    client.connections += 1
    const rate = this.#count(client, 'connection', service, address)
    this.#notePeak('count', client.connections, service, address)
    return { connections: client.connections, rate }
  }

  disconnected(service: string, address: string): void {
    const client = this.#clients.get(keyOf(service, address))
    if (client !== undefined && client.connections > 0) client.connections -= 1
  }

  /** How often it has done so in this unit of time, this time included. */
  did(activity: ClientActivity, service: string, address: string, now: number, unitMs: number): number {
    return this.#count(this.#client(service, address, now, unitMs), activity, service, address)
  }

  /** Forgets who has nothing open and did nothing in the last unit. */
  sweep(now: number, unitMs: number): void {
    for (const [key, client] of this.#clients) {
      if (client.connections === 0 && now - client.since >= unitMs) this.#clients.delete(key)
    }
  }

  /** The highest figures since they were taken last, and who reached them. */
  takePeaks(): readonly ClientPeak[] {
    const peaks = [...this.#peaks.values()]
    this.#peaks.clear()
    return peaks
  }

  get size(): number {
    return this.#clients.size
  }

  #client(service: string, address: string, now: number, unitMs: number): Client {
    const key = keyOf(service, address)
    let client = this.#clients.get(key)
    if (client === undefined) {
      if (this.#clients.size >= maxClients) {
        for (const oldest of this.#clients.keys()) {
          this.#clients.delete(oldest)
          break
        }
      }
      client = { connections: 0, since: now, rates: noRates() }
      this.#clients.set(key, client)
    } else if (now - client.since >= unitMs) {
      client.since = now
      Object.assign(client.rates, noRates())
    }
    return client
  }

  #count(client: Client, activity: ClientActivity, service: string, address: string): number {
    const rate = ++client.rates[activity]
    this.#notePeak(activity, rate, service, address)
    return rate
  }

  #notePeak(activity: ClientPeak['activity'], value: number, service: string, address: string): void {
    if (value <= (this.#peaks.get(activity)?.value ?? 0)) return
    this.#peaks.set(activity, { activity, value, service, address })
  }
}

const keyOf = (service: string, address: string) => `${service}\0${address}`

const noRates = (): Client['rates'] => ({ connection: 0, message: 0, recipient: 0, auth: 0, tls: 0 })

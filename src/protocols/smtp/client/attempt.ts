/**
 * One delivery request from beginning to end: the lent connection if there is one, then each next hop, each of its
 * servers, one session after the other until no recipient is left or the limits are reached.
 */

import type { Lease } from '../../../cache/contract.ts'
import type { ConnectionLease, DeliveryReport, DeliveryRequest } from '../../../queue/contract.ts'
import { destinationLabelOf, endpointLabelOf } from './connection-labels.ts'
import { deliveredTo } from './content/header.ts'
import { octetsOf } from './content/octets.ts'
import { Course } from './course.ts'
import {
  type Destination,
  DestinationError,
  type ParsedDestination,
  parseDestinations,
} from './destination.ts'
import { nowhere } from './dispositions.ts'
import type { AttemptEnvironment } from './environment.ts'
import { Exchange } from './exchange.ts'
import { type Failure, isHard, localFailure } from './failure.ts'
import { type Opened, Opening } from './opening.ts'
import { findServers, type Server } from './servers.ts'
import type { Session } from './session.ts'
import { isStillGood } from './standing.ts'

/** Performs the request, with the connection of the request before if there is one. Rejects only on a bug. */
export function attempt(
  request: DeliveryRequest,
  environment: AttemptEnvironment,
  session?: Session,
): Attempt {
  return new Attempt(request, environment, session)
}

/** Where a request goes that is not done here. */
export type Moved =
  /** To the thread that has an idle connection to a server of the next hop. */
  | { readonly kind: 'connection'; readonly lease: Lease }
  /** To another transport: `best_mx_transport`. */
  | { readonly kind: 'transport'; readonly transport: string; readonly nexthop: string }

/** A next hop and its place in the list. */
interface Hop {
  /** No next hop comes after it. */
  readonly lastHop: boolean
  /** Sessions used up before. */
  readonly used: number
  readonly destination: Destination
}

export class Attempt {
  readonly #course: Course
  readonly #opening: Opening
  readonly #exchange: Exchange
  readonly #startedAt: number
  /** Addresses used from the cache: not visited again. */
  readonly #visited = new Set<string>()
  /** The connection of the request before, until it is used. */
  #session: Session | undefined
  #moved: Moved | undefined

  constructor(request: DeliveryRequest, environment: AttemptEnvironment, session: Session | undefined) {
    this.#session = session
    this.#course = new Course(request, environment)
    this.#opening = new Opening(this.#course)
    this.#exchange = new Exchange(this.#course)
    this.#startedAt = environment.now()
  }

  async run(): Promise<DeliveryReport> {
    await this.#course.readDeclaration()
    if (!(await this.#mayPrepend())) {
      if (this.#session !== undefined) this.#course.part(this.#session, 'quit')
      return this.#report()
    }
    const reused = await this.#useLease()
    if (this.#course.dispositions.remaining.length > 0) await this.#tryAll(reused)
    return this.#report()
  }

  #report(): DeliveryReport {
    const { dispositions, transcripts, damaged, env, request } = this.#course
    const { hopStatus } = dispositions
    // Without one, nothing got as far as a server: the time went into getting there.
    const stamp = dispositions.stamp ?? { setupAt: env.now(), connUse: 0 }
    return {
      queueId: request.queueId,
      results: dispositions.results(),
      startedAt: this.#startedAt,
      ...stamp,
      ...(hopStatus === undefined ? {} : { hopStatus }),
      ...(damaged ? { damaged } : {}),
      ...(transcripts.length === 0 ? {} : { transcripts }),
    }
  }

  /** The request is to be done elsewhere: nothing was done here, and nothing is reported. */
  get moved(): Moved | undefined {
    return this.#moved
  }

  /** Fields in front that name the recipient need a request with one; Delivered-To shows that it has been there. */
  async #mayPrepend(): Promise<boolean> {
    const { flags } = this.#course.env
    const { recipients } = this.#course.request
    const [recipient] = recipients
    if (recipient === undefined || !/[DO]/.test(flags)) return true
    if (recipients.length > 1) {
      const reason = `flags ${flags} of the transport need one recipient per delivery (destination_recipient_limit = 1)`
      this.#course.log('warn', 'delivery.flags-unusable', { flags })
      this.#refuse(localFailure('message', '4.3.5', reason))
      return false
    }
    if (!flags.includes('D')) return true
    const header = await this.#course.header()
    if (header === undefined || !deliveredTo(header).has(octetsOf(recipient.address).toLowerCase()))
      return true
    const reason = `mail for ${recipient.address} comes back to ourselves: a Delivered-To field names it already`
    this.#refuse(localFailure('message', '5.4.6', reason))
    return false
  }

  #refuse(failure: Failure): void {
    this.#course.dispositions.allFailed(failure, nowhere, true)
  }

  /** Drops the connection in use, without waiting for anything. Results that were decided stand. */
  abort(): void {
    this.#course.aborted = true
    this.#course.current?.destroy()
    this.#session?.destroy()
  }

  /** Returns the number of sessions used up. */
  async #useLease(): Promise<number> {
    const { request, env } = this.#course
    const { lease } = request
    if (lease === undefined) return 0
    // Whether there is another server shows only with a lookup, which a good session spares.
    const session = await this.#reuse(lease, destinationLabelOf(request, env.settings), false)
    if (session === undefined) return 0
    this.#visited.add(addressKey(session.target.address, session.target.port))
    if (env.settings.mx_session_limit === 1) this.#settle()
    return 1
  }

  /** Uses what the cache has lent, or the connection of the request before; undefined: it is of no use. */
  async #reuse(lease: ConnectionLease, destination: string, final: boolean): Promise<Session | undefined> {
    const { env } = this.#course
    const session = this.#session ?? env.keeper()?.take(lease.connection)
    this.#session = undefined
    if (session !== undefined) {
      this.#course.current = session
      if (await isStillGood(this.#course, session)) {
        const outcome = await this.#exchange.use(session, { probe: true, final })
        if (outcome !== 'miss') return session
      } else this.#course.part(session, 'quit')
    }
    env.connections.wasted(destination, lease)
    return undefined
  }

  async #tryAll(reused: number): Promise<void> {
    const { destinations, fallback } = this.#nextHops()
    const all = [...destinations, ...fallback]
    let used = reused
    for (const [index, destination] of all.entries()) {
      const onFallback = index >= destinations.length
      const isLast = index === all.length - 1
      const weAreMx = await this.#tryDestination(destination, { isLast, used })
      if (this.#course.aborted || this.#moved !== undefined) return
      used = 0
      if (this.#course.done) return
      // Other relays would only send it round once more.
      if (weAreMx) break
      if (isLast) {
        this.#settle(onFallback)
        return
      }
    }
    this.#settle()
  }

  /** Returns whether we are an exchanger of the destination ourselves. */
  async #tryDestination(
    destination: ParsedDestination,
    { isLast, used }: { isLast: boolean; used: number },
  ): Promise<boolean> {
    if (destination instanceof DestinationError) {
      const { nexthop } = this.#course.request
      this.#course.log('warn', 'delivery.bad-destination', { nexthop, reason: destination.message })
      this.#course.dispositions.noSession(
        localFailure('lookup', '4.3.5', `bad destination: ${destination.message}`),
      )
      return false
    }
    const found = await findServers(destination, {
      ...this.#course.env,
      protocol: this.#course.protocol,
      warn: (event, facts) => this.#course.log('warn', event, facts),
    })
    if (this.#course.aborted) return false
    if (
      destination.kind === 'host' &&
      destination.port === 465 &&
      !this.#course.env.settings.tls_wrappermode
    ) {
      this.#course.env.hint('delivery.port-465', { nexthop: destination.nexthop })
    }
    if (found.ok) {
      await this.#tryServers(found.servers, { lastHop: isLast || found.weAreMx, used, destination })
    } else {
      this.#course.dispositions.noSession(found.failure)
      const { nexthop } = destination
      this.#course.log('info', 'delivery.lookup-failed', { nexthop, reason: found.failure.reason })
    }
    return found.weAreMx
  }

  #nextHops(): { destinations: readonly ParsedDestination[]; fallback: readonly ParsedDestination[] } {
    const { settings, knownPorts } = this.#course.env
    const { nexthop } = this.#course.request
    const options = { protocol: this.#course.protocol, defaultService: settings.tcp_port, knownPorts }
    const destinations = parseDestinations(nexthop, options)
    if (settings.fallback_relay.length === 0) return { destinations, fallback: [] }
    if (this.#course.protocol === 'lmtp' && nexthop.startsWith('unix:')) {
      this.#course.log('warn', 'delivery.fallback-ignored', { nexthop })
      return { destinations, fallback: [] }
    }
    return { destinations, fallback: parseDestinations(settings.fallback_relay.join(' '), options) }
  }

  /** No server is left. A relay that we chose ourselves and that does not exist is our mistake, not the sender's. */
  #settle(onFallback = false): void {
    const { relayhost, best_mx_transport: bestMx } = this.#course.env.settings
    const ours =
      onFallback ||
      (relayhost !== '' && this.#course.request.nexthop.toLowerCase() === relayhost.toLowerCase())
    if (!ours && bestMx !== '' && this.#isBestMx) {
      const [transport = '', ...nexthop] = bestMx.split(':')
      const { nexthop: present } = this.#course.request
      this.#moved = { kind: 'transport', transport, nexthop: nexthop.join(':') || present }
      return
    }
    this.#course.dispositions.settle((failure) => {
      if (!ours || !isHard(failure)) return failure
      this.#course.log('warn', 'delivery.relay-unusable', {
        nexthop: this.#course.request.nexthop,
        reason: failure.reason,
      })
      return { ...failure, dsn: '4.3.5', remote: false }
    })
  }

  /** The lookup ended at ourselves, and nothing has been said about any recipient. */
  get #isBestMx(): boolean {
    const { last, results } = this.#course.dispositions
    const isLoop = last?.scope === 'lookup' && last.dsn === '5.4.6'
    return this.#course.protocol === 'smtp' && isLoop && results.length === 0
  }

  async #tryServers(servers: readonly Server[], hop: Hop): Promise<void> {
    const { mx_address_limit, mx_session_limit } = this.#course.env.settings
    const labelOf = await this.#endpointLabels(hop.destination)
    const count = { visited: hop.used, sessions: hop.used }
    const isFull = () => mx_session_limit > 0 && count.sessions >= mx_session_limit
    const isVisited = ({ address, port }: Server) => this.#visited.has(addressKey(address, port))
    if (this.#course.request.reuseConnection === true) {
      for (const server of servers.filter(({ best }) => best)) {
        if (isFull() || isVisited(server)) continue
        // The last session there can be: no other server would be left, or the limit is reached.
        const isLast = servers.every((other) => other === server || isVisited(other))
        const final = hop.lastHop && (isLast || count.sessions + 1 === mx_session_limit)
        if (await this.#useIdle(labelOf(server), server, final)) {
          count.visited++
          count.sessions++
        }
        if (this.#course.done || this.#moved !== undefined) return
      }
    }
    const fresh = servers.filter((server) => !isVisited(server))
    for (const [index, server] of fresh.entries()) {
      if (isFull()) return
      count.visited++
      const lastAddress =
        index === fresh.length - 1 || (mx_address_limit > 0 && count.visited >= mx_address_limit)
      const finalBefore = hop.lastHop && lastAddress
      const finalWithin = hop.lastHop && (lastAddress || count.sessions + 1 === mx_session_limit)
      if (!server.best && this.#course.request.reuseConnection === true) {
        if (await this.#useIdle(labelOf(server), server, finalWithin)) {
          count.sessions++
          if (this.#course.done || lastAddress) return
          continue
        }
      }
      const { destination } = hop
      const opened = await this.#opening.open(server, { destination, final: finalBefore })
      if (this.#course.aborted) return
      if (opened !== undefined) {
        count.sessions++
        opened.session.endpoint = labelOf(server)
        opened.session.hasRivals = server.best && servers.some((one) => one.best && one !== server)
        await this.#use(opened, finalWithin)
      }
      if (this.#course.done) return
      if (lastAddress) return
    }
  }

  /** Under which label connections to the servers of a next hop are kept; empty: they are not. */
  async #endpointLabels(destination: Destination): Promise<(server: Server) => string> {
    const { tls, settings } = this.#course.env
    const result = await tls.policy(destination)
    if (!result.ok) return () => ''
    const { policy } = result
    const { nexthop } = destination
    return ({ host, address, port }) =>
      endpointLabelOf(this.#course.request, { host, address, port, nexthop, policy }, settings)
  }

  /** Whether a session came of an idle connection to the server. */
  async #useIdle(endpoint: string, server: Server, final: boolean): Promise<boolean> {
    const { env, request, dispositions } = this.#course
    if (endpoint === '') return false
    const destination = destinationLabelOf(request, env.settings)
    // Once something has happened here, it is to come to its end here.
    const onlyHere = request.lease !== undefined || this.#visited.size > 0 || dispositions.isTouched
    const found = await env.connections.find(endpoint, destination, onlyHere)
    if (found === undefined || this.#course.aborted) return false
    if (!found.isHere) {
      this.#moved = { kind: 'connection', lease: found.lease }
      return false
    }
    if ((await this.#reuse(found.lease, destination, final)) === undefined) return false
    this.#visited.add(addressKey(server.address, server.port))
    return true
  }

  async #use({ session, plainly }: Opened, final: boolean): Promise<void> {
    const mayRetry = plainly !== undefined
    const outcome = await this.#exchange.use(session, { probe: false, final, mayRetry })
    if (outcome !== 'lost' || this.#course.done) return
    const second = await plainly?.(final)
    if (second !== undefined && !this.#course.aborted) {
      await this.#exchange.use(second, { probe: false, final })
    }
  }
}

function addressKey(address: string, port: number): string {
  return `${address} ${port}`
}

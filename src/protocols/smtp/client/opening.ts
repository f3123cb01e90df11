/** From a server's address to a session that takes mail: connect, handshake, TLS as the settings demand it. */
import type { Course } from './course.ts'
import { localFailure } from './failure.ts'
import { handshake } from './handshake.ts'
import type { Server } from './servers.ts'
import { openSession, Session } from './session.ts'

export class Opening {
  readonly #course: Course

  constructor(course: Course) {
    this.#course = course
  }

  /** A session that takes mail; undefined: what went wrong is noted. */
  async open(server: Server, final: boolean): Promise<Session | undefined> {
    const { settings } = this.#course.env
    // A unix socket is as private as it gets.
    const level = server.port === 0 ? 'none' : settings.tls_security_level
    if (level !== 'none' && level !== 'may' && level !== 'encrypt') {
      // TODO(tls): certificate checks. Until then nothing goes out where one is demanded.
      const reason = `smtp.tls_security_level = "${level}" is not supported yet`
      this.#course.log('warn', 'delivery.tls-level', { relay: server.host, level })
      this.#course.dispositions.noSession(localFailure('lookup', '4.7.5', reason))
      return undefined
    }
    const first = await this.#greet(server, level, final, level === 'may' && this.#hasWaited())
    if (first !== 'plaintext') return first
    const second = await this.#greet(server, 'none', final, false)
    if (second === 'plaintext' || second === undefined) return undefined
    // Not for the next mail: it may have TLS.
    second.poisoned = true
    return second
  }

  async #connect(server: Server): Promise<Session | undefined> {
    const { settings, run, ownAddressOf } = this.#course.env
    const { host, address, port } = server
    const family = address.includes(':') ? 6 : 4
    const source = family === 6 ? settings.bind_address6 : settings.bind_address
    const localAddress = source === '' ? (ownAddressOf(family) ?? '') : source.replace(/^\[(.*)\]$/, '$1')
    let result = await openSession(
      { host, address, port, ...(localAddress === '' || port === 0 ? {} : { localAddress }) },
      { timeoutMs: settings.connect_timeout, run },
    )
    if (!(result instanceof Session) && result.dsn === '4.4.0' && !settings.bind_address_enforce) {
      this.#course.log('warn', 'delivery.bind-failed', { address: localAddress, reason: result.reason })
      result = await openSession({ host, address, port }, { timeoutMs: settings.connect_timeout, run })
    }
    if (result instanceof Session) return result
    this.#course.dispositions.noSession(result)
    this.#course.log('info', 'delivery.connect-failed', { reason: result.reason })
    return undefined
  }

  /** Mail that TLS has kept from its server before gets through without, RFC 7435. */
  #hasWaited(): boolean {
    const { activeAt, arrivedAt } = this.#course.request
    return activeAt - arrivedAt >= this.#course.env.minimalBackoffMs
  }

  async #greet(
    server: Server,
    tls: 'none' | 'may' | 'encrypt',
    final: boolean,
    mayFallBack: boolean,
  ): Promise<Session | 'plaintext' | undefined> {
    const { settings, hostname } = this.#course.env
    const session = await this.#connect(server)
    if (session === undefined) return undefined
    if (this.#course.aborted) {
      session.destroy()
      return undefined
    }
    this.#course.current = session
    const result = await handshake(session, {
      protocol: this.#course.protocol,
      settings,
      hostname,
      heloName: settings.helo_name === '' ? hostname : settings.helo_name,
      detectLoops: this.#course.protocol === 'smtp' && server.port === 25,
      best: server.best,
      tls,
      secureContext: () => this.#course.env.secureContext(),
      warn: (event, facts) => this.#course.log('warn', event, facts),
    })
    if (result.ok) return session
    if (result.polite) this.#course.part(session, 'quit')
    else session.destroy()
    if (result.tlsFailed && mayFallBack) {
      this.#course.skipped(result.failure, session, false)
      return 'plaintext'
    }
    this.#course.siteFailed(result.failure, session, final)
    return undefined
  }
}

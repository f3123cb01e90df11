/**
 * Who is at both ends of a connection: as the socket says, or as a load balancer says in front of it (`proxy_protocol`
 * of a listener). The header comes before anything else, also before TLS.
 */
import type { Socket } from 'node:net'
import type { ActorContext } from '../actors/index.ts'
import { Networks } from '../auth/networks.ts'
import type { Config, ListenerConfig } from '../config/settings.ts'
import { type ProxyHeader, parseProxyHeader } from './proxy-header.ts'

export interface Endpoints {
  /** Without the prefix of IPv4 in IPv6; `unix` for sockets that have no address. */
  readonly remoteAddress: string
  readonly remotePort: number
  readonly localAddress: string
  readonly localPort: number
  /** What a load balancer has told us; undefined: nobody stands in between. */
  readonly proxy: ProxyHeader | undefined
}

/** An IPv4 address that came through an IPv6 socket is an IPv4 address. */
export const plainAddress = (address: string): string => address.replace(/^::ffff:(?=\d+\.)/i, '')

/**
 * The ends as the socket knows them. `local…` costs a system call, so it waits until somebody asks; what was asked once is
 * known when the connection is gone, too.
 */
export function endpointsOf(socket: Socket, listener: ListenerConfig): Endpoints {
  const isUnix = listener.address.startsWith('unix:')
  let local: { readonly address: string; readonly port: number } | undefined
  const here = () => {
    local ??= { address: plainAddress(socket.localAddress ?? ''), port: socket.localPort ?? 0 }
    return local
  }
  return {
    remoteAddress: isUnix ? 'unix' : plainAddress(socket.remoteAddress ?? 'unknown'),
    remotePort: socket.remotePort ?? 0,
    get localAddress() {
      return isUnix ? 'unix' : here().address
    },
    get localPort() {
      return here().port
    },
    proxy: undefined,
  }
}

/** Whether the connection never left this machine. */
export const isSameMachine = ({ remoteAddress, localAddress }: Endpoints): boolean =>
  remoteAddress === 'unix' || remoteAddress === localAddress

/**
 * Takes the PROXY header off a connection that was just accepted; the socket is paused again afterwards, what
 * followed the header is in front of it. Undefined: the connection was closed without a word, because its sender may
 * not say such a thing, or said it wrong or too late (the log tells).
 */
export async function receiveProxyHeader(
  context: Pick<ActorContext, 'setting' | 'log'>,
  socket: Socket,
  listener: ListenerConfig,
  { alpn, service }: { readonly alpn: string; readonly service: string },
): Promise<Endpoints | undefined> {
  const real = endpointsOf(socket, listener)
  const settings = context.setting<Config>('config')!.proxy_protocol
  const refuse = (reason: string): undefined => {
    const facts = { event: 'proxy.refused', service, remote: real.remoteAddress, reason }
    context.log.warn(facts, 'connection closed: no usable PROXY header')
    socket.destroy()
  }
  if (real.remoteAddress !== 'unix' && !new Networks(settings.trusted).has(real.remoteAddress)) {
    return refuse('the peer is not in proxy_protocol.trusted')
  }
  const header = await headerOf(socket, settings.timeout)
  if (typeof header === 'string') return refuse(header)
  if (header.alpn !== undefined && header.alpn !== alpn)
    return refuse(`the client wanted to speak another protocol`)
  return {
    remoteAddress: header.source === undefined ? real.remoteAddress : plainAddress(header.source.address),
    remotePort: header.source?.port ?? real.remotePort,
    localAddress:
      header.destination === undefined ? real.localAddress : plainAddress(header.destination.address),
    localPort: header.destination?.port ?? real.localPort,
    proxy: header,
  }
}

/** A text: why there is none. */
function headerOf(socket: Socket, timeoutMs: number): Promise<ProxyHeader | string> {
  return new Promise((resolve) => {
    let octets: Buffer = Buffer.alloc(0)
    const finish = (result: ProxyHeader | string): void => {
      clearTimeout(timer)
      socket.pause()
      socket.off('data', received)
      for (const event of ['end', 'close', 'error']) socket.off(event, gone)
      // Whoever takes the socket next listens for these; until then nobody would.
      socket.on('error', () => {})
      resolve(result)
    }
    const received = (chunk: Buffer): void => {
      octets = octets.length === 0 ? chunk : Buffer.concat([octets, chunk])
      const parsed = parseProxyHeader(octets)
      if (parsed.kind === 'more') return
      if (parsed.kind === 'malformed') {
        finish(parsed.problem)
        return
      }
      socket.pause()
      const rest = octets.subarray(parsed.length)
      if (rest.length > 0) socket.unshift(rest)
      finish(parsed.header)
    }
    const gone = (): void => finish('the connection ended before the header')
    const timer = setTimeout(() => finish('the header did not come in time'), timeoutMs)
    socket.on('data', received)
    for (const event of ['end', 'close', 'error']) socket.on(event, gone)
    if (socket.destroyed) gone()
    else socket.resume()
  })
}

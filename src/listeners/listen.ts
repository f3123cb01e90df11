/** Opening a listening socket as `[[listener]]` has it: by address, by path, or one that was opened for us beforehand. */
import { chmodSync, rmSync, statSync } from 'node:fs'
import { type AddressInfo, connect, type Server } from 'node:net'
import { dirname } from 'node:path'
import { type ActorContext, MailactorsError } from '../actors/index.ts'

/** A listener could not be opened: the port is taken, the address is not ours, the path cannot be made. */
export class ListenError extends MailactorsError {
  readonly code = 'MA_LISTEN'

  constructor(...error: ConstructorParameters<typeof MailactorsError>) {
    super(...error)
    // Its words say it all; where in the program it was found helps nobody.
    delete this.stack
  }
}

/** Connections the kernel keeps for us while we are busy. */
const backlog = 1024

export interface ListenTarget {
  /** `host:port`, `[v6]:port`, `:port` or `unix:/path`. */
  readonly address: string
  readonly service: string
  /** Of the file of a socket. By default whoever may open the path may connect; who that is, the folder's mode decides. */
  readonly mode?: number
}

/** Settles when `server` listens at `address`. @throws ListenError */
export async function listenAt(
  server: Server,
  context: Pick<ActorContext, 'setting' | 'local'>,
  { address, service, mode = 0o666 }: ListenTarget,
): Promise<void> {
  const path = address.startsWith('unix:') ? address.slice('unix:'.length) : undefined
  const passed = passedSocket(context, address)
  if (path !== undefined && passed === undefined) await makeWay(path)
  const target = passed ?? (path === undefined ? hostAndPort(address) : { path })
  await new Promise<void>((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException) => {
      const details = { address, service, errno: error.code }
      reject(new ListenError(`cannot listen on ${address}: ${error.message}`, details, { cause: error }))
    }
    server.once('error', failed)
    server.listen({ ...target, backlog }, () => {
      server.off('error', failed)
      resolve()
    })
  })
  if (path !== undefined && passed === undefined) chmodSync(path, mode)
}

/** Setting with the sockets that whoever started the service has opened: descriptors by address of the listener. */
export const passedSocketsSetting = 'listener.sockets'

/** The socket that was opened for a listener beforehand. Once: closed with its first user, the number is another's. */
function passedSocket(
  context: Pick<ActorContext, 'setting' | 'local'>,
  address: string,
): { readonly fd: number } | undefined {
  const fd = context.setting<Readonly<Record<string, number>>>(passedSocketsSetting)?.[address]
  const used = context.local('listeners.passed', () => new Set<string>())
  if (fd === undefined || used.has(address)) return undefined
  used.add(address)
  return { fd }
}

/** Where a server really listens, which differs from `configured` when that says port 0 or no host. */
export function boundAddress(bound: string | AddressInfo | null, configured: string): string {
  if (bound === null) return configured
  if (typeof bound === 'string') return `unix:${bound}`
  return bound.family === 'IPv6' ? `[${bound.address}]:${bound.port}` : `${bound.address}:${bound.port}`
}

/** Splits `host:port`, `[v6]:port` or `:port`; the configuration has checked the form. */
export function hostAndPort(address: string): { host?: string; port: number } {
  const colon = address.lastIndexOf(':')
  const host = address.slice(0, colon).replace(/^\[(.*)\]$/, '$1')
  const port = Number(address.slice(colon + 1))
  return host === '' || host === '*' ? { port } : { host, port }
}

/** A socket file that nobody answers on was left behind by a crash. One that somebody answers on is not ours to take. */
async function makeWay(path: string): Promise<void> {
  const refusal = (why: string, errno: string | undefined) =>
    new ListenError(`cannot listen on unix:${path}: ${why}`, { errno })
  try {
    // Asked for here: of a folder that is not there the system says that permission is denied.
    const folder = statSync(dirname(path), { throwIfNoEntry: false })
    if (folder?.isDirectory() !== true) throw refusal('there is no such folder', 'ENOENT')
    const stat = statSync(path, { throwIfNoEntry: false })
    if (stat === undefined) return
    if (!stat.isSocket()) throw refusal('there is a file that is no socket', 'EEXIST')
    if (await isAnswered(path)) throw refusal('another process does', 'EADDRINUSE')
    rmSync(path, { force: true })
  } catch (error) {
    if (error instanceof ListenError) throw error
    const { message, code } = error as NodeJS.ErrnoException
    throw refusal(message, code)
  }
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect({ path })
    probe.once('connect', () => {
      probe.destroy()
      resolve(true)
    })
    probe.once('error', () => resolve(false))
  })
}

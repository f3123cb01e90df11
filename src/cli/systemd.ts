/**
 * What a service manager such as systemd says in the environment, and what it wants to hear: sd_notify(3) and
 * sd_listen_fds(3). Node has no datagram sockets of the Unix kind, so `systemd-notify` sends the messages, and the unit
 * needs `NotifyAccess=all`.
 */
import { execFile } from 'node:child_process'
import { readFileSync, readlinkSync } from 'node:fs'
import { isIPv6 } from 'node:net'
import type { Logger } from '../actors/index.ts'
import type { ListenerConfig } from '../config/settings.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** Longest wait for one message to be taken. */
const notifyTimeoutMs = 5_000

/** Tells the service manager how we are. Does nothing where there is none. */
export class ServiceManager {
  readonly #env: Environment
  readonly #pid: number
  readonly #log: Logger
  /** Messages leave one after another: READY must not overtake RELOADING. */
  #last: Promise<void> = Promise.resolve()
  #hasFailed = false
  #watchdog: NodeJS.Timeout | undefined

  constructor(env: Environment, pid: number, log: Logger) {
    this.#env = env
    this.#pid = pid
    this.#log = log
  }

  ready(): void {
    // The process it started may be another one, which handed over to us.
    void this.#notify('READY=1', `MAINPID=${this.#pid}`)
    this.#startWatchdog()
  }

  reloading(): void {
    void this.#notify('RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`)
  }

  /** A reload is over, whether it changed anything or not. */
  reloaded(): void {
    void this.#notify('READY=1')
  }

  stopping(): void {
    void this.#notify('STOPPING=1')
  }

  /** Sends no more signs of life. Resolves when all messages have left. */
  close(): Promise<void> {
    clearInterval(this.#watchdog)
    return this.#last
  }

  #startWatchdog(): void {
    const { WATCHDOG_USEC: usec, WATCHDOG_PID: pid } = this.#env
    const periodMs = Number(usec) / 1_000
    if (!(periodMs > 0) || (pid !== undefined && pid !== '' && !this.#isUs(pid))) return
    this.#watchdog = setInterval(() => void this.#notify('WATCHDOG=1'), Math.max(1, periodMs / 2))
    this.#watchdog.unref()
  }

  #isUs(pid: string): boolean {
    return Number(pid) === this.#pid || Number(pid) === process.ppid
  }

  #notify(...state: readonly string[]): Promise<void> {
    if (!this.#env.NOTIFY_SOCKET) return this.#last
    this.#last = this.#last.then(
      () =>
        new Promise((resolve) => {
          const options = { env: this.#env as NodeJS.ProcessEnv, timeout: notifyTimeoutMs }
          execFile('systemd-notify', [...state], options, (error) => {
            if (error !== null) this.#failed(error)
            resolve()
          })
        }),
    )
    return this.#last
  }

  #failed(error: Error): void {
    if (this.#hasFailed) return
    this.#hasFailed = true
    const facts = { event: 'systemd.notify-failed', error: error.message }
    this.#log.warn(facts, 'the service manager cannot be told: is systemd-notify installed?')
  }
}

/** A listening socket that the service manager opened for us. */
export interface PassedSocket {
  readonly fd: number
  /** `127.0.0.1:25`, `[::1]:25` or `unix:/path`, as bound. */
  readonly address: string
  /** Its FileDescriptorName; by default the name of the socket unit. */
  readonly name: string
}

const firstFd = 3

/** The sockets of LISTEN_FDS, in their order; none when they are meant for another process. */
export function passedSockets(env: Environment, pid: number, parent: number): readonly PassedSocket[] {
  const { LISTEN_PID: whose, LISTEN_FDS: written, LISTEN_FDNAMES: names = '' } = env
  const count = Number(written)
  // A launcher that hands over to another Node passes on what it got.
  if (!Number.isInteger(count) || count <= 0 || (Number(whose) !== pid && Number(whose) !== parent)) return []
  const bound = listeningSockets()
  const named = names.split(':')
  return Array.from({ length: count }, (_, index) => firstFd + index).flatMap((fd, index) => {
    const address = bound.get(inodeOf(fd))
    return address === undefined ? [] : [{ fd, address, name: named[index] ?? '' }]
  })
}

/** Descriptors by the address of the listener that is to use them, and the sockets nobody wants. */
export function assignSockets(
  sockets: readonly PassedSocket[],
  listeners: readonly ListenerConfig[],
): { readonly byAddress: Readonly<Record<string, number>>; readonly unused: readonly PassedSocket[] } {
  const byAddress: Record<string, number> = {}
  const unused: PassedSocket[] = []
  const isFree = ({ address }: ListenerConfig) => byAddress[address] === undefined
  for (const socket of sockets) {
    const listener =
      listeners.find((one) => isFree(one) && isSameAddress(one.address, socket.address)) ??
      listeners.find((one) => isFree(one) && one.service === socket.name)
    if (listener === undefined) unused.push(socket)
    else byAddress[listener.address] = socket.fd
  }
  return { byAddress, unused }
}

function isSameAddress(configured: string, bound: string): boolean {
  const wanted = configured.replace(/^(\*|0\.0\.0\.0|\[::\]|):/, '*:').replace(/^localhost:/, '127.0.0.1:')
  return wanted === bound.replace(/^(0\.0\.0\.0|\[::\]):/, '*:')
}

function inodeOf(fd: number): string {
  try {
    return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${fd}`))?.[1] ?? ''
  } catch {
    return ''
  }
}

/** Addresses of the listening sockets of this machine, by inode; proc(5). */
function listeningSockets(): ReadonlyMap<string, string> {
  const found = new Map<string, string>()
  for (const table of ['tcp', 'tcp6']) {
    for (const row of rowsOf(table)) {
      const [, local = '', , state, , , , , , inode = ''] = row
      if (state === '0A') found.set(inode, tcpAddress(local))
    }
  }
  for (const [, , , flags, , , inode = '', path = ''] of rowsOf('unix')) {
    // __SO_ACCEPTCON: it listens.
    if ((Number.parseInt(flags ?? '0', 16) & 0x1_0000) !== 0) found.set(inode, `unix:${path}`)
  }
  return found
}

function rowsOf(table: string): readonly (readonly string[])[] {
  try {
    const lines = readFileSync(`/proc/self/net/${table}`, 'latin1').split('\n').slice(1)
    return lines.map((line) => line.trim().split(/\s+/))
  } catch {
    return []
  }
}

/** `0100007F:0019` → `127.0.0.1:25`: words of four octets, each in the order of the machine. */
function tcpAddress(written: string): string {
  const [hex = '', port = '0'] = written.split(':')
  const words = hex.match(/.{8}/g) ?? []
  const octets = words.flatMap((word) => [...Buffer.from(word, 'hex')].reverse())
  const number = Number.parseInt(port, 16)
  if (octets.length === 4) return `${octets.join('.')}:${number}`
  const groups = Array.from({ length: 8 }, (_, i) =>
    ((octets[2 * i]! << 8) | octets[2 * i + 1]!).toString(16),
  )
  const host = new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
  return `[${isIPv6(host) ? host : groups.join(':')}]:${number}`
}

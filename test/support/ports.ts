import net from 'node:net'
import { until } from './until.ts'

// Below the ports that the system gives to outgoing connections (Linux: from 32768): a port of those that is free now may be
// somebody's source port by the time that a server binds it.
const FIRST = 10_000
const LAST = 32_000
let next = FIRST + Math.floor(Math.random() * (LAST - FIRST))

/** `count` TCP ports of the loopback on which nothing listens, all different, and not given out by this process before. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = []
  for (let tried = 0; ports.length < count; tried += 1) {
    if (tried > LAST - FIRST) throw new Error(`no free port from ${FIRST} to ${LAST}`)
    next = next < LAST ? next + 1 : FIRST
    const port = next // another caller may go on while this one waits
    if (await canBind(port)) ports.push(port)
  }
  return ports
}

async function canBind(port: number): Promise<boolean> {
  const server = net.createServer()
  return new Promise((resolve) => {
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}

/** Whether something accepts connections there. */
export function isListening(port: number, host = '127.0.0.1'): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ port, host })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

export const waitForPort = (port: number, deadlineMs = 30_000): Promise<true> =>
  until(`a listener on 127.0.0.1:${port}`, async () => (await isListening(port)) || undefined, { deadlineMs })

import { connect, createServer, type Socket } from 'node:net'
import { MessageChannel, type MessagePort } from 'node:worker_threads'

const patienceMs = 2_000

/**
 * Whether this Node can move an accepted TCP socket through a MessagePort: 24.20 and later of its line, and 26.6 and
 * later. Tried with a real one, because the version does not say it of every build.
 */
export function canMoveSockets(): Promise<boolean> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel()
    const server = createServer({ pauseOnConnect: true })
    let client: Socket | undefined
    const finish = (works: boolean): void => {
      clearTimeout(timer)
      port1.close()
      client?.destroy()
      server.close()
      resolve(works)
    }
    const timer = setTimeout(() => finish(false), patienceMs)
    port2.on('message', (socket: Socket) => {
      const works = typeof socket?.write === 'function' && socket.remotePort !== undefined
      if (works) socket.destroy()
      finish(works)
    })
    server.on('error', () => finish(false))
    server.on('connection', (socket) => {
      try {
        port1.postMessage(socket, [socket as unknown as MessagePort])
      } catch {
        // An older Node says that it cannot clone the object.
        socket.destroy()
        finish(false)
      }
    })
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      if (address === null || typeof address === 'string') return finish(false)
      client = connect(address.port, '127.0.0.1')
      client.on('error', () => {})
    })
  })
}

/** Accepts connections and reads nothing of them: each is given to an actor on the least loaded thread. */
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { actor, type Contract, type SupervisorContract } from 'mailactors'
import { person } from './person.ts'

export type Listener = Contract<{
  /** The port it listens on. */
  port(): number
}>

const mostPeople = 10_000

export const listener = actor<Listener, { port: number }>({
  name: 'listener',
  module: import.meta.url,
  async init(context, { port }) {
    let count = 0
    const server = createServer({ pauseOnConnect: true, noDelay: true })
    server.maxConnections = mostPeople
    const accept = (socket: Socket): void => {
      const people = context.whereis<SupervisorContract>('people')
      if (people === undefined) {
        socket.destroy()
        return
      }
      const id = `person-${++count}`
      const spec = {
        id,
        actor: person,
        placement: { pool: 'people' },
        restart: 'temporary',
        shutdown: 1_000,
        socket,
      }
      // Where it cannot be started the socket is closed for us.
      people.ask('startChild', spec).catch(() => socket.destroy())
    }
    server.on('connection', context.bind(accept))
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    return {
      port: () => (typeof address === 'object' && address !== null ? address.port : 0),
      terminate: () => {
        server.close()
      },
    }
  },
})

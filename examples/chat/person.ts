/** One connection. It owns the socket, which moved to its thread, and ends with it. */
import { actor, type Contract } from 'mailactors'
import type { Room } from './room.ts'

export type Person = Contract<{
  hear(line: string): void
}>

/** Octets that may wait for a client that does not read; beyond them it is disconnected. */
const mostUnread = 64 * 1024
const mostName = 20
/** Characters of a line that has not ended yet. */
const mostLine = 1_000

export const person = actor<Person>({
  name: 'person',
  module: import.meta.url,
  init(context) {
    const socket = context.takeSocket()
    if (socket === undefined) throw new Error('a person needs a socket')
    // A room that restarts has forgotten who was in it, so its people end with it and come back.
    const room = context.whereis<Room>('room')
    if (room === undefined) context.stop()
    else context.monitor(room)
    let name: string | undefined
    let isEntering = false

    const write = (line: string): void => {
      socket.write(`${line}\r\n`)
      if (socket.writableLength > mostUnread) context.stop()
    }
    const enter = (wanted: string): void => {
      if (room === undefined || !/^[\w-]+$/.test(wanted) || wanted.length > mostName) {
        write('That is no name.')
        return
      }
      isEntering = true
      room.ask('enter', wanted, context.self).then(
        context.bind((isIn: boolean) => {
          isEntering = false
          if (isIn) name = wanted
          write(isIn ? `Hello ${wanted}.` : 'That name is taken.')
        }),
        context.bind(() => {
          isEntering = false
          write('The room is closed, try again.')
        }),
      )
    }
    /** One line; what is said before the greeting is not heard. */
    const heard = (line: string): void => {
      if (line === '/quit') context.stop()
      else if (name !== undefined) room?.tell('say', context.self, line)
      else if (!isEntering) enter(line)
    }

    write('Who are you?')
    let rest = ''
    const received = (text: string): void => {
      const lines = (rest + text).split(/\r?\n/)
      rest = lines.pop() ?? ''
      for (const line of lines) heard(line)
      if (rest.length > mostLine) context.stop()
    }
    socket.setEncoding('utf8').on('data', context.bind(received))
    socket.on(
      'close',
      context.bind(() => context.stop()),
    )
    // Told by `close` as well.
    socket.on('error', () => undefined)
    socket.resume()

    return {
      hear: write,
      handleDown: () => context.stop(),
      terminate: () => {
        socket.destroySoon()
      },
    }
  },
})

import { type AnyContract, actor, supervisor } from '../../src/actors/index.ts'

/** Says hello and sends back what it gets. */
export const echoSession = actor<AnyContract, { readonly session: string }>({
  name: 'echo-session',
  module: import.meta.url,
  init(context, { session }) {
    const socket = context.takeSocket()!
    socket.write(`hello ${session}\n`)
    socket.on(
      'data',
      context.bind((chunk: Buffer) => socket.write(chunk)),
    )
    const end = context.bind(() => context.stop())
    socket.on('close', end)
    socket.on('end', () => socket.end())
    socket.resume()
    return { terminate: () => void socket.destroy() }
  },
})

export const sessions = supervisor<undefined>({
  name: 'sessions',
  module: import.meta.url,
  init: () => ({ strategy: 'one_for_one', children: [] }),
})

import type { Socket } from 'node:net'
import { Duplex, type Readable, type Writable } from 'node:stream'

/** A pair of streams with the methods of a socket that sessions call; it has no addresses and no timeout of its own. */
export function asSocket(input: Readable, output: Writable, allowHalfOpen: boolean): Socket {
  const stream = Duplex.from({ readable: input, writable: output })
  stream.on('error', () => {})
  if (!allowHalfOpen) stream.once('end', () => stream.end())
  const ignore = () => stream
  return Object.assign(stream, {
    setNoDelay: ignore,
    setKeepAlive: ignore,
    setTimeout: ignore,
    ref: ignore,
    unref: ignore,
    destroySoon: () => stream.end(() => stream.destroy()),
    bytesRead: 0,
    bytesWritten: 0,
  }) as unknown as Socket
}

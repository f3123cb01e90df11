/**
 * A service for one client, on a pair of streams instead of a connection: what a Postfix service does with `-S`, and what
 * `inetd` did.
 */
import type { Readable, Writable } from 'node:stream'
import type { AnyActorDefinition, ExitReason } from '../actors/index.ts'
import { asSocket } from './stream-socket.ts'
import { ActorSystem, type SystemOptions } from './system.ts'

export interface OneShotOptions extends Omit<SystemOptions, 'pools'> {
  /** What serves a connection: it takes its socket with `context.takeSocket()`. */
  readonly actor: AnyActorDefinition
  readonly args?: unknown
  /** The client, as it writes and reads: `process.stdin` and `process.stdout`, for instance. */
  readonly input: Readable
  readonly output: Writable
  /** Whether the actor goes on after the client's last octet, until it ends its side. Default false, as for sockets. */
  readonly allowHalfOpen?: boolean
}

/**
 * Serves one client, in this thread, and returns how that ended once everything has been written. The actor's socket has
 * what a stream has, and neither addresses nor a timeout of its own.
 *
 * @throws StartError
 */
export async function serveOnce(options: OneShotOptions): Promise<ExitReason> {
  const { actor, args, input, output, allowHalfOpen = false, ...rest } = options
  const system = await ActorSystem.start(rest)
  const flushed = new Promise<void>((resolve) => {
    output
      .once('finish', resolve)
      .once('close', resolve)
      .once('error', () => resolve())
  })
  try {
    const ended = new Promise<ExitReason>((resolve) => {
      system.events.on('actor.terminated', ({ actorId, reason }) => {
        if (actorId === ref.id) resolve(reason)
      })
    })
    const ref = system.spawn(actor as never, args as never, {
      socket: asSocket(input, output, allowHalfOpen),
    })
    const reason = await ended
    await Promise.race([flushed, drained(output)])
    return reason
  } finally {
    await system.stop()
  }
}

/** Settles when nothing waits to be written any more. */
async function drained(output: Writable): Promise<void> {
  while (output.writableLength > 0 && !output.destroyed)
    await new Promise((resolve) => setTimeout(resolve, 5))
}

/** How a message is answered when its handler has not simply returned the reply. */
import { type Deferred, type ExitReason, errorReason, ReplyStream } from '../actors/index.ts'
import type { ActorCell } from './cell.ts'
import type { Asker, Message } from './message.ts'
import { OpenStream } from './streams.ts'
import type { ThreadRuntime } from './thread-runtime.ts'
import { refuseUnsendable } from './transport/unsendable.ts'

/** The actor has no handler of that name. */
export function refuseUnknown({ definition, id, runtime }: ActorCell, { asker, type }: Message): void {
  const reason: ExitReason = { kind: 'error', message: `takes no message '${type}'`, code: 'MA_USAGE' }
  runtime.log.error(
    { event: 'actor.unknown-message', component: definition.name, actor: id, type },
    'message of an unknown type was dropped',
  )
  asker?.refuse('down', `it takes no message '${type}'`, reason)
}

/** Checks a reply; what cannot be sent fails the ask, as it does between threads. */
export function isSendable(runtime: ThreadRuntime, type: string, reply: unknown, asker: Asker): boolean {
  try {
    refuseUnsendable(`reply to ${type}`, [reply])
    return true
  } catch (error) {
    const reason = errorReason(error)
    runtime.log.error({ event: 'runtime.bad-reply', error: reason.message }, 'reply cannot be sent')
    asker.refuse('down', 'its reply cannot be sent', reason)
    return false
  }
}

/** Hands the asker over to a Deferred. `promised`: those who wait so, told when the actor ends. */
export function answerLater(asker: Asker, deferred: Deferred<unknown>, promised: Set<Asker>): void {
  promised.add(asker)
  deferred.connect((error, value, failed) => {
    if (!promised.delete(asker)) return
    if (!failed) {
      if (value instanceof ReplyStream) answerByStream(asker, value, promised)
      else asker.answer(value)
      return
    }
    const reason = errorReason(error)
    asker.refuse('down', reason.message ?? 'it failed', reason)
  })
}

/** Connects a stream with who asked for it. */
export function answerByStream(
  asker: Asker | undefined,
  stream: ReplyStream<unknown>,
  promised: Set<Asker>,
): void {
  const sink = asker?.stream
  if (asker !== undefined && sink !== undefined) {
    new OpenStream(asker, sink, stream, promised).open()
    return
  }
  asker?.refuse('down', 'its reply is a stream', {
    kind: 'error',
    message: 'its reply is a stream: ask with stream()',
    code: 'MA_USAGE',
  })
  stream.closed('cancelled')
}

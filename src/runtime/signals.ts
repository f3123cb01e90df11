/** What the signals of others do to an actor that has not ended. */
import type { ExitReason } from '../actors/index.ts'
import type { ActorCell } from './cell.ts'
import { reasonOfParent } from './ending.ts'
import type { Signal } from './message.ts'

/**
 * Whether the signal waits for its turn, and then a handler of the actor hears of it. The others do their work at once.
 * `perform` calls, as the actor, what waits for the end of a child.
 */
export function waitsForTurn(
  cell: ActorCell,
  signal: Signal,
  perform: (ended: (reason: ExitReason) => void) => void,
): boolean {
  const { kind, ref, reason } = signal
  switch (kind) {
    case 'exit':
      if (cell.traps) return true
      // As in OTP: nobody ends another one by saying that all is well.
      if (reason.kind !== 'normal' || ref.id === cell.id) cell.stop(reason, true)
      return false
    case 'link': {
      if (!cell.relations.unlinkFrom(ref.id)) return false
      const ended = cell.relations.takeExpectation(ref.id)
      if (ended !== undefined) {
        perform(ended)
        return false
      }
      const isOfParent = ref.id === cell.parent?.id
      // A helper lives and dies with its parent, also when that one ended well. The parent's successor may want its name
      // before its handler in hand is done.
      if (isOfParent) cell.runtime.registry.release(cell.ref)
      if (cell.traps) return true
      if (isOfParent) cell.stop(reasonOfParent(signal), true)
      else if (reason.kind !== 'normal') cell.stop(reason, true)
      return false
    }
    case 'down':
      return cell.relations.removeMonitor(signal.monitor) !== undefined
  }
}

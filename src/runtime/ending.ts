/** What others are owed when an actor has ended: its messages, those who asked, those who are linked or watch. */
import type { ExitReason } from '../actors/index.ts'
import type { ActorCell } from './cell.ts'
import { Signal } from './message.ts'

/** Why an actor ends by the word of its parent: one whose parent ended well has been stopped. */
export function reasonOfParent({ kind, reason }: Signal): ExitReason {
  return kind === 'link' && reason.kind === 'normal' ? { kind: 'shutdown' } : reason
}

/** As those who asked are told. */
export function whyEnded({ kind, message }: ExitReason): string {
  return `it ended (${kind}${message === undefined ? '' : `: ${message}`})`
}

/** On a thread that drains, what waits for a named actor goes to its successor. */
export function handOver(cell: ActorCell, reason: ExitReason): void {
  const { runtime, id } = cell
  const [name] = cell.relations.names
  if (!runtime.isDraining || reason.kind !== 'shutdown' || name === undefined) return
  runtime.successors.moved(id, name)
  let message = cell.firstMessage
  while (message !== undefined && runtime.successors.accept(id, message.type, message.body, message.asker)) {
    message = message.next
  }
  cell.dropMessagesBefore(message)
}

/** Nobody handles the messages that wait. */
export function refuseMessages(cell: ActorCell, reason: ExitReason): void {
  const why = whyEnded(reason)
  for (let message = cell.firstMessage; message !== undefined; message = message.next) {
    if (message.asker === undefined) cell.runtime.deadLetter(cell.ref, message.type, message.body)
    else message.asker.refuse('down', why, reason)
  }
  cell.dropMessagesBefore(undefined)
  cell.queueLength = 0
}

/** Those who are linked, then those who watch. */
export function tellEnd({ runtime, ref, relations }: ActorCell, reason: ExitReason): void {
  for (const linked of relations.links()) runtime.ties.send(linked, new Signal('link', ref, reason))
  for (const watcher of relations.watchers()) {
    runtime.ties.send(watcher.ref, new Signal('down', ref, reason, watcher.monitor))
  }
}

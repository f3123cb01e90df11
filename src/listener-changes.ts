/**
 * Listeners after a reload: those that are no longer wanted close, new ones open. Connections that are open stay, also
 * those of a listener that closed; so do listeners that did not change.
 */
import { isDeepStrictEqual } from 'node:util'
import type { ActorRef, StartChildResult, SupervisorContract } from './actors/index.ts'
import type { Administered } from './admin/contract.ts'
import type { ListenerConfig } from './config/settings.ts'
import { adminPageSpec, listenerSpec } from './tree.ts'

/** Where listeners live. */
export interface ListenerSupervisors {
  readonly listeners: ActorRef<SupervisorContract>
  readonly admin: ActorRef<SupervisorContract>
}

export interface ListenerFailure {
  readonly listener: ListenerConfig
  readonly reason: string
}

/** The listeners there are now, and those that could not be opened. */
export interface ListenersChanged {
  readonly listening: readonly ListenerConfig[]
  readonly failed: readonly ListenerFailure[]
}

/** Makes the listeners of a running service those of `next`. */
export async function changeListeners(
  current: readonly ListenerConfig[],
  next: readonly ListenerConfig[],
  { listeners, admin }: ListenerSupervisors,
  service: Administered,
): Promise<ListenersChanged> {
  const isIn = (list: readonly ListenerConfig[], one: ListenerConfig) =>
    list.some((other) => isDeepStrictEqual(other, one))
  const place = (listener: ListenerConfig) =>
    listener.service === 'admin'
      ? { supervisor: admin, spec: adminPageSpec(listener, service) }
      : { supervisor: listeners, spec: listenerSpec(listener) }

  // First those that go: a new one may want the same port.
  for (const old of current) {
    if (isIn(next, old)) continue
    const { supervisor, spec } = place(old)
    await supervisor.ask('terminateChild', spec.id)
    await supervisor.ask('deleteChild', spec.id)
  }
  const listening: ListenerConfig[] = []
  const failed: ListenerFailure[] = []
  for (const wanted of next) {
    if (isIn(current, wanted)) {
      listening.push(wanted)
      continue
    }
    const { supervisor, spec } = place(wanted)
    const result: StartChildResult = await supervisor.ask('startChild', spec)
    if (result.ok) listening.push(wanted)
    else failed.push({ listener: wanted, reason: result.reason?.message ?? result.error })
  }
  return { listening, failed }
}

import { backoffProblem } from './backoff.ts'
import { UsageError } from './errors.ts'
import { errorReason } from './exit-reason.ts'
import type { ChildSpec, SupervisorSpec } from './supervisor.ts'

const restarts: readonly unknown[] = ['permanent', 'transient', 'temporary']
const strategies: readonly unknown[] = ['one_for_one', 'one_for_all', 'rest_for_one', 'simple_one_for_one']
const autoShutdowns: readonly unknown[] = ['never', 'any_significant', 'all_significant']

/** @throws UsageError that says what is wrong with the spec of a supervisor or of one of its children. */
export function checkSupervisorSpec(spec: SupervisorSpec, name: string): void {
  const refuse = (what: string): never => {
    throw new UsageError(`supervisor ${name}: ${what}`, { supervisor: name })
  }
  if (typeof spec !== 'object' || spec === null) refuse('init returned no spec')
  if (!strategies.includes(spec.strategy)) refuse(`no such strategy: ${String(spec.strategy)}`)
  const { intensity = 1, periodMs = 5_000, autoShutdown = 'never' } = spec
  if (!Number.isInteger(intensity) || intensity < 0) refuse('intensity must be an integer of at least 0')
  if (!(periodMs > 0)) refuse('periodMs must be more than 0')
  if (!autoShutdowns.includes(autoShutdown)) refuse(`no such autoShutdown: ${String(autoShutdown)}`)
  const backoff = spec.backoff === undefined ? undefined : backoffProblem(spec.backoff)
  if (backoff !== undefined) refuse(backoff)
  if (!Array.isArray(spec.children)) refuse('children must be a list')
  if (spec.strategy === 'simple_one_for_one' && spec.children.length !== 1) {
    refuse('simple_one_for_one needs exactly one child, the template')
  }
  const ids = new Set<string>()
  for (const child of spec.children) {
    const problem = childProblem(child, autoShutdown !== 'never')
    if (problem !== undefined) refuse(`child ${String(child?.id)}: ${problem}`)
    if (ids.has(child.id)) refuse(`two children have the id ${child.id}`)
    ids.add(child.id)
  }
}

/** A copy, read once: getters may answer otherwise the next time. What they throw comes back as the problem. */
export function plainSpec(spec: ChildSpec): ChildSpec | string {
  if (typeof spec !== 'object' || spec === null) return 'not a child spec'
  try {
    return { ...spec }
  } catch (error) {
    return `not a child spec: ${errorReason(error).message}`
  }
}

/** What is wrong with a child spec, if anything. */
export function childProblem(child: ChildSpec, mayBeSignificant: boolean): string | undefined {
  if (typeof child !== 'object' || child === null) return 'not a child spec'
  if (typeof child.id !== 'string' || child.id === '') return 'id is missing'
  if (child.actor?.kind !== 'actor') return 'actor is not an actor definition'
  const { restart = 'permanent', shutdown = 5_000 } = child
  if (!restarts.includes(restart)) return `no such restart type: ${String(restart)}`
  const isTime = typeof shutdown === 'number' && shutdown >= 0 && Number.isFinite(shutdown)
  if (!isTime && shutdown !== 'infinity' && shutdown !== 'brutal_kill') {
    return 'shutdown must be milliseconds, infinity or brutal_kill'
  }
  if (child.socket !== undefined && restart !== 'temporary') return 'only a temporary child can have a socket'
  const backoff = child.backoff === undefined ? undefined : backoffProblem(child.backoff)
  if (backoff !== undefined) return backoff
  if (child.significant !== true) return undefined
  if (restart === 'permanent') return 'a permanent child cannot be significant'
  if (!mayBeSignificant) return 'significant needs autoShutdown'
  return undefined
}

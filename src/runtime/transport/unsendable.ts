import { Definition } from '../../actors/definition.ts'
import { UsageError } from '../../actors/errors.ts'
import { WireRef } from './wire-ref.ts'

/** Beyond it a value is taken for circular, or as good as. */
const maxDepth = 200

/** What the runtime's own kinds are to those whose values they carry, see `frames.ts`. */
const kinds: readonly (string | undefined)[] = [undefined, 'reply', undefined, 'start of an actor']

/** A message type, for an error's text. */
export function label(type: string | number): string {
  if (typeof type === 'string') return `message "${type}"`
  return kinds[type] ?? `message of kind ${type}`
}

function pathOf(type: string | number, index: number): string {
  if (type === 1) return 'it'
  return type === 3 && index === 1 ? 'args' : `body[${index}]`
}

/**
 * Says which value of a message cannot cross a thread, and where it is.
 *
 * @throws UsageError for the first one found; `details` has `type`, `path` and `problem`.
 */
export function refuseUnsendable(type: string | number, body: readonly unknown[]): void {
  for (let i = 0; i < body.length; i++) {
    const found = find(body[i], pathOf(type, i), 0)
    if (found === undefined) continue
    throw new UsageError(`${label(type)} cannot be sent: ${found.path} is ${found.problem}`, {
      type: String(type),
      path: found.path,
      problem: found.problem,
    })
  }
}

interface Unsendable {
  readonly path: string
  readonly problem: string
}

function find(value: unknown, path: string, depth: number): Unsendable | undefined {
  if (typeof value === 'function') return { path, problem: 'a function' }
  if (typeof value === 'symbol') return { path, problem: 'a symbol' }
  if (typeof value !== 'object' || value === null) return undefined
  if (depth > maxDepth) return { path: `${path.slice(0, 80)}…`, problem: 'circular, or nested too deep' }
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const found = find(value[i], `${path}[${i}]`, depth + 1)
      if (found !== undefined) return found
    }
    return undefined
  }
  if (value instanceof Uint8Array || value instanceof WireRef || value instanceof Definition) return undefined
  const prototype = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) {
    return { path, problem: `a ${value.constructor?.name || 'nameless class'}, not a plain object` }
  }
  for (const key of Object.keys(value)) {
    const found = find((value as Record<string, unknown>)[key], `${path}.${key}`, depth + 1)
    if (found !== undefined) return found
  }
  return undefined
}

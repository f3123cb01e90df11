import type { ActorCell } from './cell.ts'
import type { ActorRow } from './observer.ts'

/** A living actor and those it started. */
export interface ActorInfo extends ActorRow {
  readonly children: readonly ActorInfo[]
}

/** Rows of all threads as a forest, each level in start order. An actor whose parent is gone is a root. */
export function treeOf(rows: readonly ActorRow[]): ActorInfo[] {
  const nodes = new Map<number, ActorRow & { children: ActorInfo[] }>()
  for (const row of rows) nodes.set(row.id, { ...row, children: [] })
  const roots: ActorInfo[] = []
  for (const node of nodes.values()) {
    const siblings = node.parent === undefined ? roots : (nodes.get(node.parent)?.children ?? roots)
    siblings.push(node)
  }
  return roots
}

export function rowOf(cell: ActorCell): ActorRow {
  const { definition, state } = cell
  return {
    id: cell.id,
    name: definition.name,
    childId: cell.childId,
    registeredAs: [...cell.relations.names],
    type: definition.type ?? 'worker',
    thread: cell.runtime.thread,
    parent: cell.parent?.id,
    state: state === 'new' || state === 'ended' ? 'starting' : state,
    restarts: cell.restarts,
    crashes: cell.relations.crashes,
    queueLength: cell.queueLength,
    handled: cell.handled,
    current: cell.currentType,
    currentMs: cell.awaitsMs,
  }
}

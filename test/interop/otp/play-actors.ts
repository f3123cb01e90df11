/** The workers, supervisors and the tracer of a scenario played on our runtime. */
import {
  ActorExit,
  type ActorRef,
  actor,
  type ChildSpec,
  type Contract,
  Deferred,
  ignore,
  type Placement,
  type SupervisorSpec,
  supervisor,
} from '../../../src/index.ts'
import type { Goodbye, InstanceNode, Life, Node, SupNode } from './scenario.ts'

/** What a child is told of itself: its place in the scenario, and where to put its children. */
export interface Args {
  readonly node: Node
  readonly placement: Placement | undefined
  /** Of an instance. */
  readonly instance?: string
}

export type Tracer = Contract<{
  /** Answers what `init` and `terminate` are to do. */
  starting(
    id: string,
    life: Life,
    goodbye: Goodbye,
    simple: boolean | null,
    self: ActorRef,
  ): [Life[number], Goodbye]
  note(text: string): void
  /** Answers when it is released. */
  gate(id: string): void
  release(id: string): void
  life(node: InstanceNode): void
}>

export interface Traced {
  notes: string[]
  ends: string[]
  readonly refs: Map<string, ActorRef>
  readonly ids: Map<number, string>
  /** In start order: whether it is a simple_one_for_one. */
  readonly sups: Map<string, boolean>
}

/** One at a time in a process of tests: what a tracer knows is read directly. */
export const traced: { now: Traced } = { now: emptyTrace() }

export function emptyTrace(): Traced {
  return { notes: [], ends: [], refs: new Map(), ids: new Map(), sups: new Map() }
}

export const tracer = actor<Tracer>({
  name: 'tracer',
  module: import.meta.url,
  maxQueue: 1_000_000,
  init(context) {
    const counts = new Map<string, number>()
    const lives = new Map<string, InstanceNode>()
    const gates = new Map<string, Deferred<void>[]>()
    const released = new Set<string>()
    return {
      starting(id, givenLife, givenGoodbye, simple, self) {
        const { now } = traced
        const count = counts.get(id) ?? 0
        counts.set(id, count + 1)
        const { life, goodbye } = lives.get(id) ?? { life: givenLife, goodbye: givenGoodbye }
        const what = life[count] ?? 'ok'
        now.refs.set(id, self)
        now.ids.set(self.id, id)
        if (simple !== null) now.sups.set(id, simple)
        now.notes.push(`${what === 'ok' ? 'start' : what} ${id}`)
        context.monitor(self)
        return [what, goodbye]
      },
      note: (text) => {
        traced.now.notes.push(text)
      },
      gate(id) {
        const gate = new Deferred<void>()
        // It may come later than the release, from another thread.
        if (released.delete(id)) {
          gate.resolve()
          return gate
        }
        gates.set(id, [...(gates.get(id) ?? []), gate])
        return gate
      },
      release(id) {
        if (!gates.has(id)) released.add(id)
        for (const gate of gates.get(id) ?? []) gate.resolve()
        gates.delete(id)
      },
      life: (node) => {
        lives.set(node.id, node)
      },
      handleDown({ ref, reason }) {
        traced.now.ends.push(`end ${traced.now.ids.get(ref.id) ?? '?'} ${reason.kind}`)
      },
    }
  },
})

const patient = { timeoutMs: Infinity }

export type Worker = Contract<{
  end(reason: 'normal' | 'shutdown' | 'shutdown_term' | 'error'): void
  link(to: ActorRef): void
}>

export const worker = actor<Worker, Args | string>({
  name: 'worker',
  module: import.meta.url,
  async init(context, args) {
    const given = typeof args === 'string' ? undefined : args.node
    // As a gen_server does that wants its terminate called; ours is called always.
    const traps = given?.kind !== 'worker' || given.traps !== false
    context.trapExit(traps)
    let endsItself = false
    const id = typeof args === 'string' ? args : args.node.id
    const trace = context.whereis<Tracer>('tracer')!
    const life = given?.life ?? []
    const goodbye = given?.kind === 'worker' ? (given.goodbye ?? 'ok') : 'ok'
    const [what, bye] = await trace.askWith(
      patient,
      'starting',
      id,
      life,
      goodbye,
      null,
      context.self as never,
    )
    if (what === 'fail') throw new Error('failed')
    if (what === 'fail_shutdown') throw new ActorExit({ kind: 'shutdown' })
    if (what === 'fail_normal') throw new ActorExit({ kind: 'normal' })
    if (what === 'ignore') return ignore
    if (what === 'gate') await trace.askWith(patient, 'gate', id)
    return {
      link: (to) => context.link(to),
      end(reason) {
        endsItself = true
        if (reason === 'error') throw new Error('asked to fail')
        context.stop(reason === 'shutdown_term' ? { kind: 'shutdown', message: 'because' } : { kind: reason })
      },
      async terminate(reason) {
        if (!traps && !endsItself) return
        await trace.askWith(patient, 'note', `stop ${id} ${reason.kind}`)
        if (bye === 'fail') throw new Error('goodbye')
        if (bye === 'gate') await trace.askWith(patient, 'gate', id)
        if (bye === 'hang') await new Promise<void>(() => {})
      },
    }
  },
})

export const sup = supervisor<Args>({
  name: 'sup',
  module: import.meta.url,
  async init(context, { node, placement }) {
    const { id, life = [], strategy, intensity, period, auto_shutdown, children } = node as SupNode
    const trace = context.whereis<Tracer>('tracer')!
    const [what] = await trace.askWith(
      patient,
      'starting',
      id,
      life,
      'ok',
      strategy === 'simple_one_for_one',
      context.self as never,
    )
    if (what === 'fail') throw new Error('failed')
    if (what === 'ignore') return ignore
    if (what === 'gate') await trace.askWith(patient, 'gate', id)
    const spec: SupervisorSpec = {
      strategy,
      ...(intensity === undefined ? {} : { intensity }),
      ...(period === undefined ? {} : { periodMs: period * 1_000 }),
      ...(auto_shutdown === undefined ? {} : { autoShutdown: auto_shutdown }),
      children: children.map((child) => childSpec(child, placement)),
    }
    return spec
  },
})

/** Workers go where `placement` says, supervisors stay here. */
export function childSpec(node: Node, placement: Placement | undefined): ChildSpec {
  const { id, restart, shutdown, significant } = node
  return {
    id,
    actor: node.kind === 'sup' ? sup : worker,
    args: node.kind === 'template' ? undefined : { node, placement },
    ...(placement === undefined ? {} : { placement }),
    ...(restart === undefined ? {} : { restart }),
    ...(shutdown === undefined ? {} : { shutdown }),
    ...(significant === undefined ? {} : { significant }),
    ...(node.kind === 'worker' && node.name !== undefined ? { registerAs: node.name } : {}),
  }
}

/** The parent of the top supervisor. */
export const owner = supervisor<undefined>({
  name: 'owner',
  module: import.meta.url,
  init: () => ({ strategy: 'one_for_one', children: [] }),
})

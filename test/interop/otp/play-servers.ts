/** Plays scenarios of servers.ts on our runtime, and writes their traces in the words of `otp_servers.erl`. */
import {
  type ActorDefinition,
  ActorExit,
  type ActorRef,
  AskError,
  actor,
  type Contract,
  Deferred,
  type ExitReason,
  type Placement,
  UsageError,
} from '../../../src/index.ts'
import { TestSystem } from '../../../src/testing/index.ts'
import type { Op, Reason, Request, ServerScenario, ServerStep } from './servers.ts'

type Server = Contract<{
  do(ops: readonly Op[]): void
  got(from: string, text: string): void
  ring(text: string): void
  goOn(text: string): void
  call(what: Request): string
}>

interface Noted {
  readonly key: string
  readonly text: string
}

/** What the servers of the scenario in hand know of each other, as OTP's do by a table. */
class Board {
  notes: Noted[] = []
  readonly refs = new Map<string, ActorRef<Server>>()
  readonly ids = new Map<number, string>()

  note(key: string, text: string): void {
    this.notes.push({ key, text })
  }

  id(ref: { readonly id: number }): string {
    return this.ids.get(ref.id) ?? '?'
  }
}
let board = new Board()

export const exitReasons: { readonly [name in Reason | 'kill']: ExitReason } = {
  normal: { kind: 'normal' },
  shutdown: { kind: 'shutdown' },
  term: { kind: 'shutdown', message: 'because' },
  boom: { kind: 'error', message: 'boom' },
  kill: { kind: 'killed' },
}

const kind = (reason: ExitReason) => (reason.kind === 'no_actor' ? 'noproc' : reason.kind)

interface Args {
  readonly id: string
  readonly traps: boolean
  readonly placement: Placement
}

const server: ActorDefinition<Server, Args> = actor<Server, Args>({
  name: 'server',
  module: import.meta.url,
  init(context, { id, traps, placement }) {
    context.trapExit(traps)
    board.refs.set(id, context.self)
    board.ids.set(context.self.id, id)
    let pending: Deferred<string>[] = []
    const monitors = new Map<string, number>()
    // OTP calls `terminate` for who traps exits, or ends itself; ours always does.
    let saysGoodbye = false
    let isTrapping = traps
    const boom = () => {
      saysGoodbye = true
      return new Error('boom')
    }
    const stop = (reason: Reason) => {
      saysGoodbye = true
      context.stop(exitReasons[reason])
    }

    function perform(op: Op): void {
      const to = board.refs.get(op[1] as string)
      switch (op[0]) {
        case 'tell':
          to?.tell('got', id, op[2])
          return
        case 'trap':
          isTrapping = op[1]
          context.trapExit(op[1])
          return
        case 'link':
          if (to !== undefined) context.link(to)
          return
        case 'unlink':
          if (to !== undefined) context.unlink(to)
          return
        case 'monitor':
          if (to !== undefined) monitors.set(op[1], context.monitor(to))
          return
        case 'demonitor': {
          const monitor = monitors.get(op[1])
          if (monitor !== undefined) context.demonitor(monitor)
          monitors.delete(op[1])
          return
        }
        case 'exit':
          if (to !== undefined) context.exit(to, exitReasons[op[2]])
          return
        case 'spawn':
          context.spawnLink(server, { id: op[1], traps: op[2], placement }, { placement })
          return
        case 'register':
          try {
            context.register(op[1])
            board.note(`${id} <`, 'registered')
          } catch (error) {
            if (!(error instanceof UsageError)) throw error
            board.note(`${id} <`, 'taken')
          }
          return
        case 'whereis': {
          const found = context.whereis(op[1])
          board.note(`${id} <`, `finds ${found === undefined ? 'nobody' : board.id(found)}`)
          return
        }
        case 'after':
          context.sendAfter(op[1], 'ring', op[2])
          return
        case 'continue':
          context.continue('goOn', op[1])
          return
        case 'answer':
          for (const one of pending.splice(0)) one.resolve('late')
          return
        case 'stop':
          stop(op[1])
          return
        case 'throw':
          throw boom()
      }
    }

    return {
      do(ops) {
        for (const op of ops) perform(op)
      },
      got: (from, text) => board.note(`${id} < ${from}`, `got ${text}`),
      ring: (text) => board.note(`${id} < ${id}`, `rings ${text}`),
      goOn: (text) => board.note(`${id} < ${id}`, `continues ${text}`),
      call(what) {
        switch (what) {
          case 'now':
            return 'now'
          case 'later': {
            const later = new Deferred<string>()
            pending = [...pending, later]
            return later
          }
          case 'exit':
            saysGoodbye = true
            throw new ActorExit(exitReasons.term)
          case 'throw':
          case 'bad':
            throw boom()
        }
        if (what.startsWith('reply_stop_')) {
          stop(what.slice('reply_stop_'.length) as Reason)
          return 'bye'
        }
        stop(what.slice('stop_'.length) as Reason)
        // No reply: who asked hears of the end.
        return new Deferred<string>()
      },
      handleDown: ({ ref, reason }) => board.note(`${id} < ${board.id(ref)}`, `down ${kind(reason)}`),
      handleExit: (ref, reason) => board.note(`${id} < ${board.id(ref)}`, `exit ${kind(reason)}`),
      terminate(reason) {
        if (isTrapping || saysGoodbye) board.note(`${id} <`, `terminates ${kind(reason)}`)
      },
    }
  },
})

/** `threads`: each server on the next of so many simulated threads; events in an order drawn from `seed`. */
export async function playServers(scenario: ServerScenario, threads = 0, seed?: number): Promise<string[]> {
  board = new Board()
  const system = await TestSystem.start({
    ...(threads === 0 ? {} : { threads: { servers: threads } }),
    ...(seed === undefined ? {} : { seed }),
  })
  const placement: Placement = threads === 0 ? 'here' : { pool: 'servers' }
  try {
    for (const [id, traps] of scenario.servers) {
      system.spawn(server, { id, traps, placement }, { placement })
      await system.settle()
    }
    const lines: string[] = []
    let ended = system.terminated.length
    for (const step of scenario.steps) {
      await perform(system, step)
      await system.settle()
      for (const { actorId, reason } of system.terminated.slice(ended)) {
        board.note(board.id({ id: actorId }), `ends ${kind(reason)}`)
      }
      ended = system.terminated.length
      lines.push('>')
      const sorted = board.notes.sort((one, other) =>
        one.key < other.key ? -1 : one.key > other.key ? 1 : 0,
      )
      for (const { key, text } of sorted) lines.push(`  ${key}: ${text}`)
      board.notes = []
    }
    return lines
  } finally {
    await system.stop()
  }
}

async function perform(system: TestSystem, step: ServerStep): Promise<void> {
  const ref = board.refs.get(step[1] as string)
  switch (step[0]) {
    case 'all':
      for (const each of step.slice(1) as ServerStep[]) await perform(system, each)
      return
    case 'do':
      ref?.tell('do', step[2])
      return
    case 'kill':
      if (ref !== undefined) system.system.kill(ref)
      return
    case 'wait':
      await system.advance(step[1])
      return
    case 'call': {
      const [, tag, id, what, timeoutMs] = step
      const callee = board.refs.get(id)
      if (callee === undefined) {
        board.note(tag, 'noproc')
        return
      }
      callee.askWith({ timeoutMs: timeoutMs === 0 ? Infinity : timeoutMs }, 'call', what).then(
        (answer) => board.note(tag, `answered ${answer}`),
        (error: unknown) => board.note(tag, failed(error)),
      )
      await system.settle()
    }
  }
}

function failed(error: unknown): string {
  if (!(error instanceof AskError)) throw error
  if (error.failure === 'no_actor') return 'noproc'
  if (error.failure !== 'down') return error.failure
  const reason = error.exitReason === undefined ? '?' : kind(error.exitReason)
  // OTP has one word for a callee that was not there, and for one that ended because another was not.
  return reason === 'noproc' ? reason : `down ${reason}`
}

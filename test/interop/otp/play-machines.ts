/** Plays machines of machines.ts on ours, in virtual time, and writes their traces in the words of `otp_machines.erl`. */
import {
  type Clock,
  type Contract,
  normal,
  type StateHandlers,
  stateMachine,
  type Transition,
} from '../../../src/index.ts'
import { TestSystem } from '../../../src/testing/index.ts'
import {
  type Does,
  type MachineScenario,
  type Message,
  messages,
  type State,
  states,
  stepMs,
} from './machines.ts'

type Machine = Contract<{ [M in Message]: (number: number) => void }>

/** Milliseconds by which a real clock may be late, or what it is compared with. */
type Late = { readonly [what in 'steps' | 'state' | 'event' | 'named']?: number }
const lateness: readonly Late[] = [{ steps: 30 }, { steps: -30 }, { state: 25 }, { event: 25 }, { named: 25 }]

/** Undefined where two things are so close to each other that a real clock decides which comes first. */
export async function playMachine(scenario: MachineScenario): Promise<string[] | undefined> {
  const lines = await playOnce(scenario, {})
  for (const late of lateness) {
    if (String(await playOnce(scenario, late)) !== String(lines)) return undefined
  }
  return lines
}

async function playOnce(scenario: MachineScenario, late: Late): Promise<string[]> {
  const { table, first, steps } = scenario
  const lines: string[] = []
  const system = await TestSystem.start()
  let clock: Clock | undefined
  const now = () => clock?.monotonic() ?? 0

  const handlers = (state: State): StateHandlers<Machine, State, undefined> => {
    const does = (event: string): Does => table.get(`${state} ${event}`) ?? {}
    const rung = (event: string, text = event) => {
      lines.push(`  ${state} ${text}`)
      return transition(does(event), late)
    }
    const told = Object.fromEntries(
      messages.map((message) => [
        message,
        (_data: undefined, number: number) => {
          lines.push(`  ${state} ${message} ${number}`)
          return transition(does(message), late)
        },
      ]),
    )
    return {
      ...told,
      onEnter() {
        lines.push(`  ${state} enter`)
        const { stateTimeoutMs, eventTimeoutMs, timeouts } = transition(does('enter'), late)
        return defined({ stateTimeoutMs, eventTimeoutMs, timeouts })
      },
      onStateTimeout: () => rung('state'),
      onEventTimeout: () => rung('event'),
      onTimeout: (_data, name) => rung(name),
    } as StateHandlers<Machine, State, undefined>
  }
  const machine = stateMachine<Machine, State, undefined>({
    name: 'machine',
    module: import.meta.url,
    init(context) {
      clock = context.clock
      return { state: first, data: undefined }
    },
    states: Object.fromEntries(states.map((state) => [state, handlers(state)])) as {
      [S in State]: StateHandlers<Machine, State, undefined>
    },
  })
  try {
    const ref = system.spawn(machine, undefined)
    await system.settle()
    const start = now()
    for (const [index, batch] of steps.entries()) {
      await system.advance(start + (index + 1) * stepMs + (late.steps ?? 0) - now())
      lines.push('>')
      for (const [message, number] of batch) ref.tell(message, number)
      await system.settle()
    }
    if (system.terminated.some(({ actorId }) => actorId === ref.id)) lines.push('  ends')
    return lines
  } finally {
    await system.stop()
  }
}

const time = (ms: number | 'never', late = 0) => (ms === 'never' ? Infinity : ms === 0 ? 0 : ms + late)

function transition(does: Does, late: Late): Transition<Machine, State, undefined> {
  if (does.stop === true) return { stop: normal }
  return defined({
    next: does.next,
    repeat: does.repeat,
    postpone: does.postpone,
    insert: does.insert,
    stateTimeoutMs: does.state === undefined ? undefined : time(does.state, late.state),
    eventTimeoutMs: does.event === undefined ? undefined : time(does.event, late.event),
    timeouts:
      does.named === undefined
        ? undefined
        : Object.fromEntries(does.named.map(([name, ms]) => [name, time(ms, late.named)])),
  }) as Transition<Machine, State, undefined>
}

function defined(object: object): object {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined))
}

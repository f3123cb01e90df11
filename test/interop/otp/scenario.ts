/**
 * Supervision scenarios as data, for two players: `otp_scenarios.erl` on OTP's own supervisor, and `play.ts` on ours.
 * A trace has, for each step: what started and said goodbye, in order; which processes ended how; the answers to
 * requests; and then what each living supervisor says of its children.
 */

/** What `init` does at the first, second … start; `ok` after that. `gate` waits for the step `release`. */
export type Life = readonly ('ok' | 'fail' | 'fail_shutdown' | 'fail_normal' | 'ignore' | 'gate')[]
/** What `terminate` does. */
export type Goodbye = 'ok' | 'hang' | 'fail' | 'gate'

interface Spec {
  /** Unique in its scenario. */
  readonly id: string
  readonly restart?: 'permanent' | 'transient' | 'temporary'
  /** Milliseconds. */
  readonly shutdown?: number | 'infinity' | 'brutal_kill'
  readonly significant?: boolean
  readonly life?: Life
}

export interface WorkerNode extends Spec {
  readonly kind: 'worker'
  readonly goodbye?: Goodbye
  /** Registered while it lives. */
  readonly name?: string
  /** Whether it traps exits; only then, and when it ends by itself, its goodbye is called. Default true. */
  readonly traps?: boolean
}

/** The template of a simple_one_for_one. */
export interface TemplateNode extends Spec {
  readonly kind: 'template'
}

/** A child of a simple_one_for_one. */
export interface InstanceNode {
  readonly kind: 'instance'
  readonly id: string
  readonly life: Life
  readonly goodbye: Goodbye
}

export interface SupNode extends Spec {
  readonly kind: 'sup'
  readonly strategy: 'one_for_one' | 'one_for_all' | 'rest_for_one' | 'simple_one_for_one'
  readonly intensity?: number
  /** Seconds, as in OTP. */
  readonly period?: number
  readonly auto_shutdown?: 'never' | 'any_significant' | 'all_significant'
  readonly children: readonly Node[]
}

export type Node = WorkerNode | SupNode | TemplateNode

export type Step =
  /** The worker stops by itself. */
  | readonly ['exit', string, 'normal' | 'shutdown' | 'shutdown_term' | 'error']
  | readonly ['kill', string]
  /** The first worker links itself to the second one. */
  | readonly ['link', string, string]
  /** Opens the gate at which a worker waits. */
  | readonly ['release', string]
  | readonly ['start', string, Node | InstanceNode]
  | readonly ['terminate' | 'terminate_instance' | 'restart' | 'delete', string, string]
  /** Ends the top supervisor, as its parent would. */
  | readonly ['stop']
  | readonly ['wait', number]
  /** To this second of a clock whose seconds OTP counts. */
  | readonly ['second', number]
  /** Several at once. */
  | readonly ['all', readonly Step[]]
  /** Does not wait for what follows. */
  | readonly ['now', Step]
  /** Until this was noted so often. */
  | readonly ['until', string, number]
  /** What happens has no order, as those that end know nothing of each other. */
  | readonly ['unordered', Step]

export interface Scenario {
  readonly name: string
  readonly top: SupNode
  readonly steps: readonly Step[]
  /** Equal notes that follow each other are shown once. */
  readonly collapse?: boolean
  /** Why ours is other than OTP's: then the traces must not agree. */
  readonly differs?: string
}

/** One Erlang term, with its full stop. */
export function toErlang(scenario: Scenario): string {
  const { differs: _, ...rest } = scenario
  return `${term(rest)}.\n`
}

const atoms = new Set(['kind', 'restart', 'strategy', 'auto_shutdown', 'life', 'goodbye'])

function term(value: unknown, key = ''): string {
  if (typeof value === 'string') {
    return atoms.has(key) || (key === 'shutdown' && value !== '') ? value : `<<${JSON.stringify(value)}>>`
  }
  if (typeof value !== 'object' || value === null) return String(value)
  if (Array.isArray(value)) {
    if (key === 'steps') return `[${value.map((step) => stepTerm(step)).join(',')}]`
    return `[${value.map((each) => term(each, key)).join(',')}]`
  }
  const entries = Object.entries(value).filter(([, each]) => each !== undefined)
  return `#{${entries.map(([name, each]) => `${name}=>${term(each, name)}`).join(',')}}`
}

function stepTerm(step: Step): string {
  const [what, ...rest] = step as readonly [string, ...unknown[]]
  switch (what) {
    case 'stop':
      return 'stop'
    case 'all':
      return `{all,[${(rest[0] as Step[]).map(stepTerm).join(',')}]}`
    case 'now':
    case 'unordered':
      return `{${what},${stepTerm(rest[0] as Step)}}`
    case 'exit':
      return `{exit,${term(rest[0])},${rest[1]}}`
    default:
      return `{${[what, ...rest.map((each) => term(each))].join(',')}}`
  }
}

/** How a step is named in a trace. */
export function title(step: Step): string {
  switch (step[0]) {
    case 'stop':
      return 'stop'
    case 'all':
      return step[1].map(title).join(' & ')
    case 'now':
    case 'unordered':
      return title(step[1])
    case 'start':
      return `start ${step[1]}/${step[2].id}`
    case 'exit':
      return `exit ${step[1]} ${step[2]}`
    case 'link':
      return `link ${step[1]} ${step[2]}`
    case 'terminate_instance':
      return `terminate ${step[1]}/${step[2]}`
    case 'terminate':
    case 'restart':
    case 'delete':
      return `${step[0]} ${step[1]}/${step[2]}`
    default:
      return `${step[0]} ${step[1]}`
  }
}

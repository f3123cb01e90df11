/** Plays a scenario on our runtime, and writes its trace in the words of `otp_scenarios.erl`. */
import type {
  ActorRef,
  ChildInfo,
  ChildResult,
  Placement,
  StartChildResult,
  SupervisorContract,
} from '../../../src/index.ts'
import { childSpec, emptyTrace, type Tracer, traced, type Worker } from './play-actors.ts'
import { type Scenario, type Step, title } from './scenario.ts'

/** Where a scenario is played: one thread with virtual time, or several with the time of the machine. */
export interface Stage {
  whereis(name: string): ActorRef | undefined
  kill(ref: ActorRef): void
  /** Until everything a step leads to has happened. */
  settle(done: () => boolean): Promise<void>
  wait(ms: number): Promise<void>
  readonly placement: Placement | undefined
}

const patient = { timeoutMs: Infinity }
type Sup = ActorRef<SupervisorContract>

/** `expected`: for a stage that cannot know when a step is over; it is when as much happened as here. */
export async function play(
  scenario: Scenario,
  stage: Stage,
  expected?: readonly string[],
): Promise<string[]> {
  traced.now = emptyTrace()
  const player = new Player(scenario, stage, expected ?? [])
  return await player.play()
}

class Player {
  readonly #scenario: Scenario
  readonly #stage: Stage
  readonly #trace = traced.now
  readonly #lines: string[] = []
  #answers: string[] = []
  #second = 0
  #unordered = false
  /** Ids that children of a simple_one_for_one have in their supervisor. */
  readonly #instances = new Map<string, string>()

  /** Lines of each step. */
  readonly #expected: string[][] = []

  constructor(scenario: Scenario, stage: Stage, expected: readonly string[]) {
    this.#scenario = scenario
    this.#stage = stage
    for (const line of expected) {
      if (line.startsWith('> ')) this.#expected.push([])
      else this.#expected.at(-1)?.push(line)
    }
  }

  async play(): Promise<string[]> {
    const { top, steps } = this.#scenario
    const owner = this.#owner()
    const spec = {
      ...childSpec(top, this.#stage.placement),
      restart: 'temporary',
      shutdown: 'infinity',
    } as const
    this.#answer('start', owner.askWith(patient, 'startChild', spec))
    await this.#finish('start')
    for (const step of steps) await this.#step(step)
    return this.#lines
  }

  #owner(): Sup {
    return this.#stage.whereis('owner') as ActorRef as Sup
  }

  async #step(step: Step): Promise<void> {
    this.#unordered = step[0] === 'unordered'
    if (step[0] === 'until') {
      const [, text, times] = step
      const noted = () => this.#trace.notes.filter((note) => note === text).length >= times
      while (!noted()) await new Promise((resolve) => setImmediate(resolve))
      return
    }
    await this.#do(step)
    if (step[0] !== 'now') await this.#finish(title(step))
  }

  async #do(step: Step): Promise<void> {
    const { refs } = this.#trace
    const tracer = this.#stage.whereis('tracer') as ActorRef<Tracer> as ActorRef as ActorRef<Tracer>
    switch (step[0]) {
      case 'all':
        for (const each of step[1]) await this.#do(each)
        return
      case 'now':
      case 'unordered':
        return await this.#do(step[1])
      case 'wait':
        return await this.#stage.wait(step[1])
      case 'second': {
        const before = this.#second
        this.#second = step[1]
        return await this.#stage.wait((step[1] - before) * 1_000)
      }
      case 'exit':
        ;(refs.get(step[1]) as ActorRef as ActorRef<Worker> | undefined)?.tell('end', step[2])
        return
      case 'link': {
        const to = refs.get(step[2])
        if (to !== undefined)
          (refs.get(step[1]) as ActorRef as ActorRef<Worker> | undefined)?.tell('link', to)
        return
      }
      case 'kill': {
        const ref = refs.get(step[1])
        if (ref !== undefined) this.#stage.kill(ref)
        return
      }
      case 'release':
        tracer.tell('release', step[1])
        return
      case 'stop':
        this.#owner()
          .askWith(patient, 'terminateChild', this.#scenario.top.id)
          .catch(() => {})
        return
      case 'start': {
        const [, sup, node] = step
        const request =
          node.kind === 'instance'
            ? // The tracer hears of it before the instance can ask.
              tracer.askWith(patient, 'life', node).then(() => this.#request(sup, 'startChild', node.id))
            : this.#request(sup, 'startChild', childSpec(node, this.#stage.placement))
        this.#answer(title(step), request)
        return
      }
      case 'terminate':
        this.#answer(title(step), this.#request(step[1], 'terminateChild', step[2]))
        return
      case 'terminate_instance': {
        // One that did not get through its start has a process in OTP, and no id here.
        const id = this.#instances.get(step[2]) ?? '0.0'
        if (!refs.has(step[2])) return
        this.#answer(title(step), this.#request(step[1], 'terminateChild', id))
        return
      }
      case 'restart':
        this.#answer(title(step), this.#request(step[1], 'restartChild', step[2]))
        return
      case 'delete':
        this.#answer(title(step), this.#request(step[1], 'deleteChild', step[2]))
    }
  }

  #sup(id: string): Sup | undefined {
    return this.#trace.refs.get(id) as ActorRef as Sup | undefined
  }

  #request(
    id: string,
    type: 'startChild' | 'terminateChild' | 'restartChild' | 'deleteChild',
    // biome-ignore lint/suspicious/noExplicitAny: what each of them takes
    body: any,
  ): Promise<StartChildResult | ChildResult> {
    return this.#sup(id)?.askWith(patient, type, body) ?? Promise.reject(new Error('never started'))
  }

  #answer(what: string, asking: Promise<StartChildResult | ChildResult>): void {
    asking.then(
      (answer) => this.#answers.push(`${what}: ${answer.ok ? 'ok' : answer.error}`),
      () => this.#answers.push(`${what}: down`),
    )
  }

  async #finish(what: string): Promise<void> {
    const trace = this.#trace
    const expected = this.#expected.shift() ?? []
    const count = expected.filter((line) => !isRow(line)).length
    await this.#stage.settle(() => trace.notes.length + trace.ends.length + this.#answers.length >= count)
    const { ends } = trace
    let { notes } = trace
    const answers = this.#answers
    trace.notes = []
    trace.ends = []
    this.#answers = []
    if (this.#unordered) notes = notes.sort()
    if (this.#scenario.collapse) notes = notes.filter((note, index) => note !== notes[index - 1])
    this.#lines.push(`> ${what}`)
    for (const line of [...notes, ...ends.sort()]) this.#lines.push(`  ${line}`)
    for (const line of answers.sort()) this.#lines.push(`  = ${line}`)
    for (const [id, simple] of trace.sups) await this.#row(id, simple, expected.includes(`  ${id} busy`))
  }

  async #row(id: string, simple: boolean, isBusy: boolean): Promise<void> {
    const ref = this.#sup(id)
    if (ref === undefined) return
    let row: string | undefined = `  ${id} busy`
    const asking = Promise.all([
      ref.askWith(patient, 'whichChildren'),
      ref.askWith(patient, 'countChildren'),
    ]).then(
      ([children, { specs, active, supervisors, workers }]) => {
        const texts = children.map((child) => this.#child(child, simple))
        if (simple) texts.sort()
        row = `  ${id} [${texts.join(', ')}] ${specs}/${active}/${supervisors}/${workers}`
      },
      () => {
        row = undefined
      },
    )
    let answered = false
    asking.finally(() => {
      answered = true
    })
    await this.#stage.settle(() => answered || isBusy)
    if (row !== undefined) this.#lines.push(row)
  }

  #child({ id, ref, state }: ChildInfo, simple: boolean): string {
    if (!simple) return `${id} ${state}`
    if (ref === null) return `? ${state}`
    const name = this.#trace.ids.get(ref.id) ?? '?'
    this.#instances.set(name, id)
    return `${name} ${state}`
  }
}

function isRow(line: string): boolean {
  return /^ {2}\S+ (\[|busy$)/.test(line)
}

import { cpuSeconds, machineSeconds } from './proc-tree.ts'

/** CPU use of one server's process tree over a stretch of time, and how busy the machine was beside it. */
export class CpuWindow {
  readonly startedAt = performance.now()
  readonly #pid: number
  readonly #server: number
  readonly #machine = machineSeconds()

  constructor(pid: number) {
    this.#pid = pid
    this.#server = cpuSeconds([pid])
  }

  /** Seconds of the server and of the whole machine since the start. */
  read(): { server: number; machine: number } {
    return { server: cpuSeconds([this.#pid]) - this.#server, machine: machineSeconds() - this.#machine }
  }
}

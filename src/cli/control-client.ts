/** Speaks to the running service over `DATA_DIR/control.sock`, see `src/admin/control.ts` for the protocol. */
import { createConnection, type Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { CommandFailure, exitCodes } from './exit.ts'

/** Nothing came for so long: the service hangs. Longer than any answer of a healthy one takes. */
const silenceMs = 60_000

interface Answer {
  readonly item?: unknown
  readonly end?: unknown
  readonly error?: { readonly exitCode: number; readonly message: string }
}

export class ControlClient {
  readonly #path: string

  constructor(dataDir: string) {
    this.#path = join(dataDir, 'control.sock')
  }

  /**
   * Sends one request, with `content` behind it, and calls `onItem` for each item of the answer.
   *
   * @returns the last value of the answer.
   * @throws CommandFailure, exit code 69 when no service runs, else the one the service gives.
   */
  async request(
    command: string,
    args: object = {},
    options: { readonly content?: Uint8Array; readonly onItem?: (item: unknown) => void } = {},
  ): Promise<unknown> {
    const socket = await this.#connect()
    socket.setTimeout(silenceMs, () => socket.destroy(new Error(`no answer in ${silenceMs / 1_000} s`)))
    const { content, onItem } = options
    try {
      const head = { command, args, ...(content === undefined ? {} : { octets: content.length }) }
      socket.write(`${JSON.stringify(head)}\n`)
      if (content !== undefined) socket.write(content)
      // Not `for await`: an error of the socket would be lost between two lines.
      return await new Promise((resolve, reject) => {
        socket.once('error', reject)
        const lines = createInterface({ input: socket, crlfDelay: Number.POSITIVE_INFINITY })
        lines.on('line', (line) => {
          let answer: Answer
          try {
            answer = JSON.parse(line) as Answer
          } catch {
            reject(new Error('the answer is not JSON'))
            return
          }
          if ('item' in answer) onItem?.(answer.item)
          else if (answer.error !== undefined) {
            reject(new CommandFailure(answer.error.exitCode, answer.error.message))
          } else resolve(answer.end)
        })
        lines.on('close', () => reject(new Error('the connection was closed before the answer ended')))
      })
    } catch (error) {
      if (error instanceof CommandFailure) throw error
      throw new CommandFailure(
        exitCodes.unavailable,
        `control socket ${this.#path}: ${(error as Error).message}`,
      )
    } finally {
      socket.destroy()
    }
  }

  /** Whether a service answers at all. */
  async isRunning(): Promise<boolean> {
    try {
      ;(await this.#connect()).destroy()
      return true
    } catch (error) {
      if (error instanceof CommandFailure && error.exitCode === exitCodes.unavailable) return false
      throw error
    }
  }

  #connect(): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const socket = createConnection({ path: this.#path })
      socket.once('connect', () => {
        socket.off('error', refused)
        resolve(socket)
      })
      const refused = (error: NodeJS.ErrnoException) => reject(this.#notRunning(error))
      socket.once('error', refused)
    })
  }

  #notRunning(error: NodeJS.ErrnoException): CommandFailure {
    if (error.code === 'EACCES' || error.code === 'EPERM') {
      return new CommandFailure(
        exitCodes.noPermission,
        `control socket ${this.#path}: permission denied (run it as the user the service runs as)`,
      )
    }
    const isAbsent = error.code === 'ENOENT' || error.code === 'ECONNREFUSED'
    return new CommandFailure(
      exitCodes.unavailable,
      `control socket ${this.#path}: ${isAbsent ? 'no service is running' : error.message} ` +
        '(start one with mailactors serve, or name its configuration with -c)',
    )
  }
}

/** What a command knows of the outside: its streams, environment and folder. The only other user of `process` is `main.ts`. */
import { exitCodes, oneLine, systemFailure } from './exit.ts'

export interface Terminal {
  readonly stdin: NodeJS.ReadStream
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  /** Writes to stdout. */
  print(text: string): void
  /** Writes one line to stderr, with the program's name in front. */
  complain(line: string): void
  readonly isTerminal: boolean
}

export function processTerminal(): Terminal {
  // A reader that went away (`| head`) is the end of the output, not an error.
  for (const [name, stream] of Object.entries({ stdout: process.stdout, stderr: process.stderr })) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(0)
      if (error.code === undefined) throw error
      const { why } = systemFailure(error)
      if (name === 'stdout') {
        process.stderr.write(`mailactors: stdout: ${oneLine(why)} (make room, or write elsewhere)\n`)
      }
      process.exit(exitCodes.io)
    })
  }
  return {
    stdin: process.stdin,
    env: process.env,
    cwd: process.cwd(),
    print: (text) => {
      process.stdout.write(text)
    },
    complain: (line) => {
      process.stderr.write(`mailactors: ${oneLine(line)}\n`)
    },
    isTerminal: process.stdout.isTTY === true,
  }
}

/** Prints a value as JSON, for `--json`. */
export function printJson(terminal: Terminal, value: unknown): void {
  terminal.print(`${JSON.stringify(value, undefined, 2)}\n`)
}

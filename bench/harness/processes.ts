/**
 * The programs a benchmark starts. Everything is stopped by its pid when the benchmark ends, however it ends.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

type Cleanup = () => Promise<void> | void

const cleanups: Cleanup[] = []

/** Runs at the end, last registered first, also after an error or a signal. Returns a function that runs it now. */
export function atEnd(cleanup: Cleanup): () => Promise<void> {
  cleanups.push(cleanup)
  return async () => {
    const at = cleanups.indexOf(cleanup)
    if (at === -1) return
    cleanups.splice(at, 1)
    await cleanup()
  }
}

export async function cleanUp(): Promise<void> {
  for (let cleanup = cleanups.pop(); cleanup !== undefined; cleanup = cleanups.pop()) {
    try {
      await cleanup()
    } catch (error) {
      console.error(`bench: clean-up: ${error instanceof Error ? error.message : error}`)
    }
  }
}

/** INT and TERM clean up and end with the shell's code for it. */
export function cleanUpOnSignals(): void {
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.once(signal, () => {
      void cleanUp().finally(() => process.exit(code))
    })
  }
}

/** Where a program is, in PATH and in the places servers live in; undefined if it is not installed. */
export function findProgram(name: string): string | undefined {
  const places = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin', '/sbin']
  return places
    .map((place) => join(place, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}

/** Why these programs cannot be used; undefined when they can. */
export function whyMissing(programs: readonly string[], { root = false } = {}): string | undefined {
  const missing = programs.filter((name) => findProgram(name) === undefined)
  if (missing.length > 0) return `${missing.join(', ')} not installed (bench/peers/install-peers.sh)`
  if (root && process.getuid?.() !== 0) return `${programs.join(', ')} must be started by root`
  return undefined
}

export interface RunResult {
  readonly stdout: string
  readonly stderr: string
  readonly code: number | null
  readonly seconds: number
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>
  /** Longest time it may take; then it is killed and the run fails. */
  readonly timeoutMs: number
  /** Codes that are no failure. Default 0. */
  readonly okCodes?: readonly number[]
}

/** Runs a program to its end. Throws with its stderr when it fails. */
export async function run(program: string, args: readonly string[], options: RunOptions): Promise<RunResult> {
  const began = performance.now()
  const child = spawn(program, args, {
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: options.timeoutMs,
    killSignal: 'SIGKILL',
  })
  const done = atEnd(() => stopChild(child))
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk
  })
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk
  })
  // `exit`, not `close`: a server started by a script may hold the pipes open.
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (exitCode) => resolve(exitCode))
  })
  await done()
  const seconds = (performance.now() - began) / 1000
  if (code === null || !(options.okCodes ?? [0]).includes(code)) {
    throw new Error(
      `${program} ${args.join(' ')}: exit ${code ?? 'by a signal'}: ${stderr.trim() || stdout.trim()}`,
    )
  }
  return { stdout, stderr, code, seconds }
}

/** TERM, then KILL after 5 s. */
export async function stopChild(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), 5000)
  await ended
  clearTimeout(timer)
}

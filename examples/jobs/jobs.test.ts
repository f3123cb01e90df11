import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AskError } from 'mailactors'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Queue } from './queue.ts'
import { startJobs } from './system.ts'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'jobs-'))
})
afterEach(() => rmSync(dir, { recursive: true }))

const pause = () => new Promise((resolve) => setTimeout(resolve, 5))

function expected(text: string): string {
  let result = text
  for (let round = 0; round < 500; round++) result = createHash('sha256').update(result).digest('hex')
  return result
}

test('no job is lost when threads are killed, the one of the queue too', { timeout: 60_000 }, async () => {
  await using system = await startJobs(join(dir, 'jobs.db'))
  /** Asks until there is an answer: the queue may be away for a moment. */
  async function ask<T>(question: (queue: NonNullable<ReturnType<typeof find>>) => Promise<T>): Promise<T> {
    for (;;) {
      const queue = find()
      try {
        if (queue !== undefined) return await question(queue)
      } catch (error) {
        if (!(error instanceof AskError)) throw error
      }
      await pause()
    }
  }
  const find = () => system.whereis<Queue>('queue')

  const jobs = 300
  let killed = 0
  const kill = async (pool: string): Promise<void> => {
    const thread = (await system.threads()).find((one) => one.pool === pool && one.state === 'running')
    if (thread !== undefined && system.killThread(thread.thread)) killed++
  }
  for (let number = 0; number < jobs; number++) {
    await ask((queue) => queue.ask('add', `job-${number}`, `text ${number}`))
    if (number % 100 === 50) await kill('storage')
    if (number % 100 === 75) await kill('workers')
  }
  let counts = await ask((queue) => queue.ask('counts'))
  for (; counts.done < jobs; counts = await ask((queue) => queue.ask('counts'))) await pause()

  expect(killed).toBeGreaterThanOrEqual(6)
  expect(counts).toMatchObject({ waiting: 0, taken: 0, done: jobs })
  expect(counts.attempts).toBeGreaterThanOrEqual(jobs)
  for (let number = 0; number < jobs; number++) {
    expect(await ask((queue) => queue.ask('result', `job-${number}`))).toBe(expected(`text ${number}`))
  }
})

test('nor when the process is killed', { timeout: 60_000 }, async () => {
  const start = () => {
    const args = [join(import.meta.dirname, 'main.ts'), join(dir, 'jobs.db'), '300']
    return spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  }
  const output = (child: ChildProcess) => {
    const chunks: string[] = []
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => chunks.push(chunk))
    return chunks
  }
  const first = start()
  const seen = output(first)
  const ended = new Promise((resolve) => first.once('exit', (_code, signal) => resolve(signal)))
  while (!seen.join('').includes('added') && first.exitCode === null) await pause()
  first.kill('SIGKILL')
  expect(await ended).toBe('SIGKILL')

  const second = start()
  const lines = output(second)
  const code = await new Promise((resolve) => second.once('close', resolve))
  expect(code).toBe(0)
  expect(JSON.parse(lines.join('').split('\n')[1]!)).toMatchObject({ waiting: 0, taken: 0, done: 300 })
})

/**
 * A program that logs from several threads, then dies in the way its argument names:
 * `exit` by itself, `kill` by SIGKILL, `terminate` of the threads and then by itself. It says on standard
 * error, as JSON, how many lines each thread handed over.
 */
import { once } from 'node:events'
import { writeSync } from 'node:fs'
import { isMainThread, parentPort, threadId, Worker, workerData } from 'node:worker_threads'
import { createLogger } from '../../src/runtime/log.ts'

const threads = 3

function logLines(thread: number, count: number, counter: Int32Array): void {
  const log = createLogger({ level: 'info', format: 'json' }, { component: 'test', thread })
  for (let line = 0; line < count; line++) {
    // Sizes up to the longest line there is: a cut would show as broken JSON.
    log.info({ event: 'line', line, text: 'ü'.repeat((line * 37) % 1900) }, 'a line')
    Atomics.store(counter, thread, line + 1)
  }
}

if (isMainThread) {
  const how = process.argv[2]
  // Makes standard output non-blocking when it is a pipe or a socket, as in a program that prints too.
  if (process.argv[3] === 'nonblocking') process.stdout.write('')
  const counter = new Int32Array(new SharedArrayBuffer(4 * (threads + 1)))
  const count = how === 'terminate' ? 1_000_000 : 500
  const workers = Array.from(
    { length: threads },
    (_, i) => new Worker(new URL(import.meta.url), { workerData: { thread: i + 1, count, counter } }),
  )
  logLines(0, 200, counter)
  if (how === 'terminate') {
    while (workers.some((_, i) => Atomics.load(counter, i + 1) < 100)) await new Promise(setImmediate)
    await Promise.all(workers.map((worker) => worker.terminate()))
  } else {
    await Promise.all(workers.map((worker) => once(worker, 'message')))
  }
  createLogger({ level: 'info', format: 'json' }, { thread: 0 }).info(
    { event: 'last', threadId },
    'the last line',
  )
  writeSync(2, JSON.stringify([...counter]))
  if (how === 'kill') process.kill(process.pid, 'SIGKILL')
} else {
  const { thread, count, counter } = workerData as { thread: number; count: number; counter: Int32Array }
  logLines(thread, count, counter)
  parentPort!.postMessage('done')
}

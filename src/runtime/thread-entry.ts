/**
 * The one task of an actor thread; piscina imports this file in a worker and calls it once. It settles when the
 * thread is told to stop. An error that belongs to no actor ends the thread: piscina rejects the task, and that is how
 * main learns of it.
 */
import { performance } from 'node:perf_hooks'
import { isExpected, type Logger } from '../actors/index.ts'
import {
  type MainControl,
  offer,
  type Remote,
  reach,
  type ThreadControl,
  type ThreadTask,
} from './control.ts'
import { heapBytes } from './heap.ts'
import { Ids } from './ids.ts'
import { LoadTable } from './load-table.ts'
import { createLogger } from './log.ts'
import { Peers } from './peers.ts'
import { RemoteLog } from './remote-log.ts'
import { ThreadRuntime } from './thread-runtime.ts'
import { systemTime } from './time.ts'
import { Placer } from './topology.ts'

const utilisationPeriodMs = 250

/**
 * What an actor thread runs; never called by a program. A bundle that this package is part of exports it, and names
 * itself as `entry` of its systems: its threads have no other file to start with.
 */
export default function runThread(task: ThreadTask): Promise<void> {
  const main = reach<MainControl>(task.main)
  const log = threadLog(task, main)
  const runtime = new ThreadRuntime({
    thread: task.thread,
    ids: new Ids(task.thread, task.ids),
    time: systemTime,
    log,
    settings: task.settings,
    observer: {
      terminated(event) {
        if (!isExpected(event.reason)) void main.terminated(event)
      },
      restarted: (event) => void main.restarted(event),
      deadLetters: (event) => void main.deadLetters(event),
    },
  })
  const load = new LoadTable(task.load)
  const placer = new Placer(task.thread, load)
  placer.topology = task.topology
  const { doorbell, slot, checkMessages, spinUs } = task
  const peers = new Peers({ runtime, doorbell, load, placer, slot, checkMessages, spinUs })
  peers.connect(task.peer, task.sockets)

  process.on('uncaughtException', (error) => {
    // What is thrown here ends the thread, and reaches main as the reason.
    if (!runtime.attribute(error)) throw error
  })

  let before = performance.eventLoopUtilization()
  const measuring = setInterval(() => {
    const now = performance.eventLoopUtilization()
    load.setUtilisation(slot, performance.eventLoopUtilization(now, before).utilization)
    before = now
  }, utilisationPeriodMs)

  return new Promise((resolve) => {
    const control: ThreadControl = {
      ping() {},
      connect: (peer) => peers.connect(peer),
      setTopology(topology) {
        placer.topology = topology
      },
      threadDown: (thread, reason) => peers.threadDown(thread, reason),
      configure(settings) {
        runtime.settings = settings
      },
      rows: () => runtime.rows(),
      statistics: () => ({ actors: runtime.actorCount, heapBytes: heapBytes() }),
      stop() {
        clearInterval(measuring)
        runtime.close()
        peers.close()
        resolve()
        // After comlink's answer to this call.
        setImmediate(() => {
          task.control.close()
          task.main.close()
        })
      },
    }
    offer(control, task.control)
  })
}

function threadLog(task: ThreadTask, main: Remote<MainControl>): Logger {
  if ('options' in task.log) return createLogger(task.log.options, { thread: task.thread })
  return new RemoteLog(task.log.levels, { thread: task.thread }, (level, facts, text) => {
    void main.log(level, facts, text)
  })
}

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
import { GrowthTable } from './growth-table.ts'
import { heapBytes } from './heap.ts'
import { Heartbeat } from './heartbeat.ts'
import { HookRunner } from './hook-runner.ts'
import { IdleCollection } from './idle-collection.ts'
import { Ids } from './ids.ts'
import { LoadTable } from './load-table.ts'
import { type PeerHalves, Peers } from './peers.ts'
import { RemoteLog } from './remote-log.ts'
// Nothing of it is used here. Nearly every module of actors imports all of it, and a spare thread has it by then.
import './system.ts'
import { ThreadRuntime } from './thread-runtime.ts'
import { systemTime } from './time.ts'
import { Placer } from './topology.ts'

const utilisationPeriodMs = 250

export async function runActors(task: ThreadTask): Promise<void> {
  const main = reach<MainControl>(task.main)
  const log = await threadLog(task, main)
  const runtime = new ThreadRuntime({
    thread: task.thread,
    ids: new Ids(task.thread, task.ids),
    time: systemTime,
    log,
    settings: task.settings,
    checkMessages: task.checkMessages,
    observer: {
      terminated(event) {
        if (!isExpected(event.reason)) void main.terminated(event)
      },
      restarted: (event) => void main.restarted(event),
      deadLetters: (event) => void main.deadLetters(event),
      quarantined: (kind, ms) => void main.quarantineKind(kind, ms),
    },
  })
  const load = new LoadTable(task.load)
  const placer = new Placer(task.thread, load)
  placer.topology = task.topology
  placer.growth = new GrowthTable(task.growth)
  placer.startThread = (pool, thread) => void main.startThread(pool, thread)
  const { doorbell, slot, checkMessages, spinUs } = task
  const peers = new Peers({ runtime, doorbell, load, placer, slot, checkMessages, spinUs })
  const heartbeat = new Heartbeat(load, slot, (code, component, message) => {
    void main.learn(code, component, message)
  })
  runtime.heartbeat = heartbeat

  process.on('uncaughtException', (error) => {
    // What is thrown here ends the thread, and reaches main as the reason.
    if (!runtime.attribute(error)) throw error
  })

  const collection = new IdleCollection()
  let before = performance.eventLoopUtilization()
  const measuring = setInterval(() => {
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, before)
    load.setUtilisation(slot, utilization)
    collection.look(utilization)
    before = now
  }, utilisationPeriodMs)
  const beating = setInterval(() => heartbeat.beat(), task.beatMs)

  const hooks = new HookRunner(task, runtime, () => void main.recycleMe())
  // Until its hooks have run, nobody reaches it.
  let connect: ((peer: PeerHalves) => void) | undefined
  const early: PeerHalves[] = []
  const ready = hooks.start(() => {
    connect = (peer) => peers.connect(peer)
    peers.connect(task.peer, task.sockets)
    for (const peer of early.splice(0)) peers.connect(peer)
  })

  await new Promise<void>((resolve, reject) => {
    // What a hook throws ends the thread.
    ready?.catch(reject)
    const end = (): void => {
      clearInterval(measuring)
      clearInterval(beating)
      hooks.stop()
      runtime.close()
      peers.close()
      const finish = (): void => {
        resolve()
        // After comlink's answer to this call.
        setImmediate(() => {
          task.control.close()
          task.main.close()
        })
      }
      const ending = hooks.exit()
      if (ending === undefined) finish()
      else ending.then(finish, reject)
    }
    let isHurried = false
    const control: ThreadControl = {
      ping: () => ready,
      connect(peer) {
        if (connect === undefined) early.push(peer)
        else connect(peer)
      },
      setTopology(topology) {
        placer.topology = topology
      },
      threadDown: (thread, reason) => peers.threadDown(thread, reason),
      configure(settings) {
        runtime.settings = settings
      },
      rows: () => runtime.rows(),
      statistics: () => ({ actors: runtime.actorCount, heapBytes: heapBytes() }),
      drain: () => runtime.drain(),
      stopIfDrained() {
        if (runtime.isDrained) end()
      },
      hurry() {
        if (isHurried) end()
        else runtime.stopAll()
        isHurried = true
      },
      quarantineKind: (kind, ms) => runtime.quarantine(kind, ms),
      stop: end,
    }
    offer(control, task.control)
  })
}

async function threadLog(task: ThreadTask, main: Remote<MainControl>): Promise<Logger> {
  if ('options' in task.log) {
    const { createLogger } = await import('./log.ts')
    return createLogger(task.log.options, { thread: task.thread })
  }
  return new RemoteLog(task.log.levels, { thread: task.thread }, (level, facts, text) => {
    void main.log(level, facts, text)
  })
}

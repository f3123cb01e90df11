/** Entry of the threads the transport tests start. What it does is named in its data. */
import { parentPort, workerData } from 'node:worker_threads'
import type { Frame, InboxHalf, OutboxHalf } from '../../../src/runtime/transport/index.ts'
import { Codec, Outbox, runInbox } from '../../../src/runtime/transport/index.ts'
import { type TrafficOptions, traffic } from './traffic.ts'

interface Echo {
  readonly outbox: OutboxHalf
  readonly inbox: InboxHalf
  readonly doorbell: SharedArrayBuffer
}

interface Flood {
  readonly outbox: OutboxHalf
  /** Number of frames that were certainly published. */
  readonly progress: SharedArrayBuffer
  readonly size: number
}

const port = parentPort!
const codec = new Codec()
switch (workerData.role) {
  case 'traffic':
    port.postMessage(await traffic(workerData.options as TrafficOptions))
    break
  case 'echo': {
    const { outbox, inbox, doorbell } = workerData.options as Echo
    const out = new Outbox(outbox, { codec })
    const back = ({ to, from, type, seq, body }: Frame) => {
      const send = () => {
        if (!out.send(to, from, type, seq, body)) out.whenRoom((open) => open && send())
      }
      send()
    }
    runInbox({ doorbell, codec }, back).add(0, inbox)
    break
  }
  case 'flood': {
    const { outbox, progress, size } = workerData.options as Flood
    const published = new Int32Array(progress)
    const body = Buffer.alloc(size, 7)
    const out = new Outbox(outbox, { codec })
    let seq = 0
    const go = () => {
      for (let i = 0; i < 50; i++) {
        if (!out.send(1, 2, 'flood', seq, [body])) {
          out.whenRoom((open) => open && go())
          return
        }
        seq++
      }
      out.flush()
      Atomics.store(published, 0, seq)
      setImmediate(go)
    }
    go()
    break
  }
  case 'deaf':
    // Has the other end of a link and never reads it.
    port.on('message', () => {})
    break
  default:
    throw new Error(`unknown role ${workerData.role}`)
}

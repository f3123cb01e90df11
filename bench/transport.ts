/**
 * How many messages a second go one way between two threads, and what one costs: the ring against postMessage.
 * Messages are 180 octets of msgpack, sent in turns of 64 as actors do. About 4 seconds.
 *
 *     node bench/transport.ts [frames]
 */
import { once } from 'node:events'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import {
  Codec,
  createDoorbell,
  createLink,
  halfPorts,
  type InboxHalf,
  Outbox,
  runInbox,
} from '../src/runtime/transport/index.ts'

const perTurn = 64
const body = [
  'example.org:25',
  { relay: 'mx.example.org', code: 250, reply: '2.0.0 Ok: queued as 4B1234' },
  'a'.repeat(92),
]

interface Work {
  readonly kind: 'ring' | 'postMessage'
  readonly frames: number
  readonly doorbell: SharedArrayBuffer
  readonly inbox?: InboxHalf
}

function consume({ kind, frames, doorbell, inbox }: Work): void {
  let count = 0
  const one = (seq: number) => {
    if (seq !== count) throw new Error(`frame ${seq} instead of ${count}`)
    if (++count === frames) parentPort!.postMessage('done')
  }
  if (kind === 'postMessage')
    parentPort!.on('message', (frame: readonly unknown[]) => one(frame[3] as number))
  else {
    parentPort!.on('message', () => {})
    runInbox({ doorbell, codec: new Codec() }, ({ seq }) => one(seq)).add(0, inbox!)
  }
  parentPort!.postMessage('ready')
}

async function measure(kind: Work['kind'], frames: number): Promise<void> {
  const doorbell = createDoorbell()
  const link = createLink(doorbell)
  const worker = new Worker(new URL(import.meta.url), {
    workerData: { kind, frames, doorbell, inbox: link.inbox } satisfies Work,
    transferList: halfPorts(link.inbox),
  })
  await once(worker, 'message')
  const codec = new Codec()
  const outbox = new Outbox(link.outbox, { codec })
  const send =
    kind === 'ring'
      ? (seq: number) => outbox.send(123_456, 654_321, 'cache.save', seq, body)
      : (seq: number) => {
          worker.postMessage([123_456, 654_321, 'cache.save', seq, ...body])
          return true
        }
  const done = once(worker, 'message')
  const cpu = process.cpuUsage()
  const start = performance.now()
  let sent = 0
  const turn = () => {
    for (let i = 0; i < perTurn && sent < frames; i++) {
      if (!send(sent)) {
        outbox.whenRoom(turn)
        return
      }
      sent++
    }
    if (sent < frames) setImmediate(turn)
  }
  turn()
  await done
  const seconds = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(cpu)
  const encoded = codec.encode(123_456, 654_321, 'cache.save', frames, body)
  console.log(
    [
      kind.padEnd(12),
      `${encoded.end - encoded.start} octets`,
      `${(frames / seconds / 1e6).toFixed(2)} M/s`,
      `${((user + system) / frames).toFixed(2)} us CPU for both sides`,
      kind === 'ring' ? JSON.stringify(outbox.statistics) : '',
    ].join('  '),
  )
  outbox.close()
  await worker.terminate()
}

if (isMainThread) {
  const frames = Number(process.argv[2] ?? 1_000_000)
  for (let run = 0; run < 2; run++) {
    await measure('ring', frames)
    await measure('postMessage', Math.ceil(frames / 4))
  }
} else {
  consume(workerData as Work)
}

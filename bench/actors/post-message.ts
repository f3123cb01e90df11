/** Worker threads with nothing but `postMessage`. */
import { once } from 'node:events'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import {
  body,
  type Contestant,
  latency,
  perSecond,
  perTurn,
  pipelined,
  roundTrips,
  window,
} from './workload.ts'

type Request = readonly [kind: 'take' | 'echo' | 'count' | 'exit', id: number, ...body: unknown[]]

if (!isMainThread && parentPort !== null) {
  const port = parentPort
  let count = 0
  port.on('message', ([kind, id, destination]: Request) => {
    if (kind === 'take') count++
    else if (kind === 'echo') port.postMessage([id, destination])
    else if (kind === 'count') port.postMessage([id, count])
    else process.exit(1)
  })
  port.postMessage([0, 'ready'])
}

/** A worker and the requests it has not answered. */
class Echo {
  readonly worker = new Worker(new URL(import.meta.url))
  readonly #open = new Map<number, (value: unknown) => void>()
  #id = 0

  constructor() {
    this.worker.on('message', ([id, value]: [number, unknown]) => {
      this.#open.get(id)?.(value)
      this.#open.delete(id)
    })
  }

  ask(kind: Request[0]): Promise<unknown> {
    const id = ++this.#id
    this.worker.postMessage([kind, id, ...body()])
    return new Promise((resolve) => this.#open.set(id, resolve))
  }

  ready(): Promise<unknown> {
    return once(this.worker, 'message')
  }
}

async function oneWay(ms: number) {
  const echo = new Echo()
  await echo.ready()
  // Without a window a sender gets ahead by hundreds of thousands: half of it at a time, as long as one is under way.
  const flood = async (duration: number): Promise<number> => {
    let sent = 0
    let half: Promise<unknown> | undefined
    for (const end = performance.now() + duration; performance.now() < end; ) {
      const before = half
      for (let i = 0; i < window / 2; i++) {
        echo.worker.postMessage(['take', 0, ...body()])
        if (++sent % perTurn === 0) await new Promise(setImmediate)
      }
      half = echo.ask('count')
      await before
    }
    await half
    return sent
  }
  await flood(ms / 3)
  const start = performance.now()
  const rate = perSecond(await flood(ms), start)
  await echo.worker.terminate()
  return { rate }
}

export const contestant: Contestant = {
  oneWay,
  pingPong: async (ms) => {
    const echo = new Echo()
    await echo.ready()
    // By listeners alone, without a promise for each.
    const rally = (duration: number): Promise<number[]> =>
      new Promise((resolve) => {
        const samples: number[] = []
        const end = performance.now() + duration
        let last = performance.now()
        const on = (): void => {
          const now = performance.now()
          samples.push(now - last)
          last = now
          if (now < end) echo.worker.postMessage(['echo', 0, ...body()])
          else {
            echo.worker.off('message', on)
            resolve(samples)
          }
        }
        echo.worker.on('message', on)
        echo.worker.postMessage(['echo', 0, ...body()])
      })
    await rally(ms / 3)
    const samples = await rally(ms)
    await echo.worker.terminate()
    return { rate: (samples.length / ms) * 1_000, ...latency(Float64Array.from(samples)) }
  },
  ask: async (ms) => {
    const echo = new Echo()
    await echo.ready()
    const { p50 = Number.NaN } = await roundTrips(ms / 2, () => echo.ask('echo'))
    const { rate = Number.NaN } = await pipelined(ms / 2, 64, () => echo.ask('echo'))
    await echo.worker.terminate()
    return { p50, rate }
  },
  // Nobody tells who waited: this is only the time until another worker answers.
  recovery: async () => {
    const times: number[] = []
    for (let i = 0; i < 3; i++) {
      const echo = new Echo()
      await echo.ready()
      const start = performance.now()
      const gone = once(echo.worker, 'exit')
      void echo.worker.terminate()
      await gone
      const next = new Echo()
      await next.ready()
      times.push(performance.now() - start)
      await next.worker.terminate()
    }
    return { ms: times.sort((a, b) => a - b)[1] ?? Number.NaN }
  },
}

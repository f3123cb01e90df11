import { once } from 'node:events'
import {
  isMainThread,
  MessageChannel,
  type MessagePort,
  parentPort,
  Worker,
  workerData,
} from 'node:worker_threads'
import * as comlink from 'comlink'
import { body, type Contestant, pipelined, roundTrips } from './workload.ts'

const endpoint = (port: MessagePort): comlink.Endpoint => port as unknown as comlink.Endpoint
const surface = { echo: (destination: string, _result: object, _note: string) => destination }

if (!isMainThread && parentPort !== null) {
  parentPort.postMessage('ready')
  comlink.expose(surface, endpoint((workerData as { port: MessagePort }).port))
}

async function withRemote<T>(run: (remote: comlink.Remote<typeof surface>) => Promise<T>): Promise<T> {
  const { port1, port2 } = new MessageChannel()
  const worker = new Worker(new URL(import.meta.url), { workerData: { port: port2 }, transferList: [port2] })
  await once(worker, 'message')
  try {
    return await run(comlink.wrap<typeof surface>(endpoint(port1)))
  } finally {
    await worker.terminate()
  }
}

/** It knows calls only: 64 of them under way are its one way. It never settles those of a thread that died. */
export const contestant: Contestant = {
  oneWay: (ms) => withRemote((remote) => pipelined(ms, 64, () => remote.echo(...body()))),
  pingPong: (ms) => withRemote((remote) => roundTrips(ms, () => remote.echo(...body()))),
  ask: (ms) =>
    withRemote(async (remote) => ({
      p50: (await roundTrips(ms / 2, () => remote.echo(...body()))).p50 ?? Number.NaN,
      rate: (await pipelined(ms / 2, 64, () => remote.echo(...body()))).rate ?? Number.NaN,
    })),
}

/** One question to one name server: UDP from a port of its own, TCP when the answer does not fit. */
import { createSocket } from 'node:dgram'
import { connect, isIP } from 'node:net'
import type { NameServerAddress } from './system.ts'
import { answersQuestion, decodeResponse, encodeQuestion, type Question, type Response } from './wire.ts'

/** Datagrams that are not our answer before we take the server for hostile and give up on it. */
const maxStrayDatagrams = 100

/**
 * The response of a server. Rejects with an Error whose message is for people when there is none within `timeoutMs`.
 */
export async function askServer(
  server: NameServerAddress,
  question: Question,
  timeoutMs: number,
): Promise<Response> {
  const deadline = performance.now() + timeoutMs
  const left = () => Math.max(1, deadline - performance.now())
  const response = await askOverUdp(server, question, true, left())
  // FORMERR and NOTIMP: servers of before 1999 refuse a question with EDNS; then without it.
  const isOld = response.rcode === 1 || response.rcode === 4
  const last = isOld ? await askOverUdp(server, question, false, left()) : response
  return last.truncated ? askOverTcp(server, question, !isOld, left()) : last
}

function askOverUdp(
  { address, port }: NameServerAddress,
  question: Question,
  edns: boolean,
  timeoutMs: number,
): Promise<Response> {
  const { id, octets } = encodeQuestion(question, edns)
  return settled(address, timeoutMs, ({ accept, fail }) => {
    const socket = createSocket(isIP(address) === 6 ? 'udp6' : 'udp4')
    let strays = 0
    socket.on('error', (error: NodeJS.ErrnoException) => fail(unreachable(address, error)))
    socket.on('message', (message) => {
      if (answersQuestion(message, id, question)) accept(message)
      else if (++strays >= maxStrayDatagrams) fail(new Error(`nothing but false answers from ${address}`))
    })
    // Connected: nobody else can answer, the system chooses a random port, and a closed port is noticed at once.
    socket.connect(port, address, () => socket.send(octets))
    return () => socket.close()
  })
}

function askOverTcp(
  { address, port }: NameServerAddress,
  question: Question,
  edns: boolean,
  timeoutMs: number,
): Promise<Response> {
  const { id, octets } = encodeQuestion(question, edns)
  const length = Buffer.alloc(2)
  length.writeUInt16BE(octets.length)
  return settled(address, timeoutMs, ({ accept, fail }) => {
    const socket = connect({ host: address, port })
    let received = Buffer.alloc(0)
    socket.on('error', (error: NodeJS.ErrnoException) => fail(unreachable(address, error)))
    socket.on('close', () => fail(new Error(`${address} closed the TCP connection`)))
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk])
      const size = received.length < 2 ? Number.POSITIVE_INFINITY : received.readUInt16BE(0)
      if (received.length < 2 + size) return
      const message = received.subarray(2, 2 + size)
      if (answersQuestion(message, id, question)) accept(message)
      else fail(new Error(`a false answer from ${address}`))
    })
    socket.write(Buffer.concat([length, octets]))
    return () => socket.destroy()
  })
}

interface Outcome {
  /** The message that answers the question, which may still be unreadable. */
  readonly accept: (message: Buffer) => void
  readonly fail: (error: Error) => void
}

/** Opens something that ends in one outcome, in time or not, and closes it then: `open` returns what closes it. */
function settled(
  address: string,
  timeoutMs: number,
  open: (outcome: Outcome) => () => void,
): Promise<Response> {
  const { promise, resolve, reject } = Promise.withResolvers<Response>()
  let isOpen = true
  const end = (settle: () => void) => {
    if (!isOpen) return
    isOpen = false
    clearTimeout(timer)
    close()
    settle()
  }
  const fail = (error: Error) => end(() => reject(error))
  const accept = (message: Buffer) =>
    end(() => {
      try {
        resolve(decodeResponse(message))
      } catch {
        reject(new Error(`the answer of ${address} cannot be read`))
      }
    })
  const timer = setTimeout(() => fail(new Error(`no answer from ${address}`)), timeoutMs)
  const close = open({ accept, fail })
  return promise
}

function unreachable(address: string, { code, message }: NodeJS.ErrnoException): Error {
  return new Error(`${address} cannot be reached: ${code ?? message}`)
}

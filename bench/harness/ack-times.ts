/** How long a server takes to acknowledge a mail: from the final dot to its 250, over connections that send all the time. */
import { connect } from 'node:net'

export interface AckLoad {
  readonly mails: number
  readonly sessions: number
  readonly octets: number
  /** A connection for many mails, or one for each. */
  readonly reuse: boolean
}

/** Milliseconds of each mail, ascending. */
export async function ackTimes(port: number, { mails, sessions, octets, reuse }: AckLoad): Promise<number[]> {
  const line = `${'x'.repeat(62)}\r\n`
  const content = `From: s@peers.test\r\nSubject: bench\r\n\r\n${line.repeat(Math.ceil(octets / line.length))}.\r\n`
  const times: number[] = []
  let left = mails
  const session = async (): Promise<void> => {
    while (left > 0) await oneConnection()
  }
  const oneConnection = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true })
      const begin = [
        'EHLO bench.test\r\n',
        'MAIL FROM:<s@peers.test>\r\n',
        'RCPT TO:<user@dest.test>\r\n',
        'DATA\r\n',
      ]
      let step = 0
      let sentAt = 0
      let input = ''
      let isDone = false
      socket.setEncoding('latin1')
      socket.on('error', reject)
      socket.on('close', () => resolve())
      socket.on('data', (text: string) => {
        input += text
        // The last line of a reply.
        if (isDone || !/(?:^|\n)\d{3} [^\n]*\n$/.test(input)) return
        const isRefused = input >= '4'
        if (isRefused) {
          reject(new Error(`refused: ${input.trim()}`))
          socket.destroy()
          return
        }
        input = ''
        if (step < begin.length) socket.write(begin[step++]!)
        else if (step === begin.length) {
          step += 1
          left -= 1
          sentAt = performance.now()
          socket.write(content)
        } else {
          times.push(performance.now() - sentAt)
          isDone = !reuse || left <= 0
          // With EHLO and MAIL behind it, the next reply is to MAIL.
          step = 2
          if (isDone) socket.end('QUIT\r\n')
          else socket.write(begin[1]!)
        }
      })
    })
  await Promise.all(Array.from({ length: sessions }, session))
  return times.sort((a, b) => a - b)
}

export const percentile = (sorted: readonly number[], p: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * p) / 100))] ?? Number.NaN

/** How long a server takes to acknowledge a mail: from the final dot to its 250, over connections that send all the time. */
import { smtpLoad } from '../../src/cli/bench/loads.ts'
import { Measured } from '../../src/cli/bench/measured.ts'

export interface AckLoad {
  readonly mails: number
  readonly sessions: number
  readonly octets: number
  /** A connection for many mails, or one for each. */
  readonly reuse: boolean
}

/** Milliseconds of each mail, ascending. */
export async function ackTimes(port: number, { mails, ...load }: AckLoad): Promise<number[]> {
  const measured = new Measured()
  await smtpLoad({ ...load, port, measured, isOver: () => measured.times.length >= mails })
  return measured.times.sort((a, b) => a - b)
}

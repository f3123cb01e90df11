/**
 * Mail traffic that knows what was acknowledged. Every mail has a recipient of its own, so an arrival can be told
 * from a double. A mail that was not acknowledged is sent again until it is: what is counted as acknowledged must
 * arrive, what was cut off may arrive twice.
 */
import { SmtpClient } from './clients.ts'

export interface TrafficOptions {
  /** Asked before each connection: a restarted service may listen somewhere else. */
  readonly port: () => number
  readonly count: number
  /** Sessions at once. Default 8. */
  readonly sessions?: number
  /** Mails per connection. Default 20. */
  readonly perConnection?: number
  /** Octets of a mail. Default 1024. */
  readonly size?: number
  readonly domain?: string
  /** Default m0@dest.test, m1@dest.test, … */
  readonly recipient?: (index: number) => string
  /** Called for each acknowledged mail. */
  readonly onAcknowledged?: (recipient: string, total: number) => void
  /** Gives up altogether. Default 60 s. */
  readonly deadlineMs?: number
}

export interface TrafficResult {
  /** Recipients of mails whose end of data was answered 250. */
  readonly acknowledged: ReadonlySet<string>
  /** Connections refused or lost, and replies that were not what a success is. */
  readonly setbacks: number
  /** Distinct texts of those, at most 20. */
  readonly reasons: ReadonlySet<string>
}

export async function sendTraffic(options: TrafficOptions): Promise<TrafficResult> {
  const { count, sessions = 8, perConnection = 20, size = 1024, deadlineMs = 60_000 } = options
  const domain = options.domain ?? 'dest.test'
  const recipientOf = options.recipient ?? ((index: number) => `m${index}@${domain}`)
  const acknowledged = new Set<string>()
  const reasons = new Set<string>()
  const end = performance.now() + deadlineMs
  let setbacks = 0
  let next = 0

  const filler = `${'x'.repeat(70)}\r\n`.repeat(Math.max(1, Math.ceil((size - 120) / 72)))
  const content = (recipient: string): string =>
    `From: <sender@peers.test>\r\nTo: <${recipient}>\r\nSubject: ${recipient}\r\n\r\n${filler}`.trimEnd()

  async function worker(): Promise<void> {
    let current: string | undefined
    while (current !== undefined || next < count) {
      if (performance.now() > end)
        throw new Error(`traffic: ${acknowledged.size} of ${count} in ${deadlineMs} ms`)
      let client: SmtpClient | undefined
      try {
        client = await SmtpClient.connect(options.port())
        await client.expect(250, 'EHLO client.test')
        for (let turn = 0; turn < perConnection && (current !== undefined || next < count); turn++) {
          current ??= recipientOf(next++)
          const reply = await client.send({
            from: 'sender@peers.test',
            to: [current],
            content: content(current),
          })
          if (reply.code !== 250) throw new Error(`end of data: ${reply.code} ${reply.text}`)
          acknowledged.add(current)
          options.onAcknowledged?.(current, acknowledged.size)
          current = undefined
        }
        client.write('QUIT\r\n')
      } catch (error) {
        setbacks += 1
        if (reasons.size < 20) reasons.add(error instanceof Error ? error.message : String(error))
        // The service may be on its way up again: do not hammer it.
        await new Promise((resolve) => setTimeout(resolve, 50))
      } finally {
        client?.socket.end()
      }
    }
  }

  await Promise.all(Array.from({ length: Math.min(sessions, count) }, worker))
  return { acknowledged, setbacks, reasons }
}

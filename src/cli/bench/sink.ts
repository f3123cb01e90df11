/** Where relayed mail ends: takes everything and forgets it. */
import { type AddressInfo, createServer } from 'node:net'

export interface Sink {
  readonly port: number
  stop(): void
}

/** `onMail` is called for each mail, before its 250. Replies take `rttMs`, as from so far away. */
export async function startSink(onMail: () => void, rttMs = 0): Promise<Sink> {
  const server = createServer({ noDelay: true }, (socket) => {
    let input = ''
    let isContent = false
    const say = (replies: string): void => {
      if (rttMs === 0) socket.write(replies)
      else setTimeout(() => socket.writable && socket.write(replies), rttMs)
    }
    socket.setEncoding('latin1')
    socket.on('error', () => {})
    say('220 sink.bench.test ESMTP\r\n')
    socket.on('data', (text: string) => {
      input += text
      let replies = ''
      for (;;) {
        const end = input.indexOf(isContent ? '\r\n.\r\n' : '\r\n')
        if (end === -1) break
        const line = input.slice(0, end)
        input = input.slice(end + (isContent ? 5 : 2))
        if (isContent) {
          isContent = false
          onMail()
          replies += '250 2.0.0 Ok\r\n'
        } else if (/^DATA$/i.test(line)) {
          isContent = true
          replies += '354 go on\r\n'
        } else if (/^EHLO/i.test(line)) replies += '250-sink.bench.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n'
        else replies += /^QUIT/i.test(line) ? '221 2.0.0 bye\r\n' : '250 2.0.0 Ok\r\n'
      }
      if (replies !== '') say(replies)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', 1024, resolve))
  return { port: (server.address() as AddressInfo).port, stop: () => server.close() }
}

/**
 * A loopback TCP proxy with a round-trip time, to measure what pipelining and connection caching are worth over
 * a real network.
 *
 *     node bench/peers/lag-proxy.ts LISTEN_PORT TARGET_PORT RTT_MS
 *
 * Runs until it is killed. Each direction is delayed by half the round-trip time; the server's greeting by one and
 * a half, as the TCP handshake of the first leg is not delayed.
 */
import net from 'node:net'

const [listenPort = Number.NaN, targetPort = Number.NaN, rtt = Number.NaN] = process.argv.slice(2).map(Number)
if (![listenPort, targetPort, rtt].every(Number.isFinite)) {
  console.error('usage: lag-proxy.ts LISTEN_PORT TARGET_PORT RTT_MS')
  process.exit(64)
}

function relay(from: net.Socket, to: net.Socket, delay: { first: number; rest: number }): void {
  // Timers of equal length fire in order; the first piece may be held longer.
  let firstDelay = delay.first
  let notBefore = 0
  const later = (action: () => void): void => {
    const due = Math.max(performance.now() + firstDelay, notBefore)
    firstDelay = delay.rest
    notBefore = due
    setTimeout(action, due - performance.now())
  }
  from.on('data', (chunk) => later(() => to.writable && to.write(chunk)))
  from.on('end', () => later(() => to.end()))
  from.on('error', () => to.destroy())
  from.on('close', () => later(() => to.end()))
}

net
  .createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const server = net.connect({ host: '127.0.0.1', port: targetPort, allowHalfOpen: true, noDelay: true })
    relay(client, server, { first: rtt / 2, rest: rtt / 2 })
    relay(server, client, { first: rtt * 1.5, rest: rtt / 2 })
  })
  .listen(listenPort, '127.0.0.1', 1000, () => {
    console.log(`lag-proxy: 127.0.0.1:${listenPort} -> ${targetPort}, RTT ${rtt} ms`)
  })

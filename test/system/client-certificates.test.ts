/** Client certificates as logins (EXTERNAL), by POP3 and submission alike: shown to us, or to a load balancer in front. */
import { writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import tls from 'node:tls'
import { expect, test } from 'vitest'
import { Authority, type Certificate } from '../support/certificates.ts'
import { prepareService, tempDir } from '../support/fixtures.ts'
import { freePorts } from '../support/ports.ts'
import { within } from '../support/until.ts'

/** What a load balancer says of a client that used TLS, and showed it a certificate of this name or none. */
function proxyHeader(name: string | undefined, verified = true): Buffer {
  const tlv = (type: number, value: Buffer) => Buffer.concat([Buffer.from([type, 0, value.length]), value])
  const shown = name === undefined ? [] : [tlv(0x22, Buffer.from(name))]
  const flags = name === undefined ? 1 : 3
  const facts = tlv(0x20, Buffer.concat([Buffer.from([flags, 0, 0, 0, verified ? 0 : 1]), ...shown]))
  const addresses = Buffer.from([192, 0, 2, 1, 198, 51, 100, 2, 3, 232, 0, 110])
  const body = Buffer.concat([addresses, facts])
  const start = Buffer.from('\r\n\r\n\0\r\nQUIT\n\x21\x11\0', 'latin1')
  return Buffer.concat([start, Buffer.from([body.length]), body])
}

/** Says the lines one after the other; returns the last line of each answer. */
async function talk(socket: net.Socket, service: string, lines: readonly string[]): Promise<string[]> {
  const isEnd = service === 'pop3' ? /(?:\+OK [^\n]*|-ERR[^\n]*)\r\n$/ : /(?:^|\n)\d{3} [^\n]*\r\n$/
  let received = ''
  let wake = () => {}
  socket.on('data', (chunk: Buffer) => {
    received += chunk.toString('latin1')
    wake()
  })
  const answer = async (): Promise<string> => {
    while (!isEnd.test(received)) {
      await within(`an answer of ${service}`, new Promise<void>((resolve) => (wake = resolve)), 30_000)
    }
    const lines = received.trimEnd().split('\r\n')
    received = ''
    return lines.at(-1)!
  }
  await answer()
  const answers: string[] = []
  for (const line of lines) {
    socket.write(`${line}\r\n`)
    answers.push(await answer())
  }
  socket.destroy()
  return answers
}

test('L23 C34 a client certificate logs in by POP3 and by submission, here and through a load balancer', async () => {
  const dir = tempDir()
  const authority = await Authority.make()
  const { cert, key } = await authority.issue({ names: ['localhost'] })
  writeFileSync(join(dir, 'cert.pem'), cert + key)
  writeFileSync(join(dir, 'ca.pem'), authority.cert)
  const ports = await freePorts(4)
  const listeners = ['pop3', 'submission', 'pop3', 'submission'].map(
    (service, index) =>
      `{service="${service}",address="127.0.0.1:${ports[index]}",` +
      (index < 2 ? 'tls="implicit"}' : 'tls="starttls",proxy_protocol=true}'),
  )
  const set = [
    `listener=[${listeners.join()}]`,
    `tls.cert=${join(dir, 'cert.pem')}`,
    `tls.client_cert.ca=${join(dir, 'ca.pem')}`,
    'tls.client_cert.require=true',
    'proxy_protocol.trusted=127.0.0.1',
    'auth.mechanisms=PLAIN EXTERNAL',
    'auth.failure_delay=0',
  ]
  const service = await prepareService({ args: set.flatMap((one) => ['--set', one]) })
  await service.run()

  const direct = (port: number, shown?: Certificate) =>
    tls.connect({
      port,
      host: '127.0.0.1',
      rejectUnauthorized: false,
      ...(shown && { cert: shown.cert, key: shown.key }),
    })
  const behind = (port: number, header: Buffer) => {
    const socket = net.connect({ port, host: '127.0.0.1' })
    socket.write(header)
    return socket
  }
  const ann = await authority.issue({ commonName: 'ann' })
  const stranger = await (await Authority.make('Other CA')).issue({ commonName: 'ann' })
  const external = { pop3: ['AUTH EXTERNAL ='], submission: ['EHLO c.test', 'AUTH EXTERNAL ='] }
  const password = 'AUTH PLAIN AGFubgBzZWNyZXQ='
  const plain = { pop3: [password], submission: ['EHLO c.test', password] }
  for (const [index, name] of (['pop3', 'submission'] as const).entries()) {
    const good = name === 'pop3' ? /^\+OK / : /^235 /
    const refused = name === 'pop3' ? /^-ERR \[AUTH\] / : /^(535|504) /
    const ask = async (socket: net.Socket, says = external) => (await talk(socket, name, says[name])).at(-1)
    const [implicit = 0, proxied = 0] = [ports[index], ports[index + 2]]
    expect(await ask(direct(implicit, ann)), name).toMatch(good)
    expect(await ask(direct(implicit, stranger)), name).toMatch(refused)
    expect(await ask(direct(implicit)), name).toMatch(refused)
    expect(await ask(behind(proxied, proxyHeader('ann'))), name).toMatch(good)
    expect(await ask(behind(proxied, proxyHeader('ann', false))), name).toMatch(refused)
    expect(await ask(behind(proxied, proxyHeader('nobody'))), name).toMatch(refused)
    // A password counts with a certificate alone, and TLS that ended at the load balancer is TLS.
    expect(await ask(direct(implicit, ann), plain), name).toMatch(good)
    expect(await ask(direct(implicit), plain), name).toMatch(refused)
    expect(await ask(behind(proxied, proxyHeader('ann')), plain), name).toMatch(good)
    expect(await ask(behind(proxied, proxyHeader(undefined)), plain), name).toMatch(refused)
  }
})

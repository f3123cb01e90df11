/** HUP: listeners, limits, maps and TLS material change in the running service, and no connection notices. */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import tls from 'node:tls'
import { expect, onTestFinished, test } from 'vitest'
import { Pop3Client, SmtpClient } from '../support/clients.ts'
import { startService, startSink } from '../support/fixtures.ts'
import { freePorts, isListening } from '../support/ports.ts'
import type { LogLine, Service } from '../support/service.ts'
import { within } from '../support/until.ts'

const mail = { from: 'sender@peers.test', to: ['m1@dest.test'], content: 'Subject: one\r\n\r\nhello' }

/** Changes the configuration file and sends HUP; returns the line that says what was made of it. */
async function reload(service: Service, change: (text: string) => string): Promise<LogLine> {
  const before = service.events('reloaded').length
  writeFileSync(service.configFile, change(readFileSync(service.configFile, 'utf8')))
  service.signal('SIGHUP')
  await service.untilEvent('reloaded', () => service.events('reloaded').length > before)
  return service.events('reloaded').at(-1)!
}

test('listeners open and close, and connections stay as they are', async () => {
  const service = await startService({ listeners: ['smtp', 'pop3', 'admin'] })
  const [added = 0] = await freePorts(1)
  const pop3 = await Pop3Client.login(service.ports.pop3, 'ann')
  const smtp = await SmtpClient.connect(service.ports.smtp)
  const line = await reload(service, (text) =>
    text
      .replace(`127.0.0.1:${service.ports.pop3}`, `127.0.0.1:${added}`)
      .replace(
        `[[listener]]\nservice = "admin"\naddress = "127.0.0.1:${service.ports.admin}"\ntls = "off"\n`,
        '',
      ),
  )
  expect(line.unchanged).toEqual([])
  expect(await isListening(service.ports.pop3)).toBe(false)
  expect(await isListening(service.ports.admin)).toBe(false)
  expect((await Pop3Client.login(added, 'ann')).socket.destroyed).toBe(false)
  expect(await pop3.command('NOOP')).toBe('+OK')
  expect((await smtp.command('NOOP')).code).toBe(250)
  const { listeners } = JSON.parse((await service.command(['status', '--json'])).stdout) as {
    listeners: { service: string; address: string }[]
  }
  expect(listeners.map((each) => each.address)).toEqual([
    `127.0.0.1:${service.ports.smtp}`,
    `127.0.0.1:${added}`,
  ])
})

test('a listener that cannot be opened is named, and the next reload tries it again', async () => {
  const service = await startService()
  const squatter = net.createServer()
  await new Promise<void>((resolve) => squatter.listen(0, '127.0.0.1', resolve))
  const { port } = squatter.address() as net.AddressInfo
  onTestFinished(() => void squatter.close())
  const address = `127.0.0.1:${port}`
  const line = await reload(service, (text) =>
    text.replace('[auth]', `[[listener]]\nservice = "pop3"\naddress = "${address}"\n[auth]`),
  )
  expect(line.unchanged).toEqual([`listener pop3 ${address}`])
  expect(service.events('listener.failed')).toEqual([
    expect.objectContaining({ address, reason: expect.stringContaining('EADDRINUSE') }),
  ])
  // The others are as they were.
  ;(await Pop3Client.login(service.ports.pop3, 'ann')).close()
  await new Promise((resolve) => squatter.close(resolve))
  expect((await reload(service, (text) => text)).unchanged).toEqual([])
  ;(await Pop3Client.login(port, 'ann')).close()
})

test('what cannot change is named, and keeps its old value', async () => {
  const service = await startService()
  const line = await reload(service, (text) => text.replace('[auth]', '[log]\nlevel = "debug"\n[auth]'))
  expect(line.unchanged).toEqual(['log.level'])
})

test('a configuration that is wrong changes nothing and says where', async () => {
  const service = await startService()
  writeFileSync(service.configFile, `${readFileSync(service.configFile, 'utf8')}\n[smpt]\n`)
  service.signal('SIGHUP')
  const failed = await service.untilEvent('reload.failed')
  expect(JSON.stringify(failed.problems)).toContain('smpt')
  ;(await Pop3Client.login(service.ports.pop3, 'ann')).close()
})

test('the queue sends new mail where the new relayhost is', async () => {
  const [first, second] = [await startSink(), await startSink()]
  const relay = (port: number) => `relayhost = "[127.0.0.1]:${port}"`
  const service = await startService({ tables: `[smtp]\n${relay(first.port)}\n` })
  const client = await SmtpClient.connect(service.ports.smtp)
  await client.expect(250, 'EHLO test')
  await client.send(mail)
  await service.untilEvent('mail.removed')
  await reload(service, (text) => text.replace(relay(first.port), relay(second.port)))
  // The very same connection.
  await client.send(mail)
  await service.untilEvent('mail.removed', () => service.events('mail.removed').length === 2)
  expect([first.mails.length, second.mails.length]).toEqual([1, 1])
})

test('the limits of the queue and of connections count at once', async () => {
  const service = await startService()
  await reload(
    service,
    (text) =>
      `${text}\n[limits]\nmax_connections = 1\n[queue]\nmax_messages = 1\n[smtp]\nrelayhost = "[127.0.0.1]:1"\n`,
  )
  const client = await SmtpClient.connect(service.ports.smtp)
  await client.expect(250, 'EHLO test')
  expect((await client.send(mail)).code).toBe(250)
  expect((await client.send(mail)).code).toBe(452)
  await expect(SmtpClient.connect(service.ports.smtp)).rejects.toThrow('421')
  client.close()
})

test('a new certificate is shown to those who come then', async (context) => {
  const certificate = (dir: string, name: string) =>
    execFileSync(
      'openssl',
      ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', `/CN=${name}`].concat([
        '-keyout',
        join(dir, 'key.pem'),
        '-out',
        join(dir, 'cert.pem'),
      ]),
      { stdio: 'ignore' },
    )
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' })
  } catch {
    context.skip('no openssl to make a certificate')
  }
  const service = await startService({ listeners: ['pop3', 'admin'] })
  const shown = async (port: number) => {
    const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
    socket.on('error', () => {})
    await within('the handshake', new Promise((resolve) => socket.once('secureConnect', resolve)))
    return { socket, name: socket.getPeerCertificate().subject.CN }
  }
  certificate(service.dir, 'one.test')
  const line = await reload(
    service,
    (text) =>
      `${text.replaceAll('tls = "off"', 'tls = "implicit"')}\n[tls]\ncert = "cert.pem"\nkey = "key.pem"\n`,
  )
  expect(line.unchanged).toEqual([])
  const before = await shown(service.ports.pop3)
  expect(before.name).toBe('one.test')
  certificate(service.dir, 'two.test')
  await reload(service, (text) => text)
  expect((await shown(service.ports.pop3)).name).toBe('two.test')
  // The admin page too: plain HTTP there would be a surprise.
  expect((await shown(service.ports.admin)).name).toBe('two.test')
  expect(before.socket.destroyed).toBe(false)
})

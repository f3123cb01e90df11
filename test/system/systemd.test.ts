/** Under a service manager: sockets that it opened, and what it is told. A script stands in for systemd-notify. */
import { spawn } from 'node:child_process'
import { chmodSync, closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { Pop3Client, SmtpClient } from '../support/clients.ts'
import { prepareService, startService, tempDir } from '../support/fixtures.ts'
import { binary } from '../support/service.ts'
import { until } from '../support/until.ts'

const hasProc = existsSync('/proc/self/net/tcp')

/** A folder with a `systemd-notify` that writes its arguments down, a line for each call. */
function recorder(): { readonly env: Record<string, string>; messages(): string[] } {
  const dir = tempDir()
  const file = join(dir, 'messages')
  const script = join(dir, 'systemd-notify')
  writeFileSync(script, `#!/bin/sh\necho "$@" >> ${file}\n`)
  chmodSync(script, 0o755)
  return {
    env: { PATH: `${dir}:${process.env.PATH}`, NOTIFY_SOCKET: '/run/none' },
    messages: () => (existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : []),
  }
}

test('it is told of ready, reloads, life and the end, in this order', async () => {
  const { env, messages } = recorder()
  const service = await startService({ env: { ...env, WATCHDOG_USEC: '200000' } })
  await until('READY', () => messages().includes(`READY=1 MAINPID=${service.pid}`))
  await until('WATCHDOG', () => messages().includes('WATCHDOG=1'))
  service.signal('SIGHUP')
  await service.untilEvent('reloaded')
  await until('READY again', () => messages().includes('READY=1'))
  expect((await service.stop()).code).toBe(0)
  const told = messages().filter((line) => line !== 'WATCHDOG=1')
  expect(told).toEqual([
    `READY=1 MAINPID=${service.pid}`,
    expect.stringMatching(/^RELOADING=1 MONOTONIC_USEC=\d+$/),
    'READY=1',
    'STOPPING=1',
  ])
})

test('without systemd-notify it works all the same, and says so once', async () => {
  const dir = tempDir()
  const service = await startService({ env: { PATH: dir, NOTIFY_SOCKET: '/run/none' } })
  await service.untilEvent('systemd.notify-failed')
  expect((await service.stop()).code).toBe(0)
  expect(service.events('systemd.notify-failed')).toHaveLength(1)
})

test.skipIf(!hasProc)('sockets it opened are used: by address, and by name', async () => {
  const service = await prepareService()
  const servers = await Promise.all(
    [service.ports.smtp, 0, 0].map(async (port) => {
      const server = net.createServer()
      await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
      onTestFinished(() => void server.close())
      return server
    }),
  )
  const fds = servers.map((server) => (server as unknown as { _handle: { fd: number } })._handle.fd)
  const out = openSync(join(service.dir, 'out.log'), 'w')
  const child = spawn(process.execPath, [binary, 'serve', '-c', service.configFile], {
    cwd: service.dir,
    env: {
      ...process.env,
      MAILACTORS_FROM_SOURCE: '1',
      LISTEN_PID: String(process.pid),
      LISTEN_FDS: '3',
      LISTEN_FDNAMES: 'any:pop3:other',
    },
    stdio: ['ignore', out, out, ...fds],
  })
  closeSync(out)
  onTestFinished(() => void child.kill('SIGKILL'))
  const log = () => readFileSync(join(service.dir, 'out.log'), 'utf8')
  await until('ready', () => log().includes('"event":"ready"'), { describe: log })
  // From here on the service alone accepts.
  for (const server of servers) server.close()
  const client = await SmtpClient.connect(service.ports.smtp)
  expect((await client.command('NOOP')).code).toBe(250)
  client.close()
  const ready = JSON.parse(
    log()
      .split('\n')
      .find((line) => line.includes('"event":"ready"'))!,
  ) as {
    listeners: { service: string; address: string }[]
  }
  const pop3 = ready.listeners.find((each) => each.service === 'pop3')!.address
  expect(pop3).not.toBe(`127.0.0.1:${service.ports.pop3}`)
  ;(await Pop3Client.login(Number(pop3.split(':')[1]), 'ann')).close()
  expect(log()).toContain('"event":"socket.unused"')
})

/** Start, stop, crash and start again, as operators do it. */
import { existsSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Pop3Client, SmtpClient } from '../support/clients.ts'
import { prepareService, startService, startSink, tempDir } from '../support/fixtures.ts'
import { isListening } from '../support/ports.ts'
import { runCommand, Service } from '../support/service.ts'
import { until } from '../support/until.ts'

const outside = { from: 'sender@peers.test', to: ['m1@dest.test'], content: 'Subject: one\r\n\r\nhello' }

/** A promise and the function that resolves it. */
function gate(): { readonly opened: Promise<void>; open(): void } {
  let open = (): void => undefined
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open }
}

describe('starting', () => {
  test('ready names every listener', async () => {
    const service = await startService({ listeners: ['smtp', 'pop3', 'lmtp'] })
    const [ready] = service.events('ready')
    expect(ready).toMatchObject({ durationMs: expect.any(Number), time: expect.anything() })
    const listeners = ready?.listeners as { service: string; address: string }[]
    expect(listeners.map((each) => each.service).sort()).toEqual(['lmtp', 'pop3', 'smtp'])
    expect(JSON.stringify(listeners)).toContain(`127.0.0.1:${service.ports.smtp}`)
    expect(JSON.stringify(listeners)).toContain(`127.0.0.1:${service.ports.pop3}`)
  })

  test('serve --check says what would listen where, and listens nowhere', async () => {
    const service = await prepareService()
    const { code, stdout } = await service.command(['serve', '--check'])
    expect(code).toBe(0)
    expect(stdout).toContain(`${service.ports.smtp}`)
    expect(stdout).toContain(`${service.ports.pop3}`)
    expect(await isListening(service.ports.smtp)).toBe(false)
  })

  test('a second service on the same data says who holds it and exits 75', async () => {
    const first = await startService()
    const second = await Service.prepare({ dir: tempDir() })
    const result = await runCommand(['serve', '-c', second.configFile, '--set', `data_dir=${first.dataDir}`])
    expect(result.code).toBe(75)
    expect(result.stderr).toMatch(/^mailactors: .+: .+/m)
    expect(result.stderr).toContain(`${first.pid}`)
    // The first one did not notice.
    const client = await SmtpClient.connect(first.ports.smtp)
    expect((await client.command('NOOP')).code).toBe(250)
    client.close()
  })

  test('a port in use is named on one line, and the data is free for the next start', async () => {
    const service = await prepareService()
    const squatter = net.createServer()
    await new Promise<void>((resolve) => squatter.listen(service.ports.pop3, '127.0.0.1', resolve))
    onTestFinished(() => void squatter.close())
    const result = await runCommand(['serve', '-c', service.configFile], { cwd: service.dir })
    expect(result.code).toBeGreaterThanOrEqual(64)
    expect(result.stderr.split('\n').filter((line) => line.startsWith('mailactors: '))).toHaveLength(1)
    expect(result.stderr).toContain(`127.0.0.1:${service.ports.pop3}`)
    await new Promise((resolve) => squatter.close(resolve))
    await service.run()
  })
})

describe('configuration', () => {
  test('every error is listed with file, line and the nearest valid name; exit 78', async () => {
    const dir = tempDir()
    const file = join(dir, 'mailactors.toml')
    writeFileSync(
      file,
      [
        'hostname = "mail.peers.test"',
        'data_dir = "data"',
        '[smtp]',
        'conect_timeout = "30s"',
        'relayhost = 5',
        '[queue]',
        'maximal_queue_lifetime = "yesterday"',
        '',
      ].join('\n'),
    )
    const { code, stderr } = await runCommand(['serve', '-c', file])
    expect(code).toBe(78)
    expect(stderr).toMatch(/mailactors\.toml:4\b.*conect_timeout.*connect_timeout/)
    expect(stderr).toMatch(/mailactors\.toml:5\b.*relayhost/)
    expect(stderr).toMatch(/mailactors\.toml:7\b.*maximal_queue_lifetime/)
    expect(existsSync(join(dir, 'data'))).toBe(false)
  })

  test('broken TOML is an error with its line; exit 78', async () => {
    const file = join(tempDir(), 'mailactors.toml')
    writeFileSync(file, 'hostname = "mail.peers.test"\n[smtp\nrelayhost = ""\n')
    const { code, stderr } = await runCommand(['serve', '-c', file])
    expect(code).toBe(78)
    expect(stderr).toMatch(/mailactors\.toml:[23]\b/)
    expect(stderr).not.toMatch(/^\s+at /m)
  })

  test('a configuration file that is not there is named', async () => {
    const file = join(tempDir(), 'nowhere.toml')
    const { code, stderr } = await runCommand(['serve', '-c', file])
    expect([66, 78]).toContain(code)
    expect(stderr).toContain(file)
    expect(stderr).not.toMatch(/^\s+at /m)
  })

  test('an unknown key on the command line is refused; exit 78 or 64', async () => {
    const service = await prepareService()
    const { code, stderr } = await runCommand([
      'serve',
      '-c',
      service.configFile,
      '--set',
      'smtp.conect_timeout=5s',
    ])
    expect([64, 78]).toContain(code)
    expect(stderr).toContain('connect_timeout')
  })
})

describe('TERM', () => {
  test('sessions are told, listeners closed, and the exit code is 0', async () => {
    const service = await startService()
    const pop = await Pop3Client.login(service.ports.pop3, 'ann')
    const smtp = await SmtpClient.connect(service.ports.smtp)
    await smtp.expect(250, 'EHLO client.test')
    service.signal('SIGTERM')
    expect(await pop.line()).toBe('-ERR [SYS/TEMP] Server shutting down.')
    expect((await smtp.reply()).code).toBe(421)
    await pop.closed
    await smtp.closed
    expect(await service.exit()).toEqual({ code: 0, signal: null })
    expect(await isListening(service.ports.smtp)).toBe(false)
  })

  test('a running delivery is finished, and not repeated after the next start', async () => {
    const wait = gate()
    const sink = await startSink((verb) => (verb === '.' ? wait.opened : undefined))
    let isHeld = false
    const service = await startService({ tables: `[smtp]\nrelayhost = "${sink.nexthop}"\n` })
    const client = await SmtpClient.connect(service.ports.smtp)
    await client.expect(250, 'EHLO client.test')
    expect((await client.send(outside)).code).toBe(250)
    client.close()
    await until('the delivery at the sink', () => sink.connections > 0)
    service.signal('SIGTERM')
    // Closed listeners show that the stop has begun; the delivery is still waiting for its reply.
    await until('closed listeners', async () => !(await isListening(service.ports.smtp)))
    isHeld = service.isRunning
    wait.open()
    expect((await service.exit()).code).toBe(0)
    expect(isHeld).toBe(true)
    expect(sink.deliveries.get('m1@dest.test')).toBe(1)
    await service.run()
    const { stdout } = await service.command(['queue', 'list', '--json'])
    expect(stdout).not.toContain('m1@dest.test')
    expect(sink.deliveries.get('m1@dest.test')).toBe(1)
  })

  test('a second TERM ends it at once, and the mail is delivered after the next start', async () => {
    let isStalling = true
    const sink = await startSink((verb) => (verb === 'DATA' && isStalling ? 'stall' : undefined))
    const service = await startService({
      top: 'shutdown_timeout = "60s"',
      tables: `[smtp]\nrelayhost = "${sink.nexthop}"\n`,
    })
    const client = await SmtpClient.connect(service.ports.smtp)
    await client.expect(250, 'EHLO client.test')
    expect((await client.send(outside)).code).toBe(250)
    client.close()
    await until('the delivery at the sink', () => sink.connections > 0)
    service.signal('SIGTERM')
    await until('closed listeners', async () => !(await isListening(service.ports.smtp)))
    expect(service.isRunning).toBe(true)
    // One keypress may arrive twice, from the terminal and from npm: two signals in quick succession count as one.
    await until(
      'the end at once',
      () => {
        if (service.isRunning) service.signal('SIGTERM')
        return !service.isRunning
      },
      { everyMs: 200 },
    )
    isStalling = false
    await service.run()
    await until('the mail', () => sink.deliveries.get('m1@dest.test') === 1)
  })

  test('INT is TERM', async () => {
    const service = await startService()
    service.signal('SIGINT')
    expect(await service.exit()).toEqual({ code: 0, signal: null })
  })
})

test.each(['SIGUSR1', 'SIGUSR2'] as const)('%s does nothing, and the log says so', async (signal) => {
  const service = await startService()
  service.signal(signal)
  expect(await service.untilEvent('signal.ignored')).toMatchObject({ signal })
  // Node would have opened its debugger, or ended.
  expect(service.stderr).toBe('')
  expect(await service.stop()).toEqual({ code: 0, signal: null })
})

describe('kill -9', () => {
  test('the stale lock is recognised and mail in the mailbox is there', async () => {
    const service = await startService()
    const client = await SmtpClient.connect(service.ports.smtp)
    await client.expect(250, 'EHLO client.test')
    const mail = { ...outside, to: ['ann@mail.peers.test'] }
    expect((await client.send(mail)).code).toBe(250)
    expect(await service.kill()).toEqual({ code: null, signal: 'SIGKILL' })
    client.close()
    await service.run()
    const pop = await Pop3Client.login(service.ports.pop3, 'ann')
    expect(await pop.ok('STAT')).toMatch(/^\+OK 1 /)
    pop.close()
  })

  test('UIDLs a client has seen are the same after the crash', async () => {
    const service = await startService()
    const client = await SmtpClient.connect(service.ports.smtp)
    await client.expect(250, 'EHLO client.test')
    for (let n = 0; n < 3; n++) {
      expect((await client.send({ ...outside, to: ['ann@mail.peers.test'] })).code).toBe(250)
    }
    const before = await Pop3Client.login(service.ports.pop3, 'ann')
    const uidls = await before.multi('UIDL')
    expect(uidls).toHaveLength(3)
    await service.kill()
    await service.run()
    const after = await Pop3Client.login(service.ports.pop3, 'ann')
    expect(await after.multi('UIDL')).toEqual(uidls)
    after.close()
  })
})

/** Commands as a user types them, beside a running service and without one. */
import { readFileSync } from 'node:fs'
import { type IncomingHttpHeaders, request } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { Pop3Client, SmtpClient } from '../support/clients.ts'
import { prepareService, startService, startSink, tempDir } from '../support/fixtures.ts'
import { runCommand } from '../support/service.ts'
import { until } from '../support/until.ts'

describe('help and usage', () => {
  test.each(['serve', 'send', 'user', 'queue', 'status', 'tree', 'config'])(
    '%s --help exits 0',
    async (name) => {
      const { code, stdout } = await runCommand([name, '--help'])
      expect(code).toBe(0)
      expect(stdout).toContain(name)
    },
  )

  test('an unknown command exits 64 with one line', async () => {
    const { code, stderr } = await runCommand(['frobnicate'])
    expect(code).toBe(64)
    expect(stderr).toMatch(/^mailactors: /)
  })
})

describe('without a running service', () => {
  test.each(['status', 'tree'])('%s says so and exits 69', async (name) => {
    const service = await prepareService()
    const { code, stderr } = await service.command([name])
    expect(code).toBe(69)
    expect(stderr).toMatch(/^mailactors: .+/)
  })

  test('user and queue list work', async () => {
    const service = await prepareService()
    expect(await service.command(['user', 'add', 'carol', '--stdin'], 'hunter22\n')).toMatchObject({
      code: 0,
    })
    const list = await service.command(['user', 'list'])
    expect(list.stdout).toMatch(/\bcarol\b/)
    expect(list.stdout).toMatch(/\bann\b/)
    const queue = await service.command(['queue', 'list', '--json'])
    expect(queue.code).toBe(0)
    expect(() => JSON.parse(queue.stdout || '[]')).not.toThrow()
  })
})

describe('the admin page', () => {
  test('is read only, and answers on a path too', async () => {
    const dir = tempDir()
    const path = join(dir, 'admin.sock')
    const service = await startService({
      listeners: ['smtp', 'admin'],
      args: ['--set', `listener=[{service="admin",address="unix:${path}"}]`],
    })
    const ask = (method: string, url: string) =>
      new Promise<{ status: number | undefined; headers: IncomingHttpHeaders; body: string }>(
        (resolve, reject) => {
          const asked = request({ socketPath: path, method, path: url }, async (response) => {
            resolve({ status: response.statusCode, headers: response.headers, body: await text(response) })
          })
          asked.once('error', reject).end()
        },
      )
    expect((await service.untilEvent('ready')).listeners).toEqual([
      expect.objectContaining({ service: 'admin', address: `unix:${path}` }),
    ])
    for (const url of ['/', '/metrics', '/healthz']) {
      const got = await ask('GET', url)
      expect(got).toMatchObject({ status: 200, headers: { 'content-length': String(got.body.length) } })
      const { status, headers, body } = await ask('HEAD', url)
      expect({ status, body, type: headers['content-type'] }).toEqual({
        status: 200,
        body: '',
        type: got.headers['content-type'],
      })
      for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
        expect(await ask(method, url)).toMatchObject({ status: 405, headers: { allow: 'GET, HEAD' } })
      }
    }
    for (const url of ['/../../etc/passwd', '/%2e%2e/users', '/users', '//', '/constructor']) {
      expect(await ask('GET', url)).toMatchObject({ status: 404 })
    }
  })
})

describe('metrics', () => {
  test('have HELP, and what only grows is a counter', async () => {
    const service = await startService({ listeners: ['smtp', 'admin'] })
    const page = await (await fetch(`http://127.0.0.1:${service.ports.admin}/metrics`)).text()
    const types = [...page.matchAll(/^# TYPE (mailactors_\S+) (\w+)$/gm)]
    expect(types.length).toBeGreaterThan(8)
    for (const [, name = '', type] of types) {
      expect(page).toContain(`# HELP ${name} `)
      expect([name, type]).toEqual([name, name.endsWith('_total') ? 'counter' : 'gauge'])
    }
  })
})

describe('config', () => {
  test('one key is documented, all are listed', async () => {
    const doc = await runCommand(['config', '--doc', 'smtp.connect_timeout'])
    expect(doc.code).toBe(0)
    expect(doc.stdout).toContain('30s')
    const defaults = await runCommand(['config', '--defaults'])
    expect(defaults.code).toBe(0)
    expect(defaults.stdout).toContain('minimal_backoff_time')
  })

  test('a file, --set and the environment are seen', async () => {
    const service = await prepareService({ tables: '[smtp]\nconnect_timeout = "7s"\n' })
    const { code, stdout } = await service.command(['config', '--changed'])
    expect(code).toBe(0)
    expect(stdout).toContain('7s')
    const env = await runCommand(['config', '-c', service.configFile, '--changed'], {
      env: { MAILACTORS_SMTP__CONNECT_TIMEOUT: '9s' },
    })
    expect(env.stdout).toContain('9s')
  })
})

describe('beside a running service', () => {
  test('a user that is added can log in, with the password hashed', async () => {
    const service = await startService()
    expect(await service.command(['user', 'add', 'carol', '--stdin'], 'hunter22\n')).toMatchObject({
      code: 0,
    })
    expect(readFileSync(`${service.dir}/users`, 'utf8')).toMatch(/^carol:\{ARGON2ID\}/m)
    const pop = await Pop3Client.login(service.ports.pop3, 'carol', 'hunter22')
    pop.close()
    expect(await service.command(['user', 'verify', 'carol', '--stdin'], 'hunter22\n')).toMatchObject({
      code: 0,
    })
    expect((await service.command(['user', 'verify', 'carol', '--stdin'], 'wrong\n')).code).not.toBe(0)
    expect(await service.command(['user', 'remove', 'carol'])).toMatchObject({ code: 0 })
  })

  test('send submits a message as sendmail does', async () => {
    const service = await startService()
    const text = 'From: ann@mail.peers.test\nTo: bob@mail.peers.test\nSubject: by send\n\n.dot\nbody\n'
    const sent = await service.command(['send', '-t', '-i'], text)
    expect(sent).toMatchObject({ code: 0, stderr: '' })
    await service.untilEvent('delivery')
    const pop = await Pop3Client.login(service.ports.pop3, 'bob')
    expect(await pop.ok('STAT')).toMatch(/^\+OK 1 /)
    const mail = await pop.multi('RETR 1')
    expect(mail).toContain('Subject: by send')
    expect(mail.slice(-2)).toEqual(['.dot', 'body'])
    pop.close()
  })

  test('the queue is listed with its reason of delay, shown, flushed and deleted', {
    timeout: 60_000,
  }, async () => {
    let isClosed = true
    const sink = await startSink((verb) =>
      verb === 'RCPT' && isClosed ? '450 4.2.1 come back later' : undefined,
    )
    const service = await startService({ tables: `[smtp]\nrelayhost = "${sink.nexthop}"\n` })
    const client = await SmtpClient.connect(service.ports.smtp)
    await client.expect(250, 'EHLO client.test')
    for (const name of ['m1', 'm2']) {
      const mail = { from: 'sender@peers.test', to: [`${name}@dest.test`], content: 'Subject: x\r\n\r\nx' }
      expect((await client.send(mail)).code).toBe(250)
    }
    client.close()
    await until(
      'two deferred mails',
      () => service.events('delivery').filter((l) => l.status === 'deferred').length >= 2,
    )
    const list = await service.command(['queue', 'list'])
    expect(list.code).toBe(0)
    for (const part of ['sender@peers.test', 'm1@dest.test', 'm2@dest.test', 'come back later']) {
      expect(list.stdout).toContain(part)
    }
    const first = service
      .events('mail.accepted')
      .find((line) => JSON.stringify(line.recipients).includes('m1@'))
    const accepted = service.events('mail.accepted')
    const id = String((first ?? accepted[0])?.queueId)
    const shown = await service.command(['queue', 'show', id])
    expect(shown.code).toBe(0)
    expect(shown.stdout).toContain('Subject: x')
    expect(await service.command(['queue', 'delete', id])).toMatchObject({ code: 0 })
    expect((await service.command(['queue', 'list', '--json'])).stdout).not.toContain(id)
    isClosed = false
    expect(await service.command(['queue', 'flush'])).toMatchObject({ code: 0 })
    await until('the other mail', () => sink.deliveries.size === 1)
  })

  test('status and tree have a form for people and one for programs', async () => {
    const service = await startService()
    for (const name of ['status', 'tree']) {
      const plain = await service.command([name])
      expect(plain.code).toBe(0)
      expect(plain.stdout.length).toBeGreaterThan(0)
      const json = await service.command([name, '--json'])
      expect(json.code).toBe(0)
      expect(JSON.parse(json.stdout)).toBeTypeOf('object')
    }
    expect((await service.command(['tree'])).stdout).toMatch(/sessions/)
  })
})

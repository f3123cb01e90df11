/** What clients must not be able to do: hurt the service, other sessions, or smuggle mail. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Random } from '../../src/testing/random.ts'
import { Pop3Client, SmtpClient } from '../support/clients.ts'
import { prepareService, startService } from '../support/fixtures.ts'
import { chosenSeed } from '../support/seed.ts'
import type { Service } from '../support/service.ts'
import { until } from '../support/until.ts'

const toAnn = { from: 'sender@peers.test', to: ['ann@mail.peers.test'], content: 'Subject: one\r\n\r\nhello' }

async function smtp(service: Service): Promise<SmtpClient> {
  const client = await SmtpClient.connect(service.ports.smtp)
  await client.expect(250, 'EHLO client.test')
  return client
}

/** A fresh session of each protocol still does its work. */
async function expectHealthy(service: Service): Promise<void> {
  const client = await smtp(service)
  expect((await client.send({ ...toAnn, to: ['bob@mail.peers.test'] })).code).toBe(250)
  client.close()
  const pop = await Pop3Client.login(service.ports.pop3, 'bob')
  expect(await pop.ok('STAT')).toMatch(/^\+OK [1-9]/)
  await pop.ok('QUIT')
}

async function countOf(service: Service, user: string): Promise<number> {
  const pop = await Pop3Client.login(service.ports.pop3, user)
  const [, count] = (await pop.ok('STAT')).split(' ')
  await pop.ok('QUIT')
  return Number(count)
}

/** Random octets. */
function junk(octets: number): Buffer {
  const random = new Random(chosenSeed())
  return Buffer.from(Array.from({ length: octets }, () => random.below(256)))
}

describe('SMTP', () => {
  test('unknown and misplaced commands are refused and the session goes on', async () => {
    const service = await startService()
    const client = await SmtpClient.connect(service.ports.smtp)
    expect((await client.command('FROBNICATE')).code).toBeGreaterThanOrEqual(500)
    expect((await client.command('DATA')).code).toBe(503)
    expect((await client.command('RCPT TO:<ann@mail.peers.test>')).code).toBe(503)
    await client.expect(250, 'EHLO client.test')
    expect((await client.command('MAIL FROM:sender@peers.test,')).code).toBe(501)
    expect((await client.send(toAnn)).code).toBe(250)
    client.close()
  })

  test.each([
    { name: 'a command line of 100,000 octets', octets: Buffer.from(`NOOP ${'x'.repeat(100_000)}\r\n`) },
    { name: 'NULs in a command', octets: Buffer.from('NO\0OP\0\r\n', 'latin1') },
    { name: 'an empty line', octets: Buffer.from('\r\n') },
  ])('$name is refused with a 5xx or 421 and nobody else is hurt', async ({ octets }) => {
    const service = await startService()
    const client = await smtp(service)
    client.write(octets)
    const reply = await client.reply()
    expect(reply.code === 421 || reply.code >= 500).toBe(true)
    client.close()
    await expectHealthy(service)
  })

  test('binary junk gets SMTP replies or an end, and nobody else is hurt', async () => {
    const service = await startService()
    const bystander = await Pop3Client.login(service.ports.pop3, 'ann')
    const client = await smtp(service)
    client.write(junk(65_536))
    client.socket.end()
    for (const line of (await client.rest()).split('\r\n')) {
      if (line !== '') expect(line).toMatch(/^[245][0-9]{2}[ -]/)
    }
    expect(await bystander.ok('NOOP')).toMatch(/^\+OK/)
    bystander.close()
    await expectHealthy(service)
  })

  test.each([
    { name: 'LF . LF', end: '\n.\n' },
    { name: 'CRLF . LF', end: '\r\n.\n' },
    { name: 'LF . CRLF', end: '\n.\r\n' },
    { name: 'CR . CR', end: '\r.\r' },
    { name: 'CRLF . CR', end: '\r\n.\r' },
  ])('$name does not end the data: no second mail can be smuggled in', async ({ end }) => {
    const service = await startService()
    const client = await smtp(service)
    await client.expect(250, 'MAIL FROM:<sender@peers.test>')
    await client.expect(250, 'RCPT TO:<ann@mail.peers.test>')
    await client.expect(354, 'DATA')
    const smuggled =
      'MAIL FROM:<evil@peers.test>\r\nRCPT TO:<bob@mail.peers.test>\r\nDATA\r\nSubject: evil\r\n\r\nevil'
    client.write(`Subject: one\r\n\r\nfirst${end}${smuggled}\r\n.\r\n`)
    const reply = await client.reply()
    // Kept as one mail or refused as a whole; which of the two is the server's choice.
    expect([250, 550, 554, 521, 421]).toContain(reply.code)
    if (reply.code !== 421 && reply.code !== 521) {
      // One reply for one mail: the next one belongs to the next command.
      expect((await client.command('RSET')).code).toBe(250)
    }
    client.close()
    expect(await countOf(service, 'bob')).toBe(0)
    expect(await countOf(service, 'ann')).toBe(reply.code === 250 ? 1 : 0)
  })

  test('a client that vanishes in the middle of DATA leaves nothing behind', async () => {
    const service = await startService()
    const client = await smtp(service)
    await client.expect(250, 'MAIL FROM:<sender@peers.test>')
    await client.expect(250, 'RCPT TO:<ann@mail.peers.test>')
    await client.expect(354, 'DATA')
    client.write(`Subject: half\r\n\r\n${'half a line '.repeat(20_000)}`)
    client.vanish()
    await client.closed
    await expectHealthy(service)
    expect(await countOf(service, 'ann')).toBe(0)
    await until('an empty tmp', () => {
      const tmp = join(service.dataDir, 'mail', 'ann', 'Maildir', 'tmp')
      try {
        return readdirSync(tmp).length === 0
      } catch {
        return true
      }
    })
  })

  test('an announced size above the limit is refused at MAIL', async () => {
    const service = await startService()
    const client = await smtp(service)
    expect((await client.command('MAIL FROM:<sender@peers.test> SIZE=99999999999')).code).toBe(552)
    client.close()
  })

  test('an unknown local user is refused with 550 5.1.1', async () => {
    const service = await startService()
    const client = await smtp(service)
    await client.expect(250, 'MAIL FROM:<sender@peers.test>')
    const reply = await client.command('RCPT TO:<nobody@mail.peers.test>')
    expect(`${reply.code} ${reply.text}`).toMatch(/^550 5\.1\.1 /)
    client.close()
  })

  const elsewhere = Object.values(networkInterfaces())
    .flat()
    .find((each) => each?.family === 'IPv4' && !each.internal)?.address

  test.skipIf(elsewhere === undefined)(
    `not an open relay: a client that is not on the loopback reaches local users only${
      elsewhere === undefined ? ' (skipped: no other interface)' : ''
    }`,
    async () => {
      const service = await prepareService()
      const text = readFileSync(service.configFile, 'utf8')
      writeFileSync(
        service.configFile,
        text.replace(`127.0.0.1:${service.ports.smtp}`, `:${service.ports.smtp}`),
      )
      await service.run()
      const socket = connect({ host: elsewhere ?? '', port: service.ports.smtp })
      socket.setEncoding('latin1')
      let answer = ''
      socket.on('data', (chunk: string) => {
        answer += chunk
      })
      socket.write(
        'EHLO client.test\r\nMAIL FROM:<a@peers.test>\r\nRCPT TO:<b@dest.test>\r\nRCPT TO:<ann@mail.peers.test>\r\nQUIT\r\n',
      )
      await new Promise((resolve) => socket.once('close', resolve))
      expect(answer).toMatch(/^(550|554) 5\.7\.1 /m)
      expect(answer).toMatch(/^250 2\.1\.5 /m)
      // A password would cross the network in the clear.
      expect(answer).not.toMatch(/^250[ -]AUTH/m)
    },
  )
})

describe('POP3', () => {
  test.each([
    { name: 'a command line of 100,000 octets', octets: Buffer.from(`NOOP ${'x'.repeat(100_000)}\r\n`) },
    { name: 'NULs in a command', octets: Buffer.from('NO\0OP\0\r\n', 'latin1') },
    { name: 'a command of another state', octets: Buffer.from('RETR 1\r\n') },
  ])('$name before login gets -ERR or an end, and nobody else is hurt', async ({ octets }) => {
    const service = await startService()
    const client = await Pop3Client.connect(service.ports.pop3)
    client.write(octets)
    client.socket.end()
    const text = await client.rest()
    expect(text === '' || text.startsWith('-ERR')).toBe(true)
    await expectHealthy(service)
  })

  test.each([
    { name: 'number 0', command: 'RETR 0' },
    { name: 'a number that is not there', command: 'RETR 7' },
    { name: 'a negative number', command: 'DELE -1' },
    { name: 'a number beyond all bounds', command: 'RETR 99999999999999999999999' },
    { name: 'no number', command: 'RETR' },
    { name: 'an unknown command', command: 'XYZZY' },
  ])('$name gets -ERR and the session goes on', async ({ command }) => {
    const service = await startService()
    const client = await Pop3Client.login(service.ports.pop3, 'ann')
    expect(await client.command(command)).toMatch(/^-ERR/)
    expect(await client.ok('STAT')).toBe('+OK 0 0')
    client.close()
  })

  test('binary junk gets -ERR lines or an end, and nobody else is hurt', async () => {
    const service = await startService()
    const client = await Pop3Client.connect(service.ports.pop3)
    client.write(junk(65_536))
    client.socket.end()
    for (const line of (await client.rest()).split('\r\n')) {
      if (line !== '') expect(line).toMatch(/^-ERR/)
    }
    await expectHealthy(service)
  })

  test('a wrong password is refused and the right one works afterwards', async () => {
    const service = await startService()
    const client = await Pop3Client.connect(service.ports.pop3)
    await client.ok('USER ann')
    expect(await client.command('PASS wrong')).toMatch(/^-ERR/)
    await client.ok('USER ann')
    await client.ok('PASS secret')
    client.close()
  })
})

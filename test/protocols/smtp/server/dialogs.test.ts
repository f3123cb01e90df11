/**
 * Plays the dialog files of test/dialogs/smtp: what a client sees, octet by octet.
 *
 *     # a comment
 *     set smtpd.NAME = JSON        before the first line; also `service NAME`
 *     C: line                      sent with CR LF; consecutive lines in one write. \r \n \0 \xNN \\ are octets
 *     C-: octets                   sent as they are
 *     S: line                      exactly this; QUEUEID stands for any queue id
 *     C: eof                       `close`: the client sends FIN
 *     closed                       the server closes
 *     maildrop USER: N mails       what is there at this point
 *     queue: N mails
 */
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import type { SmtpSessionArgs } from '../../../../src/protocols/smtp/server/session.ts'
import { until, within } from '../../../support/until.ts'
import { TestServer } from './harness.ts'

const folder = fileURLToPath(new URL('../../../dialogs/smtp/', import.meta.url))

const octets = (text: string): string =>
  text.replace(/\\(?:x([0-9a-f]{2})|(.))/gi, (_, hex: string | undefined, char: string) =>
    hex !== undefined
      ? String.fromCharCode(Number.parseInt(hex, 16))
      : ({ r: '\r', n: '\n', '0': '\0' }[char] ?? char),
  )

test.each(readdirSync(folder).filter((name) => name.endsWith('.txt')))('%s', async (name) => {
  const lines = readFileSync(folder + name, 'utf8').split('\n')
  const smtpd: Record<string, unknown> = {}
  let service = 'smtp'
  for (const line of lines) {
    const setting = /^set smtpd\.(\w+) = (.+)$/.exec(line)
    if (setting !== null) smtpd[setting[1]!] = JSON.parse(setting[2]!)
    service = /^service (\w+)$/.exec(line)?.[1] ?? service
  }
  const server = await TestServer.start({ smtpd, service: service as SmtpSessionArgs['service'] })
  const socket = server.connect()
  let received = ''
  let isClosed = false
  socket.on('data', (chunk: Buffer) => {
    received += chunk.toString('latin1')
  })
  socket.on('close', () => {
    isClosed = true
  })
  let sending = ''
  const send = () => {
    if (sending !== '') socket.write(Buffer.from(sending, 'latin1'))
    sending = ''
  }
  for (const [index, line] of lines.entries()) {
    const where = `${name}:${index + 1}`
    const [, word = '', rest = ''] = /^(C|C-|S|maildrop \w+|queue): ?(.*)$/.exec(line) ?? []
    if (word === 'C') sending += `${octets(rest)}\r\n`
    else if (word === 'C-') sending += octets(rest)
    else if (line === '' || line.startsWith('#') || /^(?:set|service) /.test(line)) continue
    else {
      send()
      if (word === 'S') {
        await until(`${where}: ${line}`, () => received.includes('\r\n') || isClosed, {
          describe: () => `got ${JSON.stringify(received)}`,
        })
        const end = received.indexOf('\r\n')
        const got = received.slice(0, end).replace(/(?<=queued as )[0-9A-Z]{18}/, 'QUEUEID')
        expect(got, where).toBe(rest)
        received = received.slice(end + 2)
      } else if (word === 'queue') expect(server.queue.mails, where).toHaveLength(Number.parseInt(rest, 10))
      else if (word.startsWith('maildrop')) {
        expect(server.maildrop(word.slice(9)), where).toHaveLength(Number.parseInt(rest, 10))
      } else if (line === 'close') socket.end()
      else if (line === 'vanish') {
        socket.destroy()
        await server.sessionsEnded()
      } else if (line === 'closed') {
        await within(`${where}: closed`, (async () => until('close', () => isClosed))())
        expect(received, where).toBe('')
      } else throw new Error(`${where}: not a dialog line: ${line}`)
    }
  }
  socket.destroy()
})

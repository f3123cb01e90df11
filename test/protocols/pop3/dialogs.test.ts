/**
 * Dialogs of `test/dialogs/pop3`, each with alice's maildrop of three mails: `C:` is sent, `S:` is expected, octet
 * for octet. `login` logs in, `close` drops the connection, `closed` expects the server to, `maildrop:` names
 * the files that are there.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { type Client, Pop3Server } from './harness.ts'

const folder = join(import.meta.dirname, '../../dialogs/pop3')

let server: Pop3Server
afterEach(() => server?.stop())

test.each(readdirSync(folder).filter((name) => name.endsWith('.txt')))('%s', async (name) => {
  server = await Pop3Server.start()
  server.mb1()
  let client: Client | undefined
  const open = async () => {
    client ??= await server.connect()
    return client
  }
  let where = 0
  for (const line of readFileSync(join(folder, name), 'utf8').split('\n')) {
    where++
    const place = `${name}:${where}`
    if (line.startsWith('#') || line === '') continue
    if (line.startsWith('C: ')) (await open()).send(`${line.slice(3)}\r\n`)
    else if (line.startsWith('S: ')) expect(await (await open()).line(), place).toBe(line.slice(3))
    else if (line.startsWith('login ')) client = await server.login(line.slice(6))
    else if (line.startsWith('maildrop: ')) expect(server.files(), place).toEqual(line.slice(10).split(' '))
    else if (line === 'close' || line === 'closed') {
      const ended = await open()
      if (line === 'close') ended.end()
      expect(await ended.rest(), place).toBe('')
      client = undefined
    } else throw new Error(`${place}: ${line}`)
  }
})

/**
 * Postfix's smtp(8) with scache(8) and our client with its cache: what they say to the same servers, mail after mail. Ours sends
 * RSET in the same flight as the envelope where the server has PIPELINING; the order is the same. Left out: a server that says more
 * than it was asked, whose connection we do not keep and Postfix does.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import {
  reported,
  runLeased,
  start,
  startKeeper,
  system,
} from '../protocols/smtp/client/cached-deliveries.ts'
import { recipients } from '../protocols/smtp/client/harness.ts'
import { type Script, ScriptedServer } from '../protocols/smtp/client/scripted-server.ts'
import { SmtpClient } from '../support/clients.ts'
import { startPostfixModel } from '../support/peers.ts'
import { until } from '../support/until.ts'

const scripts: Readonly<Record<string, Script>> = {
  'without pipelining': {},
  pipelining: { keywords: ['PIPELINING'] },
  'MAIL 550': { keywords: ['PIPELINING'], answers: { MAIL: '550 5.7.1 no' } },
  'MAIL 451': { answers: { MAIL: '451 4.3.0 later' } },
  'RCPT 550': { answers: { RCPT: '550 5.1.1 no' } },
  'RCPT 550 with pipelining': { keywords: ['PIPELINING'], answers: { RCPT: '550 5.1.1 no' } },
  'RCPT 450': { keywords: ['PIPELINING'], answers: { RCPT: '450 4.2.1 later' } },
  'RCPT 500': { keywords: ['PIPELINING'], answers: { RCPT: '500 5.5.2 what' } },
  'DATA 451': { answers: { DATA: '451 4.3.0 later' } },
  'the end of the content 550': { keywords: ['PIPELINING'], dot: '550 5.7.1 no' },
  'the end of the content 451': { keywords: ['PIPELINING'], dot: '451 4.3.0 later' },
  'RSET 500': { answers: { RSET: '500 what' } },
  'RSET and a hang-up': { answers: { RSET: { close: '421 4.3.2 bye' } } },
}
const names = Object.keys(scripts)
const rounds = 3
const noPeer = whyMissing(['postfix'], { root: true })

const startServers = (): Promise<ScriptedServer[]> =>
  Promise.all(
    Object.values(scripts).map(async (script) => {
      const server = await ScriptedServer.start(script)
      onTestFinished(() => server[Symbol.asyncDispose]())
      return server
    }),
  )

/** Sessions, their commands without QUIT: Postfix drops what it has kept for too long without a word. */
const heardBy = ({ sessions }: ScriptedServer): readonly string[] =>
  sessions.map(({ commands }) =>
    commands
      .map((command) => command.split(/[ :]/)[0])
      .filter((verb) => verb !== 'QUIT')
      .join(' '),
  )

async function postfixSends(servers: readonly ScriptedServer[]): Promise<void> {
  const routes = servers.map(({ port }, index) => `{${index}.test = smtp:[127.0.0.1]:${port}}`)
  const { port, dir } = await startPostfixModel(
    [
      'smtp_connection_cache_destinations=static:all',
      'smtp_connection_cache_time_limit=600s',
      'connection_cache_ttl_limit=600s',
      'minimal_backoff_time=1000s',
      'default_destination_concurrency_failed_cohort_limit=100',
      `transport_maps=inline:{${routes.join(' ')}}`,
    ].join('; '),
    '',
  )
  const ended = () => readFileSync(join(dir, 'maillog'), 'utf8').match(/smtp\[\d+\]:.* status=/g)?.length ?? 0
  for (let round = 1; round <= rounds; round++) {
    const client = await SmtpClient.connect(port)
    await client.command('EHLO client.test')
    for (const index of servers.keys())
      await client.send({ from: '', to: [`a@${index}.test`], content: 'Subject: x\r\n\r\nx' })
    await client.command('QUIT')
    await until('all results', () => ended() >= round * servers.length)
  }
}

async function weSend(servers: readonly ScriptedServer[]): Promise<void> {
  await start({ cache: { ttl_limit: 600_000 }, smtp: { connection_cache_time_limit: 600_000 } })
  onTestFinished(() => system.stop())
  await startKeeper()
  let reports = 1
  for (let round = 1; round <= rounds; round++) {
    for (const { port } of servers) {
      await runLeased({
        nexthop: `[127.0.0.1]:${port}`,
        sender: '',
        recipients: recipients('a@d.test'),
        cacheConnection: true,
        reuseConnection: true,
      })
      reports += 1
      await reported.next(reports)
    }
  }
}

test.skipIf(noPeer !== undefined)(
  'kept connections hear the same from Postfix and from us',
  {
    timeout: 120_000,
  },
  async () => {
    const [theirs, ours] = await Promise.all([startServers(), startServers()])
    await postfixSends(theirs)
    await weSend(ours)
    expect(theirs[1]!.sessions).toHaveLength(1)
    for (const [index, name] of names.entries()) {
      expect({ [name]: heardBy(ours[index]!) }).toEqual({ [name]: heardBy(theirs[index]!) })
    }
  },
)

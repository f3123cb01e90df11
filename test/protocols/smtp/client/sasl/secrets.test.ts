/**
 * Passwords and tokens with every mechanism, and a server that repeats what it was told and what it makes of it, in every
 * reply from then on: in no log, result, transcript or failure that is kept does any form of them turn up.
 */
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { tempDir } from '../../../../support/fixtures.ts'
import { deliver, type LogLine } from '../harness.ts'
import { ScriptedServer } from '../scripted-server.ts'

const canary = 'KanarienVogel+77/x'
const user = 'ann@client.test'

/** Ways to write it down that give it away, or let it be guessed offline. */
const forms = (): readonly string[] => {
  const bytes = Buffer.from(canary)
  const all = [
    canary,
    ...[bytes, Buffer.from(`\0${user}\0${canary}`), Buffer.from(`${user}\0${user}\0${canary}`)].flatMap(
      (one) => [
        one.toString('base64'),
        one.toString('base64url'),
        one.toString('hex'),
        one.toString('hex').toUpperCase(),
      ],
    ),
    encodeURIComponent(canary),
    ...['md5', 'sha1', 'sha256'].map((name) => createHash(name).update(canary).digest('hex')),
  ]
  return [...new Set(all)]
}

const script = (mechanism: string) => {
  const told: string[] = []
  let stage = 0
  const echo = () => [
    ...told,
    ...told.map((one) => Buffer.from(one, 'base64').toString('latin1')),
    ...forms(),
  ]
  const said = () =>
    echo()
      .join(' ')
      .replaceAll(/[^\x20-\x7e]+/g, ' ')
  return (command: string): string | undefined => {
    if (/^EHLO/.test(command)) return undefined
    if (/^AUTH /.test(command)) {
      const initial = command.split(' ')[2]
      if (initial !== undefined) told.push(initial)
      stage = 1
      if (mechanism === 'LOGIN') return '334 VXNlcm5hbWU6'
      if (mechanism === 'CRAM-MD5') return '334 PDFAbXg+'
      return `535 5.7.8 ${said()}`
    }
    if (stage > 0 && !/^(?:MAIL|RCPT|DATA|RSET|QUIT)\b/.test(command)) {
      told.push(command)
      if (mechanism === 'LOGIN' && stage++ === 1) return '334 UGFzc3dvcmQ6'
      return `535-5.7.8 ${said()}\n535 5.7.8 ${said()}`
    }
    return undefined
  }
}

const mechanisms = ['PLAIN', 'LOGIN', 'CRAM-MD5', 'XOAUTH2', 'OAUTHBEARER']

/** Lines of the server that are rewritten are logged as they came. */
const filter = () => {
  const file = join(tempDir(), 'filter')
  writeFileSync(file, '/^535(.*)$/ 535 rewritten $1\n')
  return [`regexp:${file}`]
}

it.each(
  mechanisms.flatMap((mechanism) => [
    { mechanism, filtered: false },
    { mechanism, filtered: true },
  ]),
)('$mechanism, filtered: $filtered', async ({ mechanism, filtered }) => {
  const log: LogLine[] = []
  const kept: unknown[] = []
  await using server = await ScriptedServer.start({
    keywords: [`AUTH ${mechanism}`],
    respond: script(mechanism),
  })
  const report = await deliver({
    log,
    request: { nexthop: `[127.0.0.1]:${server.port}` },
    settings: {
      sasl_auth_enable: true,
      sasl_password_maps: [{ '127.0.0.1': `${user}:${canary}` }],
      sasl_security_options: [],
      sasl_auth_cache_name: 'on',
      reply_filter: filtered ? filter() : [],
    },
    environment: {
      notifyClasses: ['protocol', 'data', 'policy', 'bounce', 'delay', 'resource', 'software'],
      saslFailures: {
        find: async () => undefined,
        remember: (key, { password: _, ...rest }) => void kept.push(key, rest),
        forget() {},
      },
    },
  })
  const everything = JSON.stringify({ report, log, kept })
  expect(everything).toContain(filtered ? 'rewritten' : '(hidden)')
  for (const form of forms()) expect(everything).not.toContain(form)
})

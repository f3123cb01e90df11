/**
 * What the cases of group J share: an authority for each test file, servers on loopback whose names stand in a zone, and what
 * is seen of a delivery to them.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createSecureContext } from 'node:tls'
import { afterAll, beforeAll } from 'vitest'
import type { ClientSettings } from '../../../../src/protocols/smtp/client/config.ts'
import { Authority, type Certificate } from '../../../support/certificates.ts'
import { deliver, type LogLine, outcome, type Setup } from './harness.ts'
import { type Script, ScriptedServer, type TlsScript } from './scripted-server.ts'

export let authority: Authority
export let dir = ''
export let trusting: Partial<ClientSettings>

beforeAll(async () => {
  authority = await Authority.make()
  dir = mkdtempSync(join(tmpdir(), 'mailactors-j-'))
  writeFileSync(join(dir, 'ca.pem'), authority.cert)
  trusting = { tls_ca_file: join(dir, 'ca.pem') }
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))

export const serverTls = ({ cert, key }: Certificate, over: Partial<TlsScript> = {}): TlsScript => ({
  context: createSecureContext({ cert, key }),
  ...over,
})

export const named = async (...names: string[]): Promise<TlsScript> =>
  serverTls(await authority.issue({ names }))

export interface Seen {
  readonly outcome: string
  readonly reply: string
  readonly hop: boolean
  readonly tls: string | undefined
  /** Commands of all connections, the verbs alone, `handshake` where TLS began. `/` is between connections. */
  readonly commands: string
  readonly sessions: ScriptedServer['sessions']
  readonly log: readonly LogLine[]
}

/** One server m1.d.test for d.test; the n-th connection follows the n-th script. */
export async function run(
  settings: Partial<ClientSettings>,
  scripts: Script | readonly Script[],
  setup: Setup = {},
): Promise<Seen> {
  await using server = await ScriptedServer.start(...[scripts].flat())
  const log: LogLine[] = []
  const report = await deliver({
    zone: { 'd.test': { mx: [[10, 'm1.d.test']] }, 'm1.d.test': { a: ['127.0.0.1'] } },
    log,
    ...setup,
    settings: { tcp_port: String(server.port), ...settings, ...setup.settings },
  })
  await server.until(() => server.sessions.every(({ closed }) => closed))
  return {
    outcome: outcome(report)[0]!,
    reply: report.results[0]!.reply,
    hop: report.hopStatus !== undefined,
    tls: report.tls,
    commands: server.sessions
      .map(({ commands }) => commands.map((command) => command.split(/[ :]/)[0]).join(' '))
      .join(' / '),
    sessions: server.sessions,
    log,
  }
}

export const old: Setup = { request: { arrivedAt: Date.now() - 400_000 } }
export const mail = 'MAIL RCPT DATA CONTENT QUIT'
export const secured = `EHLO STARTTLS handshake EHLO ${mail}`

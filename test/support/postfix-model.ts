/**
 * Postfix's own delivery client as the model: the same scripted servers and the same mail for it and for ours, and
 * what each of them did, in a form that can be compared.
 */
import { spawn } from 'node:child_process'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ClientSettings } from '../../src/protocols/smtp/client/config.ts'
import { MimeWalker } from '../../src/protocols/smtp/client/content/mime-walker.ts'
import { FieldLimit } from '../../src/protocols/smtp/server/field-limit.ts'
import { encodeXtext } from '../../src/protocols/smtp/xtext.ts'
import type { Notify } from '../../src/queue/contract.ts'
import { deliver, type LogLine, type Setup } from '../protocols/smtp/client/harness.ts'
import { type Script, ScriptedServer } from '../protocols/smtp/client/scripted-server.ts'
import { SmtpClient } from './clients.ts'
import { startService, tempDir } from './fixtures.ts'
import { type Peer, startPostfixModel } from './peers.ts'
import { freePorts, waitForPort } from './ports.ts'
import { runProgram } from './service.ts'
import { until } from './until.ts'

/** Settings of both clients that say the same. */
export interface Profile {
  /** Letters only: a name for the transport. */
  readonly name: string
  readonly lmtp?: boolean
  /** Parameters of Postfix without `smtp_` or `lmtp_`. */
  readonly postfix?: Readonly<Record<string, string>>
  readonly ours?: Partial<ClientSettings>
  readonly softBounce?: boolean
}

export interface ModelCase {
  readonly name: string
  readonly profile: Profile
  /** One list per server, in the order they are tried; the n-th connection follows the n-th script. */
  readonly servers: readonly (readonly Script[])[]
  /** Instead of scripted servers: smtp-sink with these options, of which results alone are seen. */
  readonly sink?: readonly string[]
  /** Instead of all these: a server that runs already. */
  readonly port?: number
  /** The mail has waited before: a service of Postfix's where everything is deferred once. */
  readonly aged?: true
  /** Tells cases with the same server apart. */
  readonly tag?: string
  /** Local parts. */
  readonly recipients?: readonly string[]
  readonly sender?: string
  /** CRLF lines, nothing stuffed. */
  readonly content?: Buffer
  readonly body?: '7BIT' | '8BITMIME'
  readonly smtputf8?: boolean
  readonly envid?: string
  readonly ret?: 'FULL' | 'HDRS'
  readonly notify?: readonly Notify[]
  readonly orcpt?: string
}

export interface Observed {
  /** `a sent 2.0.0` for each recipient, sorted. */
  readonly results: readonly string[]
  /** Per server, per session: its commands. */
  readonly sessions: readonly (readonly (readonly string[])[])[]
  /** All contents in order, as latin1. */
  readonly contents: readonly string[]
  /** What is logged of each TLS session, `trusted TLSv1.3 …`; only with a `tls_loglevel` of 1. */
  readonly tls: readonly string[]
}

export const plainMail = Buffer.from(
  'From: s@sender.test\r\nTo: a@d.test\r\nSubject: model\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\n' +
    'Message-Id: <1@sender.test>\r\n\r\nbody\r\n.dot\r\n\r\nlast\r\n',
)

export class PostfixModel {
  readonly #peer: Peer

  private constructor(peer: Peer) {
    this.#peer = peer
  }

  /** Runs all cases at the same time; results in their order. Either all of them are `aged`, or none. */
  static async observe(cases: readonly ModelCase[]): Promise<Observed[]> {
    const servers = await Promise.all(cases.map((one) => startServers(one)))
    const routes = cases.map((one, index) => {
      return `${domainOf(one, servers[index]!)} ${one.profile.name}:${hopsOf(one.profile, servers[index]!)}\n`
    })
    const model = await PostfixModel.#start(
      [...new Set(cases.map(({ profile }) => profile))],
      routes.join(''),
      cases.some(({ aged }) => aged === true),
    )
    return model.#observe(cases, servers)
  }

  static async #start(profiles: readonly Profile[], routes: string, isAged: boolean): Promise<PostfixModel> {
    const dir = tempDir()
    // Its processes drop root and must still get in.
    chmodSync(dir, 0o755)
    const map = join(dir, 'transport')
    writeFileSync(map, `${routes}sender.test discard:\n`)
    const services = profiles.map(({ name, lmtp, postfix = {} }) => {
      const program = lmtp === true ? 'lmtp' : 'smtp'
      const options = Object.entries(postfix).map(([key, value]) => {
        const full = /^(soft_|disable_|default_)/.test(key) ? key : `${program}_${key}`
        return ` -o {${full} = ${value}}`
      })
      if (isAged) options.push(' -o minimal_backoff_time=1s')
      return `${name} unix - - n - - ${program}${options.join('')}`
    })
    const settings = [
      'myhostname=client.test',
      'mydomain=client.test',
      `transport_maps=texthash:${map}`,
      'local_header_rewrite_clients=',
      'remote_header_rewrite_domain=',
      'recipient_delimiter=+',
      'smtp_tls_security_level=none',
      ...(isAged ? [`defer_transports=${profiles.map(({ name }) => name).join(' ')}`] : []),
      'tlsproxy_client_security_level=may',
      'bounce_queue_lifetime=1d',
      'anvil_rate_time_unit=1s',
      'message_size_limit=100000000',
      'smtpd_soft_error_limit=1000',
      'smtpd_hard_error_limit=2000',
    ].join(';')
    return new PostfixModel(await startPostfixModel(settings, services.join('\n')))
  }

  get log(): string {
    return readFileSync(join(this.#peer.dir, 'maillog'), 'utf8')
  }

  async #observe(cases: readonly ModelCase[], servers: readonly (readonly Server[])[]): Promise<Observed[]> {
    const client = await SmtpClient.connect(this.#peer.port)
    await client.expect(250, 'EHLO feeder.test')
    for (const [index, one] of cases.entries()) await feed(client, one, domainOf(one, servers[index]!))
    client.close()
    if (cases.some(({ aged }) => aged === true)) await this.#release()
    const observed: Observed[] = []
    for (const [index, one] of cases.entries()) {
      const domain = domainOf(one, servers[index]!)
      const wanted = recipientsOf(one)
      const results = await until(
        `results of "${one.name}"`,
        () => {
          const found = this.#resultsFor(domain)
          return found.length >= wanted.length && found
        },
        { deadlineMs: 60_000, everyMs: 100, describe: () => this.#about(domain) },
      )
      const tls = this.#tlsWith(servers[index]!)
      observed.push({ ...(await finish(one, servers[index]!, results)), tls })
    }
    return observed
  }

  /** Lets go what was deferred. */
  async #release(): Promise<void> {
    const etc = join(this.#peer.dir, 'etc')
    // Longer than minimal_backoff_time.
    await sleep(2_500)
    for (const command of [
      ['postconf', '-c', etc, '-e', 'defer_transports='],
      ['postfix', '-c', etc, 'reload'],
    ]) {
      const { code, stderr } = await runProgram(command[0]!, command.slice(1))
      if (code !== 0) throw new Error(`${command.join(' ')}: ${stderr}`)
    }
    // What is deferred anew must not be tried again: once more only when the queue manager had not read its settings yet.
    const isReleased = () => / status=(?!deferred \(deferred transport\))/.test(this.log)
    for (let round = 0; round < 10 && !isReleased(); round++) {
      await runProgram('postqueue', ['-c', etc, '-f'])
      await until('the first result', isReleased, { deadlineMs: 6_000 }).catch(() => {})
    }
  }

  #tlsWith(servers: readonly Server[]): string[] {
    const line =
      /mtp\[\d+\]: (\w+) TLS connection established to \S+\]:(\d+): (\S+) with cipher (\S+) \((\d+)\//g
    return [...this.log.matchAll(line)]
      .filter(([, , port]) => servers.some((server) => String(server.port) === port))
      .map(([, trust = '', , ...rest]) => [trust.toLowerCase(), ...rest].join(' '))
  }

  #resultsFor(domain: string): string[] {
    const found: string[] = []
    for (const line of this.log.split('\n')) {
      if (line.includes('status=deferred (deferred transport)')) continue
      const match = /: to=<(.*)@([^@>]*)>, .* dsn=([0-9.]+), status=(\S+) /.exec(line)
      if (match !== null && match[2] === domain) found.push(`${unquoted(match[1]!)} ${match[4]} ${match[3]}`)
    }
    return found.sort()
  }

  #about(domain: string): string {
    return this.log
      .split('\n')
      .filter((line) => line.includes(domain))
      .join('\n')
  }
}

/** The same with our client. */
export async function observeOurs(one: ModelCase): Promise<Observed> {
  const servers = await startServers(one)
  const domain = domainOf(one, servers)
  const locals = recipientsOf(one)
  const content = accepted(one.content ?? plainMail)
  const request: Setup['request'] = {
    transport: one.profile.lmtp === true ? 'lmtp' : 'smtp',
    nexthop: hopsOf(one.profile, servers),
    sender: one.sender ?? 's@sender.test',
    size: content.length,
    client: { address: '127.0.0.1', port: 1, name: 'localhost', helo: 'feeder.test', protocol: 'ESMTP' },
    content: { bytes: content },
    ...(one.aged === true ? { arrivedAt: Date.now() - 400_000 } : {}),
    body: declaredBody(one, content),
    ...(one.smtputf8 === undefined ? {} : { smtputf8: one.smtputf8 }),
    ...(one.envid === undefined ? {} : { envid: one.envid }),
    ...(one.ret === undefined ? {} : { ret: one.ret }),
    recipients: locals.map((local, index) => ({
      id: index + 1,
      address: `${local}@${domain}`,
      ...(one.notify === undefined ? {} : { notify: one.notify }),
      ...(one.orcpt === undefined ? {} : { orcpt: one.orcpt }),
    })),
  }
  const log: LogLine[] = []
  const report = await deliver({
    request,
    log,
    settings: one.profile.ours ?? {},
    environment: {
      softBounce: one.profile.softBounce === true,
      protocol: one.profile.lmtp === true ? 'lmtp' : 'smtp',
    },
  })
  const results = report.results
    .map(
      ({ id, status, dsn, softBounced }) =>
        `${locals[id - 1]} ${softBounced === true ? 'SOFTBOUNCE' : status} ${dsn}`,
    )
    .sort()
  const tls = log
    .filter(({ event }) => event === 'delivery.tls')
    .map(({ facts }) => `${facts.class} ${facts.protocol} ${facts.cipher} ${facts.bits}`)
  return { ...(await finish(one, servers, results)), tls }
}

/** Long fields are cut when mail comes in. */
function accepted(content: Buffer): Buffer {
  const passed: Buffer[] = []
  new FieldLimit(102_400, (slice) => passed.push(slice)).push(content)
  return Buffer.concat(passed)
}

/** What a mail says of itself counts more than what its client said: settled when it is accepted. */
function declaredBody({ body }: ModelCase, content: Buffer): ModelCase['body'] {
  let eightBit = false
  const limits = { headerSize: 102_400, boundaryLength: 2_048, nesting: 100 }
  const walker = new MimeWalker(
    { limits, convert: false, parts: true },
    {
      onField: (field) => {
        eightBit ||= /^content-transfer-encoding:\s*(8bit|binary)$/i.test(field)
      },
      onBody() {},
      onEncoded() {},
    },
  )
  for (const line of content.toString('latin1').split('\r\n')) walker.line(line, true)
  return eightBit ? '8BITMIME' : body
}

const hopsOf = ({ lmtp }: Profile, servers: readonly Server[]): string =>
  (lmtp === true ? 'inet:' : '') + servers.map(({ port }) => `[127.0.0.1]:${port}`).join(', ')

/** The same through our whole service: mail comes in by SMTP and is queued. */
export async function observeService(cases: readonly ModelCase[]): Promise<Observed[]> {
  const servers = await Promise.all(cases.map((one) => startServers(one)))
  const profiles = [...new Set(cases.map(({ profile }) => profile))]
  const routes = cases.map((one, index) => {
    const hops = hopsOf(one.profile, servers[index]!)
    return `"${domainOf(one, servers[index]!)}" = "${one.profile.name}:${hops}"`
  })
  const service = await startService({
    args: ['--set', 'hostname=client.test'],
    tables: [
      '[transport]',
      '"sender.test" = "discard:x"',
      ...routes,
      '[smtp]\ntls_security_level = "none"\nrandomize_addresses = false',
      '[smtpd]\nlocal_header_rewrite_clients = []\nsoft_error_limit = 1000\nhard_error_limit = 2000',
      ...profiles.map(tableOf),
    ].join('\n'),
  })
  const client = await SmtpClient.connect(service.ports.smtp)
  await client.expect(250, 'EHLO feeder.test')
  for (const [index, one] of cases.entries()) await feed(client, one, domainOf(one, servers[index]!))
  client.close()
  const observed: Observed[] = []
  for (const [index, one] of cases.entries()) {
    const domain = domainOf(one, servers[index]!)
    const results = await until(
      `results of "${one.name}"`,
      () => {
        const found = service
          .events('delivery')
          .filter(({ to }) => String(to).endsWith(`@${domain}`))
          .map(
            ({ to, status, dsn }) => `${unquoted(String(to).slice(0, -domain.length - 1))} ${status} ${dsn}`,
          )
        return found.length >= recipientsOf(one).length && found.sort()
      },
      { deadlineMs: 60_000, everyMs: 500 },
    )
    observed.push({ ...(await finish(one, servers[index]!, results)), tls: [] })
  }
  return observed
}

/** The transport of a profile as the configuration has it. */
function tableOf({ name, lmtp, ours = {} }: Profile): string {
  const protocol = lmtp === true ? 'lmtp' : 'smtp'
  const entries = Object.entries(ours).map(([key, value]) => {
    const own = lmtp === true && key === 'helo_timeout' ? 'lhlo_timeout' : key
    return `${own} = ${typeof value === 'number' ? `"${value}ms"` : toml(value)}`
  })
  return [
    `[transports.${name}]`,
    `protocol = "${protocol}"`,
    `[transports.${name}.${protocol}]`,
    ...entries,
  ].join('\n')
}

function toml(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(toml).join(', ')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const pairs = Object.entries(value).map(([key, inner]) => `${JSON.stringify(key)} = ${toml(inner)}`)
  return `{ ${pairs.join(', ')} }`
}

const recipientsOf = (one: ModelCase): readonly string[] => one.recipients ?? ['a']

type Server = Pick<ScriptedServer, 'port' | 'sessions' | 'until'> & AsyncDisposable

function startServers(one: ModelCase): Promise<Server[]> {
  const { port } = one
  if (port !== undefined) return Promise.resolve([unseen(port, () => {})])
  if (one.sink !== undefined) return startSink(one.sink).then((server) => [server])
  return Promise.all(one.servers.map((scripts) => ScriptedServer.start(...scripts)))
}

async function startSink(options: readonly string[]): Promise<Server> {
  const [port = 0] = await freePorts(1)
  const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : []
  const sink = spawn('smtp-sink', [...user, ...options, `127.0.0.1:${port}`, '100'], { stdio: 'ignore' })
  await waitForPort(port)
  return unseen(port, () => sink.kill())
}

/** A server that is not looked into. */
function unseen(port: number, stop: () => void): Server {
  return { port, sessions: [], until: async () => {}, [Symbol.asyncDispose]: async () => stop() }
}

function domainOf(one: ModelCase, servers: readonly Server[]): string {
  return `${one.profile.name}${one.tag ?? ''}.${servers.map(({ port }) => port).join('.')}.test`
}

async function feed(client: SmtpClient, one: ModelCase, domain: string): Promise<void> {
  const parameters = [
    ...(one.body === undefined ? [] : [`BODY=${one.body}`]),
    ...(one.smtputf8 === true ? ['SMTPUTF8'] : []),
    ...(one.envid === undefined ? [] : [`ENVID=${encodeXtext(one.envid)}`]),
    ...(one.ret === undefined ? [] : [`RET=${one.ret}`]),
  ]
  const options = [
    ...(one.notify === undefined ? [] : [`NOTIFY=${one.notify.join(',')}`]),
    ...(one.orcpt === undefined ? [] : [`ORCPT=${one.orcpt}`]),
  ]
  const sender = one.sender ?? 's@sender.test'
  await client.expect(250, octets([`MAIL FROM:<${sender}>`, ...parameters].join(' ')))
  for (const local of recipientsOf(one)) {
    const bare = /^[^\s"<>()[\]\\,;:@]+$/.test(local) && !/^\.|\.$|\.\./.test(local)
    const path = bare ? local : `"${local.replace(/["\\]/g, '\\$&')}"`
    await client.expect(250, octets([`RCPT TO:<${path}@${domain}>`, ...options].join(' ')))
  }
  await client.expect(354, 'DATA')
  const content = (one.content ?? plainMail).toString('latin1').replace(/^\./gm, '..')
  client.write(Buffer.from(`${content}.\r\n`, 'latin1'))
  const reply = await client.reply(30_000)
  if (reply.code !== 250) throw new Error(`${one.name}: ${reply.code} ${reply.text}`)
}

/** What they saw, without what cannot be the same: ports, sizes, and the Received field that Postfix adds. */
async function finish(
  one: ModelCase,
  servers: readonly Server[],
  results: readonly string[],
): Promise<Omit<Observed, 'tls'>> {
  // A server that stops reading does not see the end.
  const stalls = one.servers.flat().some(({ stallAfter }) => stallAfter !== undefined)
  for (const server of stalls ? [] : servers)
    await server.until(() => server.sessions.every(({ closed }) => closed), 30_000)
  const sessions = servers.map((server) =>
    server.sessions.map(({ commands }) =>
      sortRuns(
        commands.map((command) =>
          command.replace(/(\.\d+)+\.test\b/g, '.PORT.test').replace(/ SIZE=\d+/, ' SIZE=N'),
        ),
      ),
    ),
  )
  const contents = servers.flatMap((server) =>
    server.sessions.flatMap(({ content }) =>
      content.map((text) => text.replace(/^Received: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*/, '')),
    ),
  )
  for (const server of servers) await server[Symbol.asyncDispose]()
  return { results, sessions, contents }
}

/** Recipients in any order: that of the queue is not the client's. */
function sortRuns(commands: readonly string[]): string[] {
  const sorted: string[] = []
  for (let i = 0; i < commands.length; ) {
    let end = i
    while (end < commands.length && commands[end]!.startsWith('RCPT')) end++
    if (end > i) sorted.push(...commands.slice(i, end).sort())
    else sorted.push(commands[end++]!)
    i = end
  }
  return sorted
}

/** UTF-8 as the latin1 that `SmtpClient` writes. */
const octets = (text: string): string => Buffer.from(text).toString('latin1')

const unquoted = (local: string): string => local.replace(/^"(.*)"$/, '$1').replace(/\\(.)/g, '$1')

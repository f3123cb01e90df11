/**
 * Notices of Postfix's bounce(8) as the model for ours: the same mail, with the same servers behind both, and what the
 * sender and the postmaster are told, in a form that can be compared.
 */
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { encodeXtext } from '../../src/protocols/smtp/xtext.ts'
import type { Notify } from '../../src/queue/contract.ts'
import { type Script, ScriptedServer } from '../protocols/smtp/client/scripted-server.ts'
import { SmtpClient } from './clients.ts'
import { startService, tempDir } from './fixtures.ts'
import { startPostfixModel } from './peers.ts'
import { until } from './until.ts'

export interface NoticeCase {
  readonly name: string
  readonly server: Script
  readonly recipients: readonly {
    readonly local: string
    readonly notify?: readonly Notify[]
    readonly orcpt?: string
  }[]
  /** Default: an address of the case's own. */
  readonly sender?: ''
  /** Local part of the sender; default ASCII. */
  readonly local?: string
  readonly envid?: string
  readonly ret?: 'FULL' | 'HDRS'
  readonly body?: '7BIT' | '8BITMIME'
  readonly smtputf8?: boolean
  readonly content?: Buffer
  /** How many notices come of it. */
  readonly notices: number
}

export interface NoticeProfile {
  /** main.cf settings that say the same as `ours`. */
  readonly postfix: readonly string[]
  readonly ours: string
}

/** A notice without what is each system's own: words, ids, times. */
export interface SeenNotice {
  readonly from: string
  readonly to: string
  readonly body: string | undefined
  /** Names of the header fields, sorted. */
  readonly header: readonly string[]
  readonly autoSubmitted: string
  readonly isEightBit: boolean
  readonly types: readonly string[]
  readonly encodings: readonly string[]
  /** Addresses that the part for people names, in order. */
  readonly named: readonly string[]
  readonly status: readonly (readonly string[])[]
  readonly returned: string
}

const plain = Buffer.from(
  'From: s@sender.test\r\nTo: a@d.test\r\nSubject: model\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\n' +
    'Message-Id: <1@sender.test>\r\nReferences: <0@sender.test>\r\n\r\nbody\r\n.dot\r\n\r\nlast\r\n',
)

export async function noticesOfPostfix(
  profile: NoticeProfile,
  cases: readonly NoticeCase[],
): Promise<readonly (readonly SeenNotice[])[]> {
  await using inbox = await startInbox()
  const servers = await startServers(cases)
  const dir = tempDir()
  chmodSync(dir, 0o755)
  const map = join(dir, 'transport')
  writeFileSync(
    map,
    [
      ...servers.map(({ port }, index) => `c${index}.test smtp:[127.0.0.1]:${port}`),
      `sender.test smtp:[127.0.0.1]:${inbox.port}`,
      `client.test smtp:[127.0.0.1]:${inbox.port}`,
      '',
    ].join('\n'),
  )
  const settings = [
    'myhostname=client.test',
    'mydomain=client.test',
    'myorigin=client.test',
    `transport_maps=texthash:${map}`,
    'local_header_rewrite_clients=',
    'remote_header_rewrite_domain=',
    'smtp_tls_security_level=none',
    ...profile.postfix,
  ].join(';')
  const { port } = await startPostfixModel(settings, '')
  return await observe(port, inbox, cases, servers)
}

export async function noticesOfOurs(
  profile: NoticeProfile,
  cases: readonly NoticeCase[],
): Promise<readonly (readonly SeenNotice[])[]> {
  await using inbox = await startInbox()
  const servers = await startServers(cases)
  const service = await startService({
    args: ['--set', 'hostname=client.test'],
    tables: [
      '[transport]',
      ...servers.map(({ port }, index) => `"c${index}.test" = "smtp:[127.0.0.1]:${port}"`),
      `"sender.test" = "smtp:[127.0.0.1]:${inbox.port}"`,
      `"client.test" = "smtp:[127.0.0.1]:${inbox.port}"`,
      '[smtp]\ntls_security_level = "none"',
      '[smtpd]\nlocal_header_rewrite_clients = []',
      profile.ours,
    ].join('\n'),
  })
  return await observe(service.ports.smtp, inbox, cases, servers)
}

const startInbox = (): Promise<ScriptedServer> =>
  ScriptedServer.start({ keywords: ['8BITMIME', 'SMTPUTF8', 'PIPELINING'] })

const startServers = (cases: readonly NoticeCase[]): Promise<ScriptedServer[]> =>
  Promise.all(cases.map(({ server }) => ScriptedServer.start(server)))

async function observe(
  port: number,
  inbox: ScriptedServer,
  cases: readonly NoticeCase[],
  servers: readonly ScriptedServer[],
): Promise<readonly (readonly SeenNotice[])[]> {
  const client = await SmtpClient.connect(port)
  await client.expect(250, 'EHLO feeder.test')
  for (const [index, one] of cases.entries()) await feed(client, one, index)
  client.close()
  const wanted = cases.reduce((sum, { notices }) => sum + notices, 0)
  const mails = await until(
    `${wanted} notices`,
    () => {
      const found = received(inbox)
      return found.length >= wanted && found
    },
    { deadlineMs: 60_000, everyMs: 200, describe: () => received(inbox).join('\n\n') },
  )
  for (const server of servers) await server[Symbol.asyncDispose]()
  const all = mails.map(({ commands, content }) => seen(commands, content))
  return cases.map((_, index) =>
    all
      .filter(({ status }) => status.flat().some((field) => field.includes(`@c${index}.test`)))
      .sort((a, b) => (`${a.to} ${a.status}` < `${b.to} ${b.status}` ? -1 : 1)),
  )
}

async function feed(client: SmtpClient, one: NoticeCase, index: number): Promise<void> {
  const sender = one.sender ?? `${one.local ?? 's'}${index}@sender.test`
  const parameters = [
    ...(one.body === undefined ? [] : [`BODY=${one.body}`]),
    ...(one.smtputf8 === true ? ['SMTPUTF8'] : []),
    ...(one.envid === undefined ? [] : [`ENVID=${encodeXtext(one.envid)}`]),
    ...(one.ret === undefined ? [] : [`RET=${one.ret}`]),
  ]
  await client.expect(250, octets([`MAIL FROM:<${sender}>`, ...parameters].join(' ')))
  for (const { local, notify, orcpt } of one.recipients) {
    const options = [
      ...(notify === undefined ? [] : [`NOTIFY=${notify.join(',')}`]),
      ...(orcpt === undefined ? [] : [`ORCPT=${orcpt}`]),
    ]
    await client.expect(250, octets([`RCPT TO:<${local}@c${index}.test>`, ...options].join(' ')))
  }
  await client.expect(354, 'DATA')
  const content = (one.content ?? plain).toString('latin1').replace(/^\./gm, '..')
  client.write(Buffer.from(`${content}.\r\n`, 'latin1'))
  const reply = await client.reply(30_000)
  if (reply.code !== 250) throw new Error(`${one.name}: ${reply.code} ${reply.text}`)
}

const octets = (text: string): string => Buffer.from(text).toString('latin1')

/** The mails that an inbox got, each with the commands in front of it. */
function received({ sessions }: ScriptedServer): { commands: readonly string[]; content: string }[] {
  return sessions.flatMap(({ commands, content }) => {
    const mails: { commands: readonly string[]; content: string }[] = []
    let begun = 0
    for (const [at, command] of commands.entries()) {
      if (command !== 'CONTENT') continue
      mails.push({ commands: commands.slice(begun, at), content: content[mails.length]! })
      begun = at + 1
    }
    return mails
  })
}

function seen(commands: readonly string[], stuffed: string): SeenNotice {
  const text = stuffed.replace(/^\.(?=.)/gm, '').replace(/\.\r\n$/, '')
  const [head, ...rest] = text.split('\r\n\r\n')
  const header = fieldsOf(head!)
  const body = rest.join('\r\n\r\n')
  const boundary = /boundary="([^"]+)"/.exec(fieldValue(header, 'content-type'))?.[1] ?? '?'
  const parts = `\r\n${body}`
    .split(`\r\n--${boundary}`)
    .slice(1, -1)
    .map((part) => {
      const end = part.indexOf('\r\n\r\n')
      return { header: fieldsOf(part.slice(2, end)), content: part.slice(end + 4) }
    })
  const [human, report, returned] = parts
  const mail = commands.find((command) => command.startsWith('MAIL')) ?? ''
  const own = (value: string) =>
    value
      .replace(/\bX-(?:Postfix|Mailactors)\b/gi, 'X-Product')
      // What a product says itself is its own.
      .replace(/^(Diagnostic-Code: X-Product;).*/, '$1 …')
      .replace(/^((?:X-Product-Queue-ID|Arrival-Date|Will-Retry-Until):).*/i, '$1 …')
      // RFC 6533 has a type of its own for an address like this.
      .replace(/^(Original-Recipient:) rfc822;(?=.*[^\x00-\x7f])/, '$1 utf-8;')
  return {
    from: /<(.*?)>/.exec(mail)?.[1] ?? '?',
    to: /<(.*?)>/.exec(commands.find((command) => command.startsWith('RCPT')) ?? '')?.[1] ?? '?',
    body: / BODY=(\S+)/.exec(mail)?.[1],
    header: header.map(([name]) => name.toLowerCase()).sort(),
    autoSubmitted: fieldValue(header, 'auto-submitted'),
    isEightBit: fieldValue(header, 'content-transfer-encoding') === '8bit',
    types: [fieldValue(header, 'content-type').replace(/;\s*boundary.*/s, ''), ...parts.map(typeOf)],
    encodings: parts.map((part) => fieldValue(part.header, 'content-transfer-encoding')),
    named: [...(human?.content ?? '').matchAll(/^<([^>]*)>/gm)].map(([, address]) => address!),
    status: (report?.content ?? '')
      .trim()
      .split('\r\n\r\n')
      .map((group) => fieldsOf(group).map(([name, value]) => own(`${name}: ${value}`))),
    // Of a mail with the null sender Postfix returns another Return-Path than it had.
    returned: (returned?.content ?? '')
      .replace('<MAILER-DAEMON@client.test>', '<>')
      .replace(/^Received: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*/gm, ''),
  }
}

const typeOf = ({ header }: { header: readonly Field[] }): string => fieldValue(header, 'content-type')

type Field = readonly [name: string, value: string]

const fieldValue = (fields: readonly Field[], name: string): string =>
  fields.find(([known]) => known.toLowerCase() === name)?.[1] ?? ''

function fieldsOf(text: string): Field[] {
  const unfolded = text.replace(/\r\n[ \t]+/g, ' ').split('\r\n')
  return unfolded.flatMap((line) => {
    const found = /^([^:\s]+):\s*(.*)$/.exec(line)
    return found === null ? [] : [[found[1]!, found[2]!] as const]
  })
}

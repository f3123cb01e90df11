import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { userInfo } from 'node:os'
import { type Command, Option } from 'commander'
import type { Status } from '../../admin/status.ts'
import type { Config } from '../../config/settings.ts'
import type { Envelope, EnvelopeRecipient, Notify, Trace } from '../../queue/contract.ts'
import { ControlClient } from '../control-client.ts'
import { CommandFailure, exitCodes } from '../exit.ts'
import { type ConfigOptions, loadOrFail } from '../options.ts'
import { prepareMail } from '../submitted-mail.ts'
import { printJson, type Terminal } from '../terminal.ts'
import { listQueue } from './queue.ts'

interface Options extends ConfigOptions {
  readonly t?: boolean
  readonly i?: boolean
  readonly f?: string
  readonly r?: string
  readonly F?: string
  readonly b?: string
  readonly o?: readonly string[]
  readonly N?: string
  readonly R?: string
  readonly V?: string
  readonly B?: string
  readonly G?: boolean
  readonly I?: boolean
  readonly v?: boolean
  /** `true`: without a value. */
  readonly q?: string | true
  readonly json?: boolean
}

/** What the control socket takes. */
const maxOctets = 128 * 1024 * 1024
/** Options of sendmail that change nothing here, with and without a value. */
const ignoredFlags = ['-n', '-m', '-U', '-s', '-x'] as const
const ignoredWithValue = ['-A', '-C', '-d', '-D', '-e', '-h', '-L', '-O', '-p', '-X'] as const

/** `mailactors send`: what sendmail does, for the running service. */
export function addSendCommand(program: Command, terminal: Terminal): void {
  const collect = (value: string, before: readonly string[]) => [...before, value]
  const command = program
    .command('send')
    .description('submit a message from stdin, as sendmail does')
    .argument('[recipient...]', 'addresses; with -t those of the header too')
    .option('-t', 'take recipients from To, Cc and Bcc; Bcc is removed')
    .option('-i', 'a line with a single dot does not end the message')
    .option('-f <address>', 'envelope sender; "<>" or "" is the null sender')
    .option('-F <name>', 'full name of the sender')
    .option('-N <dsn>', 'notices wanted: never, or success,failure,delay')
    .option('-R <what>', 'what of the message a notice returns: full or hdrs')
    .option('-V <envid>', 'envelope id, returned in notices')
    .option('-B <type>', '7BIT or 8BITMIME; what is not given is found out')
    .option('-G', 'the message comes from elsewhere: no fields are added to it')
    .option(
      '-q [what]',
      'send nothing, but try the queue: all of it, with -qRSITE what goes to SITE, with -qIID one mail',
    )
    .option('-v', 'report the first attempt to the sender by mail')
    .option(
      '-b <mode>',
      'm: submit (default); s: speak SMTP on stdin and stdout; p: list the queue; v: deliver nothing, ask for each recipient and report by mail',
      'm',
    )
    .option(
      '-o <option>',
      'i: as -i; other sendmail options are accepted and ignored',
      collect,
      [] as string[],
    )
    .option('-c, --config <file>', 'configuration file')
    .option('--set <key=value>', 'override one setting; may be given again', collect, [] as string[])
    .option('--json', 'print the queue id as JSON')
    .addOption(new Option('-r <address>').hideHelp())
    .addOption(new Option('-I').hideHelp())
    .addHelpText(
      'after',
      '\nA link to mailactors that is called sendmail, mailq or newaliases acts as that program.' +
        '\nExit codes are those of sendmail: 64 usage, 65 bad input data, 69 no service runs, 75 try again later.',
    )
  for (const flag of ignoredFlags) command.addOption(new Option(flag).hideHelp())
  for (const flag of ignoredWithValue) command.addOption(new Option(`${flag} <value>`).hideHelp())
  command.action(async (recipients: string[], options: Options) => {
    const { config } = loadOrFail(terminal, options)
    if (options.q !== undefined) return await flushQueue(config, options.q)
    // There is no database of aliases to be built.
    if (options.I === true) return undefined
    switch (options.b) {
      case 'm':
        return await submit(terminal, config, recipients, options, options.v === true ? 'record' : undefined)
      case 'v':
        return await submit(terminal, config, recipients, options, 'verify')
      case 's':
        return await speakSmtp(terminal, config)
      case 'p':
        return await listQueue(terminal, config.data_dir, options.json === true)
      case 'i':
        return undefined
      case 'd':
      case 'l':
        throw new CommandFailure(
          exitCodes.usage,
          `send: -b${options.b} starts no service here (run mailactors serve)`,
        )
      default:
        throw new CommandFailure(
          exitCodes.usage,
          `send: there is no mode -b${options.b} (valid are -bm, -bs, -bp, -bv)`,
        )
    }
  })
}

async function submit(
  terminal: Terminal,
  config: Config,
  args: readonly string[],
  options: Options,
  trace: Trace | undefined,
): Promise<void> {
  if (trace === 'verify' && options.t === true) {
    throw new CommandFailure(
      exitCodes.usage,
      'send: -bv reads no mail, so -t cannot be (name the recipients)',
    )
  }
  const { notify, ret } = notices(options)
  const body = bodyType(options.B)
  const fullName = options.F ?? terminal.env.NAME
  const given = args
    .flatMap((arg) => arg.split(','))
    .map((arg) => arg.trim())
    .filter(Boolean)
  if (!options.t && given.length === 0) {
    throw new CommandFailure(
      exitCodes.usage,
      'send: no recipients (name them, or use -t to take them from the header)',
    )
  }
  const sender = senderAddress(options.f ?? options.r, config)
  // What is never delivered is not read.
  const octets =
    trace === 'verify'
      ? Buffer.from(`Subject: probe\nTo: ${given.join(',\n\t')}\n\n`)
      : await readAll(terminal)
  const mail = prepareMail(octets, {
    sender,
    ignoreDots: options.i === true || (options.o ?? []).some((option) => option.startsWith('i')),
    hostname: config.hostname,
    now: new Date(),
    unique: `${Date.now().toString(36)}.${randomBytes(8).toString('hex')}`,
    isForeign: options.G === true,
    ...(fullName === undefined ? {} : { fullName }),
  })
  const wanted = options.t ? [...given, ...mail.headerRecipients] : given
  const addresses = [...new Set(wanted.map((address) => qualified(address, config)))]
  if (addresses.length === 0) {
    throw new CommandFailure(exitCodes.usage, 'send: no recipients in the header (add a To, Cc or Bcc field)')
  }
  const recipients = addresses.map((address): EnvelopeRecipient => {
    const problem = addressProblem(address)
    if (problem !== undefined)
      throw new CommandFailure(exitCodes.badData, `recipient <${address}>: ${problem}`)
    return notify === undefined ? { address } : { address, notify }
  })
  const envelope: Envelope = {
    sender,
    recipients,
    body: body ?? (mail.isEightBit ? '8BITMIME' : '7BIT'),
    ...([sender, ...addresses].some((address) => /[^\x20-\x7e]/.test(address)) ? { smtputf8: true } : {}),
    ...(ret === undefined ? {} : { ret }),
    ...(options.V === undefined ? {} : { envid: options.V }),
    ...(trace === undefined ? {} : { trace }),
  }
  const answer = await new ControlClient(config.data_dir).request(
    'submit',
    { envelope, client: { user: userInfo().username } },
    { content: mail.content },
  )
  if (options.json) printJson(terminal, answer)
}

function bodyType(given: string | undefined): Envelope['body'] {
  if (given === undefined) return undefined
  const word = given.toUpperCase()
  if (word === '7BIT' || word === '8BITMIME') return word
  throw new CommandFailure(exitCodes.usage, `send: -B ${given} (valid are 7BIT and 8BITMIME)`)
}

/** `-q`, `-qRSITE`, `-qIID`; `-q15m` is for a daemon, and says nothing here. */
async function flushQueue(config: Config, what: string | true): Promise<void> {
  const [, kind, value = ''] = /^([A-Z])(.*)$/.exec(what === true ? '' : what) ?? []
  const client = new ControlClient(config.data_dir)
  if (kind === 'I') {
    const args = { operation: 'flush', ids: [value] }
    const { missing } = (await client.request('queue.operate', args)) as { missing: readonly string[] }
    if (missing.length > 0) {
      throw new CommandFailure(
        exitCodes.noInput,
        `${value}: no such mail in the queue (see mailactors queue list)`,
      )
    }
  } else if (kind !== undefined && kind !== 'R') {
    throw new CommandFailure(exitCodes.usage, `send: -q${what} (valid are -q, -qRSITE and -qIID)`)
  } else if (what === true || kind === 'R') await client.request('queue.flush', { site: value })
}

/** `-N` and `-R`, RFC 3461 sections 4.1 and 4.3. */
function notices({ N, R, V }: Options): { notify?: readonly Notify[]; ret?: 'FULL' | 'HDRS' } {
  const words = N?.toUpperCase()
    .split(',')
    .map((word) => word.trim())
  const valid = ['SUCCESS', 'FAILURE', 'DELAY']
  if (
    words !== undefined &&
    !(words.length === 1 && words[0] === 'NEVER') &&
    !words.every((word) => valid.includes(word))
  ) {
    throw new CommandFailure(
      exitCodes.usage,
      `send: -N ${N} (valid are never, or success, failure, delay with commas)`,
    )
  }
  const ret = R?.toUpperCase()
  if (ret !== undefined && ret !== 'FULL' && ret !== 'HDRS') {
    throw new CommandFailure(exitCodes.usage, `send: -R ${R} (valid are full and hdrs)`)
  }
  if (V !== undefined && (V === '' || V.length > 100 || /[^\x20-\x7e]/.test(V))) {
    throw new CommandFailure(exitCodes.usage, 'send: -V takes 1 to 100 printable ASCII characters')
  }
  return {
    ...(words === undefined ? {} : { notify: words as Notify[] }),
    ...(ret === undefined ? {} : { ret }),
  }
}

function senderAddress(given: string | undefined, config: Config): string {
  if (given === undefined) return qualified(userInfo().username, config)
  const bare = given
    .trim()
    .replace(/^<(.*)>$/, '$1')
    .trim()
  if (bare === '') return ''
  const sender = qualified(bare, config)
  const problem = addressProblem(sender)
  if (problem !== undefined) throw new CommandFailure(exitCodes.badData, `sender <${sender}>: ${problem}`)
  return sender
}

/** A name without a domain is a user of this machine. */
function qualified(address: string, { hostname }: Config): string {
  const bare = address.replace(/^<(.*)>$/, '$1').trim()
  return bare.includes('@') ? bare : `${bare}@${hostname}`
}

function addressProblem(address: string): string | undefined {
  if (Buffer.byteLength(address) > 320) return 'too long'
  if (/[\p{Cc}<>]/u.test(address)) return 'not an address'
  return /^("(?:[^"\\]|\\.)*"|[^\s"@]+)@[^\s@]+$/.test(address)
    ? undefined
    : 'not an address (write user@domain)'
}

async function readAll(terminal: Terminal): Promise<Buffer> {
  const chunks: Buffer[] = []
  let octets = 0
  for await (const chunk of terminal.stdin) {
    const bytes = Buffer.from(chunk as Uint8Array)
    chunks.push(bytes)
    octets += bytes.length
    if (octets > maxOctets)
      throw new CommandFailure(exitCodes.badData, `message: larger than ${maxOctets} octets`)
  }
  return Buffer.concat(chunks, octets)
}

/** `-bs`: joins stdin and stdout with the service's own SMTP listener. */
async function speakSmtp(terminal: Terminal, config: Config): Promise<void> {
  const status = (await new ControlClient(config.data_dir).request('status')) as Status
  const listener = status.listeners.find(({ service, tls }) => service === 'smtp' && tls !== 'implicit')
  if (listener === undefined) {
    throw new CommandFailure(
      exitCodes.unavailable,
      'send -bs: the service has no SMTP listener (add a [[listener]])',
    )
  }
  const { address } = listener
  const colon = address.lastIndexOf(':')
  const host = address.slice(0, colon).replace(/^\[(.*)\]$/, '$1')
  const isAny = host === '' || host === '*' || host === '0.0.0.0' || host === '::'
  const socket = connect({ host: isAny ? '127.0.0.1' : host, port: Number(address.slice(colon + 1)) })
  await new Promise<void>((resolve, reject) => {
    socket.on('error', (error) =>
      reject(new CommandFailure(exitCodes.unavailable, `send -bs: ${address}: ${error.message}`)),
    )
    socket.on('data', (reply: Buffer) => terminal.print(reply.toString('latin1')))
    socket.on('close', () => resolve())
    // People and scripts write plain line ends; the server takes none of them.
    terminal.stdin.setEncoding('latin1')
    terminal.stdin.on('data', (text: Buffer | string) =>
      socket.write(String(text).replace(/\r?\n/g, '\r\n'), 'latin1'),
    )
    terminal.stdin.on('end', () => socket.end())
  })
  terminal.stdin.destroy()
}

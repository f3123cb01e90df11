/** Random mailboxes and random POP3 sessions on them, the same for the same seed; and what a server made of them. */
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Random } from '../../src/testing/random.ts'
import { LineClient } from './clients.ts'

// Mailboxes

/** Content of a mail: line ends, dots, NULs and missing parts of all kinds. */
function mailContent(random: Random): string {
  const kind = random.below(16)
  if (kind === 0) return ''
  const end = kind === 1 ? '\r\n' : '\n'
  const endOf = () => (kind === 2 ? random.pick(['\n', '\r\n']) : end)
  let text = ''
  for (let line = random.below(4) + (kind === 3 ? 0 : 1); line > 0; line--) {
    const field = random.pick([
      ...['Subject: x', 'From: a@b', 'X-Y:', 'To: c,', ' folded', 'X-Long: '.padEnd(200, 'w')],
      // Dovecot takes a folded one as it is, line end included.
      `X-UIDL: u-${random.below(3)}${endOf()}X-Z:`,
    ])
    text += `${field}${endOf()}`
  }
  if (kind === 4) return text
  text += endOf()
  // Large ones are read and sent in pieces.
  const isLarge = kind === 11 && random.below(3) === 0
  for (let line = random.below(isLarge ? 9_000 : kind === 5 ? 300 : 12); line > 0; line--) {
    const content = random.pick([
      // Dovecot takes a CR alone for the end of a header: in bodies it is like any other octet.
      ...(kind === 12 ? ['\r', '\r\r', '.\r', '\r.'] : []),
      '',
      '.',
      '..',
      '.x',
      'text',
      'a\rb',
      'nul\0here',
      '\xe4\xf6',
      'From x',
      ' .',
      'x'.repeat(90),
    ])
    text += `${content}${endOf()}`
  }
  if (kind === 6) text += 'no end of line'
  if (kind === 7) text += '.'
  if (kind === 8) text += 'cr at the end\r'
  if (kind === 9) text += `${'long '.repeat(20_000)}\n`
  if (kind === 13 && random.below(4) === 0)
    text += `${'.'.repeat(2 ** 20 + random.below(3))}${random.pick(['', '\r', '\n'])}`
  return text
}

const virtualSize = (text: string): number => text.length + (text.match(/(?<!\r)\n/g)?.length ?? 0)

/** Makes a Maildir with up to eleven mails, some of them known to `dovecot-uidlist`. */
export function makeMaildir(path: string, random: Random): void {
  for (const folder of ['tmp', 'new', 'cur']) mkdirSync(join(path, folder), { recursive: true })
  const records: string[] = []
  // As where mails came from another server, which numbered them in its own way.
  const hasOrder = random.below(4) === 0
  let uid = 1 + random.below(3)
  for (let mail = random.below(12); mail > 0; mail--) {
    const seconds = 1_700_000_000 + records.length * 10 + random.below(10)
    const content = mailContent(random)
    let base = `${seconds}.M${random.below(999_999)}P${mail}.host`
    const sized = random.below(4)
    if (sized >= 2) base += `,S=${content.length}`
    if (sized === 3) base += `,W=${virtualSize(content)}`
    const isNew = random.below(4) === 0
    const flags = [...'DFRST'].filter(() => random.below(4) === 0).join('')
    const name = isNew ? base : `${base}:2,${flags}`
    const file = join(path, isNew ? 'new' : 'cur', name)
    writeFileSync(file, content, 'latin1')
    utimesSync(file, seconds, seconds)
    // In the order of names, as it would have been when they arrived.
    if (records.length === mail % 3 || random.below(3) > 0) {
      const keys = [
        ...(random.below(6) === 0 ? [`P${random.pick(['old-1', 'x.y', ''])}${random.below(100)}`] : []),
        ...(random.below(6) === 0 ? [`W${virtualSize(content)}`] : []),
        ...(random.below(8) === 0 ? [`G${random.pick(['g', 'abc.', ''])}${random.below(100)}`] : []),
        ...(hasOrder && random.below(2) === 0 ? [`O${1 + random.below(20)}`] : []),
      ]
      records.push(`${[uid, ...keys].join(' ')} :${base}`)
      uid += 1 + random.below(3)
    }
  }
  // Without it the UID validity would be the time at which each server looks.
  const header = `3 V17000000${10 + random.below(80)} N${uid + random.below(5)} G${'0123456789abcdef'.repeat(2)}`
  writeFileSync(join(path, 'dovecot-uidlist'), `${[header, ...records].join('\n')}\n`)
}

/** To nobody: Dovecot refuses to touch mail as root. */
export function giveAway(path: string): void {
  chownSync(path, 65_534, 65_534)
  if (statSync(path).isDirectory()) for (const name of readdirSync(path)) giveAway(join(path, name))
}

export interface MaildirState {
  /** With their folder. */
  readonly files: readonly string[]
  readonly uids: readonly string[]
}

/** Files by folder, and UIDs of those that are there, as they stand on the disk. */
export function maildirState(path: string): MaildirState {
  const files = ['new', 'cur'].flatMap((folder) =>
    readdirSync(join(path, folder)).map((name) => `${folder}/${name}`),
  )
  const list = join(path, 'dovecot-uidlist')
  const bases = new Set(files.map((file) => file.slice(4).split(':')[0]))
  const uids = (existsSync(list) ? readFileSync(list, 'latin1') : '')
    .split('\n')
    .slice(1)
    .filter(Boolean)
    .map((line) => {
      const [uid = ''] = line.split(' ')
      return `${uid} ${line.slice(line.indexOf(' :') + 2).split(':')[0]}`
    })
    .filter((line) => bases.has(line.slice(line.indexOf(' ') + 1)))
  return { files: files.sort(), uids }
}

/** Without the mails that were delivered during sessions. */
export function withoutDelivered({ files, uids }: MaildirState): MaildirState {
  const isOld = (line: string) => !line.includes('.other')
  return { files: files.filter(isOld), uids: uids.filter(isOld) }
}

// Sessions

export type Action =
  /** Lines for one write, or several where it is cut at these octets; line ends included. */
  | { readonly kind: 'send'; readonly lines: readonly string[]; readonly cuts: readonly number[] }
  /** Another program removes a mail, delivers one, or changes flags. */
  | { readonly kind: 'remove'; readonly nth: number }
  /** Later ones have later seconds, as with real deliveries. */
  | { readonly kind: 'deliver'; readonly content: string; readonly second: number }
  | { readonly kind: 'flag'; readonly nth: number; readonly flags: string }

export interface Script {
  readonly actions: readonly Action[]
  /** How the client leaves. */
  readonly end: 'quit' | 'drop' | 'fin'
}

const oddNumbers = [
  '',
  ' ',
  '0',
  '-1',
  '+1',
  '01',
  '0002',
  '1 ',
  '99',
  '4294967295',
  '4294967296',
  '99999999999999999999',
  '0'.repeat(100),
  `${'0'.repeat(100)}1`,
  '1\r',
  '1\t',
  '\xb2',
  'abc',
  '1x',
  '1.5',
  ' 1',
  '1 1',
  '\t1',
]

function argument(random: Random, mails: number): string {
  return random.below(5) === 0 ? random.pick(oddNumbers) : String(1 + random.below(Math.max(1, mails + 1)))
}

const anyCase = (random: Random, verb: string): string =>
  [...verb].map((letter) => (random.below(8) === 0 ? letter.toLowerCase() : letter)).join('')

function command(random: Random, mails: number): string {
  const number = () => argument(random, mails)
  switch (random.below(16)) {
    case 0:
      return random.pick(['STAT', 'STAT x', 'STAT 1', 'STAT '])
    case 1:
    case 2:
      return `LIST ${number()}`
    case 3:
      return random.pick(['LIST', 'UIDL', 'LIST ', 'UIDL '])
    case 4:
    case 5:
      return `UIDL ${number()}`
    case 6:
    case 7:
    case 8:
      return `RETR ${number()}`
    case 9:
    case 10:
      return `TOP ${number()} ${random.pick(['0', '1', '2', '5', '10', '1000', '4294967296', '', ' 3', '-1', 'x', '1 2', '18446744073709551614', '99999999999999999999', '00', '0x1', '1 ', '1\r', '3\t', '+1', '\xb9', ''.padEnd(30, ' 2'), '0'.repeat(40), '18446744073709551616'])}`
    case 11:
    case 12:
      return `DELE ${number()}`
    case 13:
      return random.pick(['NOOP', 'NOOP x', 'RSET', 'RSET', 'RSET 1'])
    case 14:
      return random.pick([
        'CAPA',
        'LAST',
        'USER x',
        'PASS y',
        'AUTH PLAIN',
        'STLS',
        'APOP a b',
        'XCLIENT ADDR=1.2.3.4',
        'IDLE',
      ])
    default:
      return random.pick([
        '',
        ' ',
        ' STAT',
        'STAT\t',
        'FOO',
        'ST\rAT',
        'Z'.repeat(600),
        'x'.repeat(1500),
        ...['LIST ', 'NOOP ', 'RETR 1 '].map((start) =>
          start.padEnd(2046, random.pick(['x', '1', ' ', '\x80'])),
        ),
        '\x80\xff',
        'RETR',
        'TOP',
        'DELE',
        'TOP 1',
      ])
  }
}

/** A session after login. */
export function makeScript(random: Random): Script {
  const mails = 6
  const actions: Action[] = []
  for (let step = 2 + random.below(14); step > 0; step--) {
    const kind = random.below(24)
    if (kind === 0) actions.push({ kind: 'remove', nth: random.below(8) })
    else if (kind === 1) actions.push({ kind: 'deliver', content: mailContent(random), second: 50 - step })
    else if (kind === 2)
      actions.push({ kind: 'flag', nth: random.below(8), flags: random.pick(['S', 'FS', '', 'R']) })
    else {
      const count = random.below(3) === 0 ? 2 + random.below(6) : 1
      const lines = Array.from({ length: count }, () => {
        const line = command(random, mails)
        const [verb = '', ...rest] = line.split(' ')
        return `${[anyCase(random, verb), ...rest].join(' ')}${random.below(10) === 0 ? '\n' : '\r\n'}`
      })
      const { length } = lines.join('')
      const cuts =
        random.below(3) === 0 ? Array.from({ length: 1 + random.below(4) }, () => random.below(length)) : []
      actions.push({ kind: 'send', lines, cuts: cuts.sort((a, b) => a - b) })
    }
  }
  return { actions, end: random.pick(['quit', 'quit', 'quit', 'drop', 'fin']) }
}

// What a server makes of it

class ScriptClient extends LineClient {
  static async connect(port: number): Promise<ScriptClient> {
    return new ScriptClient(await LineClient.socketTo(port))
  }
}

/** What of a status line servers have in common. */
function status(line: string, sent: string): string {
  const [verb = '', ...words] = sent.trimEnd().split(' ')
  const hasArgument = words.join(' ').trim() !== ''
  const name = verb.toUpperCase()
  if (line.startsWith('-ERR')) return /^-ERR( \[[^\]]*\])?/.exec(line)![0]
  if (!line.startsWith('+OK')) return line
  if (name === 'STAT' || ((name === 'LIST' || name === 'UIDL') && hasArgument)) return line
  if (name === 'RETR' || name === 'LIST') return /^\+OK \d+/.exec(line)?.[0] ?? line
  return '+OK'
}

function isMulti(line: string, sent: string): boolean {
  if (!line.startsWith('+OK')) return false
  const bare = sent.replace(/\r?\n$/, '')
  const space = bare.indexOf(' ')
  const verb = (space === -1 ? bare : bare.slice(0, space)).toUpperCase()
  const rest = space === -1 ? '' : bare.slice(space + 1).replace(/^ +/, '')
  if (verb === 'RETR' || verb === 'TOP' || verb === 'CAPA') return true
  return (verb === 'LIST' || verb === 'UIDL') && rest === ''
}

/** The mails of a Maildir, without what a server may have renamed. */
function nth(path: string, index: number): { folder: string; name: string } | undefined {
  const all = ['new', 'cur']
    .flatMap((folder) => readdirSync(join(path, folder)).map((name) => ({ folder, name })))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  return all[index]
}

function meddle(path: string, action: Exclude<Action, { kind: 'send' }>): void {
  if (action.kind === 'deliver') {
    const name = `${1_700_009_000 + action.second}.M1P${action.content.length}.other`
    writeFileSync(join(path, 'new', name), action.content, 'latin1')
    return
  }
  const mail = nth(path, action.nth)
  if (mail === undefined) return
  const file = join(path, mail.folder, mail.name)
  if (action.kind === 'remove') rmSync(file)
  else if (mail.folder === 'cur') {
    const renamed = join(path, 'cur', `${mail.name.split(':')[0]}:2,${action.flags}`)
    writeFileSync(renamed, readFileSync(file))
    if (renamed !== file) rmSync(file)
  }
}

/** Runs a session; returns what came back, in comparable form. `maildir` is the server's own copy. */
export async function runScript(
  { port, user, maildir }: { readonly port: number; readonly user: string; readonly maildir: string },
  script: Script,
): Promise<string[]> {
  const client = await ScriptClient.connect(port)
  const transcript: string[] = []
  let isOver = false
  const line = async (): Promise<string> => {
    try {
      return await client.line()
    } catch (error) {
      isOver = true
      return (error as Error).message.startsWith('connection closed') ? 'EOF' : 'SILENCE'
    }
  }
  const take = async (sent: string): Promise<void> => {
    const first = await line()
    transcript.push(`${JSON.stringify(sent.slice(0, 60))} ${status(first, sent)}`)
    if (!isMulti(first, sent)) return
    const isCapa = /^capa/i.test(sent)
    for (let next = await line(); next !== '.' && !isOver; next = await line()) {
      // After login Dovecot shows less, see the specification's appendix B.
      if (!isCapa) transcript.push(next)
    }
    transcript.push(isOver ? 'EOF' : '.')
  }
  await line()
  // Dovecot opens the mailbox after its answer to PASS: only with the next one it is sure to be open.
  client.write(`USER ${user}\r\nPASS secret\r\nSTAT\r\n`)
  for (const sent of ['USER', 'PASS', 'STAT']) await take(sent)
  for (const action of script.actions) {
    if (isOver) break
    if (action.kind !== 'send') {
      meddle(maildir, action)
      continue
    }
    const all = action.lines.join('')
    for (const [index, cut] of [0, ...action.cuts].entries()) {
      client.write(all.slice(cut, action.cuts[index] ?? all.length))
      // The next is another segment.
      await new Promise((resolve) => setImmediate(resolve))
    }
    for (const sent of action.lines) if (!isOver) await take(sent)
  }
  if (!isOver) {
    if (script.end === 'quit') {
      client.write('QUIT\r\nSTAT\r\n')
      await take('QUIT')
      await take('after QUIT')
    } else if (script.end === 'fin') client.socket.end()
    else client.socket.destroy()
  }
  client.socket.end()
  await client.closed
  return transcript
}

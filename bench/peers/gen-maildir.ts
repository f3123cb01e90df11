/**
 * Fills Maildirs with synthetic mail.
 *
 *     node bench/peers/gen-maildir.ts ROOT --users N --messages M --size OCTETS
 *       [--prefix u] [--first 0] [--owner UID:GID] [--new] [--plain] [--seed 1]
 *
 * Makes ROOT/<prefix><i>/{tmp,new,cur} for i = first .. first+N-1, each with M mails of exactly OCTETS octets
 * (headers included, LF line ends; on the POP3 wire each line costs one octet more). Every body has lines that begin
 * with '.', a line that is only '.', and lines up to 200 octets. Mails go to cur/ as read (":2,S"), or to new/ with
 * --new. File names carry S= and W= (sizes on disk and on the wire) as Dovecot's own deliveries do; --plain leaves
 * them out, and a server must read each mail once to know its size. A Maildir that already holds M mails is left
 * alone; one that holds another number is refilled. --owner is needed when the server runs as another user
 * (Dovecot as nobody: 65534:65534).
 */
import { chownSync, linkSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

const WORDS = (
  'the of and to in that is was for it with as his on be at by this had not are but from or have an they ' +
  'which one you were all her she there would their we him been has when who will no more if out so up said what its ' +
  'about than into them can only other time new some could these two may first then do any like my now over such our man'
).split(' ')

export interface MaildirOptions {
  /** Parent of the Maildirs. */
  readonly root: string
  readonly users: number
  readonly messages: number
  /** Octets of one mail on disk. */
  readonly size: number
  /** Default `u`: u0, u1, … */
  readonly prefix?: string
  readonly first?: number
  readonly owner?: { readonly uid: number; readonly gid: number }
  /** In new/, unread. */
  readonly unread?: boolean
  /** No sizes in file names. */
  readonly plain?: boolean
  /** Stored with CRLF, as `mail.save_crlf` does; `size` is still that with LF. */
  readonly crlf?: boolean
  /** Mails are links of a few files: quick to make, and the same to a server that does not read them. */
  readonly linked?: boolean
  readonly seed?: number
}

/** Returns how many mails were written; 0 when all Maildirs were full already. */
export function generateMaildirs(options: MaildirOptions): number {
  const random = generator(options.seed ?? 1)
  const corpus = makeCorpus(options.size * 2 + 8192, random)
  const own = (path: string): void => {
    if (options.owner !== undefined) chownSync(path, options.owner.uid, options.owner.gid)
  }
  const folder = options.unread === true ? 'new' : 'cur'
  const suffix = options.unread === true ? '' : ':2,S'
  const epoch = Date.UTC(2024, 0, 1)
  const first = options.first ?? 0
  let written = 0
  mkdirSync(options.root, { recursive: true })
  own(options.root)
  for (let number = first; number < first + options.users; number++) {
    const user = `${options.prefix ?? 'u'}${number}`
    const home = join(options.root, user)
    if (countMails(home) === options.messages) continue
    rmSync(home, { recursive: true, force: true })
    for (const path of [home, join(home, 'tmp'), join(home, 'new'), join(home, 'cur')]) {
      mkdirSync(path, { recursive: true })
      own(path)
    }
    let model = ''
    let stored: Buffer = Buffer.alloc(0)
    for (let index = 0; index < options.messages; index++) {
      const date = epoch + index * 60_000
      if (options.linked !== true || index % linksOfFile === 0) {
        stored = makeMail({ user, index, date, size: options.size }, corpus, random)
      }
      const text =
        options.crlf === true
          ? Buffer.from(stored.toString('latin1').replaceAll('\n', '\r\n'), 'latin1')
          : stored
      const sizes = options.plain === true ? '' : `,S=${text.length},W=${stored.length + countLines(stored)}`
      const path = join(home, folder, `${date / 1000}.M${index}P${number}.peers${sizes}${suffix}`)
      if (options.linked === true && index % linksOfFile !== 0) linkSync(model, path)
      else {
        writeFileSync(path, text, { mode: 0o600 })
        own(path)
        model = path
      }
      written += 1
    }
  }
  return written
}

/** ext4 allows 65,000. */
const linksOfFile = 60_000

type Random = (limit: number) => number

/** xorshift: the same mails from the same seed on every machine. */
function generator(seed: number): Random {
  let state = seed >>> 0 || 1
  return (limit) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return state % limit
  }
}

/** Lines enough to cut any body from. */
function makeCorpus(octets: number, random: Random): Buffer {
  const lines: string[] = []
  let length = 0
  while (length < octets) {
    const line = makeLine(random(40), random)
    lines.push(line)
    length += line.length + 1
  }
  return Buffer.from(`${lines.join('\n')}\n`, 'latin1')
}

function makeLine(kind: number, random: Random): string {
  if (kind === 0) return '.'
  if (kind === 1) return '..two dots'
  if (kind === 4) return ''
  let line = kind <= 3 ? '.starts with a dot' : ''
  const target = kind === 5 ? 200 : 50 + random(26)
  while (line.length < target) line += (line === '' ? '' : ' ') + WORDS[random(WORDS.length)]
  return line
}

interface MailPlan {
  readonly user: string
  readonly index: number
  readonly date: number
  readonly size: number
}

function makeHeader(plan: MailPlan, random: Random): string {
  const { user, index, date } = plan
  const id = `${Math.trunc(date / 1000)}.${index}.${random(1e9).toString(36)}`
  const stamp = new Date(date).toUTCString().replace('GMT', '+0000')
  const from = `sender${random(997)}@example.net`
  return [
    `Return-Path: <${from}>`,
    `Delivered-To: ${user}@peers.test`,
    `Received: from mail.example.net (mail.example.net [192.0.2.${random(254) + 1}])`,
    `\tby mx.peers.test with ESMTPS id ${random(1e9).toString(36).toUpperCase()}`,
    `\tfor <${user}@peers.test>; ${stamp}`,
    `DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.net; s=s1;`,
    `\th=from:to:subject:date:message-id; bh=${'A'.repeat(43)}=;`,
    `\tb=${Array.from({ length: 4 }, () => random(1e9).toString(36).padEnd(12, 'x')).join('\n\t ')}`,
    `Message-ID: <${id}@example.net>`,
    `Date: ${stamp}`,
    `From: "Sender ${random(997)}" <${from}>`,
    `To: "${user}" <${user}@peers.test>`,
    `Subject: message ${index} ${WORDS[random(WORDS.length)]} ${WORDS[random(WORDS.length)]}`,
    'MIME-Version: 1.0',
    'Content-Type: text/plain; charset=us-ascii',
    'Content-Transfer-Encoding: 7bit',
    '',
    '',
  ].join('\n')
}

/** The header, a dotted first line, then text; ends with LF. */
function makeMail(plan: MailPlan, corpus: Buffer, random: Random): Buffer {
  const head = Buffer.from(`${makeHeader(plan, random)}.first body line starts with a dot\n.\n`, 'latin1')
  const body = Math.max(1, plan.size - head.length)
  const start = corpus.indexOf(10, random(corpus.length - body - 1024)) + 1
  const text = Buffer.concat([head, corpus.subarray(start, start + body)])
  text[text.length - 1] = 10
  return text
}

function countLines(text: Buffer): number {
  let found = 0
  for (let at = text.indexOf(10); at !== -1; at = text.indexOf(10, at + 1)) found += 1
  return found
}

function countMails(home: string): number {
  let found = 0
  for (const folder of ['new', 'cur']) {
    try {
      found += readdirSync(join(home, folder)).length
    } catch {
      // Not there yet: none.
    }
  }
  return found
}

function main(): void {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      users: { type: 'string', default: '1' },
      messages: { type: 'string', default: '10' },
      size: { type: 'string', default: '4096' },
      prefix: { type: 'string', default: 'u' },
      first: { type: 'string', default: '0' },
      owner: { type: 'string' },
      new: { type: 'boolean', default: false },
      plain: { type: 'boolean', default: false },
      seed: { type: 'string', default: '1' },
    },
  })
  const root = positionals[0]
  if (root === undefined) {
    console.error(
      'usage: gen-maildir.ts ROOT --users N --messages M --size OCTETS [options]; see the head of the file',
    )
    process.exit(64)
  }
  const [uid, gid] = values.owner?.split(':').map(Number) ?? []
  const written = generateMaildirs({
    root,
    users: Number(values.users),
    messages: Number(values.messages),
    size: Number(values.size),
    prefix: values.prefix,
    first: Number(values.first),
    unread: values.new,
    plain: values.plain,
    seed: Number(values.seed),
    ...(uid !== undefined && gid !== undefined && { owner: { uid, gid } }),
  })
  console.log(JSON.stringify({ root, written }))
}

if (import.meta.main) main()

/**
 * Random Maildirs as the world has them: lists of all versions, whole and damaged, names that tools made up, keywords,
 * things that should not be there. And what is in one, in a form in which two servers' copies can be compared.
 */
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Random } from '../../src/testing/random.ts'

const guid = '0123456789abcdef0123456789abcdef'

interface Mail {
  readonly base: string
  readonly text: string
}

function content(random: Random, number: number): string {
  const end = random.pick(['\n', '\n', '\r\n'])
  const xuidl = random.chance(0.2) ? `X-UIDL: ${random.pick(['same', `x-${number}`, ' spaced'])}${end}` : ''
  const body = `line${end}`.repeat(random.below(5))
  return random.pick([
    `Subject: ${number}${end}${xuidl}${end}${body}`,
    `Subject: ${number}${end}${xuidl}${end}${body}no end`,
    `Subject: ${number}${end}`,
    number % 7 === 0 ? '' : `${xuidl}Subject: ${number}${end}${end}${body}`,
  ])
}

export const octetsWithCrlf = (text: string): number => text.length + (text.match(/(?<!\r)\n/g)?.length ?? 0)

function baseName(random: Random, number: number, text: string): string {
  const seconds = 1_700_000_000 + number
  const name = random.pick([
    `${seconds}.M${random.below(999_999)}P${number}.host`,
    `${seconds}.${number}.host`,
    `${seconds}.H${number}P2.some.host.example`,
    `${seconds}.V8I${number}M4.host\\057x`,
    `${number}-odd name`,
    `${seconds}.\xe4${number}.host`,
  ])
  const sizes = random.pick([
    '',
    '',
    `,S=${text.length}`,
    `,S=${text.length},W=${octetsWithCrlf(text)}`,
    `,W=${octetsWithCrlf(text)}`,
    `,S=${text.length}x`,
  ])
  return `${name}${sizes}`
}

const flagsOf = (random: Random): string =>
  random.pick([
    '',
    ':2,',
    ':2,',
    ':2,S',
    ':2,FRS',
    ':2,SRF',
    ':2,T',
    ':2,PS',
    ':2,DXS',
    ':2,Sa',
    ':2,bz',
    ':2,S,rest',
    ':1,x',
    ':2',
    ':',
  ])

function keysOf(random: Random, number: number, text: string, base: string, plain: boolean): string {
  // Dovecot shows others as they are.
  const isShown = /^[\x21-\x7e]+$/.test(base)
  const all = [
    random.chance(0.15)
      ? `P${random.pick([`old-${number}`, isShown ? '' : 'same', plain ? `old-${number}` : 'same'])}`
      : '',
    random.chance(0.1) ? `O${random.below(9)}` : '',
    random.chance(0.2) ? `W${octetsWithCrlf(text)}` : '',
    random.chance(0.1) ? `S${text.length}` : '',
    random.chance(0.1) ? `G${random.pick([plain ? `g${number}` : guid, `g-${number}`])}` : '',
    random.chance(0.08) ? `X${random.pick(['unknown', '1=2'])}` : '',
  ].filter((word) => word !== '')
  return all.map((word) => ` ${word}`).join('')
}

/** `dovecot-uidlist`; undefined: there is none. */
function listText(random: Random, records: readonly string[], next: number): string | undefined {
  const validity = 1_600_000_000 + random.below(1_000)
  const body = records.map((record) => `${record}\n`).join('')
  const old = records.map((record) => `${record.replace(/ .*:/, ' ')}\n`).join('')
  const header = `3 V${validity} N${next}`
  return random.pick([
    `${header} G${guid}\n${body}`,
    `${header} G${guid}\n${body}`,
    `${header} G${guid}\n${body}`,
    `${header}\n${body}`,
    `${header} G${guid} Xkept Ykept\n${body}`,
    `N${next} V${validity}`.replace(/^/, '3 ').concat(` G${guid}\n${body}`),
    `1 ${validity} ${next}\n${old}`,
    `${header} G${guid}\n${body.replaceAll('\n', ':2,S\n')}`,
    `${header} G${guid}\n`,
    `3 V${validity} N1 G${guid}\n${body}`,
    undefined,
  ])
}

/** Fills a folder that is empty. `plain`: with nothing strange, and names that are UIDLs; `twins`: some share a name. */
export function makeMaildir(path: string, random: Random, { plain = false, twins = true } = {}): void {
  for (const folder of ['tmp', 'new', 'cur']) mkdirSync(join(path, folder), { recursive: true })
  const mails: Mail[] = []
  const records: string[] = []
  let uid = 1 + random.below(3)
  const count = random.below(14)
  for (let number = 1; number <= count; number++) {
    const text = content(random, number)
    const named = baseName(random, number, text)
    const base = plain ? named.replace(/[^\x21-\x7e]/, '-').replace(/,S=.*/, `,S=${text.length}`) : named
    mails.push({ base, text })
    const isFresh = random.chance(0.3)
    const name = `${base}${isFresh && random.chance(0.8) ? '' : flagsOf(random)}`
    const file = Buffer.from(join(path, isFresh ? 'new' : 'cur', name), 'latin1')
    writeFileSync(file, text, 'latin1')
    utimesSync(file, 1_700_000_000 + number, 1_700_000_000 + number)
    if (random.chance(0.2)) continue
    // A mail that is gone has left its line.
    if (random.chance(0.1))
      records.push(`${uid++}${keysOf(random, number, text, 'gone', plain)} :${number}.gone`)
    records.push(`${uid}${keysOf(random, number, text, base, plain)} :${base}`)
    uid += 1 + random.below(3)
  }
  const list = listText(random, records, uid + random.below(4))
  if (list !== undefined) writeFileSync(join(path, 'dovecot-uidlist'), list, 'latin1')
  else {
    writeFileSync(join(path, 'dovecot-uidvalidity'), '5f000010')
    writeFileSync(join(path, 'dovecot-uidvalidity.5f000010'), '')
  }
  if (random.chance(0.5))
    writeFileSync(
      join(path, 'dovecot-keywords'),
      random.pick(['0 Junk\n', '0 Junk\n1 $Label1\n25 last\n', '1 NonJunk\n']),
    )
  if (!plain && random.chance(0.3)) strange(path, random, twins ? mails : [])
}

/** What other programs, or people, have left there. */
function strange(path: string, random: Random, mails: readonly Mail[]): void {
  const put = (name: string, text = 'Subject: odd\n\nodd\n') =>
    writeFileSync(Buffer.from(join(path, name), 'latin1'), text, 'latin1')
  const mail = mails.find(({ text }) => text !== '')
  // Of the same sizes, as the name may say them.
  const twin = mail?.text.replace(/^./, 'Z') ?? ''
  const kinds: (() => void)[] = [
    () => mkdirSync(join(path, 'cur', 'folder')),
    () => mkdirSync(join(path, 'new', '16.folder')),
    () => {
      mkdirSync(join(path, 'cur', 'full'))
      put('cur/full/x')
    },
    () => put('cur/.dot'),
    () => put('cur/17.line\nend:2,'),
    () => {
      put('outside', 'Subject: link\n\nx\n')
      symlinkSync('../outside', join(path, 'cur', '1700000090.link:2,'))
    },
  ]
  if (mail !== undefined) {
    kinds.push(() => put(`cur/${mail.base}:2,FT`, twin))
    kinds.push(() => put(`new/${mail.base}`, twin))
  }
  random.pick(kinds)()
}

const madeName = /^[0-9]+\.M[0-9]+P[0-9]{3,}(?:T[0-9]+)?(?:Q[0-9]+)?\.[^:,]*/

/**
 * What `dovecot-uidlist` says of the mails that are there. Lines of others may stay, and are not said; the next UID is above
 * all of them, whatever the header says; a GUID that the server has made up is one.
 */
function listLines(text: string, bases: ReadonlySet<string>): string[] {
  const [header = '', ...rows] = text.split('\n')
  const last = Number(rows.at(-2)?.split(' ')[0] ?? 0)
  const words = header.split(' ').map((word) => {
    if (word.startsWith('G')) return word.slice(1) === guid ? word : 'made up'
    return word.startsWith('N') ? `N${Math.max(Number(word.slice(1)), last + 1)}` : word
  })
  const shown = rows.slice(0, -1).flatMap((row) => {
    const at = row.indexOf(' :') + 2
    const base = row.slice(at).split(':')[0]!
    return bases.has(base) ? [row.slice(0, at) + base.replace(madeName, 'MADE')] : []
  })
  // Their order stays what it was until the list is written anew, for which each has its own time.
  return [words.sort().join(' '), ...shown]
}

/** Everything in a Maildir that both servers keep, one line each. */
export function maildirText(path: string): string {
  const lines: string[] = []
  const bases = new Set<string>()
  for (const folder of ['new', 'cur', 'tmp']) {
    for (const name of readdirSync(join(path, folder), 'latin1')) {
      const file = Buffer.from(join(path, folder, name), 'latin1')
      const stat = lstatSync(file)
      bases.add(name.split(':')[0]!)
      // Names that the server made up.
      const shown = name.replace(madeName, 'MADE')
      const text = stat.isFile()
        ? readFileSync(file, 'latin1')
        : stat.isSymbolicLink()
          ? readlinkSync(file)
          : 'folder'
      lines.push(
        `${folder}/${JSON.stringify(shown)} ${Math.floor(stat.mtimeMs / 1000) < 1_750_000_000 ? stat.mtimeMs : 'now'} ${stat.uid} ${JSON.stringify(text)}`,
      )
    }
  }
  const extra = readdirSync(path).filter(
    (name) =>
      !['new', 'cur', 'tmp', 'outside'].includes(name) &&
      !/^dovecot\.index|^dovecot\.list|^dovecot-uidlist$|\.(?:lock|tmp)$/.test(name),
  )
  for (const name of extra) {
    const file = join(path, name)
    lines.push(`${name} ${statSync(file).isFile() ? readFileSync(file, 'latin1') : 'folder'}`)
  }
  lines.sort()
  const list = readFileSync(join(path, 'dovecot-uidlist'), 'latin1')
  return [...lines, ...listLines(list, bases)].join('\n')
}

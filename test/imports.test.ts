/** Who may import whom, read from the sources. ARCHITECTURE.md has the same in words, with the reasons. */
import { globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { projectRoot } from './support/service.ts'

interface Import {
  /** Below `src/`, with slashes. */
  readonly from: string
  /** Below `src/` too, or the name of a package or of a part of Node. */
  readonly to: string
  readonly isTypeOnly: boolean
}

const importPattern =
  /^\s*(?:import|export)\b([\s\w$*{},]*?)\bfrom\s*'([^']+)'|(?:^\s*import\s*|\bimport\s*\(\s*)'([^']+)'/gm

function importsIn(from: string, source: string): Import[] {
  return [...source.matchAll(importPattern)].map(([, names = '', static_, bare]) => {
    const to = static_ ?? bare ?? ''
    return {
      from,
      to: to.startsWith('.') ? join(dirname(from), to) : to,
      isTypeOnly: /^\s*type\b/.test(names),
    }
  })
}

const sources = globSync('**/*.ts', { cwd: join(projectRoot, 'src') })
const imports = sources.flatMap((file) =>
  importsIn(file, readFileSync(join(projectRoot, 'src', file), 'utf8')),
)
const isOurs = ({ to }: Import) => to.endsWith('.ts')

const protocols = ['protocols/pop3', 'protocols/smtp/client', 'protocols/smtp/server']
const mailFolders = [
  'accounting',
  'auth',
  'cache',
  'dns',
  'listeners',
  'mailbox',
  'protocols',
  'protocols/smtp',
  'queue',
  'tables',
  ...protocols,
]

/** The part a file belongs to: its folder, the longest one that is named above. */
function partOf(file: string): string {
  const folder = dirname(file)
  const known = mailFolders.filter((part) => folder === part || folder.startsWith(`${part}/`))
  return known.toSorted((a, b) => b.length - a.length)[0] ?? folder.split('/')[0]!
}

/** What a mail folder offers to its siblings beside `contract.ts`: functions without state and without an actor. */
const shared: readonly string[] = [
  'auth/networks.ts',
  'auth/sasl/offer.ts',
  'auth/sasl/sasl-prep.ts',
  'auth/scram-keys.ts',
  'cache/labels.ts',
  'cache/lending.ts',
  'dns/names.ts',
  'dns/resolver.ts',
  'dns/reverse.ts',
  'mailbox/deliver.ts',
  'mailbox/dotlock.ts',
  'mailbox/quota.ts',
  'protocols/endpoints.ts',
  'protocols/line-reader.ts',
  'protocols/server-sasl.ts',
  'protocols/server-tls.ts',
  'protocols/smtp/address.ts',
  'protocols/smtp/xtext.ts',
  'queue/delays.ts',
  'queue/queue-id.ts',
  'tables/config.ts',
  'queue/room.ts',
]

const isContract = (file: string) => file.endsWith('/contract.ts')
const within = (file: string, ...folders: readonly string[]) =>
  folders.some((folder) => file.startsWith(`${folder}/`))

/** Each returns whether an import is allowed; asked of those whose importer is in `of`. */
const rules: readonly {
  readonly name: string
  readonly of: (file: string) => boolean
  readonly allows: (one: Import) => boolean
}[] = [
  {
    name: 'actors imports nothing of ours',
    of: (file) => within(file, 'actors'),
    allows: (one) => !isOurs(one) || within(one.to, 'actors'),
  },
  {
    name: 'runtime imports actors, and knows nothing of mail',
    of: (file) => within(file, 'runtime'),
    allows: (one) => !isOurs(one) || within(one.to, 'actors', 'runtime'),
  },
  {
    name: 'testing and the public entry of the actors know nothing of mail',
    of: (file) => within(file, 'testing') || file === 'index.ts',
    allows: (one) => !isOurs(one) || within(one.to, 'actors', 'runtime', 'testing'),
  },
  {
    name: 'a mail folder imports actors, config, contracts of its siblings and what they share',
    of: (file) => mailFolders.includes(partOf(file)),
    allows: (one) =>
      !isOurs(one) ||
      within(one.to, 'actors') ||
      one.to === 'config/schema.ts' ||
      (one.to === 'config/settings.ts' && one.isTypeOnly) ||
      partOf(one.to) === partOf(one.from) ||
      (mailFolders.includes(partOf(one.to)) && (isContract(one.to) || shared.includes(one.to))),
  },
  {
    name: 'pop3, the SMTP server and the SMTP client never import each other',
    of: (file) => protocols.includes(partOf(file)),
    allows: (one) => !protocols.includes(partOf(one.to)) || partOf(one.to) === partOf(one.from),
  },
  {
    name: 'what the protocols share imports no protocol',
    of: (file) => partOf(file) === 'protocols' || partOf(file) === 'protocols/smtp',
    allows: (one) => !within(one.to, ...protocols),
  },
  {
    name: 'config imports the config.ts of a folder and nothing else of it',
    of: (file) => within(file, 'config'),
    allows: (one) => !isOurs(one) || within(one.to, 'actors', 'config') || one.to.endsWith('/config.ts'),
  },
  {
    name: 'admin imports contracts, what the folders share, and how a mail is received',
    of: (file) => within(file, 'admin'),
    allows: (one) =>
      !isOurs(one) ||
      within(one.to, 'actors', 'admin') ||
      isContract(one.to) ||
      shared.includes(one.to) ||
      // `mailactors send` is received as by a session: same Received field, same content file.
      ['protocols/smtp/server/header.ts', 'protocols/smtp/server/spool.ts'].includes(one.to) ||
      // The admin page listens by itself, and writes addresses as the other listeners do.
      one.to === 'listeners/listen.ts' ||
      (one.to === 'config/settings.ts' && one.isTypeOnly),
  },
  {
    name: 'runtime is imported by nobody but who joins it with the rest',
    of: (file) =>
      !within(file, 'runtime', 'testing') &&
      !['index.ts', 'serve.ts', 'mail-pools.ts', 'cli/log.ts'].includes(file),
    allows: (one) => !within(one.to, 'runtime'),
  },
  {
    name: 'nothing below imports the tree, serve or the command line',
    of: (file) => !within(file, 'cli') && !['mail.ts', 'serve.ts', 'listener-changes.ts'].includes(file),
    allows: (one) => !within(one.to, 'cli') && !['mail.ts', 'serve.ts', 'tree.ts'].includes(one.to),
  },
]

const violations = ({ of, allows }: (typeof rules)[number], all: readonly Import[]) =>
  all.filter((one) => of(one.from) && !allows(one)).map(({ from, to }) => `${from} imports ${to}`)

describe('imports in src', () => {
  test.each(rules)('$name', (rule) => {
    expect(sources.filter(rule.of)).not.toEqual([])
    expect(violations(rule, imports)).toEqual([])
  })

  test('each import of ours names a file that is there', () => {
    const files = new Set(sources)
    expect(imports.filter((one) => isOurs(one) && !files.has(one.to))).toEqual([])
  })

  test('what is shared is used by another folder', () => {
    const used = new Set(imports.filter((one) => partOf(one.from) !== partOf(one.to)).map(({ to }) => to))
    expect(shared.filter((file) => !used.has(file))).toEqual([])
  })
})

describe('packages', () => {
  /** A package is known to one place, so that it can be replaced there. */
  const places: Readonly<Record<string, (file: string) => boolean>> = {
    bcryptjs: (file) => file === 'auth/crypt.ts',
    comlink: (file) => file === 'runtime/control.ts',
    commander: (file) => within(file, 'cli'),
    'dns-packet': (file) => file === 'dns/wire.ts',
    eventemitter3: (file) => file === 'runtime/system.ts',
    jose: (file) => file === 'auth/tokens.ts',
    'msgpackr/pack': (file) => file === 'runtime/transport/codec.ts',
    'msgpackr/unpack': (file) => file === 'runtime/transport/codec.ts',
    'nodemailer/lib/dkim': (file) => file === 'protocols/smtp/client/tls/rpt/dkim.ts',
    pino: (file) => file === 'runtime/log.ts',
    'pino-pretty': (file) => file === 'runtime/log.ts',
    piscina: (file) => ['runtime/host.ts', 'runtime/jobs.ts', 'runtime/workers.ts'].includes(file),
    'prom-client': (file) => within(file, 'admin'),
    'smol-toml': (file) => within(file, 'config'),
    unixcrypt: (file) => file === 'auth/crypt.ts',
    // SQL stands in store modules alone.
    'node:sqlite': (file) =>
      [
        'mailbox/index-store.ts',
        'protocols/smtp/client/sasl/failure-table.ts',
        'protocols/smtp/client/tls/state-database.ts',
        'queue/database.ts',
        'queue/salvage.ts',
        'queue/store.ts',
        'queue/stored-queue.ts',
      ].includes(file),
  }

  test.each(Object.entries(places))('%s is imported in its place only', (name, isPlace) => {
    const importers = imports.filter(({ to }) => to === name).map(({ from }) => from)
    expect(importers).not.toEqual([])
    expect(importers.filter((from) => !isPlace(from))).toEqual([])
  })

  test('no others are imported', () => {
    const others = imports.filter(({ to }) => !to.endsWith('.ts') && !to.startsWith('node:'))
    expect(others.filter(({ to }) => places[to] === undefined)).toEqual([])
  })
})

test('only the command line, and a thread’s entry for its own errors, touch the process', () => {
  const allowed = (file: string) => within(file, 'cli') || file === 'runtime/thread-entry.ts'
  const uses = sources
    .filter((file) => !allowed(file))
    .filter((file) =>
      /\bprocess\.(?:on|once|off|exit|env|argv|stdin|stdout|stderr|cwd|kill|chdir|umask|setuid|setgid)\b/.test(
        withoutComments(readFileSync(join(projectRoot, 'src', file), 'utf8')),
      ),
    )
  expect(uses).toEqual([])
})

const withoutComments = (source: string) =>
  source.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/^\s*\/\/.*$/gm, '')

test.each([
  { file: 'queue/manager.ts', source: "import { ActorSystem } from '../runtime/system.ts'" },
  { file: 'queue/manager.ts', source: "import {\n  Mailbox,\n} from '../mailbox/mailbox.ts'" },
  { file: 'auth/auth.ts', source: "import { tables } from '../config/settings.ts'" },
  { file: 'protocols/pop3/session.ts', source: "export * from '../smtp/server/replies.ts'" },
  { file: 'actors/index.ts', source: "import '../runtime/loose.ts'" },
  { file: 'config/loader.ts', source: "const { serve } = await import('../serve.ts')" },
])('$file with `$source` would be found', ({ file, source }) => {
  const found = rules.flatMap((rule) => violations(rule, importsIn(file, source)))
  expect(found).not.toEqual([])
})

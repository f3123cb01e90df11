/**
 * Writes docs/api.md, the reference of what the package exports, from the declarations that the compiler emits and the
 * comments in them: `npm run docs`. A test says when the page is behind.
 *
 * Of the tools for this none reads TypeScript 7 yet, and the compiler's own interface is not settled. What it emits is
 * laid out so regularly that lines are enough: a statement starts in the first column, a member after four spaces.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
export const referenceFile = join(root, 'docs', 'api.md')

const entries = [
  { name: 'mailactors', file: 'index.d.ts' },
  { name: 'mailactors/testing', file: 'testing/index.d.ts' },
  { name: 'mailactors/mail', file: 'mail.d.ts' },
]

interface Statement {
  /** Text of its comment, without the stars. */
  readonly doc: string
  readonly code: string
}

interface Export extends Statement {
  readonly name: string
}

/** The whole page, from the source as it is now. */
export function apiReference(): string {
  const dir = mkdtempSync(join(tmpdir(), 'api-'))
  try {
    const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
    const project = join(root, 'tsconfig.build.json')
    execFileSync(process.execPath, [
      compiler,
      '-p',
      project,
      '--noCheck',
      '--emitDeclarationOnly',
      '--outDir',
      dir,
    ])
    const sections = entries.map(({ name, file }) => section(name, join(dir, file)))
    return `${head}\n${sections.join('\n')}`
  } finally {
    rmSync(dir, { recursive: true })
  }
}

const head = `# API reference

Written by \`npm run docs\` from the comments in the source: change them there. Times are milliseconds and sizes octets where a
name does not say otherwise. Names that are not here are not part of the interface, whatever can be reached.
`

function section(entry: string, file: string): string {
  const source = readFileSync(file, 'utf8')
  const [first] = statementsIn(source)
  const introduction = first?.code === '' ? prose(first.doc) : ''
  const exports = exportsOf(file)
    .filter(({ doc }) => !doc.startsWith('@internal'))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
  const kinds = [
    {
      title: 'Functions and values',
      belongs: ({ code }: Export) => /^(?:declare )?(?:const|function)\b/.test(code),
    },
    { title: 'Classes', belongs: ({ code }: Export) => /^(?:declare )?(?:abstract )?class\b/.test(code) },
    { title: 'Types', belongs: isType },
  ]
  const parts = kinds.flatMap(({ title, belongs }) => {
    const some = exports.filter(belongs)
    if (some.length === 0) return []
    const contents = some.map((one) => `[${one.name}](#${anchor(entry, one, exports)})`).join(' · ')
    return [`### ${title}\n\n${contents}\n`, ...some.map((one) => entryOf(anchor(entry, one, exports), one))]
  })
  return [`## ${entry}\n`, ...(introduction === '' ? [] : [`${introduction}\n`]), ...parts].join('\n')
}

/** A type beside a value of the same letters, as `shutdown` and `Shutdown`, has an anchor of its own. */
function anchor(entry: string, { name, code }: Export, exports: readonly Export[]): string {
  const same = exports.find((one) => one.name.toLowerCase() === name.toLowerCase() && !isType(one))
  const suffix = same !== undefined && isType({ code }) ? '-type' : ''
  return `${entry.replace('/', '-')}-${name.toLowerCase()}${suffix}`
}

const isType = ({ code }: { readonly code: string }) => /^(?:interface|type)\b/.test(code)

function entryOf(id: string, { name, doc, code }: Export): string {
  const text = prose(doc)
  return [
    `#### <a id="${id}"></a>${name}\n`,
    ...(text === '' ? [] : [`${text}\n`]),
    `\`\`\`ts\n${withoutInternals(code)}\n\`\`\`\n`,
  ].join('\n')
}

/** What a module exports by itself and from others, by the names it gives them. */
function exportsOf(file: string): Export[] {
  const found: Export[] = []
  const local = new Map<string, Statement>()
  for (const { doc, code } of statementsIn(readFileSync(file, 'utf8'))) {
    const from = /^export (?:type )?(\*|\{[^}]*\}) from ['"](.+)['"]/.exec(code)
    if (from !== null) {
      const [, names = '', specifier = ''] = from
      const others = exportsOf(join(dirname(file), specifier.replace(/\.ts$/, '.d.ts')))
      if (names === '*') found.push(...others)
      for (const { original, as } of renamings(names)) {
        const other = others.find(({ name }) => name === original)
        if (other === undefined) throw new Error(`${file}: ${specifier} does not export ${original}`)
        found.push({ ...other, name: as })
      }
      continue
    }
    const [, isExported, isDefault, name] =
      /^(export )?(default )?(?:declare )?(?:abstract )?(?:class|const|function|interface|type) (\w+)/.exec(
        code,
      ) ?? []
    if (name === undefined) {
      for (const { original, as } of renamings(/^export (?:type )?(\{[^}]*\});/.exec(code)?.[1] ?? '')) {
        const statement = local.get(original)
        if (statement !== undefined) found.push({ ...statement, name: as })
      }
      continue
    }
    const statement = { doc, code: code.replace(/^export (?:default )?(?:declare )?/, '') }
    local.set(name, statement)
    if (isExported !== undefined)
      found.push({ ...statement, name: isDefault === undefined ? name : 'default' })
  }
  return found
}

/** `{ a, type b, c as d }` as pairs. */
function renamings(braces: string): { original: string; as: string }[] {
  return [...braces.matchAll(/(?:type )?(\w+)(?: as (\w+))?\s*[,}]/g)].map(([, original = '', as]) => ({
    original,
    as: as ?? original,
  }))
}

/** Cuts a file, or what is within the braces of a declaration, into its parts, each with the comment before it. */
function statementsIn(source: string, indent = ''): Statement[] {
  const statements: { doc: string[]; code: string[] }[] = []
  let isDoc = false
  for (const line of source.split('\n')) {
    if (line.startsWith(`${indent}//`)) continue
    let current = statements.at(-1)
    if (line.startsWith(`${indent}/**`)) {
      isDoc = true
      current = { doc: [], code: [] }
      statements.push(current)
    }
    if (isDoc) {
      current?.doc.push(line.slice(indent.length))
      isDoc = !line.endsWith('*/')
      continue
    }
    const starts = line.startsWith(indent) && /^[^\s})\]|]/.test(line.slice(indent.length))
    if (current === undefined || (starts && current.code.length > 0))
      statements.push({ doc: [], code: [line] })
    else current.code.push(line)
  }
  return statements.map(({ doc, code }) => ({ doc: textOf(doc), code: code.join('\n').trimEnd() }))
}

const textOf = (comment: readonly string[]) =>
  comment
    .join('\n')
    .replace(/^\/\*\*/, '')
    .replace(/\*\/$/, '')
    .replaceAll(/^ \* ?/gm, '')
    .trim()

/** The words of a comment as Markdown. */
const prose = (doc: string) =>
  doc
    .replaceAll(/\{@link (\w+)\}/g, '`$1`')
    .replaceAll(/^@throws /gm, '\nThrows ')
    .replaceAll(/^@param (\w+) /gm, '\n`$1`: ')
    .replaceAll(/\n{3,}/g, '\n\n')
    .trim()

/** A declaration without its private and internal members. */
function withoutInternals(code: string): string {
  const lines = code.split('\n')
  if (!/\{$/.test(lines[0] ?? '') || lines.at(-1)?.startsWith('}') !== true) return code
  const members = statementsIn(lines.slice(1, -1).join('\n'), '    ')
  const shown = members.filter(
    ({ doc, code: member }) => !doc.startsWith('@internal') && !/^ *(?:#|private )/.test(member),
  )
  const text = shown.flatMap(({ doc, code: member }) => [...commentLines(doc), member])
  return [lines[0], ...text, lines.at(-1)].join('\n').replaceAll('    ', '  ')
}

function commentLines(doc: string): string[] {
  if (doc === '') return []
  const lines = doc.split('\n')
  if (lines.length === 1) return [`    /** ${doc} */`]
  return ['    /**', ...lines.map((line) => `     * ${line}`.trimEnd()), '     */']
}

if (import.meta.main) writeFileSync(referenceFile, apiReference())

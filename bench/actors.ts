/**
 * Actors of ours against raw postMessage, comlink, piscina, nact, comedy and Erlang/OTP, with the same message. Each question is
 * put to each in a process of its own, in turn, some rounds; the medians count. About two minutes.
 *
 *     npm run bench -- actors [--quick] [--rounds N] [--out DIR]
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type Plot, page } from './actors/page.ts'
import type { Figures, Question } from './actors/workload.ts'
import { cleanUp, cleanUpOnSignals, findProgram, run } from './harness/processes.ts'
import { median } from './harness/statistics.ts'

const here = join(dirname(fileURLToPath(import.meta.url)), 'actors')
const { values: option } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    out: { type: 'string', default: join(here, '..', 'results') },
  },
})
const ms = option.quick ? 200 : 600
const rounds = Number(option.rounds ?? (option.quick ? 1 : 3))

interface Column {
  readonly question: Question
  readonly key: string
  readonly title: string
  readonly unit: string
  readonly better: 'more' | 'less'
  readonly scale: number
  readonly digits: number
}

const rate = { key: 'rate', unit: 'M/s', better: 'more', scale: 1e-6, digits: 3 } as const
const micro = { key: 'p50', unit: 'us, median', better: 'less', scale: 1, digits: 1 } as const
const columns: readonly Column[] = [
  { question: 'hereOneWay', title: 'one way, same thread', ...rate },
  { question: 'ring', title: 'ring, same thread', ...rate },
  { question: 'herePingPong', title: 'ping-pong, same thread', ...micro, digits: 2 },
  { question: 'oneWay', title: 'one way, other thread', ...rate },
  { question: 'pingPong', title: 'ping-pong, other thread', ...micro },
  { question: 'pingPong', title: 'the same, spinning 20 us', ...micro, key: 'spinning' },
  { question: 'ask', title: 'ask, one by one', ...micro },
  { question: 'ask', title: 'asks, 64 under way', ...rate },
  { question: 'spawn', title: 'spawn', ...rate },
  {
    question: 'memory',
    title: 'idle actor',
    key: 'octets',
    unit: 'octets',
    better: 'less',
    scale: 1,
    digits: 0,
  },
  {
    question: 'recovery',
    title: 'killed thread back',
    key: 'ms',
    unit: 'ms',
    better: 'less',
    scale: 1,
    digits: 0,
  },
  {
    question: 'recovery',
    title: 'the same, no spare thread',
    key: 'cold',
    unit: 'ms',
    better: 'less',
    scale: 1,
    digits: 0,
  },
]

interface Peer {
  readonly name: string
  readonly questions: readonly Question[]
  readonly unavailable?: string | undefined
  command(question: Question): readonly [program: string, args: readonly string[]]
}

const across: readonly Question[] = ['oneWay', 'pingPong', 'ask']
const all = [...new Set(columns.map(({ question }) => question))]

function node(name: string, questions: readonly Question[], unavailable?: string): Peer {
  const args = ['--expose-gc', '--disable-warning=ExperimentalWarning', join(here, 'run.ts'), name]
  return {
    name,
    questions,
    unavailable,
    command: (question) => [process.execPath, [...args, question, String(ms)]],
  }
}

/** OTP's schedulers are its threads: one where all happens on one, so that nothing else gets in its way. */
async function otp(dir: string): Promise<Peer> {
  const questions = all.filter((question) => question !== 'recovery')
  const missing = ['erl', 'erlc'].find((program) => findProgram(program) === undefined)
  if (missing === undefined) {
    await run(findProgram('erlc')!, ['-o', dir, join(here, 'otp.erl')], { timeoutMs: 30_000, okCodes: [0] })
  }
  return {
    name: 'OTP',
    questions,
    unavailable: missing === undefined ? undefined : `${missing} is not installed (apt: erlang-base)`,
    command: (question) => {
      const schedulers = across.includes(question) ? '2:2' : '1:1'
      const args = [
        '-noshell',
        '-noinput',
        '+S',
        schedulers,
        '+P',
        '1000000',
        '-pa',
        dir,
        '-run',
        'otp',
        'main',
      ]
      return ['erl', [...args, question, String(ms)]]
    },
  }
}

/** Peers that are no dependencies of the project, in a folder of their own. Says why it did not work. */
async function installPeers(): Promise<string | undefined> {
  if (['nact', 'comedy'].every((name) => existsSync(join(here, 'node_modules', name)))) return undefined
  const npm = findProgram('npm')
  if (npm === undefined) return 'npm is not installed'
  try {
    const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', here]
    await run(npm, args, { timeoutMs: 60_000, okCodes: [0] })
    return undefined
  } catch (error) {
    return `npm install failed: ${String(error).slice(0, 200)}`
  }
}

async function measure(dir: string): Promise<void> {
  const noPeers = await installPeers()
  const peers: readonly Peer[] = [
    node('ours', all),
    node('post-message', [...across, 'recovery']),
    node('comlink', across),
    node('piscina', [...across, 'recovery']),
    node('nact', ['hereOneWay', 'spawn', 'memory'], noPeers),
    node('comedy', ['hereOneWay', ...across, 'spawn', 'memory'], noPeers),
    await otp(dir),
  ]
  const figures = new Map<string, Figures[]>()
  const notes: string[] = []
  for (const { name, unavailable } of peers) if (unavailable) notes.push(`${name}: left out: ${unavailable}`)
  for (let round = 1; round <= rounds; round++) {
    for (const question of all) {
      for (const peer of peers) {
        if (peer.unavailable !== undefined || !peer.questions.includes(question)) continue
        const [program, args] = peer.command(question)
        try {
          const { stdout } = await run(program, [...args], { timeoutMs: 20_000, okCodes: [0] })
          const key = `${peer.name} ${question}`
          figures.set(key, [...(figures.get(key) ?? []), JSON.parse(stdout) as Figures])
        } catch (error) {
          notes.push(`${peer.name}, ${question}: failed: ${String(error).slice(0, 300)}`)
        }
      }
    }
  }
  const value = (peer: Peer, { question, key, scale }: Column): number =>
    median((figures.get(`${peer.name} ${question}`) ?? []).map((one) => one[key] ?? Number.NaN)) * scale
  report(peers, value, notes)
}

function report(
  peers: readonly Peer[],
  value: (peer: Peer, column: Column) => number,
  notes: string[],
): void {
  const [ours] = peers
  const rows: string[][] = [['', ...peers.map(({ name }) => name)]]
  const plots: Plot[] = []
  const results: object[] = []
  for (const column of columns) {
    const mine = value(ours!, column)
    const cells = peers.map((peer) => {
      const theirs = value(peer, column)
      if (!Number.isFinite(theirs)) return '–'
      if (peer === ours) return theirs.toFixed(column.digits)
      const ratio = column.better === 'more' ? mine / theirs : theirs / mine
      return `${theirs.toFixed(column.digits)} (${ratio.toFixed(1)}x)`
    })
    rows.push([`${column.title}, ${column.unit}`, ...cells])
    const known = peers.filter((peer) => Number.isFinite(value(peer, column)))
    const bars = known.map((peer) => ({
      name: peer.name,
      value: value(peer, column),
      text: value(peer, column).toFixed(column.digits),
    }))
    plots.push({ title: column.title, unit: column.unit, better: column.better, bars })
    results.push({ title: column.title, unit: column.unit, better: column.better, bars })
  }
  const widths = rows[0]!.map((_, at) => Math.max(...rows.map((row) => row[at]!.length)))
  const table = rows.map((row) =>
    row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!))).join('  '),
  )
  const [cpu] = cpus()
  const facts = `Node ${process.version}, ${cpus().length} cores, ${cpu?.model ?? ''}; ${rounds} rounds, medians`
  console.log(`actors: the same message of 180 octets; in brackets how many times ours is better\n${facts}\n`)
  console.log(table.join('\n'))
  for (const note of notes) console.log(note)
  mkdirSync(option.out, { recursive: true })
  const at = new Date().toISOString()
  const file = join(option.out, `actors-${at.replace(/[:.]/g, '-')}`)
  writeFileSync(`${file}.json`, `${JSON.stringify({ at, facts, results, notes }, undefined, 2)}\n`)
  writeFileSync(`${file}.html`, page('Actors, compared', `${facts}; ${at}`, plots))
  console.log(`\nwritten: ${file}.json and .html`)
}

cleanUpOnSignals()
const dir = mkdtempSync(join(tmpdir(), 'mab-'))
try {
  await measure(dir)
} finally {
  await cleanUp()
  rmSync(dir, { recursive: true, force: true })
}

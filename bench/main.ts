/**
 * Side-by-side benchmarks.
 *
 *     npm run bench -- [relay] [relay-reuse] [drain] [drain-far] [cache] [pop3] [pop3-drain] [pop3-idle] [pop3-mailbox] [pop3-mailbox-plain] [pop3-million] [pop3-memory] [pop3-memory-million] [pop3-fuzz] [soak] [NAME…] [--rounds N] [--quick] [--out DIR] [--dir DIR] [--json]
 *
 * `relay` and `pop3` compare with Postfix and Dovecot where they are installed (bench/peers/install-peers.sh); other
 * names are the programs bench/NAME.ts. --out is where the JSON goes (default bench/results), --dir where queues and
 * mailboxes are put while it runs: the disk that is measured.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, release, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { cache } from './cache.ts'
import { drain, drainFar } from './drain.ts'
import { cleanUp, cleanUpOnSignals, run } from './harness/processes.ts'
import { report } from './harness/report.ts'
import { runScenario, type Scenario, type ScenarioResult } from './harness/scenario.ts'
import { intake, intakeMany, intakeReuse } from './intake.ts'
import { pop3Drain } from './pop3/drain.ts'
import { pop3Idle } from './pop3/idle.ts'
import { pop3Mailbox, pop3MailboxPlain, pop3Million } from './pop3/mailbox.ts'
import { pop3Memory, pop3MemoryMillion } from './pop3/memory.ts'
import { pop3 } from './pop3.ts'
import { relay, relayReuse } from './relay.ts'

const scenarios: readonly Scenario[] = [
  ...[relay, relayReuse, drain, drainFar, cache, intake, intakeReuse, intakeMany],
  ...[pop3, pop3Drain, pop3Idle, pop3Mailbox, pop3MailboxPlain, pop3Million, pop3Memory, pop3MemoryMillion],
]
const here = fileURLToPath(new URL('.', import.meta.url))

const { values: option, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string' },
    quick: { type: 'boolean', default: false },
    out: { type: 'string', default: join(here, 'results') },
    dir: { type: 'string', default: tmpdir() },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

/** Programs beside the scenarios: bench/NAME.ts. */
function programs(): string[] {
  return readdirSync(here)
    .filter((file) => file.endsWith('.ts') && file !== 'main.ts')
    .map((file) => file.slice(0, -3))
    .filter((name) => !scenarios.some((scenario) => scenario.name === name))
    .sort()
}

function actorsOptions(): string[] {
  const { quick, rounds, out } = option
  return [...(quick ? ['--quick'] : []), ...(rounds === undefined ? [] : ['--rounds', rounds]), '--out', out]
}

function usage(): string {
  return [
    'usage: npm run bench -- [SCENARIO…] [--rounds N] [--quick] [--out DIR] [--dir DIR] [--json]',
    ...scenarios.map(({ name, summary }) => `  ${name.padEnd(14)} ${summary}`),
    ...programs().map((name) => `  ${name.padEnd(14)} bench/${name}.ts`),
  ].join('\n')
}

/** What the numbers depend on. */
function machine(): object {
  let commit = 'unknown'
  try {
    commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
      cwd: here,
      encoding: 'utf8',
      stdio: 'pipe',
    }).trim()
  } catch {
    // Not a checkout: the package's version says enough.
  }
  const [cpu] = cpus()
  return { node: process.version, kernel: release(), cores: cpus().length, cpu: cpu?.model, commit }
}

async function runOne(scenario: Scenario): Promise<ScenarioResult> {
  const dir = mkdtempSync(join(option.dir, 'mab-'))
  // Peers drop root and must still get in.
  chmodSync(dir, 0o755)
  try {
    const contestants = await scenario.contestants({ dir, quick: option.quick })
    const rounds = Number(option.rounds ?? (option.quick ? 1 : scenario.rounds))
    return await runScenario(scenario, contestants, rounds, (name, round, result) => {
      const text =
        result instanceof Error
          ? `failed: ${result.message}`
          : scenario.columns
              .map(({ key, title, digits = 0 }) => `${title} ${(result[key] ?? Number.NaN).toFixed(digits)}`)
              .join(', ')
      if (!option.json) console.error(`  ${scenario.name} round ${round}/${rounds} ${name}: ${text}`)
    })
  } finally {
    await cleanUp()
    rmSync(dir, { recursive: true, force: true })
  }
}

async function main(): Promise<number> {
  const names = positionals.length > 0 ? positionals : scenarios.map(({ name }) => name)
  const known = [...scenarios.map(({ name }) => name), ...programs()]
  const unknown = names.filter((name) => !known.includes(name))
  const rounds = Number(option.rounds ?? 1)
  if (option.help || unknown.length > 0 || !Number.isInteger(rounds) || rounds < 1) {
    if (unknown.length > 0) console.error(`bench: no scenario ${unknown.join(', ')}`)
    console.error(usage())
    return option.help ? 0 : 64
  }
  const results: ScenarioResult[] = []
  let hasFailed = false
  for (const name of names) {
    const scenario = scenarios.find((each) => each.name === name)
    if (scenario === undefined) {
      const program = join(here, `${name}.ts`)
      if (!existsSync(program)) continue
      // The others take no such options.
      const passed = name === 'actors' ? actorsOptions() : []
      const { stdout, stderr, code } = await run(process.execPath, [program, ...passed], {
        timeoutMs: 1_200_000,
        okCodes: [0, 1],
      })
      ;(option.json ? console.error : console.log)(`${stdout}${stderr}`.trimEnd())
      hasFailed ||= code !== 0
      continue
    }
    const result = await runOne(scenario)
    results.push(result)
    hasFailed ||= result.contestants.some(({ failures }) => failures.length > 0)
    if (!option.json) console.log(`\n${report(result, scenario.columns)}\n`)
  }
  const document = { at: new Date().toISOString(), quick: option.quick, machine: machine(), results }
  if (option.json) console.log(JSON.stringify(document, undefined, 2))
  if (results.length > 0) {
    mkdirSync(option.out, { recursive: true })
    const file = join(option.out, `bench-${document.at.replace(/[:.]/g, '-')}.json`)
    writeFileSync(file, `${JSON.stringify(document, undefined, 2)}\n`)
    if (!option.json) console.log(`written: ${file}`)
  }
  return hasFailed ? 1 : 0
}

cleanUpOnSignals()
try {
  process.exitCode = await main()
} finally {
  await cleanUp()
}

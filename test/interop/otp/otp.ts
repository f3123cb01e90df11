/** OTP's own runtime, to play scenarios on. */
import { execFile, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

export const hasOtp = spawnSync('erl', ['-version']).error === undefined
export const skipped = hasOtp ? '' : ' (skipped: erl is not installed)'

/** How many random scenarios: a campaign, `SCENARIOS=3000 SEED=random`, has more than each run. */
export const countOf = (usual: number) => Number(process.env.SCENARIOS ?? usual)

/** What OTP did, by name of scenario. Each of `terms` is an Erlang term with its full stop; `modules`: the last one plays. */
export async function playOnOtp(
  modules: readonly string[],
  terms: readonly string[],
): Promise<Map<string, string[]>> {
  const directory = mkdtempSync(join(tmpdir(), 'mailactors-otp-'))
  try {
    const input = join(directory, 'scenarios')
    const output = join(directory, 'traces')
    writeFileSync(input, terms.join(''))
    const sources = modules.map((name) => `"${new URL(`./${name}.erl`, import.meta.url).pathname}"`)
    const load = `{ok,M,B}=compile:file(F,[binary]),{module,M}=code:load_binary(M,"",B)`
    const code = `[begin ${load} end||F<-[${sources.join(',')}]],${modules.at(-1)}:main("${input}","${output}"),halt(0).`
    await promisify(execFile)('erl', ['-noshell', '-noinput', '+S', '1:1', '-eval', code], {
      timeout: 120_000,
      cwd: directory,
    })
    const traces = new Map<string, string[]>()
    for (const trace of readFileSync(output, 'utf8').split(/^#/m).slice(1)) {
      const [name, ...lines] = trace.trimEnd().split('\n')
      traces.set(name!, lines)
    }
    return traces
  } finally {
    rmSync(directory, { recursive: true })
  }
}

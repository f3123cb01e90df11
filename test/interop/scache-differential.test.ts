/** The same random scripts for Postfix's scache(8), over its own protocol, and for ours: answer by answer. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { CacheScript } from '../../src/cache/script.ts'
import { Random } from '../../src/testing/random.ts'
import { startPostfixModel } from '../support/peers.ts'
import { chosenSeed } from '../support/seed.ts'
import { runProgram } from '../support/service.ts'
import { until } from '../support/until.ts'
import { scacheClient } from './differential/scache-client.ts'

const ttlLimit = 3
const missing = whyMissing(['postfix', 'python3'], { root: true })

/** Few names, so that all meet all; some requests are malformed. */
function randomScript(seed: number): string[] {
  const random = new Random(seed)
  const ttl = () => random.pick(['1', '2', '2', '3', '9', '0', '-1'])
  const destination = () => `d${random.below(5)}`
  const endpoint = () => `e${random.below(5)}`
  const properties = () => random.pick(['p', 'q', '""'])
  const lines: string[] = []
  for (let round = 0; round < 5; round++) {
    for (let n = 0; n < 120; n++) {
      const what = random.next()
      if (what < 0.25) lines.push(`save_endp ${ttl()} ${endpoint()} ${properties()} ${lines.length + 1}`)
      else if (what < 0.45) lines.push(`save_dest ${ttl()} ${destination()} ${properties()} ${endpoint()}`)
      else if (what < 0.6) lines.push(`find_endp ${endpoint()}`)
      else if (what < 0.9) lines.push(`find_dest ${destination()}`)
      else
        lines.push(
          random.pick([
            'save_endp 2 e0',
            'save_endp 2',
            'save_dest 2 d0',
            'find_endp',
            'find_dest',
            'nonsense',
          ]),
        )
    }
    lines.push(`sleep ${random.pick([0, 1, 1, 2])}`)
  }
  return lines
}

/** What a malformed request is told is ours to word. */
const comparable = (answer: string): string => (answer.startsWith('1') ? '1' : answer)

describe('scache(8) and ours', () => {
  test.skipIf(missing)(
    'the same answers, the same connections closed, the same statistics',
    { timeout: 120_000 },
    async () => {
      const seed = chosenSeed()
      const script = randomScript(seed)
      const ours = new CacheScript(ttlLimit * 1_000)
      const answers = script.map((line) => comparable(ours.run(line)!))
      const { dir } = await startPostfixModel(
        `connection_cache_ttl_limit=${ttlLimit}s; max_idle=1s; syslog_name=postfix`,
        '',
      )
      const play = async (): Promise<string[]> => {
        const played = await runProgram('python3', ['-c', scacheClient, join(dir, 'queue/private/scache')], {
          input: `${script.join('\n')}\n`,
        })
        expect(played.stderr).toBe('')
        return played.stdout.trimEnd().split('\n').map(comparable)
      }
      const statistics = () =>
        [...readFileSync(join(dir, 'maillog'), 'utf8').matchAll(/scache\[\d+\]: statistics: (.*)/g)].map(
          ([, text = '']) => text.trim(),
        )
      let theirs = await play()
      // A machine that stands still for a second: what happened when is not known.
      for (let again = 0; theirs.at(-1) === 'late' && again < 5; again++) {
        await until('an empty cache', () => statistics().some((text) => text.startsWith('max')))
        theirs = await play()
      }
      for (const [index, line] of script.entries())
        expect(`${index} ${line} -> ${answers[index]}`).toBe(`${index} ${line} -> ${theirs[index]}`)
      expect(theirs).toHaveLength(script.length)
      // Logged when it ends, which is when nobody has been there for a second.
      await until('its statistics', () => statistics().some((text) => text.startsWith('max')))
      expect(statisticsOf(statistics())).toBe(ours.run('stats')!.replace(/^0 since=\S+ /, ''))
    },
  )
})

/** The last of each kind of line, as `stats` has them. */
function statisticsOf(lines: readonly string[]): string {
  const numbers = (name: string, pattern: RegExp): readonly string[] => {
    const found = lines.filter((line) => line.startsWith(name)).at(-1) ?? ''
    return pattern.exec(found)?.slice(1) ?? ['0', '0']
  }
  const [destinationHits, destinationMisses, destinationRate] = numbers(
    'domain',
    /hits=(\d+) miss=(\d+) success=(\d+%)/,
  )
  const [hits, misses, rate] = numbers('address', /hits=(\d+) miss=(\d+) success=(\d+%)/)
  const peaks = numbers('max', /domains=(\d+) addresses=(\d+) connection=(\d+)/)
  return `dest=${destinationHits}/${destinationMisses}=${destinationRate} endp=${hits}/${misses}=${rate} peaks=${peaks.join(',')}`
}

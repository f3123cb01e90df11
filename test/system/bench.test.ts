/** The commands that measure this machine: that they work, not what they give. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { percentile } from '../../src/cli/bench/measured.ts'
import { bestOf, sizesToTry } from '../../src/cli/commands/tune.ts'
import { runCommand } from '../support/service.ts'

function emptyDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'ma-bench-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

test('bench runs each scenario, prints JSON and writes a page', { timeout: 120_000 }, async () => {
  const [dir, out] = [emptyDir(), emptyDir()]
  const args = [
    'bench',
    'actors',
    'intake',
    'relay',
    'drain',
    'cache',
    'pop3',
    '--seconds',
    '0.3',
    '--json',
    '--dir',
    dir,
    '--out',
    out,
  ]
  const { code, stdout, stderr } = await runCommand(args, { deadlineMs: 100_000 })
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  const { results } = JSON.parse(stdout) as { results: { scenario: string; count: number; p99Ms: number }[] }
  expect(results.map(({ scenario }) => scenario)).toEqual([
    'actors',
    'intake',
    'relay',
    'drain',
    'cache',
    'pop3',
  ])
  for (const { count, p99Ms } of results) {
    expect(count).toBeGreaterThan(0)
    expect(p99Ms).toBeGreaterThan(0)
  }
  expect(readdirSync(dir)).toEqual([])
  expect(readFileSync(join(out, 'bench.html'), 'utf8').match(/<svg/g)).toHaveLength(12)
})

test('tune tries sizes and recommends settings', { timeout: 120_000 }, async () => {
  const args = ['tune', '--scenario', 'pop3', '--seconds', '0.2', '--json', '--dir', emptyDir()]
  const { code, stdout } = await runCommand(args, { deadlineMs: 100_000 })
  expect(code).toBe(0)
  const { tried, recommended } = JSON.parse(stdout) as { tried: unknown[]; recommended: string }
  expect(tried.length).toBeGreaterThan(0)
  expect(recommended).toMatch(/^\[pools\.connections\]\nmin_threads = \d+\nmax_threads = \d+\n/)
})

test('they are used wrongly', async () => {
  expect(await runCommand(['bench', 'nothing'])).toMatchObject({ code: 64 })
  expect(await runCommand(['bench', 'intake', '--seconds', 'x'])).toMatchObject({ code: 64 })
  expect(await runCommand(['tune', '--scenario', 'actors'])).toMatchObject({ code: 64 })
})

test('the fewest threads that are as fast as the fastest', () => {
  const tried = [
    { connections: 1, deliveries: 1, result: { perSecond: 900 } },
    { connections: 2, deliveries: 1, result: { perSecond: 980 } },
    { connections: 4, deliveries: 4, result: { perSecond: 1000 } },
  ]
  expect(bestOf(tried)).toBe(tried[1])
  expect(sizesToTry(1)).toEqual([1])
  expect(sizesToTry(6)).toEqual([1, 2, 4, 6])
  expect(percentile([1, 2, 3, 4], 50)).toBe(3)
})

import { spawn } from 'node:child_process'
import { describe, expect, onTestFinished, test } from 'vitest'
import { cpuSeconds, memory } from '../../bench/harness/proc-tree.ts'
import { table } from '../../bench/harness/report.ts'
import { type Contestant, runScenario, type Scenario } from '../../bench/harness/scenario.ts'
import { median, quantiles } from '../../bench/harness/statistics.ts'
import { until } from '../support/until.ts'

describe('statistics', () => {
  test.each([
    { name: 'an odd number', values: [3, 1, 2], middle: 2 },
    { name: 'an even number', values: [4, 1, 3, 2], middle: 2.5 },
    { name: 'numbers that do not sort as text', values: [10, 9, 100], middle: 10 },
    { name: 'no value', values: [], middle: Number.NaN },
  ])('the median of $name', ({ values, middle }) => {
    expect(median(values)).toBe(middle)
  })

  test('quantiles are values that were measured', () => {
    expect(quantiles(Array.from({ length: 100 }, (_, index) => index + 1))).toEqual({
      p50: 51,
      p90: 91,
      p99: 100,
      max: 100,
    })
    expect(quantiles([])).toBeUndefined()
  })
})

describe('rounds', () => {
  const scenario: Scenario = {
    name: 'demo',
    summary: '',
    rounds: 2,
    columns: [
      { key: 'rate', title: 'rate', better: 'more' },
      { key: 'wait', title: 'wait', better: 'less' },
    ],
    contestants: () => [],
  }
  const contestant = (name: string, run: Contestant['run']): Contestant => ({ name, run })

  test('are interleaved; a failed run is recorded and the others go on', async () => {
    const order: string[] = []
    const record = (name: string) => (): Promise<{ rate: number }> => {
      order.push(name)
      return name === 'b' && order.length < 3 ? Promise.reject(new Error('no')) : Promise.resolve({ rate: 1 })
    }
    const result = await runScenario(
      scenario,
      [
        contestant('a', record('a')),
        contestant('b', record('b')),
        { ...contestant('c', record('c')), unavailable: 'not here' },
      ],
      2,
      () => undefined,
    )
    expect(order).toEqual(['a', 'b', 'a', 'b'])
    expect(result.contestants).toEqual([
      { name: 'a', runs: [{ rate: 1 }, { rate: 1 }], failures: [] },
      { name: 'b', runs: [{ rate: 1 }], failures: ['no'] },
      { name: 'c', runs: [], failures: [], unavailable: 'not here' },
    ])
  })

  test('a ratio above 1 means the first is better, whichever way is better', async () => {
    const result = await runScenario(
      scenario,
      [
        contestant('ours', () => Promise.resolve({ rate: 300, wait: 5 })),
        contestant('theirs', () => Promise.resolve({ rate: 100, wait: 10 })),
      ],
      1,
      () => undefined,
    )
    expect(table(result, scenario.columns)).toMatch(/ours : theirs +3\.00 x +2\.00 x/)
  })
})

test('the CPU time and memory of a process tree include its children', async () => {
  const spin = 'while (process.cpuUsage().user < 400_000); setInterval(() => {}, 1000)'
  // The second node is a child of the first.
  const parent = `require('node:child_process').spawn(process.execPath, ['-e', ${JSON.stringify(spin)}]); setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['-e', parent], { detached: true, stdio: 'ignore' })
  const pid = child.pid ?? 0
  onTestFinished(() => {
    process.kill(-pid, 'SIGKILL')
  })
  await until('the CPU time of the grandchild', () => cpuSeconds([pid]) >= 0.3)
  expect(memory([pid]).processes).toBe(2)
  expect(memory([pid]).pssKiB).toBeGreaterThan(1000)
})

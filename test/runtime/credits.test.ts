import { Worker } from 'node:worker_threads'
import { describe, expect, test } from 'vitest'
import { Credits } from '../../src/index.ts'

describe('credits', () => {
  test('are as many as the limit, and come back', () => {
    const credits = Credits.create(2)
    expect([credits.take(), credits.take(), credits.take()]).toEqual([true, true, false])
    credits.give()
    expect(credits.available).toBe(1)
    credits.give(10)
    expect(credits.available).toBe(2)
    expect(credits.statistics).toEqual({ taken: 2, delayed: 0 })
  })

  test('who waits gets the one that is given', async () => {
    const credits = Credits.create(1)
    credits.take()
    const waiting = credits.takeWithin(30_000)
    credits.give()
    expect(await waiting).toBe(true)
    expect(credits.available).toBe(0)
  })

  test('who waited in vain goes on without', async () => {
    const credits = Credits.create(1)
    credits.take()
    expect(await credits.takeWithin(20)).toBe(false)
    expect(credits.statistics.delayed).toBe(1)
  })

  test('a signal ends the wait', async () => {
    const credits = Credits.create(1)
    credits.take()
    expect(await credits.takeWithin(30_000, AbortSignal.abort())).toBe(false)
  })

  test('are one account on all threads', async () => {
    const credits = Credits.create(1000)
    const source = `
      const { workerData } = require('node:worker_threads')
      import(workerData.module).then(({ Credits }) => {
        const credits = Credits.of(workerData.shared)
        let taken = 0
        while (credits.take()) taken++
        require('node:worker_threads').parentPort.postMessage(taken)
      })`
    const module = new URL('../../src/runtime/credits.ts', import.meta.url).href
    const taken = await Promise.all(
      [1, 2].map(
        () =>
          new Promise<number>((resolve, reject) => {
            const worker = new Worker(source, {
              eval: true,
              execArgv: [],
              workerData: { module, shared: credits.shared },
            })
            worker.once('message', resolve).once('error', reject)
          }),
      ),
    )
    expect(taken[0]! + taken[1]!).toBe(1000)
    expect(credits.available).toBe(0)
  })

  test.each([{ limit: 0 }, { limit: 1.5 }, { limit: -1 }])('refuse a limit of $limit', ({ limit }) => {
    expect(() => Credits.create(limit)).toThrow(expect.objectContaining({ code: 'MA_USAGE' }))
  })
})

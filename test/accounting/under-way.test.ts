import { expect, test } from 'vitest'
import { UnderWay } from '../../src/accounting/under-way.ts'

test('counts what is under way by kind, up to a limit, until its session is done', () => {
  const ways = new UnderWay()
  let monitors = 0
  const begin = (session: string, kind: string, limit = 2) =>
    ways.begin(session, kind, limit, () => ++monitors)
  expect([begin('a', 'ann'), begin('b', 'ann'), begin('c', 'ann'), begin('a', 'ann')]).toEqual([
    true,
    true,
    false,
    false,
  ])
  expect([begin('a', 'bob'), begin('c', 'bob', 1)]).toEqual([true, false])
  // One each for the two that have something.
  expect(monitors).toBe(2)
  expect(ways.finish('a')).toBe(1)
  expect(ways.finish('a')).toBeUndefined()
  expect(ways.finish('c')).toBeUndefined()
  expect([begin('c', 'ann'), begin('c', 'bob', 1)]).toEqual([true, true])
  ways.finish('b')
  ways.finish('c')
  expect(ways.size).toBe(0)
})

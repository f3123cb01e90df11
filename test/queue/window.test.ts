import { describe, expect, test } from 'vitest'
import { parseFeedback, Window, type WindowSettings } from '../../src/queue/window.ts'

const settings = (changes: Partial<WindowSettings> = {}): WindowSettings => ({
  initial: 5,
  limit: 20,
  positive: () => 1,
  negative: () => 1,
  failedCohortLimit: 1,
  ...changes,
})

describe('trouble with a site', () => {
  test('three failures in a row close a window of five: 3, 2, dead', () => {
    const window = new Window(settings())
    const seen = [window.failed(), window.failed(), window.failed()].map((died, index) => ({ died, index }))
    expect(seen.map(({ died }) => died)).toEqual([false, false, true])
    expect(window.isDead).toBe(true)
  })

  test('the window is 3 after the first failure and 2 after the second', () => {
    const window = new Window(settings())
    window.failed()
    expect(window.width).toBe(3)
    window.failed()
    expect(window.width).toBe(2)
  })

  test('N10 without a limit of cohorts a site is never dead and keeps a window of 1', () => {
    const window = new Window(settings({ failedCohortLimit: 0 }))
    for (let failure = 0; failure < 50; failure++) expect(window.failed()).toBe(false)
    expect(window.width).toBe(1)
  })

  test('a success in between starts the count of cohorts again', () => {
    const window = new Window(settings())
    window.failed()
    window.failed()
    window.succeeded(2)
    expect(window.failed()).toBe(false)
  })

  test('a window of one dies at its first failure', () => {
    expect(new Window(settings({ initial: 1 })).failed()).toBe(true)
  })
})

describe('a site that goes well', () => {
  test('each success widens the window by one up to the limit', () => {
    const window = new Window(settings())
    const widths: number[] = []
    for (let done = 0; done < 18; done++) {
      window.succeeded(window.width)
      widths.push(window.width)
    }
    expect(widths.slice(0, 3)).toEqual([6, 7, 8])
    expect(widths.at(-1)).toBe(20)
  })

  test('the window does not outgrow what is used by more than the initial window', () => {
    const window = new Window(settings())
    for (let done = 0; done < 100; done++) window.succeeded(1)
    expect(window.width).toBe(6)
  })

  test('N09 with feedback 1/concurrency a window of W needs about W successes for one step', () => {
    const window = new Window(settings({ positive: parseFeedback('1/concurrency')! }))
    let successes = 0
    while (window.width === 5) {
      window.succeeded(5)
      successes += 1
    }
    // Five without the hysteresis of half a step.
    expect(successes).toBe(5)
    successes = 0
    while (window.width === 6) {
      window.succeeded(6)
      successes += 1
    }
    expect(successes).toBe(6)
  })

  test('limit 0 lets the window grow without end', () => {
    const window = new Window(settings({ limit: 0 }))
    for (let done = 0; done < 100; done++) window.succeeded(window.width)
    expect(window.width).toBe(105)
  })

  test('an initial window above the limit is cut', () => {
    expect(new Window(settings({ initial: 50 })).width).toBe(20)
  })
})

describe('a dead site', () => {
  const dead = (): Window => {
    const window = new Window(settings())
    for (let failure = 0; failure < 3; failure++) window.failed()
    return window
  }

  test('comes back with what runs there when a delivery succeeds after all', () => {
    const window = dead()
    window.succeeded(2)
    expect(window.width).toBe(2)
  })

  test('comes back as new when its time is over and nothing runs', () => {
    const window = dead()
    window.revive(0)
    expect(window.width).toBe(5)
    expect(window.failed()).toBe(false)
  })

  test('does not die twice', () => {
    expect(dead().failed()).toBe(false)
  })
})

describe('amounts of feedback', () => {
  test.each([
    { text: '1', width: 4, amount: 1 },
    { text: '0.5', width: 4, amount: 0.5 },
    { text: '1/concurrency', width: 4, amount: 0.25 },
    { text: '1 / sqrt_concurrency', width: 4, amount: 0.5 },
  ])('$text at a window of $width is $amount', ({ text, width, amount }) => {
    expect(parseFeedback(text)?.(width)).toBe(amount)
  })

  test.each(['', 'x', '2', '1/cohort', '-1', '1/'])('%j is refused', (text) => {
    expect(parseFeedback(text)).toBeUndefined()
  })
})

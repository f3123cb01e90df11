import { describe, expect, test } from 'vitest'
import type { ActiveMail, ActiveRecipient } from '../../src/queue/active.ts'
import { Scheduler } from '../../src/queue/scheduler.ts'
import type { Selection, TransportSettings } from '../../src/queue/transport.ts'
import { Random } from '../../src/testing/random.ts'
import { chosenSeed } from '../support/seed.ts'

const settings = (changes: Partial<TransportSettings> = {}): TransportSettings => ({
  window: { initial: 5, limit: 20, positive: () => 1, negative: () => 1, failedCohortLimit: 1 },
  processLimit: 100,
  recipientLimit: 1,
  destinationRateDelay: 0,
  transportRateDelay: 0,
  slotCost: 5,
  slotLoan: 3,
  slotDiscount: 50,
  minimumSlots: 3,
  memoryLimit: 20_000,
  extraMemory: 1000,
  refillLimit: 100,
  refillDelay: 5000,
  alwaysCaches: () => false,
  ...changes,
})

/** Mails as the scheduler sees them, with recipients numbered over all. */
class Bench {
  readonly scheduler: Scheduler
  now = 0
  #ids = 0

  constructor(changes: Partial<TransportSettings> = {}) {
    this.scheduler = new Scheduler(() => settings(changes))
  }

  /** A mail to `count` recipients at each of the next hops. */
  mail(count: number, ...nexthops: string[]): ActiveMail {
    const mail = { stored: { id: ++this.#ids }, jobs: [], unread: 0, outstanding: 0 } as unknown as ActiveMail
    for (const nexthop of nexthops) {
      for (let index = 0; index < count; index++) this.add(mail, nexthop)
    }
    return mail
  }

  add(mail: ActiveMail, nexthop: string): void {
    const id = ++this.#ids
    const recipient: ActiveRecipient = { id, address: `u${id}@${nexthop}`, attempts: 0 }
    const site = this.scheduler.site({ transport: 'smtp', nexthop }, `u${id % 7}`)
    this.scheduler.add(site, mail, recipient, this.now)
  }

  /** Selects and ends deliveries one after the other. */
  serve(count: number): Selection[] {
    const served: Selection[] = []
    for (let turn = 0; turn < count; turn++) {
      const selection = this.scheduler.select(this.now)
      if (selection === undefined) break
      served.push(selection)
      this.end(selection)
    }
    return served
  }

  end({ site, recipients }: Selection): void {
    site.window.succeeded(site.busy)
    site.transport.done(site, recipients.length, this.now)
  }
}

describe('a large mail and small ones', () => {
  test('a small mail overtakes at once on credit, however large the other is', () => {
    const bench = new Bench()
    bench.mail(10_000, 'd.test')
    bench.serve(5)
    const small = bench.mail(1, 'd.test')
    expect(bench.serve(3).map(({ mail }) => mail)).toContain(small)
  })

  test('small mails that come all the time cost the large one its fifth delivery', () => {
    const bench = new Bench({ slotLoan: 0, slotDiscount: 0 })
    const large = bench.mail(10_000, 'd.test')
    let ofLarge = 0
    for (let turn = 0; turn < 6000; turn++) {
      bench.now += 10
      bench.mail(1, 'd.test')
      if (bench.serve(1)[0]?.mail === large) ofLarge += 1
    }
    // Five of its own pay one of theirs.
    expect(ofLarge / 6000).toBeGreaterThan(0.8)
    expect(ofLarge / 6000).toBeLessThan(0.86)
  })

  test('what is lent must be paid: credit does not grow with the number of small mails', () => {
    const bench = new Bench()
    const large = bench.mail(5000, 'd.test')
    bench.serve(10)
    for (let mail = 0; mail < 3000; mail++) bench.mail(1, 'd.test')
    const served = bench.serve(1000)
    const share = served.filter(({ mail }) => mail === large).length / served.length
    expect(share).toBeGreaterThan(0.8)
  })

  test('also when each recipient of the large one has a site of its own', () => {
    const bench = new Bench({ recipientLimit: 50 })
    const large = bench.mail(1, ...Array.from({ length: 10_000 }, (_, site) => `s${site}.test`))
    bench.serve(50)
    const small = bench.mail(1, 'other.test')
    const served = bench.serve(20)
    expect(served.map(({ mail }) => mail)).toContain(small)
    expect(served.filter(({ mail }) => mail === large).length).toBeGreaterThan(15)
  })

  test('mail that overtakes can be overtaken itself', () => {
    const bench = new Bench()
    bench.mail(10_000, 'd.test')
    bench.serve(400)
    const middle = bench.mail(60, 'd.test')
    expect(bench.serve(1)[0]?.mail).toBe(middle)
    bench.serve(9)
    const small = bench.mail(1, 'd.test')
    const order = bench.serve(60).map(({ mail }) => mail)
    expect(order.indexOf(small)).toBeGreaterThanOrEqual(0)
    expect(order.indexOf(small)).toBeLessThan(order.lastIndexOf(middle))
  })

  test('a slot cost of 0 or 1 keeps strictly to the order', () => {
    for (const slotCost of [0, 1]) {
      const bench = new Bench({ slotCost })
      const large = bench.mail(500, 'd.test')
      bench.serve(100)
      bench.mail(1, 'd.test')
      expect(bench.serve(400).every(({ mail }) => mail === large)).toBe(true)
    }
  })

  test('nobody is overtaken who has fewer deliveries than minimum_delivery_slots earn', () => {
    const bench = new Bench()
    const large = bench.mail(14, 'd.test')
    bench.serve(5)
    bench.mail(1, 'd.test')
    expect(bench.serve(9).every(({ mail }) => mail === large)).toBe(true)
  })
})

describe('order and turns', () => {
  test('the sites of one mail take turns', () => {
    const bench = new Bench({ recipientLimit: 2 })
    bench.mail(4, 'a.test', 'b.test', 'c.test')
    const nexthops = bench.serve(6).map(({ site }) => site.nexthop)
    expect(new Set(nexthops.slice(0, 3))).toEqual(new Set(['a.test', 'b.test', 'c.test']))
    expect(new Set(nexthops.slice(3, 6))).toEqual(new Set(['a.test', 'b.test', 'c.test']))
  })

  test('a full site holds up nobody else', () => {
    const bench = new Bench({ recipientLimit: 50 })
    for (let mail = 0; mail < 30; mail++) bench.mail(1, 'slow.test')
    bench.mail(1, 'fast.test')
    const nexthops: string[] = []
    for (let s = bench.scheduler.select(0); s !== undefined; s = bench.scheduler.select(0)) {
      nexthops.push(s.site.nexthop)
    }
    expect(nexthops).toEqual([...Array(5).fill('slow.test'), 'fast.test'])
  })

  test('the rest of a large mail comes back to its place in the order', () => {
    const bench = new Bench({ recipientLimit: 1, slotCost: 0 })
    const large = bench.mail(3, 'd.test')
    ;(large as { unread: number }).unread = 10
    const later = bench.mail(20, 'd.test')
    bench.serve(3)
    bench.serve(2)
    for (let index = 0; index < 4; index++) bench.add(large, 'd.test')
    expect(bench.serve(5).map(({ mail }) => (mail === later ? 'later' : 'large'))).toEqual([
      ...Array(4).fill('large'),
      'later',
    ])
  })
})

describe('pauses', () => {
  test('destination_rate_delay: one at a time, and a pause after its end', () => {
    const bench = new Bench({
      destinationRateDelay: 1000,
      window: { ...settings().window, initial: 1, limit: 1 },
      recipientLimit: 50,
    })
    for (let mail = 0; mail < 3; mail++) bench.mail(1, 'd.test')
    bench.mail(1, 'e.test')
    const first = bench.scheduler.select(0)!
    expect(bench.scheduler.select(0)?.site.nexthop).toBe('e.test')
    expect(bench.scheduler.select(0)).toBeUndefined()
    bench.now = 400
    bench.end(first)
    expect(bench.scheduler.nextWake()).toBe(1400)
    expect(bench.scheduler.select(1399)).toBeUndefined()
    expect(bench.scheduler.select(1400)?.site.nexthop).toBe('d.test')
  })

  test('transport_rate_delay: one start in that time, whatever the destination', () => {
    const bench = new Bench({ transportRateDelay: 500 })
    bench.mail(1, 'd.test', 'e.test', 'f.test')
    const starts: number[] = []
    for (let now = 0; now < 2000; now += 100) if (bench.scheduler.select(now) !== undefined) starts.push(now)
    expect(starts).toEqual([0, 500, 1000])
  })
})

describe('counts', () => {
  test('hold after withdrawals, deaths and random traffic', () => {
    const seed = chosenSeed()
    const numbers = new Random(seed)
    const random = (below: number): number => numbers.below(below)
    const bench = new Bench({ recipientLimit: 2 + random(4), processLimit: 30 })
    const mails: ActiveMail[] = []
    const open: Selection[] = []
    const waiting = new Map<ActiveMail, number>()
    for (let step = 0; step < 5000; step++) {
      bench.now += random(50)
      const what = random(10)
      if (what < 4) {
        const sites = Array.from({ length: 1 + random(3) }, () => `s${random(6)}.test`)
        const count = 1 + random(random(20) === 0 ? 200 : 3)
        const mail = bench.mail(count, ...new Set(sites))
        mails.push(mail)
        waiting.set(mail, count * new Set(sites).size)
      } else if (what < 7) {
        const selection = bench.scheduler.select(bench.now)
        if (selection !== undefined) {
          open.push(selection)
          waiting.set(selection.mail, waiting.get(selection.mail)! - selection.recipients.length)
        }
      } else if (what < 9) {
        const [ended] = open.splice(random(open.length), 1)
        if (ended !== undefined) bench.end(ended)
      } else if (random(3) === 0) {
        const mail = mails[random(mails.length)]
        if (mail !== undefined) {
          bench.scheduler.withdraw(mail)
          waiting.set(mail, 0)
        }
      } else {
        const [site] = [...bench.scheduler.sites()].filter((each) => each.waiting > 0)
        for (const taken of site?.transport.emptySite(site) ?? []) {
          waiting.set(taken.mail, waiting.get(taken.mail)! - taken.recipients.length)
        }
      }
      const left = [...waiting.values()].reduce((sum, count) => sum + count, 0)
      const atSites = [...bench.scheduler.sites()].reduce((sum, site) => sum + site.waiting, 0)
      expect({ seed, step, atSites }).toEqual({ seed, step, atSites: left })
    }
    const running = open.reduce((sum, { recipients }) => sum + recipients.length, 0)
    const transport = bench.scheduler.transport('smtp')
    const left = [...waiting.values()].reduce((sum, count) => sum + count, 0)
    expect({ seed, recipients: transport.recipients }).toEqual({ seed, recipients: left + running })
    // Nothing is forgotten: all of it is served in the end.
    for (const selection of open) bench.end(selection)
    const rest = bench.serve(100_000)
    expect({ seed, rest: rest.reduce((sum, { recipients }) => sum + recipients.length, 0) }).toEqual({
      seed,
      rest: left,
    })
    expect({ seed, jobs: transport.jobs }).toEqual({ seed, jobs: 0 })
  })
})

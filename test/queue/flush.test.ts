/** The real disk: what is answered is flushed, and deliveries do not wait for that. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { silentLog } from '../../src/actors/index.ts'
import { QueueStore } from '../../src/queue/store.ts'
import { until } from '../support/until.ts'
import { Harness } from './harness.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'mailactors-flush-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

test('mails that come during a flush go into the next commit; each is answered, delivered and removed once', async () => {
  await using harness = await Harness.start({ directory, args: { flushesAtOnce: false } })
  harness.auto = () => ({})
  const mails = Array.from({ length: 300 }, (_, index) =>
    harness.mail([`u${index}@d.test`, `v${index}@e.test`]),
  )
  const answers = await Promise.all(mails.map((mail) => harness.queue.ask('enqueue', mail)))
  expect(answers.every(({ status }) => status === 'queued')).toBe(true)
  await until('all of them to leave', () => harness.events('mail.removed').length === 300)
  const { accepted, commits, results } = await harness.queue.ask('stats')
  expect({ accepted, results }).toEqual({ accepted: 300, results: { sent: 600 } })
  expect(commits).toBeLessThan(300)
  expect(await harness.queue.ask('counts')).toEqual({
    incoming: 0,
    active: 0,
    deferred: 0,
    hold: 0,
    corrupt: 0,
  })
  const ids = harness.started.flatMap(({ request }) => request.recipients.map(({ address }) => address))
  expect(new Set(ids).size).toBe(ids.length)
})

test('an operator in the middle of a flush sees what is committed, and leaves nothing behind', async () => {
  await using harness = await Harness.start({ directory, args: { flushesAtOnce: false } })
  const mails = Array.from({ length: 50 }, (_, index) => harness.mail([`u${index}@d.test`]))
  const answers = mails.map((mail) => harness.queue.ask('enqueue', mail))
  const removed = await harness.operate('delete', {})
  expect((await Promise.all(answers)).every(({ status }) => status === 'queued')).toBe(true)
  const rest = await harness.operate('delete', {})
  expect(removed.length + rest.length).toBe(50)
  await harness.halt()
  const store = QueueStore.open(join(directory, 'queue'), { log: silentLog, now: 0 })
  expect(store.mailsAfter('', 100)).toEqual([])
  store.close()
  await harness.boot()
})

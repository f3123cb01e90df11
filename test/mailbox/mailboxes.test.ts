/** The mailbox actors: started when needed, gone when idle, never in each other's way. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { ActorRef } from '../../src/actors/index.ts'
import { loadConfig } from '../../src/config/loader.ts'
import type { Config } from '../../src/config/settings.ts'
import type { MailboxesContract, OpenResult, Snapshot } from '../../src/mailbox/contract.ts'
import { createMaildir, deliver } from '../../src/mailbox/deliver.ts'
import { sizeBytes, uidBytes } from '../../src/mailbox/snapshot.ts'
import { mailboxStores } from '../../src/mailbox/supervisor.ts'
import { ActorSystem } from '../../src/runtime/system.ts'
import { TestSystem } from '../../src/testing/index.ts'
import { look, uids } from './harness.ts'

let root: string
let config: Config
let system: TestSystem
let mailboxes: ActorRef<MailboxesContract>
beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'mailboxes-'))
  config = loadConfig({
    file: false,
    set: [`data_dir=${root}`, 'hostname=mx.test', 'mail.max_lock_timeout=1s'],
  })
  system = await TestSystem.start({
    settings: { config },
    children: [{ id: 'stores', actor: mailboxStores, args: undefined, shutdown: 'infinity' }],
  })
  mailboxes = system.whereis<MailboxesContract>('mailboxes')!
})
afterEach(async () => {
  await system.stop()
  rmSync(root, { recursive: true, force: true })
})

const maildir = (user: string) => join(root, user)
const send = (user: string) =>
  deliver(maildir(user), { bytes: Buffer.from('a: b\r\n\r\nx\r\n') }, { hostname: 'h' })

function opened(result: OpenResult): Snapshot {
  if (!result.ok) throw new Error(result.reason)
  return result.snapshot
}

test('one actor for each mailbox, whoever asks how often', async () => {
  await send('ann')
  const results = await Promise.all(
    ['ann', 'ann', 'bob', 'ann', 'bob'].map((user) => mailboxes.ask('open', user, maildir(user), look)),
  )
  expect(results.map((result) => opened(result).count)).toEqual([1, 1, 0, 1, 0])
  expect([...(await mailboxes.ask('list'))].sort((a, b) => a.mails - b.mails)).toEqual([
    { maildir: maildir('bob'), mails: 0 },
    { maildir: maildir('ann'), mails: 1 },
  ])
})

test('S75 an idle mailbox leaves memory, and an update finds it again', async () => {
  await send('ann')
  await send('ann')
  const snapshot = opened(await mailboxes.ask('open', 'ann', maildir('ann'), look))
  await system.advance(61_000)
  expect(await mailboxes.ask('list')).toEqual([])
  expect(
    await mailboxes.ask('update', maildir('ann'), {
      uidValidity: snapshot.uidValidity,
      expunge: uidBytes([1]),
    }),
  ).toEqual({ ok: true, failed: 0 })
  const again = opened(await mailboxes.ask('open', 'ann', maildir('ann'), look))
  expect(uids(again)).toEqual([2])
})

test('what was learned is on the disk when the service has stopped', async () => {
  // With real time: the virtual clock would run past the shutdown time while the disk still works.
  const real = await ActorSystem.start({
    settings: { config },
    children: [{ id: 'stores', actor: mailboxStores, args: undefined, shutdown: 'infinity' }],
  })
  const boxes = real.whereis<MailboxesContract>('mailboxes')!
  createMaildir(maildir('zoe'))
  writeFileSync(join(maildir('zoe'), 'new/1.a'), 'a: b\n')
  const { uidValidity } = opened(await boxes.ask('open', 'zoe', maildir('zoe'), look))
  const sized = { uids: uidBytes([1]), sizes: sizeBytes([6]) }
  await boxes.ask('update', maildir('zoe'), { uidValidity, sized })
  await real.stop()
  expect(readFileSync(join(maildir('zoe'), 'dovecot-uidlist'), 'latin1')).toContain('1 W6 :1.a\n')
  expect(readdirSync(maildir('zoe'))).not.toContain('dovecot-uidlist.lock')
})

test('a mailbox that cannot be opened is an answer, and others go on', async () => {
  writeFileSync(maildir('eve'), 'not a folder')
  const [broken, fine] = await Promise.all([
    mailboxes.ask('open', 'eve', maildir('eve'), look),
    mailboxes.ask('open', 'bob', maildir('bob'), look),
  ])
  expect(broken).toMatchObject({ ok: false, reason: expect.stringContaining('ENOTDIR') })
  expect(fine.ok).toBe(true)
  expect(system.terminated).toEqual([])
})

test('arrived makes the next open look, and starts nothing', async () => {
  mailboxes.tell('arrived', maildir('nobody'))
  expect(await mailboxes.ask('list')).toEqual([])
})

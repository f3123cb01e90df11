import { describe, expect, test } from 'vitest'
import { AskError } from '../../../../src/actors/index.ts'
import { MailboxError } from '../../../../src/mailbox/errors.ts'
import type { AcceptedRecipient } from '../../../../src/protocols/smtp/server/state.ts'
import { type StoreServices, storeMail } from '../../../../src/protocols/smtp/server/store.ts'
import type { NewMail } from '../../../../src/queue/contract.ts'

const local = (user: string): AcceptedRecipient => ({
  envelope: { address: `${user}@mx.test` },
  account: { user, home: `/${user}`, maildir: `/${user}/Maildir` },
})
const remote = (address: string): AcceptedRecipient => ({ envelope: { address }, account: undefined })

interface World {
  readonly services: StoreServices
  readonly steps: string[]
  readonly enqueued: NewMail[]
}

/** Records the steps; what is to fail does. */
function world(failures: { deliver?: Record<string, Error>; enqueue?: Error } = {}): World {
  const steps: string[] = []
  const enqueued: NewMail[] = []
  const services: StoreServices = {
    hostname: 'mx.test',
    saveCrlf: false,
    fsync: true,
    links: true,
    async deliver(maildir) {
      const failure = failures.deliver?.[maildir.split('/')[1]!]
      if (failure !== undefined) throw failure
      steps.push(`deliver ${maildir}`)
      return { maildir, file: `${maildir}/new/x`, size: 1 }
    },
    quota: () => ({ limits: undefined, grace: 0, ignoreNames: false }),
    overQuota: '552 5.2.2 Full\r\n',
    deliveredTo: () => '',
    async enqueue(mail) {
      if (failures.enqueue !== undefined) throw failures.enqueue
      steps.push(`enqueue ${mail.envelope.recipients.map((recipient) => recipient.address).join()}`)
      enqueued.push(mail)
      return { status: 'queued' }
    },
    arrived: (account) => void steps.push(`arrived ${account.user}`),
    delivered: (recipient, outcome) => void steps.push(`${outcome.status} ${recipient.address}`),
  }
  return { services, steps, enqueued }
}

const mailTo = (...recipients: AcceptedRecipient[]) => ({
  queueId: 'ID',
  transaction: {
    sender: 'a@b.test',
    envid: undefined,
    ret: undefined,
    body: undefined,
    smtputf8: false,
    requiretls: false,
    recipients,
    overshoot: 0,
  },
  content: { bytes: Buffer.from('x') },
  client: { address: '127.0.0.1', port: 1, protocol: 'SMTP' },
  arrivedAt: 0,
})

const queued = '250 2.0.0 Ok: queued as ID\r\n'
const full = new MailboxError('MA_MAILBOX_FULL', 'no space')
const broken = new MailboxError('MA_MAILBOX_IO', 'broken')

test('mailboxes come first, then the queue, then the reply', async () => {
  const { services, steps } = world()
  const result = await storeMail(mailTo(remote('x@d.test'), local('ann')), false, services)
  expect(result).toEqual({ replies: [queued, queued], wasAccepted: true, isWithQueue: true })
  expect(steps).toEqual(['deliver /ann/Maildir', 'arrived ann', 'sent ann@mx.test', 'enqueue x@d.test'])
})

test('with LMTP each recipient has its own answer, and the queue gets nothing', async () => {
  const { services, enqueued } = world({ deliver: { ann: full, bob: broken } })
  const result = await storeMail(
    mailTo(local('ann'), local('eve'), local('bob'), local('eve')),
    true,
    services,
  )
  expect(result.replies.map((reply) => reply.slice(0, 9))).toEqual([
    '452 4.3.1',
    '250 2.0.0',
    '451 4.3.0',
    '250 2.0.0',
  ])
  expect(result).toMatchObject({ wasAccepted: true, isWithQueue: false })
  expect(enqueued).toEqual([])
})

test('a full disk is told as 452', async () => {
  const { services } = world({ deliver: { ann: full } })
  const result = await storeMail(mailTo(local('ann')), false, services)
  expect(result).toEqual({
    replies: ['452 4.3.1 No room for the mail now\r\n'],
    wasAccepted: false,
    isWithQueue: false,
  })
})

describe('a queue that does not answer', () => {
  test.each([
    { failure: 'overloaded', reply: '452 4.3.1', isWithQueue: false },
    { failure: 'no_actor', reply: '451 4.3.0', isWithQueue: false },
    // It may have the mail all the same: a content file must not go.
    { failure: 'timeout', reply: '451 4.3.0', isWithQueue: true },
    { failure: 'down', reply: '451 4.3.0', isWithQueue: true },
  ] as const)('$failure', async ({ failure, reply, isWithQueue }) => {
    const { services } = world({ enqueue: new AskError(failure, failure) })
    const result = await storeMail(mailTo(remote('x@d.test')), false, services)
    expect(result.replies[0]).toMatch(new RegExp(`^${reply} `))
    expect(result).toMatchObject({ wasAccepted: false, isWithQueue })
  })
})

test('a mistake of ours is not taken for trouble with the disk', async () => {
  const { services } = world({ deliver: { ann: new TypeError('oops') } })
  await expect(storeMail(mailTo(local('ann')), false, services)).rejects.toThrow('oops')
})

test('a mail to many users is stored for each of them once', async () => {
  const users = Array.from({ length: 50 }, (_, i) => local(`u${i}`))
  const { services, steps } = world()
  const result = await storeMail(mailTo(...users, ...users), false, services)
  expect(result.wasAccepted).toBe(true)
  expect(steps.filter((step) => step.startsWith('deliver '))).toHaveLength(50)
  expect(steps.filter((step) => step.startsWith('sent '))).toHaveLength(100)
})

test('a mailbox over its quota: a permanent refusal when nobody else has the mail, else the sender is told', async () => {
  const over = new MailboxError('MA_MAILBOX_QUOTA', 'full')
  const alone = world({ deliver: { ann: over } })
  const refused = await storeMail(mailTo(local('ann')), false, alone.services)
  expect(refused).toMatchObject({ replies: ['552 5.2.2 Full\r\n'], wasAccepted: false })
  expect(alone.steps).toEqual(['bounced ann@mx.test'])
  const both = world({ deliver: { ann: over } })
  const result = await storeMail(mailTo(local('ann'), local('bob')), false, both.services)
  expect(result.wasAccepted).toBe(true)
  expect(both.steps.at(-1)).toBe('enqueue ann@mx.test')
  const each = await storeMail(
    mailTo(local('ann'), local('bob')),
    true,
    world({ deliver: { ann: over } }).services,
  )
  expect(each.replies).toEqual(['552 5.2.2 Full\r\n', queued])
})

/** Delivers to mailboxes of this service: notices to local senders, and mail that waited for a mailbox. */
import { type ActorContext, type AnyContract, actor, errorReason } from '../actors/index.ts'
import type { Account, AuthContract } from '../auth/contract.ts'
import type { Config } from '../config/settings.ts'
import { type MailboxesContract, placeName } from '../mailbox/contract.ts'
import { deliver } from '../mailbox/deliver.ts'
import { deliveryQuota } from '../mailbox/quota.ts'
import type { DeliveryRecipient, DeliveryRequest, QueueContract, RecipientResult } from './contract.ts'

interface Answer {
  readonly result: Pick<RecipientResult, 'status' | 'dsn' | 'reply'>
  /** The content is not what was queued. */
  readonly isDamaged?: boolean
}

/** The `local` transport: one actor per request, as for the others. */
export const localDelivery = actor<AnyContract, DeliveryRequest>({
  name: 'local-delivery',
  module: import.meta.url,
  init(context, request) {
    // After `init`: who started this must not wait for the disk.
    context.self.tell('run')
    return {
      async run() {
        const startedAt = context.clock.now()
        const results: RecipientResult[] = []
        let isDamaged = false
        for (const recipient of request.recipients) {
          const answer = await deliverTo(context, request, recipient)
          results.push({ id: recipient.id, relay: 'local', ...answer.result })
          isDamaged ||= answer.isDamaged === true
        }
        context.whereis<QueueContract>('queue')?.tell('delivered', {
          queueId: request.queueId,
          results,
          connUse: 1,
          startedAt,
          setupAt: startedAt,
          ...(isDamaged ? { damaged: true } : {}),
        })
        context.stop()
      },
    }
  },
})

async function deliverTo(
  context: ActorContext,
  request: DeliveryRequest,
  recipient: DeliveryRecipient,
): Promise<Answer> {
  let account: Account | null
  try {
    const auth = context.whereis<AuthContract>('auth')
    if (auth === undefined)
      return { result: { status: 'deferred', dsn: '4.3.0', reply: 'user names cannot be looked up' } }
    account = await auth.ask('account', recipient.address)
  } catch (error) {
    context.log.warn({
      event: 'local.lookup-failed',
      queueId: request.queueId,
      error: errorReason(error).message,
    })
    return { result: { status: 'deferred', dsn: '4.3.0', reply: 'user names cannot be looked up' } }
  }
  if (request.probe === true && account !== null) {
    return { result: { status: 'deliverable', dsn: '2.0.0', reply: 'the mailbox is here' } }
  }
  if (account === null) return { result: { status: 'bounced', dsn: '5.1.1', reply: 'no such user here' } }
  const config = context.setting<Config>('config')
  const hostname = config?.hostname ?? 'localhost'
  const prefix = Buffer.from(`Return-Path: <${request.sender}>\r\nDelivered-To: ${recipient.address}\r\n`)
  try {
    await deliver(account.maildir, request.content, {
      hostname,
      prefix,
      saveCrlf: config?.mail.save_crlf === true,
      fsync: config?.mail.fsync !== 'never',
      ...(config !== undefined && { quota: deliveryQuota(config, account) }),
    })
    context.whereis<MailboxesContract>('mailboxes')?.tell('arrived', placeName(account))
    return { result: { status: 'sent', dsn: '2.0.0', reply: 'delivered to the mailbox' } }
  } catch (error) {
    const { message, code } = errorReason(error)
    context.log.error(
      {
        event: 'local.delivery-failed',
        queueId: request.queueId,
        maildir: account.maildir,
        code,
        error: message,
      },
      'mailbox cannot be written',
    )
    if (code === 'MA_MAILBOX_QUOTA') {
      const reply = config?.quota.message ?? 'the mailbox is full'
      return config?.quota.full_tempfail === true
        ? { result: { status: 'deferred', dsn: '4.2.2', reply } }
        : { result: { status: 'bounced', dsn: '5.2.2', reply } }
    }
    if (code === 'MA_MAILBOX_CONTENT') {
      const result = {
        status: 'deferred',
        dsn: '4.3.0',
        reply: 'the content of the mail is damaged',
      } as const
      return { result, isDamaged: true }
    }
    return code === 'MA_MAILBOX_FULL'
      ? { result: { status: 'deferred', dsn: '4.2.2', reply: 'the mailbox is full' } }
      : { result: { status: 'deferred', dsn: '4.3.0', reply: 'the mailbox cannot be written now' } }
  }
}

/**
 * The commands of the control socket, one entry each. A command sends items, printed as they come, and
 * returns a last value.
 */
import { MailactorsError, UsageError } from '../actors/index.ts'
import type { ClientInfo, Envelope, QueueListing } from '../queue/contract.ts'
import { badData, CommandError, internal, noInput, temporary, unavailable, usage } from './command-error.ts'
import type { Administered, PoolSizeRequest } from './contract.ts'
import { operateQueue } from './queue-operations.ts'
import { readStatus } from './status.ts'

export interface CommandRequest {
  readonly args: Readonly<Record<string, unknown>>
  /** The octets that followed the request, for `submit`. */
  readonly content: Uint8Array
}

/** Sends one item; settles when the client has room for the next. */
export type SendItem = (item: unknown) => Promise<void>

export type Command = (service: Administered, request: CommandRequest, send: SendItem) => Promise<unknown>

/** Another program may keep the uid list locked for two minutes. */
const rebuildTimeoutMs = 150_000

/** Mails asked of the queue at once: bounds the reply that crosses the thread. */
const pageLength = 500

export const commands: Readonly<Record<string, Command>> = {
  async status(service) {
    return await readStatus(service)
  },

  async tree(service) {
    return await service.tree()
  },

  async 'pools.list'(service) {
    return { pools: service.pools(), threads: await service.threads() }
  },

  async 'pools.resize'(service, { args }) {
    return await ofPool(service, args, (name) => service.resizePool(name, poolSize(args)))
  },

  async 'pools.recycle'(service, { args }) {
    return { threads: await ofPool(service, args, (name) => service.recyclePool(name)) }
  },

  async 'queue.list'(service, _request, send) {
    for await (const mail of allMails(service)) await send(mail)
    return null
  },

  async 'queue.show'(service, { args }) {
    const [id] = ids(args)
    if (id === undefined) throw new CommandError(usage, 'queue show: which mail? (give its queue id)')
    const mail = await service.queue().ask('show', id)
    if (mail === null) throw new CommandError(noInput, `${id}: no such mail in the queue`)
    const octets = await service.queue().ask('content', id, contentOctets)
    return { ...mail, content: octets === null ? null : Buffer.from(octets).toString('utf8') }
  },

  async 'queue.flush'(service, { args }) {
    const site = args.site ?? ''
    if (typeof site !== 'string') throw new CommandError(usage, 'queue flush: site must be a string')
    return { recipients: await service.queue().ask('flush', site) }
  },

  async 'queue.operate'(service, { args }, send) {
    return await operateQueue(service, args, send)
  },

  async 'queue.why'(service, { args }) {
    const [id] = ids(args)
    if (id === undefined) throw new CommandError(usage, 'queue why: which mail? (give its queue id)')
    const explanation = await service.queue().ask('why', id)
    if (explanation === null) throw new CommandError(noInput, `${id}: no such mail in the queue`)
    return explanation
  },

  async 'queue.intake'(service) {
    return await service.queue().ask('intake')
  },

  async 'queue.stats'(service) {
    return await service.queue().ask('stats')
  },

  async 'mailbox.rebuild'(service, { args }) {
    const { maildir } = args
    if (typeof maildir !== 'string') throw new CommandError(usage, 'mailbox rebuild: which Maildir?')
    const result = await service.mailboxes().askWith({ timeoutMs: rebuildTimeoutMs }, 'rebuild', maildir)
    if (!result.ok) throw new CommandError(result.temporary ? temporary : unavailable, result.reason)
    return { mails: result.mails }
  },

  async 'cache.list'(service, _request, send) {
    for (const row of await service.cache().ask('list')) await send(row)
    return null
  },

  async 'cache.stats'(service) {
    return await service.cache().ask('stats')
  },

  async 'cache.flush'(service) {
    return { closed: await service.cache().ask('flush') }
  },

  async 'tls-reports.list'(service, { args }, send) {
    for (const row of await service.tlsStore().ask('reports', domainOf(args))) await send(row)
    return null
  },

  async 'tls-reports.send'(service, { args }) {
    return { reports: await service.tlsStore().ask('sendReports', domainOf(args)) }
  },

  async sessions(service, _request, send) {
    const rows = await service.accounting().askWith({ timeoutMs: watchTimeoutMs }, 'watch')
    for (const row of rows) await send(row)
    return null
  },

  async kick(service, { args }) {
    const filter: Record<string, string> = {}
    for (const key of ['session', 'user', 'address']) {
      const value = args[key]
      if (value === undefined) continue
      if (typeof value !== 'string' || value === '')
        throw new CommandError(usage, `kick: ${key} must be a name`)
      filter[key] = value
    }
    if (Object.keys(filter).length === 0)
      throw new CommandError(usage, 'kick: whom? (give --user, --session or --address)')
    return { kicked: await service.accounting().ask('kick', filter) }
  },

  async reload(service) {
    return { unchanged: await service.reload() }
  },

  async stop(service, { args }) {
    service.stop(args.now === true)
    return null
  },

  async submit(service, { args, content }) {
    const envelope = args.envelope as Envelope | undefined
    if (typeof envelope?.sender !== 'string' || !Array.isArray(envelope.recipients)) {
      throw new CommandError(usage, 'submit: the envelope needs a sender and recipients')
    }
    if (envelope.recipients.length === 0) throw new CommandError(usage, 'submit: no recipients')
    const result = await service.submit(envelope, content, submitter(args.client))
    if (result.ok) return { queueId: result.queueId }
    throw new CommandError(result.temporary ? temporary : badData, `${result.reason} (${result.dsn})`)
  },
}

/** Thousands of sessions are asked what they do. */
const watchTimeoutMs = 30_000

function poolSize(args: CommandRequest['args']): PoolSizeRequest {
  const size: Record<string, number> = {}
  for (const key of ['minThreads', 'maxThreads', 'actorsPerThread']) {
    const value = args[key]
    if (value === undefined) continue
    if (typeof value !== 'number') throw new CommandError(usage, `pools resize: ${key} must be a number`)
    size[key] = value
  }
  if (Object.keys(size).length > 0) return size
  throw new CommandError(usage, 'pools resize: nothing to change (give --min, --max or --actors-per-thread)')
}

/** What the pool cannot do is a mistake of who asked for it. */
async function ofPool<T>(
  service: Administered,
  { name }: CommandRequest['args'],
  ask: (name: string) => Promise<T>,
): Promise<T> {
  if (typeof name !== 'string' || name === '') throw new CommandError(usage, 'pools: which pool?')
  const names = service.pools().map((pool) => pool.name)
  if (!names.includes(name)) {
    throw new CommandError(
      noInput,
      `pool ${name}: there is none of that name (there are ${names.join(', ')})`,
    )
  }
  try {
    return await ask(name)
  } catch (error) {
    if (error instanceof UsageError) throw new CommandError(usage, `pool ${name}: ${error.message}`)
    throw error
  }
}

/** Enough of a mail to see what it is. */
const contentOctets = 64 * 1024

function ids(args: CommandRequest['args']): readonly string[] {
  const list = args.ids ?? (args.id === undefined ? [] : [args.id])
  if (!Array.isArray(list) || !list.every((id) => typeof id === 'string')) {
    throw new CommandError(usage, 'ids must be a list of queue ids')
  }
  return list
}

async function* allMails(service: Administered): AsyncGenerator<QueueListing, void, void> {
  let after = ''
  for (;;) {
    const page = await service.queue().ask('list', after, pageLength)
    yield* page
    const last = page.at(-1)
    // A page with many recipients is shorter.
    if (last === undefined) return
    after = last.queueId
  }
}

function submitter(given: unknown): ClientInfo {
  const user = (given as { user?: unknown } | undefined)?.user
  return { address: 'local', port: 0, protocol: 'local', ...(typeof user === 'string' ? { user } : {}) }
}

/** What a failure is called on the wire: our own words, and the exit code the command line ends with. */
export function commandFailure(error: unknown): { exitCode: number; message: string } {
  if (error instanceof CommandError) return { exitCode: error.exitCode, message: error.message }
  if (error instanceof MailactorsError) return { exitCode: unavailable, message: error.message }
  return { exitCode: internal, message: 'internal error; the log of the service says more' }
}

function domainOf({ domain = '' }: CommandRequest['args']): string {
  if (typeof domain !== 'string') throw new CommandError(usage, 'tls-reports: domain must be a string')
  return domain.toLowerCase()
}

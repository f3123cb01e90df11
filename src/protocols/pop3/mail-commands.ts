/** Carries out what `transaction.ts` decides: listings, mails, and the UPDATE state. */
import { type UpdateResult, uidBytes } from '../../mailbox/contract.ts'
import { parseCommand } from './command.ts'
import { Listing } from './listing.ts'
import { type Changes, changes, type MailboxLink } from './mailbox-link.ts'
import type { Maildrop } from './maildrop.ts'
import { OutputBuffers } from './output-buffers.ts'
import { ReadAhead, ReadyAnswers } from './read-ahead.ts'
import { Retrieval, type RetrievalHost } from './retrieval.ts'
import type { Pop3SessionContract, SessionHost } from './session-host.ts'
import { timeStamp } from './time-stamp.ts'
import { transact } from './transaction.ts'
import { UidlChange } from './uidl-change.ts'
import type { WireForm } from './wire-form.ts'

/** Octets of a listing per write. */
const listingOctets = 16 * 1024
/** Why a session ends whose client must not take some UIDLs for all. */
const unlisted = 'UIDLs could not be listed'

export interface MailCommandsHost extends SessionHost {
  /** What CAPA says after login. */
  readonly capabilities: string
  /** The client has said UTF8. */
  readonly utf8: boolean
  takeUtf8(): void
  /** Of the thread; its mail is `scratch`. */
  readonly wireForm: WireForm | undefined
}

export class MailCommands {
  readonly maildrop: Maildrop
  readonly mailbox: MailboxLink<Pop3SessionContract>
  readonly #host: MailCommandsHost
  /** Made at the first RETR or TOP. */
  #retrievals: RetrievalHost | undefined
  #ahead: ReadAhead | undefined
  #badCommands = 0
  /** For the log line at the end. */
  readonly counts = { topCount: 0, topBytes: 0, retrCount: 0, retrBytes: 0 }
  expunged = { count: 0, octets: 0 }
  readonly uidlChange: UidlChange

  constructor(host: MailCommandsHost, maildrop: Maildrop, mailbox: MailboxLink<Pop3SessionContract>) {
    this.#host = host
    this.maildrop = maildrop
    this.mailbox = mailbox
    this.uidlChange = new UidlChange(maildrop)
  }

  execute(line: string): void {
    const host = this.#host
    const { maildrop } = this
    const outcome = transact(maildrop, parseCommand(line), host.config.pop3)
    if (outcome.kind === 'reply') {
      host.reply(outcome.line)
      if (outcome.bad) this.#countBad()
      else this.#badCommands = 0
      return
    }
    // A mail that turns out to be gone may count as a wrong command, see `markGone`.
    if (outcome.kind !== 'retrieve') this.#badCommands = 0
    switch (outcome.kind) {
      case 'listing':
        host.begin()
        if (outcome.of === 'UIDL') this.uidlChange.asked()
        this.#list(new Listing(maildrop, outcome.of))
        return
      case 'uidl':
        this.uidlChange.asked()
        host.reply(outcome.line)
        return
      case 'unlisted':
        host.end(unlisted)
        return
      case 'retrieve':
        this.#retrieve(outcome.index, outcome.lines)
        return
      case 'text':
        host.connection.output.add(outcome.text)
        return
      case 'utf8':
        host.takeUtf8()
        host.reply(outcome.line)
        return
      case 'capabilities':
        host.connection.output.add(host.capabilities)
        return
      case 'unseen':
        host.begin()
        this.#update(this.mailbox.update(changes({ unseen: outcome.uids })), () => {
          host.reply(outcome.line)
          host.done()
        })
        return
      case 'quit':
        this.#quit()
    }
  }

  #countBad(): void {
    if (++this.#badCommands <= this.#host.config.pop3.max_bad_commands) return
    this.#host.refuse('-ERR too many wrong commands', 'Too many bad commands')
  }

  #list(listing: Listing): void {
    const host = this.#host
    const { output } = host.connection
    while (!listing.done) {
      if (output.blocked) {
        host.whenDrained(() => this.#list(listing))
        return
      }
      output.add(listing.produce(listingOctets))
    }
    if (listing.failed) host.end(unlisted)
    else host.done()
  }

  #retrieve(index: number, lines: number | undefined): void {
    if (lines === undefined) {
      this.counts.retrCount++
      this.uidlChange.fetched(index)
    } else this.counts.topCount++
    this.#retrievals ??= this.#retrievalHost()
    this.#ahead ??= this.#readAhead(this.#retrievals)
    const retrieval = new Retrieval(this.#retrievals, index, lines)
    this.#host.begin(() => retrieval.cancel())
    retrieval.start()
  }

  #readAhead(host: RetrievalHost): ReadAhead {
    const { context } = this.#host
    const answers = context.local('pop3.ready', () => new ReadyAnswers())
    return new ReadAhead(host, answers, () => context.clock.monotonic())
  }

  /** There is no command to carry out now. */
  idle(): void {
    this.#ahead?.work()
  }

  /** What retrievals need of the session. */
  #retrievalHost(): RetrievalHost {
    const host = this.#host
    const { context, config, ids } = host
    const { mailbox, maildrop } = this
    return {
      maildrop,
      maildir: mailbox.maildir,
      settings: config.pop3,
      get utf8() {
        return host.utf8
      },
      output: host.connection.output,
      scratch: host.scratch,
      wireForm: host.wireForm,
      buffers: context.local('pop3.buffers', () => new OutputBuffers()),
      bind: (callback) => context.bind(callback),
      ready: (index) => this.#ahead?.take(index),
      locate: (uid) => mailbox.locate(uid, maildrop.generation, config.pop3.no_flag_updates),
      fetchNames: async (index) => {
        const page = maildrop.list.pageOf(index)
        const pages = await mailbox.names(maildrop.generation, page)
        if (pages !== null) maildrop.list.addNames(page, pages, false)
      },
      whenDrained: (callback) => host.whenDrained(callback),
      learn: (uid, octets) => mailbox.learn(uid, octets),
      misnamed: (uid) => mailbox.misnamed(uid),
      log: (error) =>
        context.log.error({ event: 'pop3.retr', ...ids, error: error.message }, 'mail not opened'),
      refused: (line) => {
        host.reply(line)
        host.done()
      },
      unreadable: (line) => {
        host.reply(`${line} [${timeStamp(context.clock.now())}]`)
        host.done()
      },
      gone: (index) => {
        host.reply(`-ERR message ${index + 1} is no longer there`)
        if (maildrop.markGone(index)) this.#countBad()
        else this.#badCommands = 0
        host.done()
      },
      broken: (what) => {
        context.log.error({ event: 'pop3.retr', ...ids, ...what }, 'mail could not be sent to its end')
        host.cutOff('Mail could not be read')
      },
      sent: (index, octets, lines) => {
        this.#badCommands = 0
        if (lines === undefined) {
          this.counts.retrBytes += octets
          this.#ahead?.fetched(index)
        } else this.counts.topBytes += octets
        host.done()
      },
    }
  }

  /** RFC 1939 section 6: the only way into the UPDATE state. Answered when the files are gone. */
  #quit(): void {
    const host = this.#host
    const { maildrop, mailbox } = this
    const wanted = { ...this.#wanted(), ...this.#newMail() }
    if (Object.keys(wanted).length === 0) {
      mailbox.tell({})
      host.refuse('+OK goodbye', 'Logged out')
      return
    }
    host.begin()
    const { deletedCount: count, deletedSize: octets } = maildrop
    this.uidlChange.freeze()
    // Whatever ends the session from here on, the marks are not applied a second time.
    maildrop.reset()
    this.#update(mailbox.update(wanted), (failed) => {
      if (failed > 0) {
        host.refuse(`-ERR [SYS/TEMP] ${failed} of ${count} deleted messages not removed`, 'Update failed')
        return
      }
      this.expunged = { count, octets }
      host.refuse(count > 0 ? '+OK goodbye, deleted messages are removed' : '+OK goodbye', 'Logged out')
    })
  }

  /** As in Dovecot: what has come since the login is taken in, so that other programs find it in `cur/`. */
  #newMail(): Changes {
    const newTime = this.mailbox.newTime()
    if (newTime === undefined || newTime === this.maildrop.newTime) return {}
    return { takeIn: { keepNew: this.#host.config.pop3.no_flag_updates } }
  }

  /** What QUIT changes: deleted messages go, or get the keyword that hides them. */
  #wanted(): Changes {
    const { deleted_flag: keyword, delete_type } = this.#host.config.pop3
    const deleted = this.maildrop.expunged()
    const seen = this.maildrop.seen(true)
    if (delete_type === 'expunge' || keyword === '') return changes({ expunge: deleted, seen })
    return { ...changes({ seen }), ...(deleted.length > 0 && { flag: { uids: uidBytes(deleted), keyword } }) }
  }

  /** Waits for the mailbox; a failure ends the session. */
  #update(answer: Promise<UpdateResult>, done: (failed: number) => void): void {
    const host = this.#host
    const { context } = host
    answer.then(
      context.bind((result: UpdateResult) => {
        if (host.isClosed) return
        if (result.ok) done(result.failed)
        else this.#updateFailed(result.temporary)
      }),
      context.bind((error: Error) => {
        const facts = { event: 'pop3.update', ...host.ids, error: error.message }
        context.log.error(facts, 'update failed')
        if (!host.isClosed) this.#updateFailed(true)
      }),
    )
  }

  #updateFailed(temporary: boolean): void {
    const code = temporary ? 'SYS/TEMP' : 'SYS/PERM'
    const time = timeStamp(this.#host.context.clock.now())
    this.#host.refuse(`-ERR [${code}] not all changes could be made [${time}]`, 'Update failed')
  }

  /** The session ends without QUIT: mails that were fetched are still marked as seen; nothing is removed. */
  leave(): void {
    this.#ahead?.drop()
    this.mailbox.tell(changes({ seen: this.maildrop.seen(false) }))
    this.mailbox.left()
  }
}

/**
 * The next mail of a client that fetches one after the other, made ready while the client takes the one before: its
 * command then needs one look at the file and one write, and mostly comes before the thread has gone to sleep. What
 * is ready is used only if the file is still there under its name and has not changed.
 */
import { MailFile } from './mail-file.ts'
import { pooledOctets } from './output-buffers.ts'
import { type RetrievalHost, retrStatus } from './retrieval.ts'

/** Larger mails gain too little: of them, sending is nearly all. */
const largestOctets = 100 * 1024
/** Answers of one thread that wait for their clients. With so many busy clients it does not sleep anyway. */
const mostReady = 8
/** A client that leaves its answer for so long makes room for others. */
const staleMs = 1_000

export interface ReadyAnswer {
  /** Closed. */
  readonly file: MailFile
  /** To be given back to the buffers. */
  readonly buffer: Buffer
  readonly length: number
  /** Octets of the mail with CRLF line ends. */
  readonly total: number
}

/** Those sessions of a thread that have an answer ready, the longest first. */
export class ReadyAnswers {
  readonly #holders = new Set<ReadAhead>()

  get hasRoom(): boolean {
    if (this.#holders.size < mostReady) return true
    const [oldest] = this.#holders
    if (oldest?.isStale === true) oldest.drop()
    return this.#holders.size < mostReady
  }

  add(holder: ReadAhead): void {
    this.#holders.add(holder)
  }

  remove(holder: ReadAhead): void {
    this.#holders.delete(holder)
  }
}

/** Of one session. */
export class ReadAhead {
  readonly #host: RetrievalHost
  readonly #answers: ReadyAnswers
  readonly #now: () => number
  /** Index of the mail that was fetched last. */
  #last = -2
  #wanted = -1
  #ready: ReadyAnswer | undefined
  #readyIndex = -1
  #readyAt = 0

  /** `now`: milliseconds of the monotonic clock. */
  constructor(host: RetrievalHost, answers: ReadyAnswers, now: () => number) {
    this.#host = host
    this.#answers = answers
    this.#now = now
  }

  /** All of a mail was sent. The second one in a row shows what the client is doing. */
  fetched(index: number): void {
    this.#wanted = index === this.#last + 1 ? index + 1 : -1
    this.#last = index
  }

  /** To be called when there is no command to carry out. */
  work(): void {
    const index = this.#wanted
    if (index === -1 || !this.#host.output.isIdle) return
    this.#wanted = -1
    this.drop()
    if (!this.#answers.hasRoom) return
    const ready = this.#prepare(index)
    if (ready === undefined) return
    this.#ready = ready
    this.#readyIndex = index
    this.#readyAt = this.#now()
    this.#answers.add(this)
  }

  /** What was made ready for this mail, if it is as good as reading it now. */
  take(index: number): ReadyAnswer | undefined {
    const ready = this.#ready
    if (ready === undefined) return undefined
    if (index !== this.#readyIndex || !ready.file.isUnchanged) {
      this.drop()
      return undefined
    }
    this.#forget()
    return ready
  }

  get isStale(): boolean {
    return this.#now() - this.#readyAt > staleMs
  }

  drop(): void {
    if (this.#ready === undefined) return
    this.#host.buffers.give(this.#ready.buffer)
    this.#forget()
  }

  #forget(): void {
    this.#ready = undefined
    this.#answers.remove(this)
  }

  #prepare(index: number): ReadyAnswer | undefined {
    const { maildrop, settings, utf8, wireForm, buffers } = this.#host
    if (wireForm === undefined || settings.client_workarounds.length > 0 || settings.exact_octets) return
    if (settings.capa.utf8 && !utf8) return
    if (index >= maildrop.count || maildrop.isDeleted(index) || maildrop.isGone(index)) return
    const size = maildrop.sizes[index]!
    const file = size > largestOctets ? undefined : this.#open(index)
    const stored = file && readWhole(file, wireForm.mail)
    if (file === undefined || stored === undefined) return
    const { octets, total } = wireForm.answer(retrStatus(size), stored.length)
    if (octets.length > pooledOctets) return
    const buffer = buffers.take(octets.length)
    octets.copy(buffer)
    return { file, buffer, length: octets.length, total }
  }

  /** What is wrong with a file is found out and told when the client asks for it. */
  #open(index: number): MailFile | undefined {
    const { maildrop, maildir } = this.#host
    const place = maildrop.file(index)
    if (place === undefined) return undefined
    try {
      return MailFile.open(maildir, place)
    } catch {
      return undefined
    }
  }
}

function readWhole(file: MailFile, memory: Buffer): Buffer | undefined {
  try {
    return file.octets > largestOctets ? undefined : file.readAll(memory)
  } catch {
    return undefined
  } finally {
    file.close()
  }
}

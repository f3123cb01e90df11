/**
 * RETR and TOP: finds the file of a mail and sends it. A small mail is read and sent at once; a large one piece by
 * piece, as the client takes it.
 */
import type { ActorContext } from '../../actors/index.ts'
import { isSeen, type LocateResult } from '../../mailbox/contract.ts'
import type { Pop3Settings } from './config.ts'
import { MailFile, pieceOctets, smallMailOctets } from './mail-file.ts'
import type { MailPlace } from './mail-list.ts'
import { isMisnamed } from './mail-scan.ts'
import type { Maildrop } from './maildrop.ts'
import type { Output } from './output.ts'
import type { OutputBuffers } from './output-buffers.ts'
import type { ReadyAnswer } from './read-ahead.ts'
import { Transmission } from './transmission.ts'
import { type WireForm, WirePieces } from './wire-form.ts'

/** An answer from here on goes out by itself; shorter ones are worth collecting. */
const largeOctets = 8 * 1024

export const retrStatus = (octets: number): string => `+OK ${octets} octets\r\n`

const unreadableNow = '-ERR [SYS/TEMP] the message cannot be read now'

/** What the session does for a retrieval. */
export interface RetrievalHost {
  readonly maildrop: Maildrop
  readonly maildir: string
  readonly settings: Pop3Settings
  /** The client takes header fields in UTF-8 (RFC 6856). */
  readonly utf8: boolean
  readonly output: Output
  /** Memory for one synchronous read. */
  readonly scratch: Buffer
  /** Has its mail in `scratch`. */
  readonly wireForm: WireForm | undefined
  /** Memory for what is sent. */
  readonly buffers: OutputBuffers
  /** Runs a callback on behalf of the session's actor. */
  readonly bind: ActorContext['bind']
  /** The answer to RETR, if it was made before. */
  ready(index: number): ReadyAnswer | undefined
  /** Where the mail is now. */
  locate(uid: number): Promise<LocateResult>
  /** Has the maildrop learn the names of this mail and its neighbours, if they can still be had. */
  fetchNames(index: number): Promise<void>
  /** Calls back when the client has read; only while the output is blocked. */
  whenDrained(callback: () => void): void
  /** Sizes in the mailbox are wrong. */
  learn(uid: number, octets: number): void
  /** So are they in the name of its file. */
  misnamed(uid: number): void
  /** The mail is not sent; one line says why. */
  refused(line: string): void
  /** It cannot be, and that is our fault. */
  unreadable(line: string): void
  /** The mail is not there any more. */
  gone(index: number): void
  /** The mail broke off in the middle: the connection must end without the final dot. */
  broken(facts: { readonly uid: number; readonly error: string }): void
  /** It was sent, `octets` without the final dot; `lines` undefined: all of it. */
  sent(index: number, octets: number, lines: number | undefined): void
  log(error: Error): void
}

export class Retrieval {
  readonly #host: RetrievalHost
  readonly #index: number
  readonly #lines: number | undefined
  #file: MailFile | undefined
  #octets = 0
  #over = false

  /** `lines` of the body (TOP), or undefined for all of the mail (RETR). */
  constructor(host: RetrievalHost, index: number, lines: number | undefined) {
    this.#host = host
    this.#index = index
    this.#lines = lines
  }

  /** Ends with a call of `sent`, `refused`, `gone` or `broken`: at once for small mails. */
  start(): void {
    if (this.#host.maildrop.isGone(this.#index)) {
      this.#over = true
      this.#host.gone(this.#index)
      return
    }
    const ready = this.#lines === undefined ? this.#host.ready(this.#index) : undefined
    if (ready !== undefined) {
      this.#sendReady(ready)
      return
    }
    const place = this.#host.maildrop.file(this.#index)
    if (place === undefined) this.#fetchName()
    else this.#begin(place)
  }

  #begin(place: MailPlace): void {
    if (this.#open(place)) this.#send()
    else if (!this.#over) this.#locate()
  }

  /** In a large mailbox the names of mails come when they are needed. */
  #fetchName(): void {
    const host = this.#host
    const go = host.bind(() => {
      if (this.#over) return
      const place = host.maildrop.file(this.#index)
      if (place === undefined) this.#locate()
      else this.#begin(place)
    })
    host.fetchNames(this.#index).then(go, go)
  }

  /** The session ends: nothing is called any more, the file is closed. */
  cancel(): void {
    this.#over = true
    this.#file?.close()
  }

  get #uid(): number {
    return this.#host.maildrop.uid(this.#index)
  }

  /** False: not there, or refused already. */
  #open(place: MailPlace): boolean {
    try {
      this.#file = MailFile.open(this.#host.maildir, place)
      return this.#file !== undefined
    } catch (error) {
      this.#host.log(error as Error)
      this.#unreadable('-ERR [SYS/PERM] the message cannot be read')
      return false
    }
  }

  /** Moved by another program, or gone. */
  #locate(): void {
    const host = this.#host
    host.locate(this.#uid).then(
      host.bind((found: LocateResult) => {
        if (this.#over) return
        if (!found.ok) {
          this.#unreadable(unreadableNow)
          return
        }
        const { place, gone } = found
        host.maildrop.learnGone(gone)
        // It may have lost its seen mark under its new name.
        if (place !== null && !isSeen(place.name)) host.maildrop.lostSeen(this.#index)
        if (place !== null && this.#open(place)) this.#send()
        else if (!this.#over) {
          this.#over = true
          host.gone(this.#index)
        }
      }),
      host.bind((error: Error) => {
        if (this.#over) return
        host.log(error)
        this.#unreadable(unreadableNow)
      }),
    )
  }

  #unreadable(line: string): void {
    this.#over = true
    this.#host.unreadable(line)
  }

  #send(): void {
    const { maildrop, settings, utf8, wireForm } = this.#host
    const file = this.#file!
    if (settings.capa.utf8 && !utf8 && file.has8BitHeader(this.#host.scratch)) {
      file.close()
      this.#over = true
      this.#host.refused('-ERR [UTF8] the header has characters that only UTF8 mode can show')
      return
    }
    let status = '+OK\r\n'
    if (this.#lines === undefined) {
      maildrop.markFetched(this.#index)
      const size = maildrop.sizes[this.#index]!
      status = retrStatus(settings.exact_octets && !file.endsLine() ? size + 2 : size)
    }
    const isPlain = this.#lines === undefined && settings.client_workarounds.length === 0
    if (file.octets > smallMailOctets) {
      this.#sendPieces(file, (isPlain ? wireForm?.pieces() : undefined) ?? this.#transmission(), status)
    } else if (isPlain && wireForm !== undefined) this.#sendWhole(file, wireForm, status)
    else this.#sendAtOnce(file, this.#transmission(), status)
  }

  #transmission(): Transmission {
    const { client_workarounds: workarounds } = this.#host.settings
    return new Transmission({
      lines: this.#lines,
      noNuls: workarounds.includes('outlook-no-nuls'),
      addEndOfHeaders: workarounds.includes('oe-ns-eoh'),
    })
  }

  /** What nearly all clients ask for. */
  #sendWhole(file: MailFile, wireForm: WireForm, status: string): void {
    const stored = this.#readAll(file)
    if (stored === undefined) return
    const { octets, total } = wireForm.answer(status, stored.length)
    // Before anything is sent, unlike with large mails: nothing of a mail that broke off reaches the client.
    if (!this.#isWhole(total, file.octets)) return
    const { length } = octets
    if (length < largeOctets) this.#host.output.add(octets.toString('latin1'))
    else this.#sendCopy(octets)
    this.#over = true
    this.#host.sent(this.#index, length - 3, this.#lines)
  }

  #sendReady({ file, buffer, length, total }: ReadyAnswer): void {
    const { maildrop, output, buffers, sent } = this.#host
    maildrop.markFetched(this.#index)
    if (!this.#isWhole(total, file.octets)) {
      buffers.give(buffer)
      return
    }
    output.send(buffer, length, () => buffers.give(buffer))
    this.#over = true
    sent(this.#index, length - 3, undefined)
  }

  /** The next answer is put together in the same place, and this one may have to wait for the client. */
  #sendCopy(octets: Buffer): void {
    const { output, buffers } = this.#host
    const { length } = octets
    const buffer = buffers.take(length)
    octets.copy(buffer)
    output.send(buffer, length, () => buffers.give(buffer))
  }

  #sendAtOnce(file: MailFile, transmission: Transmission, status: string): void {
    const stored = this.#readAll(file)
    if (stored === undefined) return
    const text = transmission.push(stored.toString('latin1'))
    if (this.#isWhole(transmission.total, file.octets)) this.#finish(status + text + transmission.end())
  }

  /** Undefined: it was broken. */
  #readAll(file: MailFile): Buffer | undefined {
    let stored: Buffer | undefined
    try {
      stored = file.readAll(this.#host.scratch)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === undefined) throw error
    } finally {
      file.close()
    }
    if (stored === undefined) this.#broken('cannot be read')
    return stored
  }

  #sendPieces(file: MailFile, form: Transmission | WirePieces, status: string): void {
    const host = this.#host
    // Its own: other sessions of this thread read while this one waits for the disk.
    const buffer = Buffer.allocUnsafeSlow(pieceOctets)
    this.#add(status)
    const next = (): void => {
      if (this.#over) return
      if (host.output.blocked) host.whenDrained(next)
      else file.readPiece(buffer, arrived)
    }
    const arrived = host.bind((length: number) => {
      if (this.#over) return
      if (length > 0) {
        if (form instanceof WirePieces) this.#addOctets(form.push(buffer.subarray(0, length)))
        else {
          this.#add(form.push(buffer.toString('latin1', 0, length)))
          host.output.flush()
        }
        if (form instanceof WirePieces || !form.complete) {
          next()
          return
        }
      }
      file.close()
      if (length === -1) this.#broken('cannot be read')
      else if (this.#isWhole(form.total, file.octets)) this.#finish(form.end())
    })
    next()
  }

  #add(text: string): void {
    this.#octets += text.length
    this.#host.output.add(text)
  }

  #addOctets(octets: Buffer): void {
    this.#octets += octets.length
    this.#sendCopy(octets)
  }

  #finish(last: string): void {
    this.#over = true
    this.#add(last)
    this.#host.sent(this.#index, this.#octets - 3, this.#lines)
  }

  /** Less than was announced must not look like a whole mail: the client would remove it. */
  #isWhole(total: number, fileOctets: number): boolean {
    const { maildrop, settings } = this.#host
    if (this.#lines !== undefined) return true
    const name = maildrop.file(this.#index)?.name
    if (name !== undefined && maildrop.mayRename && isMisnamed(name, fileOctets, total)) {
      this.#host.misnamed(this.#uid)
    }
    if (settings.fast_size_lookups) return true
    const announced = maildrop.sizes[this.#index]!
    if (total === announced) return true
    this.#host.learn(this.#uid, total)
    if (total > announced) return true
    this.#broken('is shorter than it was')
    return false
  }

  #broken(error: string): void {
    this.#over = true
    this.#host.broken({ uid: this.#uid, error })
  }
}

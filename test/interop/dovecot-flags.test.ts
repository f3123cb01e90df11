/**
 * One Maildir that a real Dovecot, we, and plain file operations change in turn, at random: after each step both see the
 * same mails under the same UIDs, with the same flags and keywords. `STEPS=200 SEED=random` is a campaign.
 */
import { execFileSync } from 'node:child_process'
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { deliver } from '../../src/mailbox/deliver.ts'
import type { Mailbox } from '../../src/mailbox/mailbox.ts'
import { uidBytes } from '../../src/mailbox/snapshot.ts'
import { Random } from '../../src/testing/random.ts'
import { Home, look, names, uids } from '../mailbox/harness.ts'
import { startDovecot } from '../support/peers.ts'
import { because } from '../support/privileges.ts'
import { chosenSeed } from '../support/seed.ts'

const noDovecot = whyMissing(['dovecot', 'doveadm'], { root: true })
const nobody = 65_534
const steps = Number(process.env.STEPS ?? 40)

const systemFlags: Readonly<Record<string, string>> = {
  D: '\\Draft',
  F: '\\Flagged',
  R: '\\Answered',
  S: '\\Seen',
  T: '\\Deleted',
}

/** Dovecot makes up a name for a letter that has none. */
const shown = (flags: readonly string[]): string =>
  flags
    .filter((flag) => !/^$|^\\Recent$|^unknown-/.test(flag))
    .sort()
    .join(' ')

class Shared {
  readonly dir: string
  readonly #config: string
  readonly #random: Random
  readonly #home = new Home()
  #box: Mailbox
  #made = 0

  constructor(dovecot: string, random: Random) {
    this.dir = join(dovecot, 'mail', 'ann')
    this.#config = join(dovecot, 'dovecot.conf')
    this.#random = random
    for (const path of ['', 'cur', 'new', 'tmp'].map((name) => join(this.dir, name))) {
      mkdirSync(path, { recursive: true })
      chownSync(path, nobody, nobody)
    }
    this.#box = this.#open()
  }

  #open(): Mailbox {
    return this.#home.mailbox({}, this.dir)
  }

  #doveadm(...args: readonly string[]): string {
    return execFileSync('doveadm', ['-c', this.#config, ...args], { encoding: 'latin1' })
  }

  /** `uid base-name flags`, as Dovecot sees it. */
  theirs(): string[] {
    const rows = this.#doveadm('-f', 'tab', 'fetch', '-u', 'ann', 'uid guid flags', 'all').split('\n')
    return rows.slice(1, -1).map((row) => {
      const [uid, guid, flags = ''] = row.split('\t')
      return `${uid} ${guid} ${shown(flags.split(' '))}`
    })
  }

  async ours(): Promise<string[]> {
    const snapshot = await this.#box.open(look)
    const file = join(this.dir, 'dovecot-keywords')
    const keywords = existsSync(file) ? readFileSync(file, 'latin1').split('\n') : []
    const keyword = (letter: string) =>
      keywords.find((line) => line.startsWith(`${letter.charCodeAt(0) - 97} `))?.split(' ')[1]
    return names(snapshot).map((name, i) => {
      const letters = [...(name.split(':2,')[1] ?? '').split(',')[0]!]
      const flags = letters.flatMap(
        (letter) => systemFlags[letter] ?? (/[a-z]/.test(letter) ? (keyword(letter) ?? []) : []),
      )
      return `${uids(snapshot)[i]} ${name.split(':')[0]} ${shown(flags)}`
    })
  }

  #put(name: string): void {
    const path = join(this.dir, name)
    writeFileSync(path, `Subject: ${this.#made}\n\nhello\n`)
    chownSync(path, nobody, nobody)
  }

  get #fresh(): string {
    return `17${String(this.#random.below(1e6)).padStart(8, '0')}.M${++this.#made}P1.h`
  }

  /** What was done; empty: nothing. */
  async change(): Promise<string> {
    const random = this.#random
    const files = readdirSync(join(this.dir, 'cur')).filter((name) => !name.startsWith('.'))
    if (files.length < 3) {
      this.#put(`new/${this.#fresh}`)
      return 'deliver'
    }
    const file = random.pick(files)
    const base = file.split(':')[0]!
    switch (random.below(8)) {
      case 0:
        this.#put(random.chance(0.5) ? `new/${this.#fresh}` : `cur/${this.#fresh}:2,FS`)
        return 'put a file'
      case 1: {
        const flags = random.pick(['', 'S', 'F', 'RS', 'PS', 'T', 'a', 'Sb', 'D'])
        renameSync(join(this.dir, 'cur', file), join(this.dir, 'cur', `${base}:2,${flags}`))
        return `rename ${base} to ${flags}`
      }
      case 2:
        unlinkSync(join(this.dir, 'cur', file))
        return `unlink ${base}`
      case 3:
        return this.#dovecotChanges()
      case 4:
      case 5:
        return this.#weChange()
      case 6: {
        await deliver(this.dir, { bytes: Buffer.from('Subject: ours\r\n\r\nx\r\n') }, { hostname: 'h' })
        for (const name of readdirSync(join(this.dir, 'new')))
          chownSync(join(this.dir, 'new', name), nobody, nobody)
        if (random.chance(0.5)) await this.#box.takeIn()
        return 'we deliver'
      }
      default:
        if (random.chance(0.5)) await this.#box.close()
        else await this.#box.save()
        this.#home.restart({ lost: random.chance(0.3) })
        this.#box = this.#open()
        return 'we start anew'
    }
  }

  #dovecotChanges(): string {
    const random = this.#random
    const uid = random.pick(this.theirs()).split(' ')[0]!
    if (random.chance(0.2)) {
      this.#doveadm('expunge', '-u', 'ann', 'mailbox', 'INBOX', 'uid', uid)
      return `Dovecot expunges ${uid}`
    }
    const flag = random.pick(['\\Seen', '\\Flagged', 'Junk', '$Label1'])
    const verb = random.chance(0.6) ? 'add' : 'remove'
    this.#doveadm('flags', verb, '-u', 'ann', flag, 'uid', uid)
    return `Dovecot: ${verb} ${flag} ${uid}`
  }

  async #weChange(): Promise<string> {
    const random = this.#random
    const snapshot = await this.#box.open(look)
    const uid = random.pick(uids(snapshot))
    const { uidValidity } = snapshot
    const mail = uidBytes([uid])
    const what = random.pick(['expunge', 'seen', 'unseen', 'flag'] as const)
    const keyword = random.pick(['Junk', '$Pop', 'Other'])
    await this.#box.update({
      uidValidity,
      ...(what === 'flag' ? { flag: { uids: mail, keyword } } : { [what]: mail }),
    })
    return `we ${what} ${uid}`
  }
}

describe.skipIf(noDovecot !== undefined)(`Dovecot, we and others on one Maildir${because(noDovecot)}`, () => {
  test(`${steps} changes at random: the same UIDs, flags and keywords`, {
    timeout: 60_000 + steps * 2_000,
  }, async () => {
    const random = new Random(chosenSeed())
    const dovecot = await startDovecot()
    const shared = new Shared(dovecot.dir, random)
    const story: string[] = []
    for (let step = 0; step < steps; step++) {
      story.push(await shared.change())
      if (random.chance(0.4)) continue
      const weAreFirst = random.chance(0.5)
      const early = weAreFirst ? await shared.ours() : shared.theirs()
      const late = weAreFirst ? shared.theirs() : await shared.ours()
      expect(late, `${weAreFirst ? 'we' : 'Dovecot'} first: ${story.join('; ')}`).toEqual(early)
    }
  })
})

/**
 * One Maildir, served by Dovecot and by us in turn, or by both at once: whoever comes next shows the same UIDLs,
 * order and sizes, and neither finds fault with the files of the other.
 */
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { Random } from '../../src/testing/random.ts'
import { Pop3Client } from '../support/clients.ts'
import { prepareService, startService, tempDir } from '../support/fixtures.ts'
import { startDovecot } from '../support/peers.ts'
import { because } from '../support/privileges.ts'
import { chosenSeed } from '../support/seed.ts'
import type { Service } from '../support/service.ts'

const noDovecot = whyMissing(['dovecot'], { root: true })
const nobody = 65_534

/** A Maildir below Dovecot's, which belongs to its user. */
class Shared {
  readonly dir: string
  #sent = 0

  constructor(dovecot: string, user = 'ann') {
    this.dir = join(dovecot, 'mail', user)
    for (const path of [this.dir, ...['cur', 'new', 'tmp'].map((name) => join(this.dir, name))]) {
      mkdirSync(path, { recursive: true })
      chownSync(path, nobody, nobody)
    }
  }

  write(name: string, text: string): void {
    const path = join(this.dir, name)
    writeFileSync(path, text)
    chownSync(path, nobody, nobody)
  }

  /** As another program delivers, without sizes in the name. */
  deliver(text = 'Subject: x\n\nhello\n', folder = 'new'): string {
    const name = `17000${String(++this.#sent).padStart(5, '0')}.M1P1.h`
    this.write(`${folder}/${name}${folder === 'cur' ? ':2,' : ''}`, text)
    return name
  }

  read(name: string): string {
    return readFileSync(join(this.dir, name), 'latin1')
  }

  names(): string[] {
    return [...readdirSync(join(this.dir, 'cur')), ...readdirSync(join(this.dir, 'new'))].sort()
  }
}

interface Seen {
  readonly uidl: readonly string[]
  readonly list: readonly string[]
}

/** What a session sees; `then` goes on with it before QUIT. */
async function look(
  port: number,
  then: (client: Pop3Client) => Promise<unknown> = async () => {},
): Promise<Seen> {
  const client = await Pop3Client.login(port, 'ann')
  const seen = { uidl: await client.multi('UIDL'), list: await client.multi('LIST') }
  await then(client)
  await client.ok('QUIT')
  client.close()
  return seen
}

const tables = (dovecot: string, more = '') => `[mail]\npath = "${dovecot}/mail/%u"\n${more}`
const complaints = (dovecot: string) =>
  readFileSync(join(dovecot, 'log'), 'utf8')
    .split('\n')
    .filter((line) => /Error|Warning|Panic|Fatal/.test(line))

describe.skipIf(noDovecot !== undefined)(`Dovecot and we on one Maildir${because(noDovecot)}`, () => {
  test('P260 we take over: same UIDLs and sizes, and Dovecot goes on with what we did', {
    timeout: 60_000,
  }, async () => {
    const dovecot = await startDovecot()
    const shared = new Shared(dovecot.dir)
    for (let i = 0; i < 5; i++) shared.deliver()
    shared.deliver('Subject: last\n\nno line end')
    const first = await look(dovecot.port)
    const list = shared.read('dovecot-uidlist')

    const service = await startService({ tables: tables(dovecot.dir) })
    expect(await look(service.ports.pop3)).toEqual(first)
    expect(shared.read('dovecot-uidlist')).toBe(list)
    // Two go, one is read, one comes.
    await look(service.ports.pop3, async (client) => {
      await client.multi('RETR 3')
      await client.ok('DELE 1')
      await client.ok('DELE 4')
    })
    shared.deliver()
    const ours = await look(service.ports.pop3)
    expect(ours.uidl).toHaveLength(5)
    await service.stop()

    expect(await look(dovecot.port)).toEqual(ours)
    const back = await look(dovecot.port, (client) => client.ok('DELE 2'))
    expect(back).toEqual(ours)
    await service.run()
    const again = await look(service.ports.pop3)
    expect(again.uidl.map((line) => line.split(' ')[1])).toEqual(
      ours.uidl.filter((_, i) => i !== 1).map((line) => line.split(' ')[1]),
    )
    expect(complaints(dovecot.dir)).toEqual([])
  })

  test('P261 a Maildir that had no list: UIDs in the same order as Dovecot gives them', {
    timeout: 60_000,
  }, async () => {
    const names = [
      '20.M5P1.h',
      '20.M10P1.h',
      '3.x',
      '20.zzz',
      '20.M5P0.h',
      'no-time.x',
      '20.M5P1.h,S=25',
      '1_2',
    ]
    names.push(
      'Ab',
      'aB',
      '20.M5P1.hA',
      '20.M5P1.h0',
      '20.M5P1.h-',
      '20.M5P1.h~',
      '20.P1M4.x',
      '20.x.M1',
      '20.XM9Y',
    )
    const dovecot = await startDovecot()
    const theirs = new Shared(dovecot.dir)
    for (const name of names) theirs.write(`new/${name}`, `Subject: ${name}\n\n`)
    const subjects = async (port: number) => {
      const client = await Pop3Client.login(port, 'ann')
      const found = []
      for (let i = 1; i <= names.length; i++) found.push((await client.multi(`TOP ${i} 0`))[0])
      await client.ok('QUIT')
      return found
    }
    const expected = await subjects(dovecot.port)
    for (const name of readdirSync(theirs.dir)) {
      if (name.startsWith('dovecot')) rmSync(join(theirs.dir, name))
    }
    const service = await startService({ tables: tables(dovecot.dir) })
    expect(await subjects(service.ports.pop3)).toEqual(expected)
  })

  const kinds = [
    { what: 'default', dovecot: '', ours: '' },
    { what: '%f', dovecot: 'pop3_uidl_format = %f', ours: 'uidl_format = "%f"' },
    { what: '%g', dovecot: 'pop3_uidl_format = %g', ours: 'uidl_format = "%g"' },
    { what: '%u-%v UID', dovecot: 'pop3_uidl_format = UID%u-%v', ours: 'uidl_format = "UID%u-%v"' },
    { what: 'reuse_xuidl', dovecot: 'pop3_reuse_xuidl = yes', ours: 'reuse_xuidl = true' },
    {
      what: 'save_uidl',
      dovecot: 'pop3_save_uidl = yes\npop3_uidl_format = %f',
      ours: 'save_uidl = true\nuidl_format = "%f"',
    },
    {
      what: 'reuse_xuidl and save_uidl',
      dovecot: 'pop3_save_uidl = yes\npop3_reuse_xuidl = yes',
      ours: 'save_uidl = true\nreuse_xuidl = true',
    },
    {
      what: 'uidl_duplicates rename',
      dovecot: 'pop3_uidl_duplicates = rename\npop3_reuse_xuidl = yes',
      ours: 'uidl_duplicates = "rename"\nreuse_xuidl = true',
    },
    {
      what: 'deleted_flag',
      dovecot: 'pop3_deleted_flag = "$POP3Deleted"',
      ours: 'deleted_flag = "$POP3Deleted"',
    },
    {
      what: 'deleted_flag, expunge',
      dovecot: 'pop3_deleted_flag = "$POP3Deleted"\npop3_delete_type = expunge',
      ours: 'deleted_flag = "$POP3Deleted"\ndelete_type = "expunge"',
    },
    { what: 'no_flag_updates', dovecot: 'pop3_no_flag_updates = yes', ours: 'no_flag_updates = true' },
  ]
  test.for(kinds)('$what: there and back, UIDLs, names and keywords', { timeout: 60_000 }, async (kind) => {
    const dovecot = await startDovecot({ SETTINGS: kind.dovecot })
    const shared = new Shared(dovecot.dir)
    for (const field of [
      'X-UIDL: dup',
      'X-UIDL: dup',
      'Subject: none',
      'X-UIDL:   spaced',
      'x-uidl: dup-2',
    ]) {
      shared.deliver(`${field}\n\nhello\n`)
    }
    shared.write('cur/1800000000.M9P1.h:2,RSb', 'Subject: flags\n\n')
    shared.write('dovecot-keywords', '1 Junk\n')
    const service = await startService({ tables: tables(dovecot.dir, `[pop3]\n${kind.ours}\n`) })
    const change = async (client: Pop3Client) => {
      await client.multi('RETR 2')
      await client.ok('DELE 1')
    }
    const before = await look(dovecot.port)
    expect(await look(service.ports.pop3)).toEqual(before)
    // Dovecot removes the first, then we the next first: names and keywords are what it would have made of them.
    await look(dovecot.port, change)
    const between = shared.names()
    const ours = await look(service.ports.pop3, change)
    const theirs = await look(dovecot.port)
    expect(await look(service.ports.pop3)).toEqual(theirs)
    expect(theirs.uidl).toHaveLength(ours.uidl.length - 1)
    const flagged = (names: readonly string[], letter: string) =>
      names.filter((name) => name.split(':')[1]?.includes(letter))
    if (kind.what === 'deleted_flag') {
      expect(flagged(between, 'a')).toHaveLength(1)
      expect(flagged(shared.names(), 'a')).toHaveLength(2)
      expect(shared.read('dovecot-keywords')).toBe('0 $POP3Deleted\n1 Junk\n')
    } else expect(shared.names()).toHaveLength(between.length - 1)
    expect(shared.names().at(-1)).toBe('1800000000.M9P1.h:2,RSb')
    expect(complaints(dovecot.dir)).toEqual([])
  })

  test('S55 CONTROL= and INDEX=: the same files in the same places, and the lock of a session', {
    timeout: 60_000,
  }, async () => {
    const places = tempDir()
    chmodSync(places, 0o777)
    const control = join(places, 'control')
    const index = join(places, 'index')
    const location = `mail_location = maildir:%h/../../mail/%u:CONTROL=${control}/%u:INDEX=${index}/%u`
    const dovecot = await startDovecot({ SETTINGS: `${location}\npop3_lock_session = yes` })
    const shared = new Shared(dovecot.dir)
    for (let i = 0; i < 3; i++) shared.deliver()
    const first = await look(dovecot.port)
    const more = `control_path = "${control}/%u"\nindex_path = "${index}/%u"\n[pop3]\nlock_session = true\nlock_wait = "1s"\n`
    const service = await startService({ tables: tables(dovecot.dir, more) })
    expect(
      await look(service.ports.pop3, async (client) => {
        // Dovecot waits ten seconds for it. It has to be able to read and watch it.
        const lock = statSync(join(index, 'ann', 'dovecot-pop3-session.lock'))
        expect([lock.uid, lock.size > 0]).toEqual([nobody, true])
        await client.ok('DELE 2')
      }),
    ).toEqual(first)
    const left = await look(dovecot.port, async () => {
      const other = await Pop3Client.connect(service.ports.pop3)
      await other.ok('USER ann')
      expect(await other.command('PASS secret')).toMatch(/^-ERR \[IN-USE\]/)
      other.close()
    })
    expect(left.uidl.map((line) => line.slice(2))).toEqual(
      first.uidl.filter((_, i) => i !== 1).map((line) => line.slice(2)),
    )
    expect(shared.names()).toHaveLength(2)
    expect(readdirSync(shared.dir).filter((name) => name.startsWith('dovecot'))).toEqual([])
    expect(readdirSync(join(control, 'ann', '.INBOX'))).toEqual(['dovecot-uidlist'])
    expect(complaints(dovecot.dir)).toEqual([])
  })

  test('both at once, at random: a mail keeps its UIDL whoever shows it', { timeout: 120_000 }, async () => {
    const seed = chosenSeed()
    const random = new Random(seed)
    const dovecot = await startDovecot()
    const shared = new Shared(dovecot.dir)
    const service: Service = await prepareService({ tables: tables(dovecot.dir) })
    await service.run()
    /** UIDL to file, as first seen. */
    const known = new Map<string, string>()
    const steps: string[] = []
    const file = (name: string) => name.split(':')[0]!
    for (let step = 0; step < 60; step++) {
      const port = random.below(2) === 0 ? dovecot.port : service.ports.pop3
      const who = port === dovecot.port ? 'dovecot' : 'we'
      const action = random.below(6)
      if (action === 0) steps.push(`deliver ${shared.deliver()}`)
      else if (action === 1) steps.push(`deliver to cur ${shared.deliver(undefined, 'cur')}`)
      else if (action === 2) {
        const names = readdirSync(join(shared.dir, 'cur'))
        const name = names[random.below(Math.max(1, names.length))]
        if (name !== undefined && !name.includes('F')) {
          renameSync(join(shared.dir, 'cur', name), join(shared.dir, 'cur', `${file(name)}:2,F`))
          steps.push(`flag ${name}`)
        }
      } else if (action === 3) {
        const names = readdirSync(join(shared.dir, 'cur'))
        const name = names[random.below(Math.max(1, names.length))]
        if (name !== undefined) {
          rmSync(join(shared.dir, 'cur', name))
          steps.push(`remove ${name}`)
        }
      } else {
        const removes = action === 4
        steps.push(`${who} look${removes ? ' and remove one' : ''}`)
        const seen = await look(port, async (client) => {
          const [, count] = (await client.ok('STAT')).split(' ')
          if (removes && Number(count) > 0) await client.ok(`DELE ${1 + random.below(Number(count))}`)
        })
        const story = `seed ${seed}: ${steps.join('; ')}`
        const list = new Map(
          shared
            .read('dovecot-uidlist')
            .split('\n')
            .slice(1, -1)
            .map((line) => [line.split(' ', 1)[0]!, line.slice(line.indexOf(':') + 1)]),
        )
        for (const line of seen.uidl) {
          const [, uidl = ''] = line.split(' ')
          const name = file(list.get(String(Number.parseInt(uidl.slice(0, 8), 16))) ?? 'unlisted')
          expect(known.get(uidl) ?? name, story).toBe(name)
          known.set(uidl, name)
        }
        // One name never has two UIDLs.
        expect(new Set(known.values()).size, story).toBe(known.size)
        const other = await look(port === dovecot.port ? service.ports.pop3 : dovecot.port)
        const left = removes ? seen.uidl.length - 1 : seen.uidl.length
        expect(other.uidl.length, story).toBe(Math.max(0, left))
      }
    }
    expect(complaints(dovecot.dir)).toEqual([])
  })
})

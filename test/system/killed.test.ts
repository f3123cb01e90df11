/**
 * The whole service killed (SIGKILL) again and again at random moments, half of them while a QUIT removes mail, with mail
 * coming by LMTP and SMTP and sessions that remove some of it. What was acknowledged is there, once, under the UIDL it had;
 * what was removed stays away; what nobody marked never goes. `ROUNDS=50 SEED=random` is a campaign.
 */
import { expect, test } from 'vitest'
import { Random } from '../../src/testing/random.ts'
import { Pop3Client, SmtpClient } from '../support/clients.ts'
import { startService } from '../support/fixtures.ts'
import { chosenSeed } from '../support/seed.ts'
import type { Service } from '../support/service.ts'

const rounds = Number(process.env.ROUNDS ?? 2)
const users = ['u0', 'u1', 'u2']

interface Mail {
  readonly user: string
  uidl?: string
  /** Its delivery was acknowledged. */
  acknowledged: boolean
  /** `asked`: a QUIT that removes it was sent; `done`: it was answered. */
  removal: 'none' | 'asked' | 'done'
  /** It was looked for and not there. */
  missing: boolean
}

class World {
  readonly mails = new Map<string, Mail>()
  readonly faults: string[] = []
  #sent = 0

  begun(user: string): { id: string; mail: Mail } {
    const id = `mail-${++this.#sent}`
    const mail: Mail = { user, acknowledged: false, removal: 'none', missing: false }
    this.mails.set(id, mail)
    return { id, mail }
  }

  /** What a session found: UIDLs by id. `whole`: it saw the mailbox as it is now. */
  found(user: string, seen: ReadonlyMap<string, string>, when: string, whole: boolean): void {
    for (const [id, uidl] of seen) {
      const mail = this.mails.get(id)
      if (mail === undefined || mail.user !== user) {
        this.faults.push(`${when}: ${user} has ${id}`)
        continue
      }
      if (mail.removal === 'done' || mail.missing) this.faults.push(`${when}: ${id} came back`)
      if (mail.uidl !== undefined && mail.uidl !== uidl)
        this.faults.push(`${when}: ${id} was ${mail.uidl}, is ${uidl}`)
      mail.uidl = uidl
    }
    if (!whole) return
    for (const [id, mail] of this.mails) {
      if (mail.user !== user || seen.has(id)) continue
      if (mail.removal === 'none' && (mail.acknowledged || mail.uidl !== undefined))
        this.faults.push(`${when}: ${id} is lost`)
      mail.missing = true
    }
  }
}

/** Ids of the messages of a session, by number from 1, with their UIDLs. */
async function look(client: Pop3Client): Promise<{ id: string; uidl: string }[]> {
  const rows: { id: string; uidl: string }[] = []
  const uidls = await client.multi('UIDL')
  if (new Set(uidls).size !== uidls.length) throw new Error('a UIDL twice')
  for (const line of uidls) {
    const [number = '', uidl = ''] = line.split(' ')
    const subject = (await client.multi(`TOP ${number} 0`)).find((field) => field.startsWith('Subject: '))
    rows.push({ id: subject?.slice(9) ?? '', uidl })
  }
  return rows
}

const seenIn = (rows: readonly { id: string; uidl: string }[]) =>
  new Map(rows.map(({ id, uidl }) => [id, uidl]))

class Traffic {
  #isOver = false
  readonly #work: Promise<void>[]

  constructor(service: Service, world: World, random: Random, quitting: () => void) {
    const again = async (work: () => Promise<void>) => {
      // The service is killed in the middle: whatever was under way ends with its connection.
      while (!this.#isOver) await work().catch(() => new Promise((resolve) => setTimeout(resolve, 5)))
    }
    this.#work = [
      again(() => send(service.lmtpSocket, 'LHLO c', world, random, () => this.#isOver)),
      again(() => send(service.ports.smtp, 'EHLO c', world, random, () => this.#isOver)),
      ...users.map((user) => again(() => fetch(service, user, world, random, quitting))),
    ]
  }

  /** After the kill. */
  async over(): Promise<void> {
    this.#isOver = true
    await Promise.all(this.#work)
  }
}

async function send(
  target: string | number,
  hello: string,
  world: World,
  random: Random,
  isOver: () => boolean,
): Promise<void> {
  const client = await SmtpClient.connect(target)
  try {
    await client.expect(250, hello)
    while (!isOver()) {
      const user = random.pick(users)
      const { id, mail } = world.begun(user)
      const body = 'x'.repeat(random.below(random.chance(0.1) ? 300_000 : 2_000))
      const to = [`${user}@localhost`]
      const reply = await client.send({ from: 'a@b.test', to, content: `Subject: ${id}\r\n\r\n${body}` })
      mail.acknowledged = reply.code === 250
    }
  } finally {
    client.close()
  }
}

async function fetch(
  service: Service,
  user: string,
  world: World,
  random: Random,
  quitting: () => void,
): Promise<void> {
  const client = await Pop3Client.login(service.ports.pop3, user)
  try {
    const rows = await look(client)
    world.found(user, seenIn(rows), 'in a session', false)
    const marked = rows.flatMap(({ id }, i) => (random.chance(0.6) ? [{ id, number: i + 1 }] : []))
    for (const { number } of marked) await client.ok(`DELE ${number}`)
    for (const { id } of marked) world.mails.get(id)!.removal = 'asked'
    quitting()
    await client.ok('QUIT')
    for (const { id } of marked) world.mails.get(id)!.removal = 'done'
  } finally {
    client.close()
  }
}

test(`killed ${rounds} times: nothing acknowledged is lost, nothing removed comes back, no UIDL changes`, {
  timeout: 60_000 + rounds * 30_000,
}, async () => {
  const random = new Random(chosenSeed())
  const world = new World()
  const service = await startService({
    listeners: ['smtp', 'pop3', 'lmtp'],
    users: Object.fromEntries(users.map((user) => [user, 'secret'])),
    tables: '[limits]\nmax_userip_connections = 0\n',
  })
  for (let round = 1; round <= rounds; round++) {
    if (round > 1) await service.run()
    // First of all: what the kill has left.
    for (const user of users) {
      const client = await Pop3Client.login(service.ports.pop3, user)
      world.found(user, seenIn(await look(client)), `after kill ${round - 1}`, true)
      client.close()
    }
    const moment = Promise.withResolvers<void>()
    const atQuit = random.chance(0.5)
    let quits = 1 + random.below(6)
    const traffic = new Traffic(service, world, random, () => {
      if (atQuit && --quits === 0) setTimeout(moment.resolve, random.below(12))
    })
    if (!atQuit) setTimeout(moment.resolve, 200 + random.below(1_500))
    await moment.promise
    await service.kill()
    await traffic.over()
    expect(world.faults).toEqual([])
  }
  await service.run()
  for (const user of users) {
    const client = await Pop3Client.login(service.ports.pop3, user)
    world.found(user, seenIn(await look(client)), 'at the end', true)
    client.close()
  }
  expect(world.faults).toEqual([])
  const kept = [...world.mails.values()].filter(({ acknowledged, missing }) => acknowledged && !missing)
  expect(kept.length).toBeGreaterThan(0)
})

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import type { ActorInfo, ActorSystem } from 'mailactors'
import { afterEach, expect, test } from 'vitest'
import type { Listener } from './listener.ts'
import { startChat } from './system.ts'

let system: ActorSystem | undefined
const clients: Client[] = []
afterEach(async () => {
  for (const client of clients.splice(0)) client.socket.destroy()
  await system?.stop()
})

/** A client that waits for lines. */
class Client {
  readonly socket: Socket
  readonly closed: Promise<unknown>
  #text = ''

  constructor(port: number) {
    clients.push(this)
    this.socket = connect(port, '127.0.0.1')
    this.socket.setEncoding('utf8').on('data', (text: string) => {
      this.#text += text
    })
    this.socket.on('error', () => undefined)
    this.closed = once(this.socket, 'close')
  }

  get lines(): string[] {
    return this.#text.split('\r\n').slice(0, -1)
  }

  async hears(line: string): Promise<void> {
    while (!this.lines.includes(line)) {
      if (this.socket.closed) throw new Error(`closed before '${line}': ${this.#text}`)
      await Promise.race([once(this.socket, 'data'), this.closed])
    }
  }

  say(line: string): void {
    this.socket.write(`${line}\n`)
  }

  static async as(name: string, port: number): Promise<Client> {
    const client = new Client(port)
    await client.hears('Who are you?')
    client.say(name)
    await client.hears(`Hello ${name}.`)
    return client
  }
}

async function start(): Promise<number> {
  system = await startChat(0)
  return (await system.whereis<Listener>('listener')?.ask('port')) ?? 0
}

const actorsNamed = (name: string, actors: readonly ActorInfo[]): ActorInfo[] =>
  actors.flatMap((one) => [...(one.name === name ? [one] : []), ...actorsNamed(name, one.children)])
const peopleNow = async () => actorsNamed('person', (await system?.inspect()) ?? [])

test('all hear what one says, in order, from whatever thread', async () => {
  const port = await start()
  const people: Client[] = []
  for (let number = 0; number < 30; number++) people.push(await Client.as(`p${number}`, port))
  expect(new Set((await peopleNow()).map(({ thread }) => thread)).size).toBe(2)

  const [first, ...others] = people as [Client, ...Client[]]
  for (let number = 0; number < 50; number++) first.say(`line ${number}`)
  await Promise.all(others.map((one) => one.hears('p0: line 49')))
  const said = Array.from({ length: 50 }, (_, number) => `p0: line ${number}`)
  for (const one of others) expect(one.lines.filter((line) => line.startsWith('p0: '))).toEqual(said)
  expect(first.lines.filter((line) => line.startsWith('p0: '))).toEqual([])
})

test('a name belongs to one at a time, and is free when its person has left', async () => {
  const port = await start()
  const ann = await Client.as('ann', port)
  const other = new Client(port)
  await other.hears('Who are you?')
  other.say('not a name')
  await other.hears('That is no name.')
  other.say('ann')
  await other.hears('That name is taken.')
  other.say('bob')
  await ann.hears('* bob is here')
  ann.say('/quit')
  await ann.closed
  await other.hears('* ann is gone')
  await Client.as('ann', port)
})

test('a thread that is killed takes its people with it and nobody else', async () => {
  const port = await start()
  const people = new Map<string, Client>()
  for (let number = 0; number < 10; number++) people.set(`p${number}`, await Client.as(`p${number}`, port))
  const victim = (await peopleNow())[0]!.thread
  const remaining = (await peopleNow()).filter(({ thread }) => thread !== victim).length
  expect(remaining).toBeGreaterThan(0)
  expect(system?.killThread(victim)).toBe(true)

  const isOpen = ({ socket }: Client) => !socket.closed
  while ([...people.values()].filter(isOpen).length > remaining) {
    await Promise.race([...people.values()].filter(isOpen).map(({ closed }) => closed))
  }
  const [speaker, ...listeners] = [...people.values()].filter(isOpen) as [Client, ...Client[]]
  for (const [name, client] of people) if (!isOpen(client)) await speaker.hears(`* ${name} is gone`)
  speaker.say('still here')
  const name = [...people].find(([, client]) => client === speaker)?.[0]
  for (const one of listeners) await one.hears(`${name}: still here`)
  await Client.as('new', port)
})

test('a line that does not end is the end of its person', async () => {
  const port = await start()
  const ann = await Client.as('ann', port)
  const bob = await Client.as('bob', port)
  bob.socket.write('x'.repeat(100_000))
  await bob.closed
  await ann.hears('* bob is gone')
})

test('as a program, it closes every connection when it ends', async () => {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'main.ts')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const [line] = (await once(child.stdout.setEncoding('utf8'), 'data')) as [string]
  const ann = await Client.as('ann', Number(/port (\d+)/.exec(line)?.[1]))
  const ended = once(child, 'exit')
  child.stdin.end()
  expect(await ended).toEqual([0, null])
  await ann.closed
})

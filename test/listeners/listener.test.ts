import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { ActorRef } from '../../src/actors/index.ts'
import { ActorSystem, type AnyContract } from '../../src/index.ts'
import type { ListenerContract } from '../../src/listeners/contract.ts'
import { hostAndPort } from '../../src/listeners/listen.ts'
import { listenerActor } from '../../src/listeners/listener.ts'
import { echoSession, sessions } from './echo-session.ts'

let dir: string
let system: ActorSystem | undefined
const clients: Socket[] = []

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ma-'))
})
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy()
  await system?.stop()
  system = undefined
  rmSync(dir, { recursive: true, force: true })
})

async function start(address: string, maxConnections = 100): Promise<ActorRef<ListenerContract>> {
  const listener = { service: 'smtp', address, tls: 'off', proxy_protocol: false } as const
  system = await ActorSystem.start({
    settings: { config: { limits: { max_connections: maxConnections } } },
    children: [
      { id: 'sessions', actor: sessions, args: undefined, registerAs: 'sessions' },
      {
        id: 'listener',
        actor: listenerActor,
        args: { listener, session: echoSession, busy: '421 busy' },
        registerAs: 'listener',
      },
    ],
  })
  return system.whereis<ListenerContract>('listener')!
}

/** Connects and waits for the first line. */
async function firstLine(target: { host?: string; port: number } | { path: string }): Promise<string> {
  const client = connect(target as { port: number })
  clients.push(client)
  client.on('error', () => {})
  const [line] = (await once(client, 'data')) as [Buffer]
  return line.toString().trim()
}

describe('a listener', () => {
  test('gives each connection a session of its own', async () => {
    const listener = await start('127.0.0.1:0')
    const { address } = await listener.ask('info')
    const lines = [await firstLine(hostAndPort(address)), await firstLine(hostAndPort(address))]
    expect(new Set(lines).size).toBe(2)
    expect((await listener.ask('info')).accepted).toBe(2)
  })

  test('goes on when the session supervisor was restarted', async () => {
    const listener = await start('127.0.0.1:0')
    const { address } = await listener.ask('info')
    await firstLine(hostAndPort(address))
    const restarted = once(system!.events as never, 'actor.restarted')
    system!.kill(system!.whereis<AnyContract>('sessions')!)
    await restarted
    expect(await firstLine(hostAndPort(address))).toMatch(/^hello/)
  })

  test('turns away what is over the limit, and has room again when a session ends', async () => {
    const listener = await start('127.0.0.1:0', 1)
    const target = hostAndPort((await listener.ask('info')).address)
    await firstLine(target)
    expect(await firstLine(target)).toBe('421 busy')
    expect((await listener.ask('info')).refused).toBe(1)
    const ended = once(system!.events as never, 'actor.terminated')
    clients[0]!.end()
    await ended
    await expect.poll(() => firstLine(target)).toMatch(/^hello/)
  })

  test('says which port is taken', async () => {
    const listener = await start('127.0.0.1:0')
    const { address } = await listener.ask('info')
    const first = system
    await expect(start(address)).rejects.toMatchObject({
      code: 'MA_START',
      message: expect.stringContaining(`cannot listen on ${address}`),
    })
    await first?.stop()
  })

  test('takes over a socket file that nobody answers on, and no other file', async () => {
    const path = join(dir, 'lmtp.sock')
    const listener = await start(`unix:${path}`)
    expect((await listener.ask('info')).address).toBe(`unix:${path}`)
    expect(await firstLine({ path })).toMatch(/^hello/)
    const taken = system
    await expect(start(`unix:${path}`)).rejects.toThrow(/another process does/)
    await taken?.stop()

    const file = join(dir, 'notes')
    writeFileSync(file, 'mine')
    await expect(start(`unix:${file}`)).rejects.toThrow(/no socket/)
  })
})

describe('addresses', () => {
  test.each([
    { address: '127.0.0.1:25', expected: { host: '127.0.0.1', port: 25 } },
    { address: '[::1]:2525', expected: { host: '::1', port: 2525 } },
    { address: ':1110', expected: { port: 1110 } },
    { address: '*:1110', expected: { port: 1110 } },
  ])('$address', ({ address, expected }) => {
    expect(hostAndPort(address)).toEqual(expected)
  })
})

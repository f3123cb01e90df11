/** However octets arrive, answers are the same; and no octets make the server fall over. */
import { afterEach, describe, expect, test } from 'vitest'
import { Random } from '../../../src/testing/random.ts'
import { chosenSeed } from '../../support/seed.ts'
import { m1, Pop3Server } from './harness.ts'

let server: Pop3Server
afterEach(() => server?.stop())

/** From 0 to less than 1, the same from the same seed. */
function random(seed: number): () => number {
  const numbers = new Random(seed)
  return () => numbers.next()
}

const scripts = {
  'login and reading':
    'USER alice\r\nPASS secret\r\nSTAT\r\nRETR 2\r\nTOP 1 0\r\nUIDL\r\nLIST 2\r\nNOOP\r\nRSET\r\nQUIT\r\nSTAT\r\n',
  'SASL, errors, LF and CR':
    'AUTH PLAIN\r\nAGFsaWNlAHNlY3JldA==\r\nFOO\nST\rAT\r\n\r\nDELE 1\r\nDELE 1\nLIST\r\nRSET\r\nQUIT\n',
  'wrong password, then right':
    'USER alice\r\nPASS no\r\nPASS secret\r\nUSER alice\r\nPASS secret\r\nLIST\r\nUIDL 9\r\nRETR 3\r\nQUIT\r\n',
}

describe('every split of a pipelined script gives the same octets', () => {
  test.each(Object.entries(scripts))(
    '%s',
    async (_name, script) => {
      server = await Pop3Server.start({ set: ['limits.max_userip_connections=0'] })
      server.mb1()
      const whole = await server.script([script])
      expect(whole).toContain('\r\n.\r\n')
      for (let cut = 1; cut < script.length; cut++) {
        expect(await server.script([script.slice(0, cut), script.slice(cut)]), `cut at ${cut}`).toBe(whole)
      }
      expect(await server.script([...script]), 'octet by octet').toBe(whole)
      const seed = chosenSeed()
      const next = random(seed)
      for (let round = 0; round < 10; round++) {
        const pieces: string[] = []
        for (let at = 0; at < script.length; ) {
          const length = 1 + Math.floor(next() * 12)
          pieces.push(script.slice(at, at + length))
          at += length
        }
        expect(await server.script(pieces), `seed ${seed} round ${round}`).toBe(whole)
      }
    },
    60_000,
  )
})

describe('random input', () => {
  const verbs = [
    'STAT',
    'LIST',
    'UIDL',
    'RETR',
    'DELE',
    'TOP',
    'NOOP',
    'RSET',
    'LAST',
    'CAPA',
    'XYZ',
    'quit',
    'USER',
    'AUTH PLAIN',
    'PASS',
  ]

  test('P188 lines after login: every answer is one of the protocol, and without QUIT nothing is removed', async () => {
    server = await Pop3Server.start({
      set: ['limits.max_userip_connections=0'],
      pop3: { max_bad_commands: 10_000 },
    })
    server.mb1()
    const seed = chosenSeed()
    const next = random(seed)
    const pick = (n: number) => Math.floor(next() * n)
    const client = await server.login()
    let sent = ''
    for (let i = 0; i < 10_000; i++) {
      const verb = verbs[pick(11)]!
      const numbers = [
        '',
        ` ${pick(5)}`,
        ` ${pick(5)} ${pick(4)}`,
        ` ${'9'.repeat(pick(25))}`,
        ' -1',
        ' x',
        '  2 ',
      ]
      sent += `${verb}${numbers[pick(numbers.length)]}${next() < 0.1 ? '\n' : '\r\n'}`
    }
    client.send(`${sent}NOOP end\r\n`)
    client.end()
    const text = await client.rest()
    const files = server.files()
    expect(files, `seed ${seed}`).toHaveLength(3)
    let lines = text.split('\r\n')
    expect(lines.pop()).toBe('')
    let answers = 0
    for (let i = 0; i < lines.length; i++) {
      expect(lines[i], `seed ${seed} line ${i}`).toMatch(/^(\+OK|-ERR)( [\x20-\x7e]*)?$/)
      expect(lines[i]!.length).toBeLessThanOrEqual(510)
      answers++
      // Multi-line answers: what follows is no status line.
      if (i + 1 < lines.length && !/^(\+OK|-ERR)/.test(lines[i + 1]!)) {
        i = lines.indexOf('.', i)
        expect(i).toBeGreaterThan(0)
      } else if (lines[i + 1] === '.') i++
    }
    lines = []
    expect(answers, `seed ${seed}`).toBe(10_001)
  }, 60_000)

  test('octets of any kind, before and after login, end in an answer or an end', async () => {
    server = await Pop3Server.start({ set: ['limits.max_userip_connections=0'] })
    server.mb1()
    const before = server.files().length
    const seed = chosenSeed()
    const next = random(seed)
    const pick = (n: number) => Math.floor(next() * n)
    for (let round = 0; round < 300; round++) {
      const pieces: string[] = next() < 0.5 ? ['USER alice\r\nPASS secret\r\n'] : []
      const count = 1 + pick(6)
      for (let i = 0; i < count; i++) {
        if (next() < 0.4) pieces.push(`${verbs.filter((verb) => verb !== 'quit')[pick(14)]} ${pick(4)}\r\n`)
        else
          pieces.push(
            Array.from({ length: pick(300) }, () =>
              String.fromCharCode(next() < 0.1 ? [0, 10, 13][pick(3)]! : pick(256)),
            ).join(''),
          )
      }
      const text = await server.script([pieces.join('')])
      expect(text, `seed ${seed} round ${round}`).toMatch(/^\+OK [^\r\n]*\r\n/)
    }
    expect(server.log.filter((line) => line.event === 'actor.terminated')).toEqual([])
    const client = await server.login()
    expect(await client.ask('STAT'), `seed ${seed}`).toBe('+OK 3 99')
    expect(server.files()).toHaveLength(before)
  }, 60_000)

  test('P168 thousands of pipelined RETR do not pile up on each other', async () => {
    server = await Pop3Server.start()
    server.put('cur/1.a:2,S', m1)
    const client = await server.login()
    client.send(`${'RETR 1\r\n'.repeat(20_000)}QUIT\r\n`)
    expect((await client.rest()).match(/hello\r\n\.\r\n/g)).toHaveLength(20_000)
  })
})

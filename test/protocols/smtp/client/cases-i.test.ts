/**
 * Acceptance cases of group I: SASL. Left out: none of the published ids; I09 is the first half of I12.
 */
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import type { ClientSettings } from '../../../../src/protocols/smtp/client/config.ts'
import {
  destinationLabelOf,
  endpointLabelOf,
} from '../../../../src/protocols/smtp/client/connection-labels.ts'
import type { SaslFailures } from '../../../../src/protocols/smtp/client/sasl/known-failures.ts'
import { passwordDigest } from '../../../../src/protocols/smtp/client/sasl/known-failures.ts'
import { deliver, type LogLine, outcome, request, type Setup } from './harness.ts'
import { type Answer, type Script, ScriptedServer } from './scripted-server.ts'

const secret = 'p:w-Geheim'
const base64 = (text: string): string => Buffer.from(text).toString('base64')

/** SASL on, with an account for the server, and no demands on mechanisms. */
const saslOn = (over: Partial<ClientSettings> = {}): Partial<ClientSettings> => ({
  sasl_auth_enable: true,
  sasl_password_maps: [{ '127.0.0.1': `u:${secret}` }],
  sasl_security_options: [],
  sasl_tls_security_options: ['inherit'],
  sasl_tls_verified_security_options: ['inherit'],
  ...over,
})

interface Run {
  readonly commands: readonly (readonly string[])[]
  readonly outcome: readonly string[]
  readonly reasons: readonly string[]
  readonly everything: string
}

/** One or two servers, in a list of next hops. */
async function run(
  scripts: readonly (readonly Script[])[],
  setup: Setup & { settings?: Partial<ClientSettings> } = {},
): Promise<Run> {
  const servers = await Promise.all(scripts.map((script) => ScriptedServer.start(...script)))
  const log: LogLine[] = []
  const nexthop = servers.map(({ port }) => `[127.0.0.1]:${port}`).join(', ')
  const report = await deliver({
    ...setup,
    log,
    settings: saslOn(setup.settings),
    request: { nexthop, ...setup.request },
    environment: { notifyClasses: ['protocol', 'data'], ...setup.environment },
  })
  for (const server of servers) await server.until(() => server.sessions.every(({ closed }) => closed))
  const commands = servers.flatMap((server) => server.sessions.map(({ commands }) => commands))
  for (const server of servers) await server[Symbol.asyncDispose]()
  const everything = JSON.stringify({ report, log })
  // Neither as it is nor as it goes over the wire.
  for (const form of [secret, base64(secret), base64(`\0u\0${secret}`)])
    expect(everything).not.toContain(form)
  return { commands, outcome: outcome(report), reasons: report.results.map(({ reply }) => reply), everything }
}

const auth = (mechanisms: string, answers: Record<string, Answer | readonly Answer[]> = {}): Script => ({
  keywords: [`AUTH ${mechanisms}`],
  answers: { ...answers, ...(answers.AUTH === undefined ? { AUTH: '235 2.7.0 ok' } : {}) },
})

const verbs = (commands: readonly string[] = []): string =>
  commands.map((line) => line.split(/[ :]/)[0]).join(' ')
const whole = 'MAIL RCPT DATA CONTENT QUIT'

describe('whether and as whom', () => {
  it('I01 AUTH PLAIN with the initial response', async () => {
    const { commands, outcome } = await run([[auth('PLAIN')]])
    expect(outcome).toEqual(['sent'])
    expect(commands[0]![1]).toBe(`AUTH PLAIN ${base64(`\0u\0${secret}`)}`)
    expect(verbs(commands[0])).toBe(`EHLO AUTH ${whole}`)
  })

  it('I02 no AUTH offered: the mail goes without', async () => {
    const { commands, outcome } = await run([[{}]])
    expect(outcome).toEqual(['sent'])
    expect(verbs(commands[0])).toBe(`EHLO ${whole}`)
  })

  it('I03 no account for the server: no AUTH', async () => {
    const { commands } = await run([[auth('PLAIN')]], {
      settings: { sasl_password_maps: [{ other: 'u:p' }] },
    })
    expect(verbs(commands[0])).toBe(`EHLO ${whole}`)
  })

  it('I05 the filter chooses the mechanism', async () => {
    const digest = createHmac('md5', secret).update('<1@mx>').digest('hex')
    const answer = base64(`u ${digest}`)
    const script = auth('PLAIN CRAM-MD5', { AUTH: `334 ${base64('<1@mx>')}`, [answer]: '235 ok' })
    const { commands } = await run([[script]], { settings: { sasl_mechanism_filter: ['cram-md5'] } })
    expect(commands[0]!.slice(1, 3)).toEqual(['AUTH CRAM-MD5', answer])
  })

  it('a filter may forbid', async () => {
    const { commands } = await run([[auth('PLAIN LOGIN CRAM-MD5')]], {
      settings: { sasl_mechanism_filter: ['!CRAM-MD5', 'static:all'] },
    })
    expect(commands[0]![1]).toMatch(/^AUTH PLAIN /)
  })

  it('I06 the account of the sender', async () => {
    const settings = {
      sender_dependent_authentication: true,
      sasl_password_maps: [{ 's@client.test': 'x:1', '127.0.0.1': `u:${secret}` }],
    }
    const { commands } = await run([[auth('PLAIN')]], { settings })
    expect(commands[0]![1]).toBe(`AUTH PLAIN ${base64('\0x\x001')}`)
    const nobody = await run([[auth('PLAIN')]], { settings, request: { sender: '' } })
    expect(nobody.commands[0]![1]).toBe(`AUTH PLAIN ${base64(`\0u\0${secret}`)}`)
  })

  it('I07 the account of the next hop as it is written', async () => {
    await using server = await ScriptedServer.start(auth('PLAIN'))
    const nexthop = `[127.0.0.1]:${server.port}`
    const settings = saslOn({ sasl_password_maps: [{ [nexthop]: 'n:1' }] })
    await deliver({ settings, request: { nexthop } })
    expect(server.commands[1]).toBe(`AUTH PLAIN ${base64('\0n\x001')}`)
  })

  it('I08 the account of a fallback relay, there only', async () => {
    await using first = await ScriptedServer.start(auth('PLAIN', { MAIL: '450 4.3.0 later' }))
    await using relay = await ScriptedServer.start(auth('PLAIN'))
    const fallback = `[127.0.0.1]:${relay.port}`
    await deliver({
      settings: saslOn({ sasl_password_maps: [{ [fallback]: 'n:1' }], fallback_relay: [fallback] }),
      request: { nexthop: `[127.0.0.1]:${first.port}` },
    })
    await relay.until(() => relay.sessions.some(({ closed }) => closed))
    expect(verbs(first.commands)).toBe('EHLO MAIL RSET QUIT')
    expect(verbs(relay.commands)).toBe(`EHLO AUTH ${whole}`)
  })

  it('I20 AUTH=<> on request', async () => {
    const { commands } = await run([[auth('PLAIN')]], { settings: { send_dummy_mail_auth: true } })
    expect(commands[0]![2]).toBe('MAIL FROM:<s@client.test> AUTH=<>')
  })

  it('I21 AUTH=LOGIN as old servers write it', async () => {
    const script: Script = {
      keywords: ['AUTH=LOGIN'],
      answers: {
        AUTH: `334 ${base64('Username:')}`,
        [base64('u')]: `334 ${base64('Password:')}`,
        [base64(secret)]: '235 ok',
      },
    }
    const { commands, outcome } = await run([[script]])
    expect(outcome).toEqual(['sent'])
    expect(commands[0]!.slice(1, 4)).toEqual(['AUTH LOGIN', base64('u'), base64(secret)])
  })

  it('I22 a password map that cannot be asked', async () => {
    const { outcome } = await run([[auth('PLAIN')]], { settings: { sasl_password_maps: ['fail:broken'] } })
    expect(outcome).toEqual(['deferred 4.3.0'])
  })

  it('the password is all after the first delimiter, or nothing', async () => {
    const { commands } = await run([[auth('PLAIN')]], {
      settings: { sasl_password_maps: [{ '127.0.0.1': 'only' }] },
    })
    expect(commands[0]![1]).toBe(`AUTH PLAIN ${base64('\0only\0')}`)
  })
})

describe('mechanisms that are not allowed', () => {
  it.each([
    ['PLAIN LOGIN', ['noplaintext', 'noanonymous'], undefined],
    ['PLAIN CRAM-MD5', ['noplaintext'], 'CRAM-MD5'],
    ['PLAIN CRAM-MD5 SCRAM-SHA-1', ['noactive'], 'SCRAM-SHA-1'],
    ['CRAM-MD5 SCRAM-SHA-256', ['nodictionary'], undefined],
    ['CRAM-MD5 SCRAM-SHA-256', ['mutual_auth'], 'SCRAM-SHA-256'],
    ['PLAIN XOAUTH2', [], 'PLAIN'],
    ['GSSAPI NTLM', [], undefined],
  ])('%s with %j: %s', async (offered, options, chosen) => {
    const { commands, outcome } = await run([[auth(offered, { AUTH: '500 5.5.1 stop here' })]], {
      settings: { sasl_security_options: options },
    })
    if (chosen === undefined) {
      expect(outcome).toEqual(['deferred 4.7.0'])
      expect(verbs(commands[0])).toBe('EHLO QUIT')
    } else expect(commands[0]![1]).toMatch(new RegExp(`^AUTH ${chosen}( |$)`))
  })
})

describe('refusals', () => {
  it('I10 535 without soft bounce', async () => {
    const { outcome, commands } = await run([[auth('PLAIN', { AUTH: '535 5.7.8 no' })]], {
      settings: { sasl_auth_soft_bounce: false },
    })
    expect(outcome).toEqual(['bounced 5.7.8'])
    expect(verbs(commands[0])).toBe('EHLO AUTH QUIT')
  })

  it('I11 535 on one server, the next one takes the same account', async () => {
    const { outcome, commands } = await run([[auth('PLAIN', { AUTH: '535 5.7.8 no' })], [auth('PLAIN')]])
    expect(outcome).toEqual(['sent'])
    expect(verbs(commands[1])).toBe(`EHLO AUTH ${whole}`)
  })

  it('I12 I13 a refused login is not tried again until the password changes', async () => {
    const saslFailures = new Remembered()
    const refuse = [[auth('PLAIN', { AUTH: '535 5.7.8 no' })]]
    const setup = (password: string): Setup => ({
      settings: { sasl_auth_cache_name: 'on', sasl_password_maps: [{ '127.0.0.1': `u:${password}` }] },
      environment: { saslFailures },
    })
    const first = await run(refuse, setup(secret))
    expect([first.outcome, verbs(first.commands[0])]).toEqual([['deferred 4.7.8'], 'EHLO AUTH QUIT'])
    const second = await run(refuse, setup(secret))
    expect([second.outcome, verbs(second.commands[0])]).toEqual([['deferred 4.7.8'], 'EHLO QUIT'])
    const changed = await run(refuse, setup('other'))
    expect(verbs(changed.commands[0])).toBe('EHLO AUTH QUIT')
    expect(JSON.stringify([...saslFailures.known])).not.toContain(secret)
  })

  it('a refusal that is too old does not count', async () => {
    const saslFailures = new Remembered()
    const refuse = [[auth('PLAIN', { AUTH: '535 5.7.8 no' })]]
    const settings = { sasl_auth_cache_name: 'on', sasl_auth_cache_time: 1_000 }
    await run(refuse, { settings, environment: { saslFailures } })
    const later = await run(refuse, {
      settings,
      environment: { saslFailures, now: () => Date.now() + 2_000 },
    })
    expect(verbs(later.commands[0])).toBe('EHLO AUTH QUIT')
  })

  it('I15 454 is not remembered', async () => {
    const saslFailures = new Remembered()
    const { outcome } = await run([[auth('PLAIN', { AUTH: '454 4.7.0 later' })]], {
      settings: { sasl_auth_cache_name: 'on' },
      environment: { saslFailures },
    })
    expect(outcome).toEqual(['deferred 4.7.0'])
    expect(saslFailures.known.size).toBe(0)
  })

  it('a server that repeats what it was told shows nothing in the log and to the sender', async () => {
    const told = base64(`\0u\0${secret}`)
    const { reasons } = await run([[auth('PLAIN', { AUTH: `535 5.7.8 ${told} and ${secret} are wrong` })]])
    expect(reasons[0]).toContain('(hidden) and (hidden) are wrong')
  })
})

describe('a server that repeats what it was told, later', () => {
  it.each(['PLAIN', 'CRAM-MD5'])(
    '%s: neither the log nor the sender nor the postmaster reads it',
    async (mechanism) => {
      let told = ''
      const respond = (command: string) => {
        if (command.startsWith('AUTH PLAIN ')) told = command.slice(11)
        if (command.startsWith('dS')) told = command
        const words = Buffer.from(told, 'base64').toString().split(/[ \0]/)
        return /^(?:RCPT|QUIT)/.test(command) ? `550 5.1.1 ${told} ${words.at(-1)}` : undefined
      }
      const answers = { 'AUTH CRAM-MD5': '334 PDFAbXg+' }
      const { outcome, everything } = await run([[{ keywords: [`AUTH ${mechanism}`], answers, respond }]])
      expect(outcome).toEqual(['bounced 5.1.1'])
      expect(told).not.toBe('')
      expect(everything).toContain('550 5.1.1 (hidden) (hidden)')
      expect(everything).not.toContain(told)
      expect(everything).not.toContain(secret)
    },
  )
})

describe('the exchange', () => {
  const token = 'x'.repeat(500)
  const oauth = (answers: Record<string, Answer | readonly Answer[]>): Parameters<typeof run> => [
    [[auth('XOAUTH2', answers)]],
    { settings: { sasl_password_maps: [{ '127.0.0.1': `u:${token}` }] } },
  ]
  const response = base64(`user=u\x01auth=Bearer ${token}\x01\x01`)

  it('I16 an initial response that does not fit waits for an empty challenge', async () => {
    const { outcome, commands } = await run(
      ...oauth({ 'AUTH XOAUTH2': '334 ', [response.slice(0, 40)]: '235 ok' }),
    )
    expect(outcome).toEqual(['sent'])
    expect(commands[0]!.slice(1, 3)).toEqual(['AUTH XOAUTH2', response])
  })

  it('I17 a challenge that is not empty there', async () => {
    const { outcome, commands } = await run(...oauth({ 'AUTH XOAUTH2': '334 eyJ4In0=' }))
    expect(outcome).toEqual(['deferred 4.7.0'])
    expect(verbs(commands[0])).toBe('EHLO AUTH QUIT')
  })

  it('I18 challenges without end', async () => {
    const { outcome, commands } = await run([[auth('PLAIN', { AUTH: '334 ', '': '334 ' })]], {
      request: { recipients: [{ id: 1, address: 'a@d.test' }] },
    })
    expect(outcome).toEqual(['deferred 4.3.0'])
    expect(commands[0]!.length).toBeLessThanOrEqual(104)
  })

  it('SASL-3 AUTH without a mechanism is AUTH without one that can be used', async () => {
    const { outcome, commands } = await run([[{ keywords: ['AUTH'] }]])
    expect(outcome).toEqual(['deferred 4.7.0'])
    expect(verbs(commands[0])).toBe('EHLO QUIT')
  })

  it.each([
    ['PLAIN', { AUTH: '334 ', '': '235 ok' }],
    ['LOGIN', { AUTH: '334 ', 'dQ==': '334 ', cDp3: '334 ', '': '235 ok' }],
    ['CRAM-MD5', { AUTH: '334 PDFAbXg+', dS: '334 PDJAbXg+', '': '235 ok' }],
    ['XOAUTH2', { AUTH: '334 e30=', '': '235 ok' }],
    ['OAUTHBEARER', { AUTH: '334 e30=', 'AQ==': '235 ok' }],
  ])(
    'a server that goes on asking, %s: it hears nothing more, and its success is none',
    async (name, answers) => {
      const { outcome, commands } = await run([[auth(name, answers)]])
      expect(outcome).toEqual(['deferred 4.7.0'])
      expect(commands[0]!.at(-2)).toBe(name === 'OAUTHBEARER' ? 'AQ==' : '')
      expect(commands[0]!.at(-1)).toBe('QUIT')
    },
  )

  it.each(['334 not*base64', '334 abc'])('a challenge that is no base64: %s', async (challenge) => {
    const { outcome } = await run([[auth('CRAM-MD5', { AUTH: challenge })]])
    expect(outcome).toEqual(['deferred 4.7.0'])
  })

  it('XOAUTH2: the reason of a refusal is answered and told', async () => {
    const { outcome, commands } = await run(
      [[auth('XOAUTH2', { AUTH: `334 ${base64('{"status":"401"}')}`, '': '535 5.7.8 token expired' })]],
      {},
    )
    expect(outcome).toEqual(['deferred 4.7.8'])
    expect(commands[0]![2]).toBe('')
  })

  it('OAUTHBEARER says where it wants to go', async () => {
    const { commands } = await run([[auth('OAUTHBEARER')]])
    const [, , sent = ''] = commands[0]![1]!.split(' ')
    expect(Buffer.from(sent, 'base64').toString()).toMatch(
      /^n,a=u,\x01host=127\.0\.0\.1\x01port=\d+\x01auth=Bearer /,
    )
  })

  it.each([
    ['SCRAM-SHA-1', 'sha1', 20],
    ['SCRAM-SHA-256', 'sha256', 32],
  ] as const)('%s, and the server has to know the password too', async (mechanism, hash, octets) => {
    for (const honest of [true, false]) {
      await using server = await ScriptedServer.start({
        keywords: [`AUTH ${mechanism}`],
        respond: scramServer(hash, octets, honest),
      })
      const settings = saslOn()
      const report = await deliver({ settings, request: { nexthop: `[127.0.0.1]:${server.port}` } })
      expect(outcome(report)).toEqual([honest ? 'sent' : 'deferred 4.7.0'])
    }
  })
})

describe('connections are kept by account', () => {
  const policy = { level: 'none' as const, key: 'none', servername: '' }
  const use = { host: 'm1', address: '1.2.3.4', port: 25, nexthop: 'd.test', policy }
  const off = { sasl_auth_enable: false, sender_dependent_authentication: false }
  const on = { sasl_auth_enable: true, sender_dependent_authentication: false }
  const bySender = { sasl_auth_enable: true, sender_dependent_authentication: true }
  const a = request({ sender: 'a@x.test' })
  const b = request({ sender: 'b@x.test' })

  it('the sender counts where accounts depend on it', () => {
    expect(destinationLabelOf(a, bySender)).not.toBe(destinationLabelOf(b, bySender))
    expect(endpointLabelOf(a, use, bySender)).not.toBe(endpointLabelOf(b, use, bySender))
    expect(endpointLabelOf(a, use, on)).toBe(endpointLabelOf(b, use, on))
  })

  it('the name of the server and the next hop count where there are accounts', () => {
    const other = { ...use, nexthop: 'e.test' }
    expect(endpointLabelOf(a, use, on)).not.toBe(endpointLabelOf(a, other, on))
    expect(endpointLabelOf(a, use, off)).toBe(endpointLabelOf(a, other, off))
  })
})

/** Keeps what the actor keeps on disk. */
class Remembered implements SaslFailures {
  readonly known = new Map<string, NonNullable<Awaited<ReturnType<SaslFailures['find']>>>>()

  async find(key: string) {
    return this.known.get(key)
  }

  remember(key: string, { password, ...failure }: Parameters<SaslFailures['remember']>[1]): void {
    this.known.set(key, { ...failure, salt: 'salt', digest: passwordDigest(password, 'salt') })
  }

  forget(key: string): void {
    this.known.delete(key)
  }
}

/** The other side of SCRAM, written out from RFC 5802 section 3. */
function scramServer(hash: string, octets: number, honest: boolean): (line: string) => string | undefined {
  let bare = ''
  let serverFirst = ''
  const salt = Buffer.from('salt of the server')
  return (line) => {
    const first = /^AUTH SCRAM-SHA-\d+ (\S+)$/.exec(line)
    if (first !== null) {
      const text = Buffer.from(first[1]!, 'base64').toString()
      bare = text.replace(/^n,,/, '')
      serverFirst = `r=${/r=(.*)$/.exec(bare)![1]}more,s=${salt.toString('base64')},i=4096`
      return `334 ${base64(serverFirst)}`
    }
    if (line === '') return '235 2.7.0 ok'
    const final = Buffer.from(line, 'base64').toString()
    const match = /^(c=biws,r=.*),p=(.*)$/.exec(final)
    if (match === null) return undefined
    const salted = pbkdf2Sync(secret, salt, 4096, octets, hash)
    const message = `${bare},${serverFirst},${match[1]}`
    const clientKey = createHmac(hash, salted).update('Client Key').digest()
    const signature = createHmac(hash, createHash(hash).update(clientKey).digest()).update(message).digest()
    const proof = clientKey.map((octet, index) => octet ^ signature[index]!)
    expect(match[2]).toBe(Buffer.from(proof).toString('base64'))
    const serverKey = createHmac(hash, salted).update('Server Key').digest()
    const verifier = createHmac(hash, serverKey).update(message).digest('base64')
    return `334 ${base64(`v=${honest ? verifier : base64('wrong')}`)}`
  }
}

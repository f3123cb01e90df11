/**
 * Random sessions before login, here and in a real Dovecot: the same replies, line by line. What is different on purpose
 * is left out of the scripts: NUL in commands, an initial response to CRAM-MD5, blanks around base64.
 *
 * `SEED=random DIFFERENTIAL_ROUNDS=500` runs a campaign; each round has a seed of its own, from the given one on.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { Random } from '../../src/testing/random.ts'
import { Authority } from '../support/certificates.ts'
import { prepareService, tempDir } from '../support/fixtures.ts'
import { startDovecot } from '../support/peers.ts'
import { makeLoginScript, runLoginScript } from '../support/pop3-logins.ts'
import { because } from '../support/privileges.ts'
import { chosenSeed } from '../support/seed.ts'

const rounds = Number(process.env.DIFFERENTIAL_ROUNDS ?? 24)
const firstSeed = chosenSeed()
/** Rounds at the same time: Dovecot keeps each refusal for half a second at least. */
const lanes = 24
const mechanisms = ['PLAIN', 'LOGIN', 'CRAM-MD5', 'SCRAM-SHA-1', 'SCRAM-SHA-256', 'APOP']

const common = `auth_mechanisms = ${mechanisms.join(' ').toLowerCase()}
auth_failure_delay = 0
mail_max_userip_connections = 0
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
`

const variants = [
  { name: 'within the machine', theirs: '', ours: [], localAddress: '127.0.0.1', isEncrypted: false },
  {
    name: 'a proxy that says for whom it comes',
    theirs: 'login_trusted_networks = 127.0.0.0/8\n',
    ours: ['--set', 'login.trusted_networks=127.0.0.0/8'],
    localAddress: '127.0.0.2',
    isEncrypted: false,
  },
  {
    name: 'from elsewhere, passwords with TLS alone',
    theirs: 'ssl = yes\ndisable_plaintext_auth = yes\n',
    ours: [],
    localAddress: '127.0.0.2',
    isEncrypted: true,
  },
  {
    name: 'TLS for everything',
    theirs: 'ssl = required\ndisable_plaintext_auth = yes\n',
    ours: ['--set', 'tls.mode=required'],
    localAddress: '127.0.0.2',
    isEncrypted: true,
    // What Dovecot has refused before TLS stays in its buffer, in front of the first response afterwards.
    leavesOut: /^auth \S+ +\S/i,
  },
]

const missing = whyMissing(['dovecot'], { root: true })
test.skipIf(missing !== undefined).each(variants)(
  `random logins are as with Dovecot: $name${because(missing)}`,
  { timeout: 90_000 + rounds * 2_000 },
  async ({ theirs, ours, localAddress, isEncrypted, leavesOut }) => {
    const authority = await Authority.make()
    const { cert, key } = await authority.issue({ names: ['localhost'] })
    const dir = tempDir()
    writeFileSync(join(dir, 'cert.pem'), cert)
    writeFileSync(join(dir, 'key.pem'), key)
    const files = `ssl_cert = <${dir}/cert.pem\nssl_key = <${dir}/key.pem\n`
    const dovecot = await startDovecot({
      USERS: '2',
      SETTINGS: `${common}${isEncrypted ? files : ''}${theirs}`,
    })
    const service = await prepareService({
      listeners: ['pop3'],
      users: { u0: 'secret', u1: 'secret' },
      tables: isEncrypted ? `[tls]\ncert = "${dir}/cert.pem"\nkey = "${dir}/key.pem"\n` : '',
      args: [
        ...['--set', `auth.mechanisms=${mechanisms.join(' ')}`, '--set', 'auth.failure_delay=0'],
        ...['--set', 'limits.max_userip_connections=0', ...ours],
      ],
    })
    if (isEncrypted) {
      const plain = readFileSync(service.configFile, 'utf8')
      writeFileSync(service.configFile, plain.replace('tls = "off"', 'tls = "starttls"'))
    }
    await service.run()
    const here = { name: 'ours', port: service.ports.pop3, localAddress }
    const there = { name: 'Dovecot', port: dovecot.port, localAddress }
    const failures: Error[] = []
    let next = 0
    const play = async (seed: number): Promise<void> => {
      const made = makeLoginScript(new Random(seed))
      const writes = made.writes.map((lines) => lines.filter((line) => leavesOut?.test(line) !== true))
      const script = { ...made, writes: writes.filter(({ length }) => length > 0) }
      const place = `seed ${seed}: ${JSON.stringify(script)}`
      const run = (server: typeof here) =>
        runLoginScript(server, script).catch((cause: Error) => {
          throw new Error(`${place}: ${cause.message}`)
        })
      const [said, expected] = await Promise.all([run(here), run(there)])
      expect(said, place).toEqual(expected)
    }
    const lane = async (): Promise<void> => {
      while (next < rounds) await play(firstSeed + next++).catch((error: Error) => failures.push(error))
    }
    await Promise.all(Array.from({ length: lanes }, lane))
    for (const { message } of failures.slice(1)) console.error(message)
    if (failures.length > 0) throw failures[0]
  },
)

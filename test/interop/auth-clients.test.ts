/** Programs that others wrote log in to us, with the mechanisms they know and users of all password schemes. */
import { execFileSync } from 'node:child_process'
import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { because } from '../support/privileges.ts'
import { runProgram, Service } from '../support/service.ts'

/** All have the password `secret`; hashes are of `doveadm pw`. */
const users = {
  blowfish: '{BLF-CRYPT}$2y$05$m/HTnnAjHXtOq04sBokNj.32zD1TimvNE/bVzHRGT6mAwLVzOsSNG',
  sha512:
    '{SHA512-CRYPT}$6$tItjLa58tlDWG7o4$cjyDEjWyRNgDchuqr9.VzUaA.yGb20sfnwQKzZHsBTjsjKn67JGLwXOVWKlGV4YJFBJZb504wFM3hPSUYG52N0',
  argon:
    '{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$ycB1tPscE0zK5dMvMMyW/g$V88iZ7XUn3paKcBYQr+9szVij+aO9LRAJ87rE3g0ATc',
  scram1:
    '{SCRAM-SHA-1}4096,b1kWOuDjDTowEIDdQNhENA==,LxIiDxvJfu4xZ4wPVLuZ/+DWzyo=,MhLNiSxa8jaXFjuijjHoTa/UIMw=',
  scram256:
    '{SCRAM-SHA-256}4096,7KmOIe62ebXZyLmwPqINGw==,hgI3DlSqb9MuRURLUwRbpDsi/D3aMcOhS0Dpo2GSpCQ=,AlWrYHVeNzs/s7UG8fy7UZ9ilPU+tzkXJxoXr3L6yTQ=',
  crammed: '{CRAM-MD5}cd3ba7deaad6e5ca23448ba42e379747a9e0f7f1fbc00c8a81bbaac395731b56',
}

let service: Service
beforeAll(async () => {
  service = await Service.prepare({
    args: [
      ...['--set', 'auth.mechanisms=PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256 OAUTHBEARER XOAUTH2 APOP'],
      ...['--set', 'auth.allow_weak_schemes=true', '--set', 'auth.failure_delay=0'],
    ],
  })
  const lines = Object.entries(users).map(([name, field]) => `${name}:${field}\n`)
  appendFileSync(join(service.dir, 'users'), lines.join(''))
  await service.run()
})
afterAll(() => service?.dispose())

const logins = (service: Service, method: string) =>
  service.events('pop3.login').filter((line) => line.method === method).length

/** Runs a client with the right password, then with a wrong one, which has to fail. */
async function expectLogin(run: (password: string) => Promise<{ code: number | null }>): Promise<void> {
  const right = await run('secret')
  expect(right).toMatchObject({ code: 0 })
  expect((await run('wrong')).code).not.toBe(0)
}

const noCurl = whyMissing(['curl'])
/** It is a choice at its build. */
const hasScram = noCurl === undefined && /gsasl/i.test(execFileSync('curl', ['-V'], { encoding: 'utf8' }))
describe.skipIf(noCurl !== undefined)(`curl${because(noCurl)}`, () => {
  const pop3 =
    (user: string, ...args: string[]) =>
    (password: string) =>
      runProgram('curl', [
        ...['-sS', '-m', '20', '-u', `${user}:${password}`, ...args],
        `pop3://127.0.0.1:${service.ports.pop3}/`,
      ])

  test.each(['PLAIN', 'LOGIN', 'CRAM-MD5', ...(hasScram ? ['SCRAM-SHA-1', 'SCRAM-SHA-256'] : [])])(
    'POP3 with AUTH=%s',
    async (method) => {
      const before = logins(service, method)
      const run = pop3('ann', '--login-options', `AUTH=${method}`)
      await expectLogin(run)
      expect(logins(service, method)).toBe(before + 1)
    },
  )

  test('POP3 with APOP', async () => {
    const before = logins(service, 'APOP')
    await expectLogin(pop3('ann', '--login-options', 'AUTH=+APOP'))
    expect(logins(service, 'APOP')).toBe(before + 1)
  })

  test.each(Object.keys(users))('a password kept otherwise: %s', async (user) => {
    await expectLogin(pop3(user, '--login-options', 'AUTH=PLAIN', '--sasl-ir'))
  })

  test('POP3 with a token that is none', async () => {
    const run = await runProgram('curl', [
      ...['-sS', '-m', '20', '-u', 'ann:', '--oauth2-bearer', 'abc', '--login-options', 'AUTH=OAUTHBEARER'],
      `pop3://127.0.0.1:${service.ports.pop3}/`,
    ])
    expect(run.code).not.toBe(0)
  })
})

for (const program of ['mpop', 'msmtp'] as const) {
  const missing = whyMissing([program])
  describe.skipIf(missing !== undefined)(`${program}${because(missing)}`, () => {
    test.each([
      ['plain', 'ann'],
      ['login', 'sha512'],
      ['cram-md5', 'ann'],
      ['cram-md5', 'crammed'],
      ['scram-sha-1', 'ann'],
      ['scram-sha-1', 'scram1'],
      ['scram-sha-256', 'ann'],
      ['scram-sha-256', 'scram256'],
    ])('--auth=%s as %s', async (method, user) => {
      const common = (password: string) => [
        ...['--host=127.0.0.1', `--user=${user}`, `--auth=${method}`, '--tls=off'],
        `--passwordeval=echo ${password}`,
      ]
      await expectLogin((password) =>
        program === 'mpop'
          ? runProgram('mpop', [
              ...['--quiet', `--port=${service.ports.pop3}`, '--keep=on', '--auth-only', ...common(password)],
              ...['--uidls-file=/dev/null', '--delivery=mbox,/dev/null'],
            ])
          : runProgram(
              'msmtp',
              [
                ...[`--port=${service.ports.smtp}`, '--from=ann@mail.peers.test', ...common(password)],
                'bob@mail.peers.test',
              ],
              { input: 'Subject: x\n\ny\n' },
            ),
      )
    })
  })
}

const noSwaks = whyMissing(['swaks'])
describe.skipIf(noSwaks !== undefined)(`swaks${because(noSwaks)}`, () => {
  test.each(['PLAIN', 'LOGIN', 'CRAM-MD5'])('--auth %s', async (method) => {
    await expectLogin((password) =>
      runProgram('swaks', [
        ...['--server', `127.0.0.1:${service.ports.smtp}`, '--auth', method, '--auth-user', 'ann'],
        ...['--auth-password', password, '--to', 'bob@mail.peers.test', '--from', 'ann@mail.peers.test'],
        ...['--silent', '2'],
      ]),
    )
  })
})

const noPython = whyMissing(['python3'])
test.skipIf(noPython !== undefined)(
  `Python's poplib: APOP, and a list of capabilities${because(noPython)}`,
  async () => {
    await expectLogin((password) =>
      runProgram('python3', [
        '-c',
        [
          'import poplib, sys',
          `c = poplib.POP3("127.0.0.1", ${service.ports.pop3}, timeout=20)`,
          'assert "SCRAM-SHA-256" in c.capa()["SASL"]',
          `c.apop("ann", "${password}")`,
          'c.stat(); c.quit()',
        ].join('\n'),
      ]),
    )
  },
)

test("Python's smtplib: CRAM-MD5, PLAIN, LOGIN by itself", async (context) => {
  if (noPython !== undefined) context.skip()
  await expectLogin((password) =>
    runProgram('python3', [
      '-c',
      [
        'import smtplib',
        `c = smtplib.SMTP("127.0.0.1", ${service.ports.smtp}, timeout=20)`,
        `c.login("ann", "${password}")`,
        'c.quit()',
      ].join('\n'),
    ]),
  )
})

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createSecureContext } from 'node:tls'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { type Answer, NameServer } from '../dns/name-server.ts'
import { type Script, ScriptedServer } from '../protocols/smtp/client/scripted-server.ts'
import { Authority, publicKeyOf, selfSigned } from '../support/certificates.ts'
import { tempDir } from '../support/fixtures.ts'
import { runCommand } from '../support/service.ts'

let authority: Authority
beforeAll(async () => {
  authority = await Authority.make()
})

const scriptOf = async (...names: string[]): Promise<Script> => {
  const { cert, key } = await authority.issue({ names })
  return { tls: { context: createSecureContext({ cert, key }) } }
}

async function tlsPolicy(
  args: readonly string[],
  settings: Readonly<Record<string, string>>,
  zone: Record<string, Answer> = {},
) {
  const dns = await NameServer.start({
    'MX d.test': { records: ['MX 10 m1.d.test'], secure: true },
    'A m1.d.test': { records: ['A 127.0.0.1'], secure: true },
    ...zone,
  })
  onTestFinished(() => dns[Symbol.asyncDispose]())
  const cwd = tempDir()
  writeFileSync(join(cwd, 'ca.pem'), authority.cert)
  const all = {
    'dns.servers': dns.address,
    'net.inet_protocols': 'ipv4',
    'net.inet_interfaces': '192.0.2.1',
    'smtp.tls_ca_file': join(cwd, 'ca.pem'),
    ...settings,
  }
  const set = Object.entries(all).flatMap(([key, value]) => ['--set', `${key}=${value}`])
  return runCommand(['tls-policy', ...args, ...set], { cwd })
}

describe('mailactors tls-policy', () => {
  test('says where the level comes from', async () => {
    const byDefault = await tlsPolicy(['d.test'], {})
    expect(byDefault.code).toBe(0)
    expect(byDefault.stdout).toContain('level may, from tls_security_level')
    const byTable = await tlsPolicy(['d.test'], {
      'smtp.tls_policy_maps': 'inline:{ { d.test = secure match=mail.test ciphers=high } }',
    })
    expect(byTable.stdout).toContain('level secure, from tls_policy_maps, d.test')
    expect(byTable.stdout).toContain('certificate for mail.test')
    expect(byTable.stdout).toContain('connections end with their mail (tls_connection_reuse is off)')
  })

  test('of a domain without servers, and of an address', async () => {
    const nowhere = await tlsPolicy(['nowhere.test'], {
      'smtp.tls_policy_maps': 'inline:{ { nowhere.test = verify match=mail.test connection_reuse=yes } }',
    })
    expect(nowhere.code).toBe(69)
    expect(nowhere.stdout).toContain('  certificate for mail.test\n')
    expect(nowhere.stdout).toContain('  connections may be kept for the next mail\n')
    const address = await tlsPolicy(['x@d.test'], {})
    expect(address).toMatchObject({ code: 64, stderr: expect.stringContaining('(try d.test)') })
  })

  test('what is of no use: attributes at none, an MTA-STS policy that cannot be had', async () => {
    const none = await tlsPolicy(['d.test'], {
      'smtp.tls_policy_maps': 'inline:{ { d.test = none match=x } }',
    })
    expect(none.stdout).toContain(
      'level none, from tls_policy_maps, d.test\n  ignored at this level: match=x\n',
    )
    const sts = await tlsPolicy(
      ['d.test'],
      { 'smtp.mta_sts': 'true', 'smtp.mta_sts_address': '127.0.0.1:9' },
      { 'TXT _mta-sts.d.test': { records: ['TXT v=STSv1; id=1;'] } },
    )
    expect(sts.stdout).toContain(
      '  MTA-STS: a policy that cannot be had\n  MTA-STS: https://mta-sts.d.test: ECONNREFUSED\n',
    )
  })

  test('a policy that is broken', async () => {
    const { stdout, code } = await tlsPolicy(['d.test'], {
      'smtp.tls_policy_maps': 'inline:{ { d.test = secure x=1 } }',
    })
    expect(code).toBe(78)
    expect(stdout).toContain(
      'no mail goes out: the TLS policy of d.test is invalid: there is no attribute `x`',
    )
  })

  test('tests the live server', async () => {
    await using server = await ScriptedServer.start(await scriptOf('m1.d.test'))
    const settings = { 'smtp.tls_security_level': 'verify', 'smtp.tcp_port': String(server.port) }
    const good = await tlsPolicy(['d.test', '--test'], settings)
    expect(good.stdout).toContain('mail could go out')
    expect(good.stdout).toMatch(/TLSv1\.3 with TLS_\w+ \(\d+ bits\)/)
    expect(good.stdout).toContain('certificate verified, fits m1.d.test')
    expect(good.stdout).toMatch(/- CN=m1\.d\.test \(DNS:m1\.d\.test\), until \d{4}-\d\d-\d\d/)
    expect(good.code).toBe(0)
    await server.until(() => server.sessions.every(({ closed }) => closed))
    expect(server.commands.at(-1)).toBe('QUIT')
    expect(server.commands.join()).not.toContain('MAIL')
  })

  test('as JSON, with what is wrong with a server', async () => {
    await using server = await ScriptedServer.start(await scriptOf('else.test'))
    const settings = { 'smtp.tls_security_level': 'verify', 'smtp.tcp_port': String(server.port) }
    const { stdout, code } = await tlsPolicy(['d.test', '--test', '--json'], settings)
    expect(code).toBe(75)
    expect(JSON.parse(stdout)).toMatchObject([
      {
        nexthop: 'd.test',
        policy: { level: 'verify' },
        servers: [
          {
            host: 'm1.d.test',
            level: 'verify',
            match: ['m1.d.test'],
            test: {
              ok: false,
              dsn: '4.7.5',
              tls: { class: 'trusted', chain: [{ subject: 'CN=else.test' }, {}] },
            },
          },
        ],
      },
    ])
  })

  test('DANE: the records, and why there are none', async () => {
    const certificate = await selfSigned({ names: ['x'] })
    const { cert, key } = certificate
    await using server = await ScriptedServer.start({ tls: { context: createSecureContext({ cert, key }) } })
    const settings = {
      'smtp.tls_security_level': 'dane',
      'smtp.dns_support_level': 'dnssec',
      'smtp.tcp_port': String(server.port),
    }
    const digest = Buffer.from(await crypto.subtle.digest('SHA-256', publicKeyOf(certificate))).toString(
      'hex',
    )
    const zone = {
      [`TLSA _${server.port}._tcp.m1.d.test`]: { records: [`TLSA 3 1 1 ${digest}`], secure: true },
    }
    const seen = await tlsPolicy(['d.test', '--test'], settings, zone)
    expect(seen.stdout).toContain(`_${server.port}._tcp.m1.d.test TLSA 3 1 1 ${digest}`)
    expect(seen.stdout).toContain('certificate verified, fits m1.d.test')
    // To be compared with the record; names do not count there.
    expect(seen.stdout).toContain(`key, as in TLSA 3 1 1: ${digest}`)
    expect(seen.stdout).not.toContain('certificate for')
    expect(seen.code).toBe(0)
    const none = await tlsPolicy(['d.test'], settings)
    expect(none.stdout).toContain('may (there are no signed TLSA records)')
  })
})

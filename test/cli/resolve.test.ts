import { describe, expect, onTestFinished, test } from 'vitest'
import { type Answer, NameServer } from '../dns/name-server.ts'
import { tempDir } from '../support/fixtures.ts'
import { runCommand } from '../support/service.ts'

const zone: Record<string, Answer> = {
  'MX d.test': { records: ['MX 20 m2.test', 'MX 10 m1.test', 'MX 30 self.test'] },
  'A m1.test': { records: ['A 198.51.100.1'] },
  'A m2.test': { records: ['A 198.51.100.2'] },
  'A self.test': { records: ['A 192.0.2.1'] },
  'MX broken.test': { rcode: 2 },
}

async function resolve(...args: string[]) {
  const dns = await NameServer.start(zone)
  onTestFinished(() => dns[Symbol.asyncDispose]())
  const settings = [
    `dns.servers=${dns.address}`,
    'net.inet_interfaces=192.0.2.1',
    'net.inet_protocols=ipv4',
    'dns.timeout=300ms',
    'dns.tries=1',
  ]
  return runCommand(['resolve', ...args, ...settings.flatMap((one) => ['--set', one])], { cwd: tempDir() })
}

describe('mailactors resolve', () => {
  test('shows what was asked, what was left out, and the servers', async () => {
    const { stdout, code } = await resolve('d.test')
    expect(code).toBe(0)
    expect(stdout).toContain('asked MX d.test: 20 m2.test., 10 m1.test., 30 self.test.')
    expect(stdout).toContain('left out self.test[192.0.2.1]: we are an exchanger ourselves')
    expect(stdout).toMatch(
      /1\. m1\.test\[198\.51\.100\.1\]:25, preference 10\n {2}2\. m2\.test\[198\.51\.100\.2\]:25/,
    )
    expect(stdout).toContain('no next hop after this one is tried')
  })

  test('as JSON, with a fallback relay', async () => {
    const { stdout, code } = await resolve(
      'nowhere.test',
      '--json',
      '--set',
      'smtp.fallback_relay=[198.51.100.9]:26',
    )
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({
      destination: 'nowhere.test',
      hops: [
        { nexthop: 'nowhere.test', lookup: 'mx', fallback: false, servers: [], failure: { dsn: '5.4.4' } },
        { nexthop: '[198.51.100.9]:26', lookup: 'address', fallback: true, servers: [{ port: 26 }] },
      ],
    })
  })

  test.each([
    ['nowhere.test', 69, '5.4.4'],
    ['broken.test', 75, '4.4.3'],
    ['[bad', 75, '4.3.5'],
  ])('%s ends with code %i', async (destination, wanted, dsn) => {
    const { stdout, code } = await resolve(destination)
    expect(code).toBe(wanted)
    expect(stdout).toContain(dsn)
  })

  test('LMTP', async () => {
    expect((await resolve('--lmtp', 'unix:/run/lmtp.sock')).stdout).toContain('[/run/lmtp.sock]')
    expect((await resolve('--lmtp', 'm1.test')).stdout).toContain('198.51.100.1]:24')
  })
})

test('mailactors cache script answers each request with a line, without a service', async () => {
  const input = 'save_dest 2 d q e\nsave_endp 2 e p 5\n\nfind_dest d\nsleep 2.1\nfind_dest d\nbad\n'
  const { stdout, code } = await runCommand(['cache', 'script'], { cwd: tempDir(), input })
  expect(stdout.split('\n')).toEqual([
    '0',
    '0',
    '0 dest_props=q endp_props=p fd=5',
    '0',
    '2',
    '1 unknown request bad',
    '',
  ])
  expect(code).toBe(0)
})

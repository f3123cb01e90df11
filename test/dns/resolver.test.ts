import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { defaults } from '../../src/config/schema.ts'
import { dnsSettings } from '../../src/dns/config.ts'
import { createResolver, type DnsResolver, type RecordData } from '../../src/dns/resolver.ts'
import { nameServerAddress, parseResolvConf } from '../../src/dns/system.ts'
import { Random } from '../../src/testing/random.ts'
import { chosenSeed } from '../support/seed.ts'
import { type Answer, NameServer } from './name-server.ts'

async function serve(answers: Readonly<Record<string, Answer>>): Promise<NameServer> {
  const server = await NameServer.start(answers)
  onTestFinished(() => server[Symbol.asyncDispose]())
  return server
}

async function start(
  answers: Readonly<Record<string, Answer>>,
  over: { tries?: number; timeout?: number } = {},
): Promise<{ resolver: DnsResolver; server: NameServer }> {
  const server = await serve(answers)
  return { resolver: resolverFor([server.address], over), server }
}

/** Patient, as the machine may be busy; where silence is the point, `timeout` is short. */
function resolverFor(
  servers: readonly string[],
  over: { tries?: number; timeout?: number; systemFile?: string } = {},
): DnsResolver {
  const { systemFile, tries = 1, timeout = 5_000 } = over
  const settings = { ...defaults(dnsSettings), servers, timeout, tries }
  return createResolver(settings, systemFile === undefined ? {} : { systemFile })
}

describe('records', () => {
  test('mail exchangers in lower case, the null MX as an empty name', async () => {
    const { resolver } = await start({
      'MX d.test': { records: ['MX 20 m2.test', 'MX 10 M1.test'] },
      'MX null.test': { records: ['MX 0 .'] },
    })
    expect(await resolver.query('D.test.', 'MX')).toEqual({
      ok: true,
      records: [
        { preference: 20, exchange: 'm2.test' },
        { preference: 10, exchange: 'm1.test' },
      ],
      name: 'd.test',
      ttl: 60,
      secure: false,
    })
    expect(await resolver.query('null.test', 'MX')).toMatchObject({
      records: [{ preference: 0, exchange: '' }],
    })
  })

  test.each([
    ['A', 'A 198.51.100.1', '198.51.100.1'],
    ['AAAA', 'AAAA ::1', '::1'],
    ['SRV', 'SRV 1 2 587 s.test', { priority: 1, weight: 2, port: 587, target: 's.test' }],
    ['SRV', 'SRV 0 0 0 .', { priority: 0, weight: 0, port: 0, target: '' }],
    ['TXT', 'TXT v=STSv1; id=1', 'v=STSv1; id=1'],
    ['NS', 'NS ns.test', 'ns.test'],
  ] as const)('%s: %s', async (type, record, data) => {
    const { resolver } = await start({ [`${type} h.test`]: { records: [record] } })
    expect(await resolver.query('h.test', type)).toMatchObject({ ok: true, records: [data] })
  })

  test('TLSA as octets', async () => {
    const { resolver } = await start({ 'TLSA _25._tcp.h.test': { records: ['TLSA 3 1 1 00ff'] } })
    const answer = await resolver.query('_25._tcp.h.test', 'TLSA')
    const [record] = answer.ok ? answer.records : []
    expect(record).toMatchObject({ usage: 3, selector: 1, matchingType: 1 })
    expect([...record!.data]).toEqual([0, 255])
  })

  test('a set is capped at 100, the ttl is the least', async () => {
    const records = Array.from({ length: 120 }, (_, i) => `h ${100 - i > 0 ? 500 + i : 7} A 198.51.100.${i}`)
    const { resolver } = await start({ 'A h': { records, truncated: true } })
    const answer = await resolver.query('h', 'A')
    expect(answer.ok && [answer.records.length, answer.ttl]).toEqual([100, 500])
  })

  test('bad names are left out; nothing but bad names is malformed', async () => {
    const { resolver } = await start({
      'MX d.test': { records: ['MX 10 -bad-.test', 'MX 20 m.test', 'MX 30 192.0.2.7'] },
      'MX e.test': { records: ['MX 10 b@d.test', 'MX 10 1.2.3'] },
    })
    expect(await resolver.query('d.test', 'MX')).toMatchObject({
      records: [{ exchange: 'm.test' }, { exchange: '192.0.2.7' }],
    })
    expect(await resolver.query('e.test', 'MX')).toMatchObject({ ok: false, kind: 'malformed' })
  })
})

describe('aliases', () => {
  test('B12 in one answer', async () => {
    const { resolver, server } = await start({
      'MX d.test': { records: ['CNAME E.test', 'e.test 60 MX 10 m1.test'] },
    })
    expect(await resolver.query('d.test', 'MX')).toMatchObject({
      name: 'e.test',
      records: [{ exchange: 'm1.test' }],
    })
    expect(server.questions).toEqual(['MX d.test'])
  })

  test('each asked for', async () => {
    const { resolver, server } = await start({
      'A a.test': { records: ['CNAME b.test'] },
      'A b.test': { records: ['CNAME c.test'] },
      'A c.test': { records: ['A 198.51.100.1'] },
    })
    expect(await resolver.query('a.test', 'A')).toMatchObject({ name: 'c.test', records: ['198.51.100.1'] })
    expect(server.questions).toEqual(['A a.test', 'A b.test', 'A c.test'])
  })

  test.each([
    [10, true],
    [11, false],
  ])('%i in a row', async (count, isFollowed) => {
    const answers: Record<string, Answer> = { [`A a${count}.test`]: { records: ['A 198.51.100.1'] } }
    for (let i = 0; i < count; i++) answers[`A a${i}.test`] = { records: [`CNAME a${i + 1}.test`] }
    const { resolver } = await start(answers)
    const answer = await resolver.query('a0.test', 'A')
    if (isFollowed) expect(answer).toMatchObject({ ok: true })
    else expect(answer).toMatchObject({ kind: 'not-found', warning: expect.stringContaining('aliases') })
  })

  test('in a circle, in one answer and in several', async () => {
    const { resolver } = await start({
      'A a.test': { records: ['CNAME b.test', 'b.test 60 CNAME a.test'] },
      'A x.test': { records: ['CNAME y.test'] },
      'A y.test': { records: ['CNAME x.test'] },
    })
    expect(await resolver.query('a.test', 'A')).toMatchObject({ kind: 'not-found' })
    expect(await resolver.query('x.test', 'A')).toMatchObject({ kind: 'not-found' })
  })

  test('records of a name nobody asked for are not taken', async () => {
    const { resolver } = await start({ 'A a.test': { records: ['other.test 60 A 192.0.2.66'] } })
    expect(await resolver.query('a.test', 'A')).toMatchObject({ kind: 'not-found' })
  })
})

describe('DNSSEC', () => {
  const zone: Record<string, Answer> = {
    'A good.test': { records: ['A 198.51.100.1'], secure: true },
    'A bad.test': { records: ['A 198.51.100.1'] },
    'A good-alias.test': { records: ['CNAME good.test'], secure: true },
    'A bad-alias.test': { records: ['CNAME good.test'] },
    'A good-to-bad.test': { records: ['CNAME bad.test'], secure: true },
  }
  test.each([
    ['good.test', true],
    ['bad.test', false],
    ['good-alias.test', true],
    ['bad-alias.test', false],
    ['good-to-bad.test', false],
  ])('%s secure: %s', async (name, secure) => {
    const { resolver } = await start(zone)
    expect(await resolver.query(name, 'A', { dnssec: true })).toMatchObject({ ok: true, secure })
  })

  test.each<[string, Answer, boolean]>([
    ['do', { records: ['NS a.root.test'], secure: true }, false],
    ['do not', { records: ['NS a.root.test'] }, true],
    ['fail', { rcode: 2 }, true],
  ])('name servers that %s check signatures are found out, once', async (_, root, isWarned) => {
    const server = await serve({ ...zone, 'NS .': root })
    const warnings: string[] = []
    const settings = { ...defaults(dnsSettings), servers: [server.address], timeout: 5_000, tries: 1 }
    const resolver = createResolver(settings, { warn: (text) => warnings.push(text) })
    await resolver.query('good.test', 'A', { dnssec: true })
    expect(server.questions).toEqual(['A good.test'])
    await resolver.query('bad.test', 'A', { dnssec: true })
    await expect.poll(() => server.questions.length).toBe(3)
    await resolver.query('bad.test', 'A', { dnssec: true })
    expect(server.questions.filter((question) => question === 'NS .')).toHaveLength(1)
    await expect.poll(() => warnings.length).toBe(isWarned ? 1 : 0)
  })

  test('nothing is secure that was not asked to be', async () => {
    const { resolver } = await start(zone)
    expect(await resolver.query('good.test', 'A')).toMatchObject({ ok: true, secure: false })
  })

  test('certainty that there is nothing', async () => {
    const { resolver } = await start({ 'TLSA x.test': { records: [], secure: true } })
    expect(await resolver.query('x.test', 'TLSA', { dnssec: true })).toMatchObject({
      kind: 'not-found',
      secure: true,
    })
    expect(await resolver.query('y.test', 'TLSA', { dnssec: true })).toMatchObject({
      kind: 'not-found',
      secure: false,
    })
  })
})

describe('failures', () => {
  test.each<[string, Answer, string]>([
    ['NXDOMAIN', { rcode: 3 }, 'not-found'],
    ['no data', { records: [] }, 'not-found'],
    ['NXDOMAIN behind an alias', { rcode: 3, records: ['CNAME gone.test'] }, 'not-found'],
    ['SERVFAIL', { rcode: 2 }, 'soft'],
    ['silence', { silent: true }, 'soft'],
    ['an unreadable answer', { garbage: Buffer.from('ffffffff', 'hex') }, 'soft'],
    ['REFUSED', { rcode: 5 }, 'soft'],
    ['NOTIMP', { rcode: 4 }, 'soft'],
    ['FORMERR', { rcode: 1 }, 'refused'],
    ['another code', { rcode: 9 }, 'refused'],
  ])('%s', async (_, answer, kind) => {
    const over = 'silent' in answer ? { timeout: 200 } : {}
    const { resolver } = await start({ 'MX d.test': answer }, over)
    expect(await resolver.query('d.test', 'MX')).toMatchObject({ ok: false, kind, secure: false })
  })

  test('what is no name is not asked for', async () => {
    const { resolver, server } = await start({})
    for (const name of [
      '',
      'a..b',
      `${'x'.repeat(64)}.test`,
      `${'x.'.repeat(130)}test`,
      '192.0.2.1',
      '::1',
      'ä.test',
    ]) {
      expect(await resolver.query(name, 'MX')).toMatchObject({ ok: false, kind: 'not-found' })
    }
    expect(server.questions).toEqual([])
  })

  test('a closed port is noticed at once', async () => {
    const server = await NameServer.start({})
    const { address } = server
    await server[Symbol.asyncDispose]()
    const answer = await resolverFor([address], { tries: 3 }).query('d.test', 'A')
    expect(answer).toMatchObject({ kind: 'soft', detail: expect.stringContaining('ECONNREFUSED') })
  })
})

test('mangled answers give an answer or a failure, never an error', { timeout: 30_000 }, async () => {
  const seed = chosenSeed()
  const numbers = new Random(seed)
  const draw = (below: number): number => numbers.below(below)
  const mangled = (answer: Buffer, from: number) => {
    for (let count = 1 + draw(4); count > 0; count--) answer[from + draw(answer.length - from)] = draw(256)
    // The numbers of records too.
    if (draw(3) === 0) answer[6 + draw(6)] = draw(4)
  }
  const records: Record<string, readonly string[]> = {
    A: ['CNAME b.test', 'b.test 60 A 192.0.2.1'],
    AAAA: ['AAAA 2001:db8::1'],
    MX: ['MX 10 m1.test', 'MX 20 m2.test'],
    SRV: ['SRV 1 2 25 s.test'],
    TLSA: ['TLSA 3 1 1 00ff'],
    TXT: ['TXT v=STSv1; id=1'],
    NS: ['NS ns.test'],
  }
  const types = Object.keys(records) as (keyof RecordData)[]
  const { resolver } = await start(
    Object.fromEntries(types.map((type) => [`${type} a.test`, { records: records[type]!, mangled }])),
  )
  const kinds = new Set<string>()
  for (let round = 0; round < 150; round++) {
    const answers = await Promise.all(types.map((type) => resolver.query('a.test', type, { dnssec: true })))
    for (const answer of answers) kinds.add(answer.ok ? 'ok' : answer.kind)
  }
  expect([...kinds]).toContain('ok')
  expect(kinds.size).toBeGreaterThan(1)
})

describe('how servers are asked', () => {
  test('an answer that does not fit is fetched over TCP', async () => {
    const { resolver, server } = await start({ 'A h.test': { records: ['A 198.51.100.1'], truncated: true } })
    expect(await resolver.query('h.test', 'A')).toMatchObject({ records: ['198.51.100.1'] })
    expect(server.questions).toEqual(['A h.test', 'A h.test'])
  })

  test('a server that does not know EDNS is asked without', async () => {
    const { resolver } = await start({ 'A h.test': { records: ['A 198.51.100.1'], old: true } })
    expect(await resolver.query('h.test', 'A')).toMatchObject({ records: ['198.51.100.1'] })
  })

  test('forged answers are passed over', async () => {
    const { resolver } = await start({ 'A h.test': { records: ['A 198.51.100.1'], forged: true } })
    expect(await resolver.query('h.test', 'A')).toMatchObject({ records: ['198.51.100.1'] })
  })

  test('each question from a port and with an id of its own', async () => {
    const { resolver, server } = await start({})
    for (let i = 0; i < 20; i++) await resolver.query(`h${i}.test`, 'A')
    expect(server.ports.size).toBeGreaterThan(10)
    expect(new Set(server.ids).size).toBeGreaterThan(10)
  })

  test.each<[string, Answer]>([
    ['is silent', { silent: true }],
    ['fails', { rcode: 2 }],
    ['refuses', { rcode: 5 }],
  ])('the next server when the first %s', async (_, answer) => {
    const first = await serve({ 'A h.test': answer })
    const second = await serve({ 'A h.test': { records: ['A 198.51.100.1'] } })
    const resolver = resolverFor([first.address, second.address], {
      timeout: 'silent' in answer ? 300 : 5_000,
    })
    expect(await resolver.query('h.test', 'A')).toMatchObject({ records: ['198.51.100.1'] })
  })

  test('a refusal counts only when nobody is silent', async () => {
    const first = await serve({ 'A h.test': { rcode: 5 } })
    const second = await serve({ 'A h.test': { silent: true } })
    const resolver = resolverFor([first.address, second.address], { tries: 2, timeout: 300 })
    expect(await resolver.query('h.test', 'A')).toMatchObject({ kind: 'soft' })
    expect([first.questions.length, second.questions.length]).toEqual([1, 2])
  })

  test('equal questions at the same time are asked once', async () => {
    const { resolver, server } = await start({ 'A h.test': { records: ['A 198.51.100.1'] } })
    await Promise.all([1, 2, 3].map(() => resolver.query('h.test', 'A')))
    expect(server.questions).toHaveLength(1)
    await resolver.query('h.test', 'A')
    expect(server.questions).toHaveLength(2)
  })

  test('a thousand questions at once all get their answer', async () => {
    const { resolver } = await start({})
    const answers = await Promise.all(
      Array.from({ length: 1_000 }, (_, i) => resolver.query(`h${i}.test`, 'A')),
    )
    expect(new Set(answers.map((answer) => !answer.ok && answer.kind))).toEqual(new Set(['not-found']))
  })
})

describe('the reply filter', () => {
  const zone: Record<string, Answer> = { 'MX d.test': { records: ['MX 10 m1.test', 'MX 20 m2.test'] } }

  test('sees each record as text, and leaves some out', async () => {
    const { resolver } = await start(zone)
    const seen: string[] = []
    const filter = (record: string) => {
      seen.push(record)
      return record.includes('m1') ? ('drop' as const) : ('keep' as const)
    }
    expect(await resolver.query('d.test', 'MX', { filter })).toMatchObject({
      records: [{ exchange: 'm2.test' }],
    })
    expect(seen).toEqual(['d.test. 60 IN MX 10 m1.test.', 'd.test. 60 IN MX 20 m2.test.'])
  })

  test('may leave nothing, and may fail', async () => {
    const { resolver } = await start(zone)
    expect(await resolver.query('d.test', 'MX', { filter: () => 'drop' })).toMatchObject({ kind: 'filtered' })
    const filter = () => {
      throw new Error('broken table')
    }
    expect(await resolver.query('d.test', 'MX', { filter })).toMatchObject({
      kind: 'soft',
      detail: 'broken table',
    })
  })
})

describe('the system', () => {
  test.each([
    ['192.0.2.1', { address: '192.0.2.1', port: 53 }],
    ['192.0.2.1:5353', { address: '192.0.2.1', port: 5353 }],
    ['::1', { address: '::1', port: 53 }],
    ['[::1]', { address: '::1', port: 53 }],
    ['[::1]:5353', { address: '::1', port: 5353 }],
    ['2001:db8::1:5353', { address: '2001:db8::1:5353', port: 53 }],
    ['ns.test', undefined],
    ['192.0.2.1:0', undefined],
    ['192.0.2.1:70000', undefined],
    ['', undefined],
  ])('server %s', (text, expected) => {
    expect(nameServerAddress(text)).toEqual(expected)
  })

  test('resolv.conf', () => {
    expect(
      parseResolvConf(
        '# c\nnameserver 192.0.2.1\nnameserver fe80::1%eth0 ; x\nsearch A.test b.test.\nnameserver bad\n',
      ),
    ).toEqual({
      servers: [
        { address: '192.0.2.1', port: 53 },
        { address: 'fe80::1', port: 53 },
      ],
      search: ['a.test', 'b.test'],
    })
    expect(parseResolvConf('').servers).toEqual([{ address: '127.0.0.1', port: 53 }])
  })

  test.each([
    [[], 'h', ['A h']],
    [['res_defnames'], 'h', ['A h.a.test', 'A h']],
    [['res_defnames', 'res_dnsrch'], 'h', ['A h.a.test', 'A h.b.test', 'A h']],
    [['res_dnsrch'], 'h', ['A h']],
    [['res_dnsrch'], 'h.x', ['A h.x', 'A h.x.a.test', 'A h.x.b.test']],
    [['res_defnames'], 'h.x', ['A h.x']],
  ])('search %j for %s', async (search, name, asked) => {
    const folder = mkdtempSync(join(tmpdir(), 'resolv-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    const systemFile = join(folder, 'resolv.conf')
    writeFileSync(systemFile, 'search a.test b.test\n')
    const server = await serve({})
    const resolver = resolverFor([server.address], { systemFile })
    await resolver.query(name, 'A', { search })
    expect(server.questions).toEqual(asked)
  })

  test('hosts', async () => {
    const { resolver } = await start({})
    const result = await resolver.native('localhost')
    expect(result.ok && result.records.length).toBeGreaterThan(0)
    expect(await resolver.native('does-not-exist.invalid')).toMatchObject({ ok: false, noHost: true })
  })
})

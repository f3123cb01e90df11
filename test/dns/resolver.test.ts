import { describe, expect, test } from 'vitest'
import { createResolver, type DnsResolver } from '../../src/dns/resolver.ts'
import { type Answer, NameServer } from './name-server.ts'

const loopback6 = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]

async function using(
  answers: Readonly<Record<string, Answer>>,
  use: (resolver: DnsResolver, server: NameServer) => Promise<void>,
): Promise<void> {
  await using server = await NameServer.start(answers)
  const settings = { servers: [server.address], disable_dns_lookups: false, timeout: 100, tries: 1 }
  await use(createResolver(settings), server)
}

describe('the resolver', () => {
  test('mail exchangers as they are, the null MX as an empty name', async () => {
    const answers: Record<string, Answer> = {
      'MX d.test': {
        records: [
          { type: 'MX', preference: 20, exchange: 'm2.test' },
          { type: 'MX', preference: 10, exchange: 'M1.test' },
        ],
      },
      'MX null.test': { records: [{ type: 'MX', preference: 0, exchange: '.' }] },
    }
    await using(answers, async (resolver) => {
      expect(await resolver.mx('d.test')).toEqual({
        ok: true,
        records: [
          { preference: 20, exchange: 'm2.test' },
          { preference: 10, exchange: 'm1.test' },
        ],
      })
      expect(await resolver.mx('null.test')).toEqual({ ok: true, records: [{ preference: 0, exchange: '' }] })
    })
  })

  test('addresses of each family', async () => {
    const answers: Record<string, Answer> = {
      'A h.test': { records: [{ type: 'A', address: '198.51.100.1' }] },
      'AAAA h.test': { records: [{ type: 'AAAA', address: loopback6 }] },
    }
    await using(answers, async (resolver) => {
      expect(await resolver.address('h.test', 4)).toEqual({ ok: true, records: ['198.51.100.1'] })
      expect(await resolver.address('h.test', 6)).toEqual({ ok: true, records: ['::1'] })
    })
  })

  test('B12 aliases are followed', async () => {
    const answers: Record<string, Answer> = {
      'MX d.test': {
        records: [
          { type: 'CNAME', target: 'e.test' },
          { type: 'MX', preference: 10, exchange: 'm1.test', name: 'e.test' },
        ],
      },
    }
    await using(answers, async (resolver) => {
      expect(await resolver.mx('d.test')).toMatchObject({ ok: true, records: [{ exchange: 'm1.test' }] })
    })
  })

  test.each<[string, Answer, string]>([
    ['NXDOMAIN', { rcode: 3 }, 'not-found'],
    ['no data', { records: [] }, 'not-found'],
    ['SERVFAIL', { rcode: 2 }, 'soft'],
    ['silence', { silent: true }, 'soft'],
    ['REFUSED', { rcode: 5 }, 'refused'],
  ])('%s', async (_, answer, kind) => {
    await using({ 'MX d.test': answer, 'A d.test': answer }, async (resolver) => {
      expect(await resolver.mx('d.test')).toMatchObject({ ok: false, kind })
      expect(await resolver.address('d.test', 4)).toMatchObject({ ok: false, kind })
    })
  })

  test('what is no name is not asked for', async () => {
    await using({}, async (resolver, server) => {
      for (const name of ['', 'a..b', `${'x'.repeat(64)}.test`, `${'x.'.repeat(130)}test`]) {
        expect(await resolver.mx(name)).toMatchObject({ ok: false, kind: 'not-found' })
      }
      expect(server.questions).toEqual([])
    })
  })

  test('a record set is capped at 100', async () => {
    // Over UDP no more than this fits without truncation in practice; the cap is the resolver's own.
    const records = Array.from({ length: 120 }, (_, i) => ({
      type: 'A' as const,
      address: `198.51.100.${i}`,
      name: 'h',
    }))
    await using({ 'A h': { records } }, async (resolver) => {
      const result = await resolver.address('h', 4)
      expect(result.ok && result.records.length).toBe(100)
    })
  })

  test('hosts of the system', async () => {
    await using({}, async (resolver) => {
      const result = await resolver.native('localhost')
      expect(result.ok && result.records.length).toBeGreaterThan(0)
      expect(await resolver.native('does-not-exist.invalid')).toMatchObject({ ok: false })
    })
  })
})

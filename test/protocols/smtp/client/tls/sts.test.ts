/** MTA-STS, RFC 8461: records, policies, the fetch from a real web server, how long what counts, and deliveries. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createSecureContext } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { ClientSettings } from '../../../../../src/protocols/smtp/client/config.ts'
import type { ReportEvent } from '../../../../../src/protocols/smtp/client/tls/rpt/events.ts'
import { type FetchResult, fetchPolicy } from '../../../../../src/protocols/smtp/client/tls/sts/fetch.ts'
import {
  findStsState,
  type StsState,
  type StsStore,
} from '../../../../../src/protocols/smtp/client/tls/sts/lookup.ts'
import {
  mxMatches,
  parseStsPolicy,
  type StsPolicy,
  stsRecordId,
} from '../../../../../src/protocols/smtp/client/tls/sts/policy.ts'
import { Authority, type Certificate, selfSigned } from '../../../../support/certificates.ts'
import { deliver, outcome, settingsOf, tlsClient, type Zone, ZoneResolver } from '../harness.ts'
import { type Script, ScriptedServer } from '../scripted-server.ts'

const policyText = (over: { mode?: string; mx?: readonly string[]; maxAge?: number } = {}): string =>
  [
    'version: STSv1',
    `mode: ${over.mode ?? 'enforce'}`,
    ...(over.mx ?? ['m1.d.test']).map((name) => `mx: ${name}`),
    `max_age: ${over.maxAge ?? 86_400}`,
    '',
  ].join('\r\n')

const facts = { domain: 'd.test', id: '1', now: 1_000 }

describe('the record', () => {
  it.each([
    [['v=STSv1; id=20160831085700Z;'], '20160831085700Z'],
    [['v=STSv1;id=1'], '1'],
    [['v=STSv1; id = 1'], '1'],
    [['v=STSv1; id=1 2'], undefined],
    [['v=STSv1 ; id=1; ext=x'], '1'],
    [['v=spf1 -all', 'v=STSv1; id=1;'], '1'],
    [['v=STSv1; id=1;', 'v=STSv1; id=1;'], undefined],
    [['v=STSv2; id=1;'], undefined],
    [['v=STSv1'], undefined],
    [['v=STSv1; id=;'], undefined],
    [['v=STSv1; id=a-b;'], undefined],
    [[`v=STSv1; id=${'a'.repeat(33)};`], undefined],
    [['id=1; v=STSv1'], undefined],
    [[], undefined],
  ])('%j: %s', (texts, id) => {
    expect(stsRecordId(texts)).toBe(id)
  })
})

describe('the policy', () => {
  it('is read', () => {
    const text =
      'version: STSv1\nmode: testing\nmx: mail.example.com\nmx:*.example.net\nmax_age: 604800\nfuture: 1'
    expect(parseStsPolicy(text, facts)).toMatchObject({
      mode: 'testing',
      mx: ['mail.example.com', '*.example.net'],
      maxAge: 604_800,
    })
  })

  it.each([
    ['', 'version'],
    ['<html>', 'name: value'],
    [policyText({ mode: 'maybe' }), 'mode'],
    [policyText({ mx: [] }), 'mx'],
    [policyText({ mx: ['*.*.test'] }), 'mx'],
    [policyText({ mx: ['mail.test; rm'] }), 'mx'],
    [policyText({ maxAge: -1 }), 'max_age'],
    [policyText().replace('86400', '1e5'), 'max_age'],
    [policyText().replace('max_age', 'age'), 'max_age'],
    [policyText().replace('STSv1', 'STSv9'), 'version'],
  ])('%j is refused: %s', (text, why) => {
    expect(parseStsPolicy(text, facts)).toContain(why)
  })

  it('a life that is too long is the longest there is', () => {
    expect(parseStsPolicy(policyText({ maxAge: 99_999_999 }), facts)).toMatchObject({ maxAge: 31_557_600 })
  })

  it('mode none needs no mx', () => {
    expect(parseStsPolicy(policyText({ mode: 'none', mx: [] }), facts)).toMatchObject({ mode: 'none' })
  })

  it('`*` is exactly one label', () => {
    const patterns = ['*.mx.test', 'other.test']
    expect(
      ['a.mx.test', 'b.c.mx.test', 'mx.test', 'OTHER.test'].map((host) => mxMatches(host, patterns)),
    ).toEqual([true, false, false, true])
  })
})

let authority: Authority
let dir = ''

beforeAll(async () => {
  authority = await Authority.make()
  dir = mkdtempSync(join(tmpdir(), 'mailactors-sts-'))
  writeFileSync(join(dir, 'ca.pem'), authority.cert)
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))

/** A web server with one policy. */
class PolicyServer {
  text = policyText()
  status = 200
  type = 'text/plain; charset=utf-8'
  headers: Record<string, string> = {}
  silent = false
  requests: string[] = []
  readonly #server: Server

  constructor({ cert, key }: Certificate) {
    this.#server = createServer({ cert, key }, (request, response) => {
      this.requests.push(`${request.headers.host}${request.url}`)
      if (this.silent) return
      response.writeHead(this.status, { 'Content-Type': this.type, ...this.headers })
      response.end(this.text)
    })
  }

  static async start(certificate?: Certificate): Promise<PolicyServer> {
    const server = new PolicyServer(certificate ?? (await authority.issue({ names: ['mta-sts.d.test'] })))
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve))
    return server
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as { port: number }).port}`
  }

  fetch(timeoutMs = 5_000): Promise<FetchResult> {
    return fetchPolicy('d.test', {
      context: createSecureContext({ ca: authority.cert, minVersion: 'TLSv1.2' }),
      address: this.address,
      timeoutMs,
      resolve: async () => [],
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

describe('the fetch', () => {
  it('of what stands under the name', async () => {
    await using server = await PolicyServer.start()
    expect(await server.fetch()).toEqual({ ok: true, text: policyText() })
    expect(server.requests).toEqual(['mta-sts.d.test/.well-known/mta-sts.txt'])
  })

  it('follows no redirect, and takes nothing but 200 and text', async () => {
    await using server = await PolicyServer.start()
    server.status = 302
    server.headers = { Location: `https://mta-sts.d.test:1/` }
    expect(await server.fetch()).toMatchObject({ ok: false, type: 'sts-policy-fetch-error' })
    server.headers = {}
    for (const status of [201, 204, 404, 500]) {
      server.status = status
      expect(await server.fetch(), String(status)).toMatchObject({
        ok: false,
        type: 'sts-policy-fetch-error',
      })
    }
    server.status = 200
    server.type = 'text/html'
    expect(await server.fetch()).toMatchObject({ ok: false, type: 'sts-policy-invalid' })
    expect(server.requests).toHaveLength(6)
  })

  it('is bounded in size and time', async () => {
    await using server = await PolicyServer.start()
    server.text = 'x'.repeat(70_000)
    expect(await server.fetch()).toMatchObject({ ok: false, reason: expect.stringContaining('larger') })
    server.silent = true
    expect(await server.fetch(50)).toMatchObject({ ok: false, reason: expect.stringContaining('timed out') })
  })

  it('only from a server with the right certificate', async () => {
    const names = ['mta-sts.d.test']
    for (const certificate of [
      await authority.issue({ names: ['d.test'] }),
      await authority.issue({ names, from: -10, to: -1 }),
      await selfSigned({ names }),
    ]) {
      await using server = await PolicyServer.start(certificate)
      expect(await server.fetch()).toMatchObject({ ok: false, type: 'sts-webpki-invalid' })
      expect(server.requests).toEqual([])
    }
  })

  it('nobody there', async () => {
    const server = await PolicyServer.start()
    const { address } = server
    await server[Symbol.asyncDispose]()
    const context = createSecureContext()
    const fetched = await fetchPolicy('d.test', {
      context,
      address,
      timeoutMs: 5_000,
      resolve: async () => [],
    })
    expect(fetched).toMatchObject({ ok: false, type: 'sts-policy-fetch-error' })
    const unknown = await fetchPolicy('d.test', {
      context,
      address: '',
      timeoutMs: 5_000,
      resolve: async () => [],
    })
    expect(unknown).toMatchObject({ ok: false, reason: expect.stringContaining('ENOTFOUND') })
  })
})

describe('which policy counts', () => {
  /** A domain whose record and policy change, and a clock. */
  class World {
    now = 0
    id: string | undefined = '1'
    policy: string | undefined = policyText({ maxAge: 1_000 })
    fetches = 0
    lookups = 0
    state: StsState | undefined

    async look(): Promise<StsState> {
      const store: StsStore = {
        get: async () => this.state,
        put: (_domain, state) => {
          this.state = state
        },
      }
      const zone: Zone =
        this.id === undefined ? {} : { '_mta-sts.d.test': { txt: [`v=STSv1; id=${this.id};`] } }
      const resolver = new ZoneResolver(zone)
      const state = await findStsState('d.test', new Map(), {
        resolver,
        store,
        now: () => this.now,
        fetch: async () => {
          this.fetches++
          return this.policy === undefined
            ? { ok: false, type: 'sts-policy-fetch-error', reason: 'gone' }
            : { ok: true, text: this.policy }
        },
      })
      this.lookups += resolver.asked.length
      return state
    }
  }

  it('is fetched once, and the record looked at again after five minutes', async () => {
    const world = new World()
    expect((await world.look()).policy).toMatchObject({ mode: 'enforce', id: '1' })
    await world.look()
    expect([world.fetches, world.lookups]).toEqual([1, 1])
    world.now = 301_000
    await world.look()
    expect([world.fetches, world.lookups]).toEqual([1, 2])
  })

  it('a new id brings a new policy', async () => {
    const world = new World()
    await world.look()
    world.id = '2'
    world.policy = policyText({ mode: 'none' })
    world.now = 301_000
    expect((await world.look()).policy).toMatchObject({ mode: 'none', id: '2' })
  })

  it('is fetched again when half its life is over, and kept when that fails', async () => {
    const world = new World()
    await world.look()
    world.policy = undefined
    world.now = 501_000
    const state = await world.look()
    expect(world.fetches).toBe(2)
    expect(state).toMatchObject({ policy: { id: '1' }, failure: { type: 'sts-policy-fetch-error' } })
  })

  it('stays while the record is gone, until it has expired', async () => {
    const world = new World()
    await world.look()
    world.id = undefined
    world.now = 400_000
    expect((await world.look()).policy).toBeDefined()
    world.now = 1_000_001
    expect((await world.look()).policy).toBeUndefined()
  })

  it('a failed fetch without a policy: none, and not asked again for five minutes', async () => {
    const world = new World()
    world.policy = undefined
    expect(await world.look()).toMatchObject({ failure: { type: 'sts-policy-fetch-error' } })
    await world.look()
    expect(world.fetches).toBe(1)
    world.policy = 'garbage'
    world.now = 301_000
    expect(await world.look()).toMatchObject({ failure: { type: 'sts-policy-invalid' } })
  })

  it('no record: nothing is fetched', async () => {
    const world = new World()
    world.id = undefined
    expect((await world.look()).policy).toBeUndefined()
    expect(world.fetches).toBe(0)
  })
})

describe('deliveries', () => {
  const policyOf = (text: string): StsPolicy =>
    parseStsPolicy(text, { ...facts, now: Date.now() }) as StsPolicy

  const run = async (
    text: string | undefined,
    script: Script,
    over: Partial<ClientSettings> = {},
    zone: (port: number) => Zone = () => ({}),
  ) => {
    await using server = await ScriptedServer.start(script)
    const settings = settingsOf('smtp', {
      tls_security_level: 'may',
      tls_ca_file: join(dir, 'ca.pem'),
      tcp_port: String(server.port),
      ...over,
    })
    const counted: ReportEvent[] = []
    const allZones: Zone = {
      'd.test': { mx: [[10, 'm1.d.test']], secure: true },
      'm1.d.test': { a: ['127.0.0.1'], secure: true },
      ...zone(server.port),
    }
    const resolver = new ZoneResolver(allZones)
    const tls = tlsClient(settings, 'smtp', {
      resolver,
      sts: async () => ({ checkedAt: 0, ...(text === undefined ? {} : { policy: policyOf(text) }) }),
      count: (event) => counted.push(event),
    })
    const report = await deliver({ settings, environment: { tls, resolver } })
    await server.until(() => server.sessions.every(({ closed }) => closed))
    return {
      outcome: outcome(report)[0],
      reply: report.results[0]!.reply,
      tls: report.tls,
      connections: server.sessions.length,
      servername: server.sessions[0]?.servername,
      mails: server.commands.filter((command) => command === 'CONTENT').length,
      counted: counted.map(({ policy, failure }) => `${policy.type} ${failure?.type ?? 'success'}`),
    }
  }
  const good = async (...names: string[]): Promise<Script> => {
    const { cert, key } = await authority.issue({ names })
    return { tls: { context: createSecureContext({ cert, key }) } }
  }

  it('enforce: a server the policy names, with a certificate for its name', async () => {
    const seen = await run(policyText(), await good('m1.d.test'))
    expect(seen).toMatchObject({
      outcome: 'sent',
      tls: 'secure',
      servername: 'm1.d.test',
      counted: ['sts success'],
    })
  })

  it('enforce: everything else waits', async () => {
    const wildcards = await run(policyText({ mx: ['*.d.test'] }), await good('*.d.test'))
    expect(wildcards.outcome).toBe('sent')
    expect(await run(policyText({ mx: ['m2.d.test'] }), await good('m1.d.test'))).toMatchObject({
      outcome: 'deferred 4.7.5',
      connections: 0,
      counted: ['sts validation-failure'],
    })
    expect(await run(policyText(), await good('d.test'))).toMatchObject({
      outcome: 'deferred 4.7.5',
      mails: 0,
      counted: ['sts certificate-host-mismatch'],
    })
    expect(await run(policyText(), {})).toMatchObject({
      outcome: 'deferred 4.7.4',
      mails: 0,
      counted: ['sts starttls-not-supported'],
    })
    const expired = await authority.issue({ names: ['m1.d.test'], from: -9, to: -1 })
    const { cert, key } = expired
    expect(await run(policyText(), { tls: { context: createSecureContext({ cert, key }) } })).toMatchObject({
      outcome: 'deferred 4.7.5',
      counted: ['sts certificate-expired'],
    })
  })

  it('testing and none: as without, and testing is counted', async () => {
    const testing = policyText({ mode: 'testing', mx: ['m2.d.test'] })
    expect(await run(testing, await good('x'))).toMatchObject({
      outcome: 'sent',
      tls: 'may',
      counted: ['sts validation-failure'],
    })
    expect(await run(testing, {})).toMatchObject({ outcome: 'sent', counted: ['sts starttls-not-supported'] })
    const fits = policyText({ mode: 'testing' })
    expect(await run(fits, await good('m1.d.test'))).toMatchObject({ counted: ['sts success'] })
    expect(await run(fits, await good('x'))).toMatchObject({
      outcome: 'sent',
      counted: ['sts certificate-host-mismatch'],
    })
    expect(await run(policyText({ mode: 'none' }), {})).toMatchObject({ outcome: 'sent', tls: 'may:none' })
    expect(await run(undefined, {})).toMatchObject({ counted: ['no-policy-found starttls-not-supported'] })
  })

  it('J35 only servers that the patterns name; with the check off their certificate still counts', async () => {
    const table = (patterns: string) => [{ 'd.test': `secure policy_type=sts ${patterns}` }]
    const settings = { tls_policy_maps: table('mx_host_pattern=*.mx.test') }
    const zone = (): Zone => ({
      'd.test': {
        mx: [
          [10, 'b.c.mx.test'],
          [20, 'mx.test'],
          [30, 'a.mx.test'],
        ],
      },
      'a.mx.test': { a: ['127.0.0.1'] },
      'b.c.mx.test': { a: ['127.0.0.1'] },
      'mx.test': { a: ['127.0.0.1'] },
    })
    const seen = await run(undefined, await good('a.mx.test'), settings, zone)
    expect(seen).toMatchObject({ outcome: 'sent', connections: 1, servername: 'a.mx.test' })
    const off = { ...settings, tls_enforce_sts_mx_patterns: false }
    expect(await run(undefined, await good('b.c.mx.test'), off, zone)).toMatchObject({
      outcome: 'sent',
      servername: 'b.c.mx.test',
    })
  })

  it('a policy of ours that asks for more, and one for the next hop, come first', async () => {
    const strict = await run(policyText(), await good('m1.d.test'), {
      tls_security_level: 'secure',
      tls_secure_cert_match: ['other.test'],
    })
    expect(strict.outcome).toBe('deferred 4.7.5')
    const exempt = await run(policyText(), {}, { tls_policy_maps: [{ 'd.test': 'may' }] })
    expect(exempt).toMatchObject({ outcome: 'sent', tls: 'may:none' })
  })

  it('DANE comes first where it has something to say', async () => {
    const dane = { tls_security_level: 'dane', dns_support_level: 'dnssec' } as const
    const { cert, key, der } = await authority.issue({ names: ['m1.d.test'] })
    const script: Script = { tls: { context: createSecureContext({ cert, key }) } }
    const records =
      (data: Uint8Array) =>
      (port: number): Zone => ({
        [`_${port}._tcp.m1.d.test`]: {
          tlsa: [{ usage: 3, selector: 0, matchingType: 0, data }],
          secure: true,
        },
      })
    const other = await authority.issue({ names: ['m1.d.test'] })
    const failed = await run(policyText(), script, dane, records(other.der))
    expect(failed).toMatchObject({ outcome: 'deferred 4.7.5', counted: ['tlsa validation-failure'] })
    const fits = await run(policyText({ mx: ['m2.d.test'] }), script, dane, records(der))
    expect(fits).toMatchObject({ outcome: 'sent', tls: 'dane', counted: ['tlsa success'] })
    const without = await run(policyText(), {}, dane)
    expect(without).toMatchObject({ outcome: 'deferred 4.7.4', mails: 0 })
    expect(await run(policyText(), script, dane)).toMatchObject({ outcome: 'sent', counted: ['sts success'] })
  })
})

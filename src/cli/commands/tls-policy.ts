import type { Command } from 'commander'
import type { Config } from '../../config/settings.ts'
import { createResolver } from '../../dns/resolver.ts'
import { clientSettings } from '../../protocols/smtp/client/config.ts'
import { DestinationError, parseDestinations } from '../../protocols/smtp/client/destination.ts'
import { familiesOf, ownAddresses, replyFilter } from '../../protocols/smtp/client/own-network.ts'
import { findServers } from '../../protocols/smtp/client/servers.ts'
import { TlsClient } from '../../protocols/smtp/client/tls/client.ts'
import { Contexts } from '../../protocols/smtp/client/tls/contexts.ts'
import {
  type ExplainedServer,
  type ExplainedTls,
  explainTls,
  type TestedServer,
} from '../../protocols/smtp/client/tls/explain.ts'
import { stsFinder } from '../../protocols/smtp/client/tls/sts/finder.ts'
import type { StsState } from '../../protocols/smtp/client/tls/sts/lookup.ts'
import { Tables } from '../../tables/contract.ts'
import { CommandFailure, exitCodes } from '../exit.ts'
import { visible } from '../format.ts'
import { type ConfigOptions, loadOrFail, withConfigOptions, withJson } from '../options.ts'
import { printJson, type Terminal } from '../terminal.ts'

interface Options extends ConfigOptions {
  readonly lmtp?: boolean
  readonly test?: boolean
  readonly json?: boolean
}

interface Explained extends ExplainedTls {
  /** Why no servers were found. */
  readonly lookup?: string
}

/** `mailactors tls-policy`: which TLS a next hop gets, and why. Needs no running service. */
export function addTlsPolicyCommand(program: Command, terminal: Terminal): void {
  const command = program
    .command('tls-policy')
    .description('the TLS that mail for a next hop must have, where that is said, and for which servers')
    .argument('<destination>', 'domain, domain:port, [host], [host]:port')
    .option('--lmtp', 'a next hop of LMTP: host:port or unix:/path')
    .option(
      '--test',
      'connect to the servers, as far as a delivery would before its mail, and show what they are',
    )
    .addHelpText(
      'after',
      '\nExit codes: 0 mail could go out, 75 no server will do for now, 69 the destination has none, 78 the policy is broken.',
    )
  withJson(withConfigOptions(command)).action(async (destination: string, options: Options) => {
    const { config } = loadOrFail(terminal, options)
    const explained = await explain(destination, config, options)
    if (options.json) printJson(terminal, explained)
    else terminal.print(explained.map(text).join('\n'))
    process.exitCode = exitCodeOf(explained)
  })
}

async function explain(nexthop: string, config: Config, options: Options): Promise<readonly Explained[]> {
  const protocol = options.lmtp === true ? 'lmtp' : 'smtp'
  const settings = clientSettings(config.smtp, config.lmtp, protocol)
  const { hostname } = config
  const resolver = createResolver(config.dns)
  const families = familiesOf(config.net.inet_protocols)
  const tables = new Tables({ now: () => Date.now(), warn() {} })
  const contexts = new Contexts(settings, config.tls)
  const known = new Map<string, StsState>()
  const store = {
    get: async (domain: string) => known.get(domain),
    put: (domain: string, state: StsState) => void known.set(domain, state),
  }
  const now = () => Date.now()
  const sts = settings.mta_sts
    ? stsFinder({ resolver, families, settings, contexts, flights: new Map(), store, now })
    : undefined
  const tls = new TlsClient({
    transport: protocol,
    settings,
    engine: config.tls,
    contexts,
    policyMaps: tables.maps(settings.tls_policy_maps),
    loglevelMaps: tables.maps([]),
    resolver,
    sts,
    tally() {},
    count: undefined,
    sessions: undefined,
    warn() {},
    now,
  })
  const parsed = parseDestinations(nexthop, {
    protocol,
    defaultService: settings.tcp_port,
    knownPorts: config.net.known_tcp_ports,
  })
  const explained: Explained[] = []
  for (const destination of parsed) {
    if (destination instanceof DestinationError)
      throw new CommandFailure(exitCodes.usage, `${nexthop}: ${destination.message}${hintFor(nexthop)}`)
    const found = await findServers(destination, {
      protocol,
      settings,
      resolver,
      query: { filter: replyFilter(tables.maps(settings.dns_reply_filter)) },
      hostname,
      families,
      dnsDisabled: config.dns.disable_dns_lookups,
      isOwnAddress: ownAddresses(config.net.inet_interfaces, config.net.proxy_interfaces).isOwnAddress,
      random: Math.random,
      warn() {},
    })
    const servers = found.ok ? found.servers : []
    const test = options.test === true
    const result = await explainTls(destination, { tls, settings, protocol, hostname, servers, sts, test })
    explained.push({ ...result, ...(found.ok ? {} : { lookup: found.failure.reason }) })
  }
  return explained
}

/** Many will try the address of a recipient. */
const hintFor = (nexthop: string): string =>
  nexthop.includes('@') ? ` (try ${nexthop.slice(nexthop.lastIndexOf('@') + 1)})` : ''

function text(explained: Explained): string {
  const { nexthop, policy, refusal, sts, lookup, servers } = explained
  const lines = [nexthop]
  if (refusal !== undefined) lines.push(`  no mail goes out: ${refusal}`)
  if (policy !== undefined) {
    lines.push(`  level ${policy.level}, from ${policy.source}`)
    if (policy.ignored.length > 0) lines.push(`  ignored at this level: ${policy.ignored.join(' ')}`)
    if (policy.level !== 'none') {
      const without = policy.excluded.length === 0 ? '' : ` without ${policy.excluded.join(', ')}`
      lines.push(`  versions ${policy.protocols.join(' ')}, ciphers ${policy.ciphers}${without}`)
      // With servers it stands there, with their names in it.
      if (servers.length === 0 && policy.match.length > 0)
        lines.push(`  certificate for ${policy.match.join(' or ')}`)
      lines.push(
        policy.reuse
          ? '  connections may be kept for the next mail'
          : '  connections end with their mail (tls_connection_reuse is off)',
      )
    }
  }
  if (sts !== undefined) {
    const names = sts.mx.length === 0 ? '' : `, servers ${sts.mx.join(', ')}`
    lines.push(
      sts.id === '' ? '  MTA-STS: a policy that cannot be had' : `  MTA-STS: mode ${sts.mode}${names}`,
    )
    if (sts.failure !== undefined) lines.push(`  MTA-STS: ${sts.failure}`)
  }
  if (lookup !== undefined) lines.push(`  no servers: ${lookup}`)
  lines.push(...servers.flatMap(serverLines))
  return `${lines.map(visible).join('\n')}\n`
}

function serverLines(server: ExplainedServer, index: number): string[] {
  const { host, address, port, level, why, servername, match, tlsa, test } = server
  const where = port === 0 ? `${host}[${address}]` : `${host}[${address}]:${port}`
  const reason = why === undefined ? '' : ` (${why})`
  const lines = [`  ${index + 1}. ${where}: ${level ?? 'not used'}${reason}`]
  const what = level === 'fingerprint' ? 'certificate or key with the digest' : 'certificate for'
  if (match !== undefined) lines.push(`     ${what} ${match.join(' or ')}`)
  if (servername !== undefined) lines.push(`     SNI ${servername}`)
  for (const record of tlsa ?? []) lines.push(`     ${record}`)
  if (test !== undefined) lines.push(...testLines(test).map((line) => `     ${line}`))
  return lines
}

function testLines({ ok, dsn, reason, tls }: TestedServer): string[] {
  const lines = [ok ? 'mail could go out' : `${dsn} ${reason}`]
  if (tls === undefined) return ok ? [...lines, 'in plaintext'] : lines
  lines.push(`${tls.protocol} with ${tls.cipher} (${tls.bits} bits)`)
  const matched = tls.matched === undefined ? '' : `, fits ${tls.matched}`
  lines.push(`certificate ${tls.class}${matched}${tls.problem === undefined ? '' : `: ${tls.problem}`}`)
  for (const { subject, issuer, names, validTo, sha256, keySha256 } of tls.chain) {
    lines.push(`- ${subject}${names === '' ? '' : ` (${names})`}, until ${validTo.slice(0, 10)}`)
    lines.push(`  issued by ${issuer}; SHA-256 ${sha256}`)
    lines.push(`  key, as in TLSA 3 1 1: ${keySha256}`)
  }
  return lines
}

function exitCodeOf(explained: readonly Explained[]): number {
  if (explained.some(({ refusal }) => refusal !== undefined)) return exitCodes.badConfig
  const servers = explained.flatMap((one) => one.servers)
  if (servers.length === 0) return exitCodes.unavailable
  const works = servers.some(({ level, test }) => level !== undefined && test?.ok !== false)
  return works ? exitCodes.ok : exitCodes.temporary
}

import type { Command } from 'commander'
import type { Config } from '../../config/settings.ts'
import { createResolver } from '../../dns/resolver.ts'
import { clientSettings } from '../../protocols/smtp/client/config.ts'
import { type ExplainedHop, explainDestination } from '../../protocols/smtp/client/explain.ts'
import { familiesOf, ownAddresses, replyFilter } from '../../protocols/smtp/client/own-network.ts'
import { Tables } from '../../tables/contract.ts'
import { exitCodes } from '../exit.ts'
import { visible } from '../format.ts'
import { type ConfigOptions, loadOrFail, withConfigOptions, withJson } from '../options.ts'
import { printJson, type Terminal } from '../terminal.ts'

interface Options extends ConfigOptions {
  readonly lmtp?: boolean
  readonly json?: boolean
}

/** `mailactors resolve`: which servers a next hop leads to, and why. Needs no running service. */
export function addResolveCommand(program: Command, terminal: Terminal): void {
  const resolve = program
    .command('resolve')
    .description('the servers that mail for a next hop would be offered to, in order, and why these')
    .argument(
      '<destination>',
      'as in [transport] and smtp.relayhost: domain, domain:port, [host], [host]:port, a list of them',
    )
    .option('--lmtp', 'a next hop of LMTP: host:port or unix:/path')
    .addHelpText(
      'after',
      '\nLooks up and connects nowhere. Exit codes: 0 there are servers, 75 not for now, 69 none: the mail would be returned.',
    )
  withJson(withConfigOptions(resolve)).action(async (destination: string, options: Options) => {
    const { config } = loadOrFail(terminal, options)
    const hops = await explained(destination, config, options.lmtp === true ? 'lmtp' : 'smtp')
    if (options.json) printJson(terminal, { destination, hops })
    else terminal.print(hops.map(hopText).join('\n'))
    process.exitCode = exitCodeOf(hops)
  })
}

function explained(destination: string, config: Config, protocol: 'smtp' | 'lmtp'): Promise<ExplainedHop[]> {
  const settings = clientSettings(config.smtp, config.lmtp, protocol)
  const tables = new Tables({ now: () => Date.now(), warn: () => {} })
  return explainDestination(destination, {
    protocol,
    settings,
    resolver: createResolver(config.dns),
    query: { filter: replyFilter(tables.maps(settings.dns_reply_filter)) },
    knownPorts: config.net.known_tcp_ports,
    hostname: config.hostname,
    families: familiesOf(config.net.inet_protocols),
    dnsDisabled: config.dns.disable_dns_lookups,
    isOwnAddress: ownAddresses(config.net.inet_interfaces, config.net.proxy_interfaces).isOwnAddress,
    random: Math.random,
  })
}

const lookups: Readonly<Record<ExplainedHop['lookup'], string>> = {
  mx: 'mail exchangers',
  srv: 'SRV records',
  host: 'a host',
  address: 'an address',
  socket: 'a unix socket',
  none: 'cannot be understood',
}

function hopText(hop: ExplainedHop): string {
  const lines = [`${hop.nexthop} (${hop.fallback ? 'fallback relay, ' : ''}${lookups[hop.lookup]})`]
  for (const { question, records, failure, secure } of hop.asked) {
    const proof = secure ? ' (proven by DNSSEC)' : ''
    lines.push(`  asked ${question}: ${failure ?? records.map(dataOf).join(', ')}${proof}`)
  }
  for (const { host, address, reason } of hop.dropped) lines.push(`  left out ${host}[${address}]: ${reason}`)
  for (const warning of hop.warnings) lines.push(`  warning ${warning}`)
  for (const [index, { host, address, port, preference }] of hop.servers.entries()) {
    const where = port === 0 ? `${host}[${address}]` : `${host}[${address}]:${port}`
    const rank = hop.lookup === 'mx' || hop.lookup === 'srv' ? `, preference ${preference}` : ''
    lines.push(
      `  ${index + 1}. ${where}${rank}${index < hop.visited ? '' : ' (beyond mx_address_limit: not tried)'}`,
    )
  }
  if (hop.failure !== undefined) {
    const fate = hop.failure.dsn.startsWith('5') ? 'the mail is returned' : 'the mail waits'
    lines.push(`  ${hop.failure.dsn} ${hop.failure.reason}: ${fate}, unless another next hop takes it`)
  }
  if (hop.isLast) lines.push('  we are an exchanger of it ourselves: no next hop after this one is tried')
  return `${lines.map(visible).join('\n')}\n`
}

/** Without owner, ttl, class and type. */
function dataOf(record: string): string {
  return record.split(' ').slice(4).join(' ') || record
}

function exitCodeOf(hops: readonly ExplainedHop[]): number {
  if (hops.some(({ servers }) => servers.length > 0)) return exitCodes.ok
  return hops.some(({ failure }) => failure?.dsn.startsWith('4'))
    ? exitCodes.temporary
    : exitCodes.unavailable
}

import { boolean, duration, integer, list, map, string } from '../config/schema.ts'

import { nameServerAddress } from './system.ts'

/** Table `[dns]`. */
export const dnsSettings = {
  servers: list({
    default: [],
    doc: 'Name servers to ask: `address`, `address:port`, `[v6]:port`. Empty: those of the system.',
    check: (value) => {
      const wrong = value.find((text) => nameServerAddress(text) === undefined)
      return wrong === undefined
        ? undefined
        : `\`${wrong}\` is not the address of a name server, such as 192.0.2.1 or [2001:db8::1]:5353`
    },
  }),
  disable_dns_lookups: boolean({
    default: false,
    doc: 'No DNS at all: destinations are hosts, looked up as the system looks up hosts.',
  }),
  dnssec_probe: string({
    default: 'ns:.',
    doc: 'A question whose answer is certainly signed, `type:name`: when an answer that should be proven is not, it shows once whether the name servers check signatures at all, and the log says so if they do not. Empty: no such question.',
    check: (value) =>
      value === '' || /^(?:a|aaaa|mx|ns|srv|tlsa|txt):\S+$/i.test(value)
        ? undefined
        : `\`${value}\` is not type:name, such as ns:.`,
  }),
  timeout: duration({
    default: 5_000,
    min: 10,
    max: 60_000,
    doc: 'How long one try waits for the answer of one name server.',
  }),
  tries: integer({
    default: 3,
    min: 1,
    max: 10,
    doc: 'How often each name server is asked before the lookup fails for now.',
  }),
}

/** Table `[net]`: which addresses are ours, and which protocols are used. */
export const netSettings = {
  inet_protocols: list({
    default: ['all'],
    doc: 'Address families used for delivery: `all`, `ipv4`, `ipv6`.',
    check: (value) => {
      const wrong = value.find((word) => !['all', 'ipv4', 'ipv6'].includes(word))
      return wrong === undefined ? undefined : `\`${wrong}\` is not \`all\`, \`ipv4\` or \`ipv6\``
    },
  }),
  inet_interfaces: list({
    default: ['all'],
    doc: 'Our own addresses, for the detection of mail that would come back to us: `all`, `loopback-only` or addresses.',
  }),
  line_length_limit: integer({
    default: 2_048,
    min: 100,
    max: 65_536,
    doc: 'Octets of a line of content that checks see as one; a longer line is seen in pieces.',
  }),
  proxy_interfaces: list({
    default: [],
    doc: 'Addresses under which a proxy or NAT in front of us is reached; they count as our own.',
  }),
  known_tcp_ports: map({
    default: { lmtp: '24', smtp: '25', smtps: '465', submissions: '465', submission: '587' },
    doc: 'Ports of services by name, before the services file of the system is asked.',
    check: (ports) => {
      const wrong = Object.entries(ports).find(
        ([, port]) => !/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65_535,
      )
      return wrong === undefined ? undefined : `"${wrong[1]}" of ${wrong[0]} is not a port (1 to 65535)`
    },
  }),
}

import { boolean, duration, networks } from '../config/schema.ts'

/** Table `[proxy_protocol]`: load balancers in front of the listeners that have `proxy_protocol = true`. */
export const proxyProtocolSettings = {
  trusted: networks({
    default: [],
    doc: 'Addresses and networks of load balancers. On a listener with `proxy_protocol` everybody else is disconnected without a word; empty: everybody. Unix sockets are always trusted.',
  }),
  timeout: duration({
    default: 3_000,
    min: 100,
    max: 60_000,
    doc: 'How long the PROXY header may take to come.',
  }),
  assume_secure: boolean({
    default: false,
    doc: 'Whether a connection through a load balancer counts as secured although the header does not say that the client used TLS.',
  }),
}

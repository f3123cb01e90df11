import { duration, integer } from '../config/schema.ts'

/** Table `[limits]`: how much one client, and all together, may take. */
export const limitsSettings = {
  max_userip_connections: integer({
    default: 10,
    min: 0,
    doc: 'Mailbox sessions one user may have open from one address at the same time. 0: no limit.',
  }),
  max_connections: integer({
    default: 20_000,
    min: 1,
    max: 1_000_000,
    doc: 'Connections open at the same time on one listener; further ones are told to come back later.',
  }),
  stress_threshold: integer({
    default: 90,
    min: 1,
    max: 100,
    doc: 'Percent of `max_connections` from which on the service is under stress: new SMTP connections get the `smtpd.stress_…` settings, so that they end sooner.',
  }),
}

/** Table `[anvil]`: how the doings of clients are counted, see `smtpd.client_…_limit`. */
export const anvilSettings = {
  rate_time_unit: duration({
    default: 60_000,
    min: 1_000,
    max: 86_400_000,
    doc: 'The time in which the rates of a client are counted.',
  }),
  status_update_time: duration({
    default: 600_000,
    min: 1_000,
    max: 86_400_000,
    doc: 'How often the log says what the highest counts and rates were.',
  }),
}

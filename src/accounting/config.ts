import { integer } from '../config/schema.ts'

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
}

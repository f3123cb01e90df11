import { duration, integer } from '../config/schema.ts'

/** Table `[cache]`. */
export const cacheSettings = {
  ttl_limit: duration({
    default: 2_000,
    min: 1,
    max: 86_400_000,
    doc: 'No idle connection and no binding of a destination lives longer than this, whatever a transport asks for.',
  }),
  max_connections: integer({
    default: 10_000,
    min: 1,
    max: 1_000_000,
    doc: 'Idle connections at most; the oldest is closed with QUIT for a new one. Each is an open file.',
  }),
  status_update_time: duration({
    default: 600_000,
    min: 1_000,
    doc: 'How often hits, misses and peak sizes are logged, as the event `cache.statistics`.',
  }),
  protocol_timeout: duration({
    default: 5_000,
    min: 10,
    max: 60_000,
    doc: 'How long a delivery waits for the answer of the cache before it makes a connection of its own.',
  }),
}

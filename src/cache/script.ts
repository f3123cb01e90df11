/**
 * The four requests of the cache as lines of text, for conformance scripts: the same table and the same limits, a clock
 * that only `sleep` moves, file descriptors that are numbers.
 *
 *     save_endp TTL ENDPOINT PROPERTIES [FD]      save_dest TTL DESTINATION PROPERTIES ENDPOINT
 *     find_endp ENDPOINT                          find_dest DESTINATION
 *     sleep SECONDS                               stats | report | size
 *
 * Each line is answered with one: a status (0 done, 1 malformed, 2 not found), then what was found.
 */
import { CacheTable } from './table.ts'

export class CacheScript {
  readonly #table = new CacheTable<number>(0)
  readonly #ttlLimitMs: number
  /** Milliseconds since the script began. */
  #now = 0
  #saved = 0

  /** @param ttlLimitMs `cache.ttl_limit`. */
  constructor(ttlLimitMs: number) {
    this.#ttlLimitMs = ttlLimitMs
  }

  /** The answer to a line; undefined: there is none to an empty line or a comment. */
  run(line: string): string | undefined {
    const words = wordsOf(line)
    const [verb = '', ...args] = words
    if (verb === '' || verb.startsWith('#')) return undefined
    switch (verb) {
      case 'save_endp':
        return this.#saveEndpoint(args)
      case 'save_dest':
        return this.#saveDestination(args)
      case 'find_endp':
        return this.#findEndpoint(args)
      case 'find_dest':
        return this.#findDestination(args)
      case 'sleep':
        return this.#sleep(args)
      case 'size':
        return `0 sessions=${this.#table.size}`
      case 'stats':
        return `0 ${this.#statistics()}`
      case 'report': {
        // As each status_update_time: what it says, and a new interval.
        const answer = `0 ${this.#statistics()}`
        this.#table.resetStatistics(this.#now)
        return answer
      }
      default:
        return `1 unknown request ${verb}`
    }
  }

  #saveEndpoint(args: readonly string[]): string {
    const [ttl = '', endpoint = '', properties = '', fd = `${this.#saved + 1}`] = args
    const expiresAt = this.#expiry(ttl)
    if (args.length < 3 || args.length > 4 || !/^\d+$/.test(fd)) {
      return '1 usage: save_endp TTL ENDPOINT PROPERTIES [FD]'
    }
    if (expiresAt === undefined) return noTtl
    this.#saved++
    this.#table.saveEndpoint({ handle: Number(fd), endpoint, properties, expiresAt })
    return '0'
  }

  #saveDestination(args: readonly string[]): string {
    const [ttl = '', destination = '', properties = '', endpoint = ''] = args
    const expiresAt = this.#expiry(ttl)
    if (args.length !== 4) return '1 usage: save_dest TTL DESTINATION PROPERTIES ENDPOINT'
    if (expiresAt === undefined) return noTtl
    this.#table.saveDestination({ destination, endpoint, properties, expiresAt })
    return '0'
  }

  #findEndpoint(args: readonly string[]): string {
    const [endpoint = ''] = args
    if (args.length !== 1) return '1 usage: find_endp ENDPOINT'
    const entry = this.#table.findEndpoint(endpoint, this.#now)
    return entry === undefined ? '2' : `0 endp_props=${entry.properties} fd=${entry.handle}`
  }

  #findDestination(args: readonly string[]): string {
    const [destination = ''] = args
    if (args.length !== 1) return '1 usage: find_dest DESTINATION'
    const found = this.#table.findDestination(destination, this.#now)
    if (found === undefined) return '2'
    const { binding, entry } = found
    return `0 dest_props=${binding.properties} endp_props=${entry.properties} fd=${entry.handle}`
  }

  #sleep(args: readonly string[]): string {
    const seconds = Number(args[0])
    if (args.length !== 1 || !(seconds >= 0) || !Number.isFinite(seconds)) return '1 usage: sleep SECONDS'
    this.#now += seconds * 1_000
    const closed = this.#table.expire(this.#now).map(({ handle }) => handle)
    return closed.length === 0 ? '0' : `0 closed=${closed.sort((a, b) => a - b).join(',')}`
  }

  /** Undefined: no time that anything could be kept for. */
  #expiry(ttl: string): number | undefined {
    const ms = Number(ttl) * 1_000
    return /^\d+(?:\.\d+)?$/.test(ttl) && ms > 0 ? this.#now + Math.min(ms, this.#ttlLimitMs) : undefined
  }

  #statistics(): string {
    const { since, ...counters } = this.#table.statistics()
    const percent = (hits: number, misses: number) =>
      hits + misses === 0 ? [] : [`${Math.floor((100 * hits) / (hits + misses))}%`]
    const { destinationHits, destinationMisses, endpointHits, endpointMisses } = counters
    const { maxDestinations, maxEndpoints, maxSessions } = counters
    return [
      `since=${since / 1_000}`,
      [`dest=${destinationHits}/${destinationMisses}`, ...percent(destinationHits, destinationMisses)].join(
        '=',
      ),
      [`endp=${endpointHits}/${endpointMisses}`, ...percent(endpointHits, endpointMisses)].join('='),
      `peaks=${maxDestinations},${maxEndpoints},${maxSessions}`,
    ].join(' ')
  }
}

const noTtl = '1 the ttl is a number of seconds above 0'

/** Words between white space; in double quotes they may have some, and be empty. */
function wordsOf(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '')
}

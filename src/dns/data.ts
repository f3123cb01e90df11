/** Record data as the rest of us sees them, checked. */
import { isIP } from 'node:net'
import { isHostname } from './names.ts'
import type { RecordData, RecordType } from './records.ts'
import { plainName } from './wire.ts'

/** Undefined: data that cannot be used, such as an exchanger that is no host name. */
export function recordData<T extends RecordType>(type: T, data: unknown): RecordData[T] | undefined {
  return readers[type](data as never) as RecordData[T] | undefined
}

const readers: { readonly [T in RecordType]: (data: never) => RecordData[T] | undefined } = {
  A: (address: string) => (isIP(address) === 4 ? address : undefined),
  AAAA: (address: string) => (isIP(address) === 6 ? address : undefined),
  MX: ({ preference = 0, exchange }: { preference?: number; exchange: string }) => {
    const name = targetName(exchange)
    return name === undefined ? undefined : { preference, exchange: name }
  },
  SRV: ({
    priority = 0,
    weight = 0,
    port,
    target,
  }: {
    priority?: number
    weight?: number
    port: number
    target: string
  }) => {
    const name = targetName(target)
    return name === undefined ? undefined : { priority, weight, port, target: name }
  },
  TLSA: (data: { usage: number; selector: number; matchingType: number; certificate: Buffer }) => ({
    usage: data.usage,
    selector: data.selector,
    matchingType: data.matchingType,
    data: data.certificate,
  }),
  TXT: (data: string | Buffer | readonly (string | Buffer)[]) =>
    [data]
      .flat()
      .map((part) => part.toString('latin1'))
      .join(''),
  CNAME: (name: string) => plainName(name),
  NS: (name: string) => targetName(name),
  PTR: (name: string) => targetName(name),
}

/** A host name, an address (which people do write there), or the root. */
function targetName(written: string): string | undefined {
  const name = plainName(written)
  return name === '' || isHostname(name) || isIP(name) !== 0 ? name : undefined
}

/** A record as `smtp_dns_reply_filter` sees it: `name. ttl IN TYPE data`. */
export function recordText<T extends RecordType>(
  name: string,
  ttl: number,
  type: T,
  data: RecordData[T],
): string {
  return `${name}. ${ttl} IN ${type} ${texts[type](data as never)}`
}

const texts: { readonly [T in RecordType]: (data: RecordData[T]) => string } = {
  A: (address) => address,
  AAAA: (address) => address,
  MX: ({ preference, exchange }) => `${preference} ${exchange}.`,
  SRV: ({ priority, weight, port, target }) => `${priority} ${weight} ${port} ${target}.`,
  TLSA: ({ usage, selector, matchingType, data }) =>
    `${usage} ${selector} ${matchingType} ${Buffer.from(data).toString('hex').toUpperCase()}`,
  TXT: (text) => text,
  CNAME: (name) => `${name}.`,
  NS: (name) => `${name}.`,
  PTR: (name) => `${name}.`,
}

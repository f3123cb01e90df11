/** What a server offers in its reply to EHLO or LHLO, RFC 5321 section 4.1.1.1. */
import type { Reply } from './reply-parser.ts'

export interface Features {
  /** First word of the reply: the name the server gives itself. */
  readonly serverName: string
  readonly pipelining: boolean
  /** SIZE was offered. */
  readonly size: boolean
  /** Limit that came with SIZE, in octets; 0: none known. */
  readonly sizeLimit: number
  readonly eightBitMime: boolean
  readonly smtpUtf8: boolean
  readonly dsn: boolean
  readonly startTls: boolean
  /** REQUIRETLS, RFC 8689; counts within TLS only. */
  readonly requireTls: boolean
  /** Mechanisms of AUTH, upper case; there may be none in the list. Undefined: AUTH is not offered. */
  readonly auth: readonly string[] | undefined
  /** Attributes that XFORWARD takes, upper case. */
  readonly xforward: readonly string[]
}

/** What a server that was greeted with HELO can do. */
export const noFeatures: Features = {
  serverName: '',
  pipelining: false,
  size: false,
  sizeLimit: 0,
  eightBitMime: false,
  smtpUtf8: false,
  dsn: false,
  startTls: false,
  requireTls: false,
  auth: undefined,
  xforward: [],
}

export interface EhloResult {
  readonly features: Features
  /** Keywords that were offered and are ignored by configuration, upper case. */
  readonly discarded: readonly string[]
  /** What is odd about the reply, for the log. */
  readonly warnings: readonly string[]
}

/** Reads the reply to EHLO. `discard`: keywords to ignore, in any case. */
export function parseEhlo(reply: Reply, discard: readonly string[]): EhloResult {
  const features: { -readonly [K in keyof Features]: Features[K] } = { ...noFeatures }
  const ignored = discard.length === 0 ? undefined : new Set(discard.map((word) => word.toUpperCase()))
  const silent = ignored?.has('SILENT-DISCARD') === true
  const discarded: string[] = []
  const warnings: string[] = []
  const lines = reply.text.split('\n')
  features.serverName = /^\S*/.exec(lines[0]!.slice(4))![0]
  for (let i = 1; i < lines.length; i++) {
    // Old drafts wrote `AUTH=LOGIN`, and there are servers that still do.
    const [first = '', ...params] = lines[i]!.slice(4).split(/[ =]+/)
    const keyword = first.toUpperCase()
    if (ignored?.has(keyword)) {
      if (!silent) discarded.push(keyword)
      continue
    }
    switch (keyword) {
      case 'PIPELINING':
        features.pipelining = true
        break
      case 'SIZE':
        features.size = true
        if (params[0] === undefined || params[0] === '') break
        if (/^[0-9]{1,15}$/.test(params[0])) features.sizeLimit = Number(params[0])
        else warnings.push(`SIZE offered with "${params[0]}"`)
        break
      case '8BITMIME':
        features.eightBitMime = true
        break
      case 'SMTPUTF8':
        features.smtpUtf8 = true
        break
      case 'DSN':
        features.dsn = true
        break
      case 'STARTTLS':
        features.startTls = true
        break
      case 'REQUIRETLS':
        features.requireTls = true
        break
      case 'AUTH':
        features.auth = [...(features.auth ?? []), ...upperCase(params)]
        break
      case 'XFORWARD':
        features.xforward = upperCase(params)
        break
    }
  }
  // RFC 6531 section 3.1 asks for both; a server that forgets one can do it all the same.
  if (features.smtpUtf8 && !features.eightBitMime) {
    features.eightBitMime = true
    warnings.push('SMTPUTF8 offered without 8BITMIME')
  }
  return { features, discarded, warnings }
}

const upperCase = (words: readonly string[]): string[] =>
  words.filter((word) => word !== '').map((word) => word.toUpperCase())

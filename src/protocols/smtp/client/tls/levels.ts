/** TLS security levels of the delivery client, from no protection to all of it. */
export const tlsLevels = [
  'none',
  'may',
  'encrypt',
  'fingerprint',
  'dane',
  'dane-only',
  'verify',
  'secure',
] as const

export type TlsLevel = (typeof tlsLevels)[number]

/** Without TLS nothing is delivered. */
export const isRequired = (level: TlsLevel): boolean => level !== 'none' && level !== 'may'

/** Nothing is delivered to a server whose certificate is not the right one. */
export const needsMatch = (level: TlsLevel): boolean => isRequired(level) && level !== 'encrypt'

/** The certificate must come from an authority that is trusted. */
export const needsTrust = (level: TlsLevel): boolean => level === 'verify' || level === 'secure'

/** The weaker of two levels. */
export const weaker = (a: TlsLevel, b: TlsLevel): TlsLevel =>
  tlsLevels.indexOf(a) <= tlsLevels.indexOf(b) ? a : b

/** What mail with REQUIRETLS (RFC 8689) demands of a next hop. */
export const requireTlsActions = ['enforce', 'opportunistic+starttls', 'opportunistic', 'disable'] as const

export type RequireTlsAction = (typeof requireTlsActions)[number]

export const isRequireTlsAction = (word: string): word is RequireTlsAction =>
  (requireTlsActions as readonly string[]).includes(word)

/** No TLS, no delivery. */
export const demandsTls = (action: RequireTlsAction | undefined): boolean =>
  action === 'enforce' || action === 'opportunistic+starttls'

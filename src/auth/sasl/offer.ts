/** Which mechanisms a connection may use. */

/** Whoever listens learns something to log in with: for secured connections only. */
const cleartext: ReadonlySet<string> = new Set(['PLAIN', 'LOGIN', 'OAUTHBEARER', 'XOAUTH2'])

export const isCleartext = (mechanism: string): boolean => cleartext.has(mechanism)

/** Whether the mechanism is bound to the TLS connection it is used on. */
export const needsBinding = (mechanism: string): boolean => mechanism.endsWith('-PLUS')

export interface Connection {
  /** Whether passwords may be sent as they are. */
  readonly cleartext: boolean
  /** Whether there is TLS, and it ends here. */
  readonly tls: boolean
  /** Whether the client has shown a certificate that was verified. */
  readonly certificate?: boolean
}

/** Of the configured mechanisms those that can be used now, in the same order. APOP is none: it has a command of its own. */
export function offeredMechanisms(configured: readonly string[], connection: Connection): readonly string[] {
  return configured
    .map((name) => name.toUpperCase())
    .filter(
      (name) =>
        name !== 'APOP' &&
        (connection.cleartext || !isCleartext(name)) &&
        (connection.tls || !needsBinding(name)) &&
        (connection.certificate === true || name !== 'EXTERNAL'),
    )
}

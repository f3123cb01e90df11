/** CAPA (RFC 2449) and the list of AUTH (RFC 5034). */

export interface CapabilityOptions {
  /** SASL mechanisms that can be used now, in the order they are shown. */
  readonly mechanisms: readonly string[]
  /** USER and PASS can be used now. */
  readonly user: boolean
  /** TLS can be started now. */
  readonly stls: boolean
}

/** The whole answer of CAPA. After login STLS is gone and the rest stays, as RFC 5034 section 3 asks for SASL. */
export function capabilities({ mechanisms, user, stls }: CapabilityOptions): string {
  let text = '+OK\r\nCAPA\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-CODE\r\n'
  if (stls) text += 'STLS\r\n'
  if (user) text += 'USER\r\n'
  if (mechanisms.length > 0) text += `SASL ${mechanisms.join(' ')}\r\n`
  return `${text}.\r\n`
}

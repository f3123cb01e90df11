/** CAPA (RFC 2449), the list of AUTH (RFC 5034), and LANG (RFC 6856). */
import type { CapaSettings } from './config.ts'

export interface CapabilityOptions {
  /** SASL mechanisms that can be used now, in the order they are shown. */
  readonly mechanisms: readonly string[]
  /** USER and PASS can be used now. */
  readonly user: boolean
  /** TLS can be started now. */
  readonly stls: boolean
  readonly loggedIn: boolean
  readonly capa: CapaSettings
}

/** The whole answer of CAPA. After login STLS is gone and the rest stays, as RFC 5034 section 3 asks for SASL. */
export function capabilities({ mechanisms, user, stls, loggedIn, capa }: CapabilityOptions): string {
  let text = '+OK\r\nCAPA\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-CODE\r\n'
  if (stls) text += 'STLS\r\n'
  if (user) text += 'USER\r\n'
  if (mechanisms.length > 0) text += `SASL ${mechanisms.join(' ')}\r\n`
  if (capa.login_delay > 0) text += `LOGIN-DELAY ${Math.ceil(capa.login_delay / 1000)}\r\n`
  if (capa.expire !== '') text += `EXPIRE ${capa.expire}\r\n`
  if (capa.utf8) text += 'UTF8\r\n'
  if (capa.lang) text += 'LANG\r\n'
  // Who has not logged in need not know what to attack.
  if (capa.implementation !== '' && loggedIn) text += `IMPLEMENTATION ${capa.implementation}\r\n`
  return `${text}.\r\n`
}

/** LANG [ language / "*" ]: our texts are English alone. */
export function language(argument: string): string {
  if (argument === '') return '+OK languages\r\nen English\r\n.\r\n'
  return argument === '*' || argument.toLowerCase() === 'en'
    ? '+OK en English it is\r\n'
    : '-ERR there is no such language here\r\n'
}

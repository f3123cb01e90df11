/** The log lines of a session: one when it is logged in, one at its end. */
import type { Config } from '../../config/settings.ts'
import type { Endpoints } from '../endpoints.ts'
import type { MailCommands } from './mail-commands.ts'
import type { SessionIds } from './session-host.ts'
import {
  fillIn,
  loginFormatVariables,
  loginVariables,
  logoutVariables,
  prefixVariables,
  variablesIn,
} from './template.ts'

/** Names come from strangers. */
export const loggable = (user: string): string => user.slice(0, 80).replaceAll(/[\p{Cc}]/gu, '?')

export interface Connected {
  readonly ids: SessionIds
  readonly ends: Endpoints
  readonly service: string
  /** Version of TLS; null without. */
  readonly tls: string | null
  /** How the connection is protected, in words of a log line: `TLS`, `TLS handshaking: why it broke`, `secured` without TLS; else empty. */
  readonly security: string
  readonly input: number
  readonly output: number
}

/** How far a client came that never logged in. */
export interface LoginProgress {
  readonly attempts: number
  /** Why the last attempt came to nothing. */
  readonly failure: AbortCode
  /** Of the last attempt. */
  readonly user: string
  readonly method: string
  /** A SASL exchange waits for the client. */
  readonly inExchange: boolean
  /** A login is being checked. */
  readonly isVerifying: boolean
  /** Since its first attempt, or without one since it came. */
  readonly seconds: number
  /** TLS was begun and never came about. */
  readonly tlsUnfinished: boolean
}

/** Values of the variables that all templates know; asked one by one, as some cost a system call. */
function connectionValue(name: string, { ids, ends, service }: Connected, user: string): string | number {
  const at = user.lastIndexOf('@')
  switch (name) {
    case 'user':
      return user
    case 'username':
      return at < 0 ? user : user.slice(0, at)
    case 'domain':
      return at < 0 ? '' : user.slice(at + 1)
    case 'session':
      return ids.session
    case 'service':
      return service
    case 'remote_ip':
      return ids.remote
    case 'remote_port':
      return ends.remotePort
    case 'local_ip':
      return ends.localAddress
    case 'local_port':
      return ends.localPort
    case 'mail_pid':
      return process.pid
    default:
      return ''
  }
}

/** Facts of `pop3.login`. */
export function loginFacts(connected: Connected, user: string, method: string, config: Config): object {
  const facts = { event: 'pop3.login', ...connected.ids, user, method, tls: connected.tls }
  if (config.log.format !== 'syslog') return facts
  return { ...facts, summary: loginSummary('Login', connected, { user, method, pid: process.pid }, config) }
}

/** For logs that people and filters read as text. */
function loginSummary(
  message: string,
  connected: Connected,
  { user, method, pid }: { user: string; method: string; pid: number | '' },
  { log }: Config,
): string {
  const name = loggable(user)
  const valueFor = (variable: string): string | number => {
    if (variable === 'mechanism') return method
    if (variable === 'secured') return connected.security
    return variable === 'mail_pid' ? pid : connectionValue(variable, connected, name)
  }
  const elements = log.login_elements
    // An element whose variables are all empty tells nothing; that nobody has logged in is something.
    .filter((element) => {
      const used = variablesIn(element, loginVariables)
      return used.length === 0 || used.some((one) => one === 'user' || valueFor(one) !== '')
    })
    .map((element) => fillIn(element, loginVariables, valueFor))
    .join(', ')
  return fillIn(log.login_format, loginFormatVariables, (one) => (one === 'message' ? message : elements))
}

/** Facts of `pop3.logout`. */
export function logoutFacts(
  connected: Connected,
  user: string,
  reason: string,
  commands: MailCommands,
  { pop3, log }: Config,
): object {
  const { ids, input, output } = connected
  const { counts, expunged, maildrop } = commands
  const valueFor = (name: string): string | number => {
    switch (name) {
      case 'top_count':
        return counts.topCount
      case 'top_bytes':
        return counts.topBytes
      case 'retr_count':
        return counts.retrCount
      case 'retr_bytes':
        return counts.retrBytes
      case 'deleted_count':
        return expunged.count
      case 'deleted_bytes':
        return expunged.octets
      case 'message_count':
        return maildrop.count
      case 'message_bytes':
        return maildrop.totalSize
      case 'input':
        return input
      case 'output':
        return output
      case 'uidl_change':
        return commands.uidlChange.toString()
      default:
        return connectionValue(name, connected, user)
    }
  }
  return {
    event: 'pop3.logout',
    ...ids,
    user,
    reason,
    ...counts,
    deletedCount: expunged.count,
    deletedBytes: expunged.octets,
    messageCount: maildrop.count,
    messageBytes: maildrop.totalSize,
    input,
    output,
    summary: fillIn(pop3.logout_format, logoutVariables, valueFor),
    ...(log.format === 'syslog' && {
      prefix: fillIn(log.mail_prefix, prefixVariables, (name) => connectionValue(name, connected, user)),
    }),
  }
}

/** Facts of `pop3.disconnect`: a connection that ended without a login. `code`: why, if that is known already. */
export function disconnectFacts(
  connected: Connected,
  reason: string,
  code: AbortCode | '',
  progress: LoginProgress,
  config: Config,
): object {
  const { attempts, seconds, user, method } = progress
  const named = code === '' ? abortCode(progress) : code
  const facts = {
    event: 'pop3.disconnect',
    ...connected.ids,
    reason,
    code: named,
    attempts,
    seconds,
    ...(attempts > 0 && { user, method }),
  }
  if (config.log.format !== 'syslog') return facts
  const message = `Disconnected: ${reason} (${whyNoLogin(named, progress)})`
  return { ...facts, summary: loginSummary(message, connected, { user, method, pid: '' }, config) }
}

/** In the words by which filters such as fail2ban know Dovecot's lines. */
function whyNoLogin(code: AbortCode, { attempts, seconds, isVerifying }: LoginProgress): string {
  if (attempts === 0) return `no auth attempts in ${seconds} secs`
  const isFirst = attempts === 1
  switch (code) {
    case 'auth_waiting_client':
      if (isFirst) return `client didn't finish SASL auth, waited ${seconds} secs`
      break
    case 'auth_aborted_by_client':
      if (!isFirst) break
      return isVerifying
        ? `disconnected while authenticating, waited ${seconds} secs`
        : `client didn't finish SASL auth, waited ${seconds} secs`
    case 'cleartext_auth_disabled':
      return 'tried to use disallowed plaintext auth'
    case 'invalid_mech':
      return 'tried to use unsupported auth mechanism'
    case 'invalid_base64':
      return 'sent invalid base64 in response'
    case 'client_ssl_cert_missing':
      return "client didn't send a cert"
    case 'internal_failure':
      return 'auth service reported temporary failure'
    case 'connection_limit':
    case 'temp_fail':
      return 'internal failure, 1 successful auths'
    default:
  }
  return `auth failed, ${attempts} attempts in ${seconds} secs`
}

/** Machine-readable reasons, named as Dovecot names them. */
export type AbortCode =
  | 'tls_handshake_not_finished'
  | 'no_auth_attempts'
  | 'auth_waiting_client'
  | 'auth_aborted_by_client'
  | 'auth_failed'
  | 'cleartext_auth_disabled'
  | 'invalid_mech'
  | 'invalid_base64'
  | 'client_ssl_cert_missing'
  | 'connection_limit'
  | 'internal_failure'
  | 'temp_fail'
  | 'process_full'
  | 'shutting_down'

/** Of the reason of a login that was refused, see `login.ts`. */
export function failureCode(reason: string): AbortCode {
  switch (reason) {
    case 'credentials':
    case 'malformed':
      return 'auth_failed'
    case 'internal':
      return 'internal_failure'
    case 'connection limit':
      return 'connection_limit'
    default:
      return 'temp_fail'
  }
}

function abortCode({ attempts, failure, inExchange, isVerifying, tlsUnfinished }: LoginProgress): AbortCode {
  if (tlsUnfinished) return 'tls_handshake_not_finished'
  if (isVerifying) return 'auth_aborted_by_client'
  if (inExchange) return 'auth_waiting_client'
  return attempts === 0 ? 'no_auth_attempts' : failure
}

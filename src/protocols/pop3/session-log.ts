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
  usesVariable,
} from './template.ts'

/** Names come from strangers. */
export const loggable = (user: string): string => user.slice(0, 80).replaceAll(/[\p{Cc}]/gu, '?')

export interface Connected {
  readonly ids: SessionIds
  readonly ends: Endpoints
  readonly service: string
  /** Version of TLS; null without. */
  readonly tls: string | null
  readonly input: number
  readonly output: number
}

/** How far a client came that never logged in. */
export interface LoginProgress {
  readonly attempts: number
  /** Of the last attempt. */
  readonly user: string
  readonly method: string
  /** A SASL exchange waits for the client. */
  readonly inExchange: boolean
  /** A login is being checked. */
  readonly isVerifying: boolean
  readonly seconds: number
  /** TLS was begun and never came about. */
  readonly tlsUnfinished: boolean
}

function connectionValues({ ids, ends, service }: Connected, user: string): Record<string, string | number> {
  const at = user.lastIndexOf('@')
  return {
    user,
    username: at < 0 ? user : user.slice(0, at),
    domain: at < 0 ? '' : user.slice(at + 1),
    session: ids.session,
    service,
    remote_ip: ids.remote,
    remote_port: ends.remotePort,
    local_ip: ends.localAddress,
    local_port: ends.localPort,
    mail_pid: process.pid,
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
  const values: Readonly<Record<string, string | number>> = {
    ...connectionValues(connected, loggable(user)),
    mechanism: method,
    secured: connected.tls === null ? '' : 'TLS',
    mail_pid: pid,
  }
  const elements = log.login_elements
    // An element whose variables are all empty tells nothing; that nobody has logged in is something.
    .filter((element) => {
      const used = Object.keys(loginVariables).filter((name) => usesVariable(element, name, loginVariables))
      return used.length === 0 || used.some((name) => name === 'user' || values[name] !== '')
    })
    .map((element) => fillIn(element, loginVariables, values))
  return fillIn(log.login_format, loginFormatVariables, { message, elements: elements.join(', ') })
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
  const format = pop3.logout_format
  const values = connectionValues(connected, user)
  const summary = fillIn(format, logoutVariables, {
    ...values,
    top_count: counts.topCount,
    top_bytes: counts.topBytes,
    retr_count: counts.retrCount,
    retr_bytes: counts.retrBytes,
    deleted_count: expunged.count,
    deleted_bytes: expunged.octets,
    message_count: maildrop.count,
    message_bytes: maildrop.totalSize,
    input,
    output,
    uidl_change: usesVariable(format, 'uidl_change', logoutVariables) ? commands.uidlChange.toString() : '',
  })
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
    summary,
    ...(log.format === 'syslog' && { prefix: fillIn(log.mail_prefix, prefixVariables, values) }),
  }
}

/** Facts of `pop3.disconnect`: a connection that ended without a login. `code`: why, if that is known already. */
export function disconnectFacts(
  connected: Connected,
  reason: string,
  code: string,
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
    ...(attempts > 0 && { user }),
  }
  if (config.log.format !== 'syslog') return facts
  const message =
    attempts === 0
      ? `${reason} (no auth attempts in ${seconds} secs)`
      : `${reason} (auth failed, ${attempts} attempts in ${seconds} secs)`
  return { ...facts, summary: loginSummary(message, connected, { user, method, pid: '' }, config) }
}

/** Machine-readable reason, named as Dovecot names it. */
function abortCode({ attempts, inExchange, isVerifying, tlsUnfinished }: LoginProgress): string {
  if (tlsUnfinished) return 'tls_handshake_not_finished'
  if (isVerifying) return 'auth_waiting_client'
  if (inExchange) return 'auth_aborted_by_client'
  return attempts === 0 ? 'no_auth_attempts' : 'auth_failed'
}

/**
 * Log lines as Postfix and Dovecot write them, for `log.format = "syslog"` and the analysers people have: pflogsumm and
 * the like for the mail that passes, fail2ban and the like for logins. All pure.
 */

/** Facts of one line; what peers sent is in them as it came. */
interface Facts {
  readonly [key: string]: unknown
}

type Formatter = (facts: Facts) => string | readonly string[]

/** Lines by event. `pid` is what stands in brackets behind the program's name. */
export function syslogFormats(pid: number): Readonly<Record<string, Formatter>> {
  const postfix = (program: string) => `postfix/${program}[${pid}]:`
  const remote = (facts: Facts) =>
    `${text(facts.clientName) || 'unknown'}[${text(facts.client) === 'unix' ? 'local' : text(facts.client)}]`
  return {
    // As Postfix has them: who it came from, what it calls itself, how large it is.
    'mail.accepted': (facts) => [
      facts.client === 'local'
        ? `${postfix('pickup')} ${text(facts.queueId)}: uid=0 from=<${text(facts.from)}>`
        : `${postfix('smtpd')} ${text(facts.queueId)}: client=${remote(facts)}` +
          (facts.user === undefined ? '' : `, sasl_username=${text(facts.user)}`),
      ...(facts.messageId === undefined
        ? []
        : [`${postfix('cleanup')} ${text(facts.queueId)}: message-id=${text(facts.messageId)}`]),
      `${postfix('qmgr')} ${text(facts.queueId)}: from=<${text(facts.from)}>, size=${text(facts.octets)}, ` +
        `nrcpt=${count(facts.recipients)} (queue active)`,
    ],
    delivery: (facts) => {
      const words = [
        `to=<${text(facts.to)}>`,
        ...(facts.origTo === undefined ? [] : [`orig_to=<${text(facts.origTo)}>`]),
        `relay=${text(facts.relay) === '' ? 'none' : text(facts.relay)}`,
        ...(facts.connUse === undefined ? [] : [`conn_use=${text(facts.connUse)}`]),
        `delay=${text(facts.delay)}`,
        `delays=${text(facts.delays)}`,
        `dsn=${text(facts.dsn)}`,
        `status=${text(facts.status)} (${text(facts.reply)})`,
      ]
      // Without tls=: analysers that are about know the line as it was before Postfix 3.11.
      return `${postfix(agent(facts))} ${text(facts.queueId)}: ${words.join(', ')}`
    },
    'delivery.tls': (facts) => {
      const trust = text(facts.class).replace(/^./, (first) => first.toUpperCase())
      const established = facts.reused === true ? 'reestablished' : 'established'
      return (
        `${postfix(agent(facts))} ${trust} TLS connection ${established} to ${text(facts.relay)}: ` +
        `${text(facts.protocol)} with cipher ${text(facts.cipher)} (${text(facts.bits)}/${text(facts.bits)} bits)`
      )
    },
    'mail.removed': (facts) => `${postfix('qmgr')} ${text(facts.queueId)}: removed`,
    'smtpd.refused': (facts) => {
      const [, recipient] = /<([^>]*)>: /.exec(text(facts.reply)) ?? []
      const words = [
        ...(facts.from === undefined ? [] : [`from=<${text(facts.from)}>`]),
        ...(facts.command === 'RCPT' && recipient !== undefined ? [`to=<${recipient}>`] : []),
        ...(facts.protocol === undefined
          ? []
          : [`proto=${text(facts.protocol)}`, `helo=<${text(facts.helo)}>`]),
      ]
      const where = `${text(facts.command) || 'CONNECT'} from ${remote(facts)}: ${text(facts.reply)}`
      return `${postfix('smtpd')} NOQUEUE: reject: ${where};${words.map((word) => ` ${word}`).join('')}`
    },
    'smtpd.disconnect': (facts) =>
      `${postfix('smtpd')} disconnect from ${remote(facts)} ${text(facts.counts)} commands=${text(facts.commands)}`,
    'auth.failed': (facts) =>
      `dovecot: auth: passwd-file(${text(facts.user)},${text(facts.remote)},<${text(facts.session)}>): ` +
      (facts.reason === 'unknown user' ? 'unknown user' : 'Password mismatch'),
    'pop3.login': (facts) => `dovecot: pop3-login: ${text(facts.summary)}`,
    'pop3.disconnect': (facts) => `dovecot: pop3-login: ${text(facts.summary)}`,
    'pop3.logout': (facts) =>
      `dovecot: ${text(facts.prefix)}Disconnected: ${text(facts.reason)} ${text(facts.summary)}`,
  }
}

/** The Postfix program that would have said it. */
function agent(facts: Facts): string {
  const relay = text(facts.relay)
  if (relay === 'local') return 'local'
  return facts.transport === 'lmtp' || relay.includes('[/') ? 'lmtp' : 'smtp'
}

function count(recipients: unknown): string {
  return String(Array.isArray(recipients) ? recipients.length : (recipients ?? 0))
}

function text(value: unknown): string {
  return value === undefined || value === null ? '' : String(value)
}

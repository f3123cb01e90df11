/**
 * `log.format = "syslog"`: lines as Postfix and Dovecot write them, so that the analysers people have understand
 * them. What neither of the two would log stays a line of ours, `mailactors[pid]: event: text`.
 */

type Facts = Readonly<Record<string, unknown>>

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

/** One line without its newline, from the facts of one JSON line. */
export function syslogLine(facts: Facts, hostname: string): string | undefined {
  const [program, text] = content(facts)
  const time = new Date(String(facts.time))
  const clock = [time.getHours(), time.getMinutes(), time.getSeconds()].map((part) =>
    String(part).padStart(2, '0'),
  )
  const stamp = `${months[time.getMonth()]} ${String(time.getDate()).padStart(2)} ${clock.join(':')}`
  return `${stamp} ${hostname.split('.')[0]} ${program}: ${text.replace(/\p{Cc}/gu, '?')}`
}

function content(facts: Facts): readonly [program: string, text: string] {
  switch (facts.event) {
    case 'mail.accepted':
      return [
        `postfix/qmgr[${process.pid}]`,
        `${facts.queueId}: from=<${facts.from}>, size=${facts.octets}, nrcpt=${count(facts.recipients)} (queue active)`,
      ]
    case 'mail.removed':
      return [`postfix/qmgr[${process.pid}]`, `${facts.queueId}: removed`]
    case 'delivery': {
      const original = facts.origTo === undefined ? '' : ` orig_to=<${facts.origTo}>,`
      const used = Number(facts.connUse) > 1 ? ` conn_use=${facts.connUse},` : ''
      return [
        `postfix/${String(facts.relay) === 'local' ? 'local' : 'smtp'}[${process.pid}]`,
        `${facts.queueId}: to=<${facts.to}>,${original} relay=${facts.relay},${used} delay=${facts.delay}, ` +
          `delays=${facts.delays}, dsn=${facts.dsn}, status=${facts.status} (${facts.reply})`,
      ]
    }
    case 'pop3.login':
      return [
        'dovecot',
        `pop3-login: Login: user=<${facts.user}>, method=${facts.method}, rip=${facts.remote}` +
          `${facts.tls ? ', TLS' : ''}, session=<${facts.session}>`,
      ]
    case 'pop3.logout':
      return [
        'dovecot',
        `pop3(${facts.user}): ${facts.reason} top=${facts.topCount}/${facts.topBytes}, ` +
          `retr=${facts.retrCount}/${facts.retrBytes}, del=${facts.deletedCount}/${facts.messageCount}, ` +
          `size=${facts.messageBytes}`,
      ]
    default:
      return [`mailactors[${process.pid}]`, `${facts.event}: ${facts.msg ?? ''}`]
  }
}

function count(recipients: unknown): unknown {
  return Array.isArray(recipients) ? recipients.length : recipients
}

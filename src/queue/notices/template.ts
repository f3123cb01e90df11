/**
 * The texts of notices: ours, or those of `dsn.bounce_template_file` in the form that Postfix's bounce(5) describes.
 *
 *     failure_template = <<EOF
 *     Charset: us-ascii
 *     From: MAILER-DAEMON (Mail Delivery System)
 *     Subject: Undelivered Mail Returned to Sender
 *     Postmaster-Subject: Postmaster Copy: Undelivered Mail
 *
 *     This is the mail system at host $myhostname.
 *     EOF
 */
import { MailactorsError } from '../../actors/index.ts'
import type { ReportKind } from './report.ts'

export interface NoticeTemplate {
  readonly charset: string
  readonly from: string
  readonly subject: string
  readonly postmasterSubject: string
  /** For people, lines end in LF. */
  text(audience: 'sender' | 'double-bounce'): string
}

export type Templates = Readonly<Record<ReportKind, NoticeTemplate>>

/** The value of a setting by the name Postfix has for it; undefined: there is none. Durations are milliseconds. */
export type SettingValue = (name: string) => string | { readonly ms: number } | undefined

/** A template file that cannot be used; `message` names file and line. */
export class TemplateError extends MailactorsError {
  readonly code = 'MA_BOUNCE_TEMPLATE'
}

const ours = {
  failure: {
    subject: 'Your mail was not delivered',
    text: `Your mail could not be delivered to the recipients below. It will not be tried
again. The reason stands after each address.`,
  },
  delay: {
    subject: 'Your mail is delayed',
    text: `Your mail has not reached the recipients below yet. You need not send it again:
delivery goes on by itself until the time given in the report, and you will be
told if it fails for good.`,
  },
  success: {
    subject: 'Your mail was delivered',
    text: `Your mail was handed over for the recipients below. You get this notice because
you asked for it. Where it says "relayed" the next mail system sends no such
notices.`,
  },
  verify: {
    subject: 'Report about your mail',
    text: `This is the report you asked for: what became of your mail, or of asking for an
address, at the first attempt.`,
  },
} as const

const ourPostmasterSubjects = {
  failure: 'Copy for the postmaster: mail was not delivered',
  delay: 'Copy for the postmaster: mail is delayed',
  success: 'Copy for the postmaster: mail was delivered',
  verify: 'Copy for the postmaster: report about mail',
} as const

const forPostmaster = `A notice of this mail system could not be delivered to the recipients below, and
there is nobody else to tell.`

/** What is used without a file, and for kinds that the file does not have. */
export function builtInTemplates(hostname: string): Templates {
  const template = (kind: ReportKind): NoticeTemplate => ({
    charset: 'us-ascii',
    from: `"Mail system at ${hostname}" <mailer-daemon@${hostname}>`,
    subject: ours[kind].subject,
    postmasterSubject: ourPostmasterSubjects[kind],
    text: (audience) => `This is the mail system at ${hostname}.

${audience === 'sender' ? ours[kind].text : forPostmaster}

Attached are a report for programs and the mail, or its header. If you need
help, write to <postmaster@${hostname}> and send this notice along.
`,
  })
  return {
    failure: template('failure'),
    delay: template('delay'),
    success: template('success'),
    verify: template('verify'),
  }
}

const kinds = ['failure', 'delay', 'success', 'verify'] as const

/** @throws TemplateError */
export function parseTemplates(
  file: string,
  content: string,
  hostname: string,
  value: SettingValue,
): Templates {
  const templates: Record<string, NoticeTemplate> = { ...builtInTemplates(hostname) }
  const lines = content.split(/\r?\n/)
  const wrong = (line: number, what: string): TemplateError =>
    new TemplateError(`${file}:${line + 1}: ${what}`, { file, line: line + 1 })
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at]!
    if (/^\s*(#|$)/.test(line)) continue
    const [, kind, end] = /^(\w+?)_template\s*=\s*<<\s*(\S+)\s*$/.exec(line) ?? []
    if (kind === undefined || end === undefined || !(kinds as readonly string[]).includes(kind)) {
      throw wrong(at, `not a template (write failure_template = <<EOF; there are ${kinds.join(', ')})`)
    }
    const first = at + 1
    const last = lines.findIndex((text, index) => index >= first && text.trimEnd() === end)
    if (last === -1) throw wrong(at, `the end of the template is missing (a line with ${end} alone)`)
    templates[kind] = parseTemplate(lines.slice(first, last), hostname, value, (line, what) =>
      wrong(first + line, what),
    )
    at = last
  }
  return templates as unknown as Templates
}

function parseTemplate(
  lines: readonly string[],
  hostname: string,
  value: SettingValue,
  wrong: (line: number, what: string) => TemplateError,
): NoticeTemplate {
  const headers = new Map<string, string>()
  let at = 0
  for (; at < lines.length && lines[at]!.trim() !== ''; at++) {
    const [, name, text] = /^([A-Za-z-]+):\s*(.*?)\s*$/.exec(lines[at]!) ?? []
    if (
      name === undefined ||
      !['charset', 'from', 'subject', 'postmaster-subject'].includes(name.toLowerCase())
    ) {
      throw wrong(
        at,
        'not a header of a template (Charset, From, Subject, Postmaster-Subject), or no empty line before the text',
      )
    }
    if (/[^\x20-\x7e]/.test(text ?? '')) throw wrong(at, `${name} is not ASCII`)
    headers.set(name.toLowerCase(), text ?? '')
  }
  const charset = headers.get('charset') ?? 'us-ascii'
  const body = lines.slice(at + 1).map((line, index) => {
    if (/^us-ascii$/i.test(charset) && /[^\x00-\x7f]/.test(line)) {
      throw wrong(at + 1 + index, 'the text is not ASCII (name its Charset)')
    }
    return expand(line, value, (what) => wrong(at + 1 + index, what))
  })
  const subject = headers.get('subject') ?? 'Delivery report'
  const text = `${body.join('\n')}\n`
  return {
    charset: charset.toLowerCase(),
    from: headers.get('from') ?? `mailer-daemon@${hostname}`,
    subject,
    postmasterSubject: headers.get('postmaster-subject') ?? subject,
    text: () => text,
  }
}

const units: Readonly<Record<string, number>> = {
  seconds: 1_000,
  minutes: 60_000,
  hours: 3_600_000,
  days: 86_400_000,
  weeks: 604_800_000,
}

/** `$name`, `${name}`, `$(name)`, and `$name_hours` of a time; `$$` is a dollar. */
function expand(line: string, value: SettingValue, wrong: (what: string) => TemplateError): string {
  return line.replaceAll(/\$(\$|\w+|\{\w+\}|\(\w+\))/g, (_, word: string) => {
    if (word === '$') return '$'
    const name = word.replaceAll(/[^\w]/g, '')
    const plain = value(name)
    if (plain !== undefined) return typeof plain === 'string' ? plain : `${Math.round(plain.ms / 1000)}s`
    const [, base = '', unit = ''] = /^(.*)_(seconds|minutes|hours|days|weeks)$/.exec(name) ?? []
    const time = value(base)
    if (typeof time !== 'object') throw wrong(`there is no setting ${name}`)
    return String(Math.round(time.ms / units[unit]!))
  })
}

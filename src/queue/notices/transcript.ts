/** Tells the postmaster what was said in a session with a server that went wrong. */
import type { NewMail, Transcript } from '../contract.ts'
import { mailDate, traceField } from '../trace-field.ts'
import type { NoticeSettings } from './compose.ts'

export interface TranscriptFacts {
  readonly queueId: string
  /** The mail that the session was for. */
  readonly about: string
  readonly now: number
}

/** The mail to `error_notice_recipient`. */
export function transcriptNotice(
  { relay, lines }: Transcript,
  { queueId, about, now }: TranscriptFacts,
  { hostname, dsn, notify }: Pick<NoticeSettings, 'hostname' | 'dsn' | 'notify'>,
): NewMail {
  const to = notify.error_notice_recipient
  const address = to.includes('@') ? to : `${to}@${hostname}`
  const content = [
    traceField(hostname, queueId, now),
    `Date: ${mailDate(now)}`,
    `From: "Mail system at ${hostname}" <mailer-daemon@${hostname}>`,
    `To: <${address}>`,
    `Subject: Trouble with the mail server ${relay}`,
    `Message-ID: <${queueId}@${hostname}>`,
    'Auto-Submitted: auto-generated',
    '',
    `The delivery of mail ${about} met trouble. This was said:`,
    '',
    // What a server said cannot be taken for words of ours.
    ...lines.map((line) => ` ${line}`),
    '',
  ].join('\r\n')
  return {
    queueId,
    envelope: {
      sender: `${dsn.double_bounce_sender}@${hostname}`,
      recipients: [{ address, notify: ['NEVER'] }],
      body: '7BIT',
    },
    content: { bytes: Buffer.from(content) },
    client: { address: '', port: 0, protocol: 'local' },
    arrivedAt: now,
  }
}

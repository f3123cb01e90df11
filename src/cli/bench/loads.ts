/** Clients that do the same thing again and again until they are told to stop. */
import { Dialog, isPop3Line, isPop3Lines, isSmtpReply } from './dialog.ts'
import type { Measured } from './measured.ts'

export interface Load {
  readonly port: number
  readonly sessions: number
  readonly isOver: () => boolean
  readonly measured: Measured
}

export interface SmtpLoad extends Load {
  readonly octets: number
  /** A connection for many mails, or one for each. */
  readonly reuse: boolean
}

/** Each unit is a mail; its time is that of the acknowledgement, from the final dot to 250. */
export async function smtpLoad({ port, sessions, octets, reuse, isOver, measured }: SmtpLoad): Promise<void> {
  const line = `${'x'.repeat(62)}\r\n`
  const content = `From: s@bench.test\r\nSubject: bench\r\n\r\n${line.repeat(Math.ceil(octets / line.length))}.\r\n`
  const session = async (): Promise<void> => {
    while (!isOver()) {
      const dialog = new Dialog(port, isSmtpReply)
      expectSmtp(await dialog.reply(), '220')
      expectSmtp(await dialog.ask('EHLO client.bench.test\r\n'), '250')
      do {
        expectSmtp(await dialog.ask('MAIL FROM:<s@bench.test>\r\n'), '250')
        expectSmtp(await dialog.ask('RCPT TO:<user@dest.test>\r\n'), '250')
        expectSmtp(await dialog.ask('DATA\r\n'), '354')
        const sentAt = performance.now()
        expectSmtp(await dialog.ask(content), '250')
        measured.done(performance.now() - sentAt)
      } while (reuse && !isOver())
      dialog.close('QUIT\r\n')
    }
  }
  await Promise.all(Array.from({ length: sessions }, session))
}

function expectSmtp(reply: string, code: string): void {
  if (!reply.startsWith(code)) throw new Error(`the service said ${reply.trim()} in place of ${code}`)
}

export interface Pop3Load extends Load {
  /** `u0`, `u1`, …, all with the password `secret`. */
  readonly users: number
}

/** Each unit is a session: login, STAT, UIDL, LIST, RETR of one mail, QUIT. */
export async function pop3Load({ port, sessions, users, isOver, measured }: Pop3Load): Promise<void> {
  let turn = 0
  const session = async (): Promise<void> => {
    while (!isOver()) {
      const user = `u${turn++ % users}`
      const beganAt = performance.now()
      let isList = false
      const dialog = new Dialog(port, (text) => (isList ? isPop3Lines(text) : isPop3Line(text)))
      expectPop3(await dialog.reply())
      for (const command of [`USER ${user}`, 'PASS secret', 'STAT', 'UIDL', 'LIST', 'RETR 1', 'QUIT']) {
        isList = command === 'UIDL' || command === 'LIST' || command.startsWith('RETR')
        expectPop3(await dialog.ask(`${command}\r\n`))
      }
      dialog.close('')
      measured.done(performance.now() - beganAt)
    }
  }
  await Promise.all(Array.from({ length: sessions }, session))
}

function expectPop3(reply: string): void {
  if (!reply.startsWith('+OK')) throw new Error(`the service said ${reply.trim()}`)
}

import type { Command } from 'commander'
import type { WaitingReport } from '../../protocols/smtp/client/tls/contract.ts'
import { dkimRecord, readDkimKey } from '../../protocols/smtp/client/tls/rpt/dkim.ts'
import { reportContact } from '../../protocols/smtp/client/tls/rpt/report.ts'
import { ControlClient } from '../control-client.ts'
import { CommandFailure, exitCodes } from '../exit.ts'
import { tableText } from '../format.ts'
import { type ConfigOptions, loadOrFail, withConfigOptions, withJson } from '../options.ts'
import { printJson, type Terminal } from '../terminal.ts'

interface Options extends ConfigOptions {
  readonly json?: boolean
  readonly domain?: string
}

/** `mailactors tls-reports list|show|dkim|send`. */
export function addTlsReportsCommand(program: Command, terminal: Terminal): void {
  const reports = program
    .command('tls-reports')
    .description('reports to other domains of how TLS with their servers went (smtp.tlsrpt_enable)')
  const client = (options: ConfigOptions) => new ControlClient(loadOrFail(terminal, options).config.data_dir)
  const waiting = async (options: Options): Promise<readonly WaitingReport[]> => {
    const rows: WaitingReport[] = []
    await client(options).request(
      'tls-reports.list',
      { domain: options.domain ?? '' },
      { onItem: (row) => rows.push(row as WaitingReport) },
    )
    return rows
  }
  const domain = 'only those to this domain'

  const list = reports
    .command('list', { isDefault: true })
    .description('reports that have not been sent')
    .option('--domain <domain>', domain)
  withJson(withConfigOptions(list)).action(async (options: Options) => {
    const rows = (await waiting(options)).map(({ report: _, ...row }) => row)
    if (options.json) printJson(terminal, rows)
    else if (rows.length === 0) terminal.print('No reports.\n')
    else {
      const columns = [
        { title: 'DAY' },
        { title: 'DOMAIN' },
        { title: 'GOOD', right: true },
        { title: 'FAILED', right: true },
      ]
      const cells = rows.map((row) => [row.day, row.domain, String(row.successes), String(row.failures)])
      terminal.print(tableText(columns, cells))
    }
  })

  const show = reports
    .command('show')
    .description('the reports themselves, as JSON (RFC 8460)')
    .option('--domain <domain>', domain)
  withConfigOptions(show).action(async (options: Options) => {
    printJson(
      terminal,
      (await waiting(options)).map(({ report }) => report),
    )
  })

  const dkim = reports
    .command('dkim')
    .description('the DNS record that lets others check signatures of reports (smtp.tlsrpt_dkim_key_file)')
  withJson(withConfigOptions(dkim)).action((options: Options) => {
    const { hostname, smtp } = loadOrFail(terminal, options).config
    const { tlsrpt_dkim_key_file: file, tlsrpt_dkim_selector: selector } = smtp
    if (file === '') {
      throw new CommandFailure(
        exitCodes.badConfig,
        'reports are not signed: smtp.tlsrpt_dkim_key_file is not set (make a key with `openssl genrsa -out FILE 2048`)',
      )
    }
    const contact = reportContact(smtp.tlsrpt_contact_info, hostname)
    const domain = contact.slice(contact.lastIndexOf('@') + 1)
    let record: { readonly name: string; readonly text: string }
    try {
      record = dkimRecord({ domain, selector, key: readDkimKey(file) })
    } catch (error) {
      throw new CommandFailure(exitCodes.badConfig, (error as Error).message)
    }
    if (options.json) printJson(terminal, record)
    // A string of a TXT record has 255 octets at the most.
    else
      terminal.print(
        `${record.name}. IN TXT ${record.text
          .match(/.{1,250}/g)!
          .map((part) => `"${part}"`)
          .join(' ')}\n`,
      )
  })

  const send = reports
    .command('send')
    .description('send them now, those of today as well, to the domains that ask for reports')
    .option('--domain <domain>', domain)
  withJson(withConfigOptions(send)).action(async (options: Options) => {
    const answer = await client(options).request('tls-reports.send', { domain: options.domain ?? '' })
    const { reports: count } = answer as { reports: number }
    if (options.json) printJson(terminal, { reports: count })
    else
      terminal.print(
        `${count} report${count === 1 ? '' : 's'} on the way; the log says what comes of each.\n`,
      )
  })
}

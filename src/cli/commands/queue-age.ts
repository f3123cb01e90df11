import { type Command, InvalidArgumentError } from 'commander'
import type { QueueListing } from '../../queue/contract.ts'
import { type Column, tableText } from '../format.ts'
import { type ConfigOptions, loadOrFail, withConfigOptions, withJson } from '../options.ts'
import { printJson, type Terminal } from '../terminal.ts'
import { eachMail } from './queue.ts'

interface AgeOptions extends ConfigOptions {
  readonly sender?: boolean
  readonly top: number
  readonly json?: boolean
}

/** Upper ends of the buckets, minutes; older is one more. */
const bucketMinutes = [5, 10, 20, 40, 80, 160, 320, 640, 1280] as const
const queues = ['incoming', 'active', 'deferred', 'hold', 'corrupt']

/** `mailactors queue age`: who has how much of what age in the queue, as qshape. */
export function addAgeCommand(queue: Command, terminal: Terminal): void {
  const age = queue
    .command('age')
    .description('recipients by domain and age in minutes, largest first; works without a service too')
    .argument('[queue...]', `only these queues (${queues.join(', ')})`)
    .option('--sender', 'by the domain of the sender: mails, not recipients')
    .option('--top <n>', 'so many domains', count, 25)
  withJson(withConfigOptions(age)).action(async (wanted: string[], options: AgeOptions) => {
    const unknown = wanted.find((name) => !queues.includes(name))
    if (unknown !== undefined) age.error(`queue age: no queue ${unknown} (there are ${queues.join(', ')})`)
    const table = new AgeTable(Date.now(), options.sender === true)
    await eachMail(loadOrFail(terminal, options).config.data_dir, (mail) => {
      if (wanted.length === 0 || wanted.includes(mail.queueName)) table.add(mail)
    })
    if (options.json) printJson(terminal, table.data())
    else terminal.print(table.text(options.top))
  })
}

function count(text: string): number {
  const value = Number(text)
  if (Number.isInteger(value) && value > 0) return value
  throw new InvalidArgumentError('give a whole number above 0')
}

/** Counts by domain and age. */
export class AgeTable {
  readonly #now: number
  readonly #bySender: boolean
  readonly #rows = new Map<string, number[]>()

  constructor(now: number, bySender: boolean) {
    this.#now = now
    this.#bySender = bySender
  }

  add(mail: QueueListing): void {
    const minutes = (this.#now - mail.arrivedAt) / 60_000
    const found = bucketMinutes.findIndex((end) => minutes < end)
    const bucket = found === -1 ? bucketMinutes.length : found
    const addresses = this.#bySender ? [mail.sender] : mail.recipients.map(({ address }) => address)
    for (const address of addresses) {
      const domain = address === '' ? 'MAILER-DAEMON' : domainOf(address)
      let row = this.#rows.get(domain)
      if (row === undefined) {
        row = Array<number>(bucketMinutes.length + 1).fill(0)
        this.#rows.set(domain, row)
      }
      row[bucket]! += 1
    }
  }

  #sorted(): readonly {
    readonly domain: string
    readonly total: number
    readonly counts: readonly number[]
  }[] {
    return Array.from(this.#rows, ([domain, counts]) => ({ domain, total: sum(counts), counts })).sort(
      (a, b) => b.total - a.total || (a.domain < b.domain ? -1 : 1),
    )
  }

  data(): object {
    return this.#sorted().map(({ domain, total, counts }) => ({
      domain,
      total,
      age_minutes: Object.fromEntries(counts.map((value, at) => [bucketName(at), value])),
    }))
  }

  text(top: number): string {
    const rows = this.#sorted()
    const totals = rows.reduce<number[]>(
      (all, { counts }) => counts.map((value, at) => (all[at] ?? 0) + value),
      Array<number>(bucketMinutes.length + 1).fill(0),
    )
    const columns: Column[] = [
      { title: '' },
      { title: 'T', right: true },
      ...totals.map((_, at) => ({ title: bucketName(at), right: true })),
    ]
    const line = (name: string, counts: readonly number[]) => [name, `${sum(counts)}`, ...counts.map(String)]
    const shown = rows.slice(0, top).map(({ domain, counts }) => line(domain, counts))
    const rest = rows.length - shown.length
    return `${tableText(columns, [line('TOTAL', totals), ...shown])}${rest > 0 ? `and ${rest} domains more (--top)\n` : ''}`
  }
}

const sum = (counts: readonly number[]): number => counts.reduce((all, value) => all + value, 0)

const bucketName = (at: number): string => `${bucketMinutes[at] ?? `${bucketMinutes.at(-1)}+`}`

const domainOf = (address: string): string => address.slice(address.lastIndexOf('@') + 1).toLowerCase()

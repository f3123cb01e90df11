import type { Command } from 'commander'
import type { ExplainedRecipient, IntakeState, QueueExplanation, WaitsFor } from '../../queue/contract.ts'
import { ControlClient } from '../control-client.ts'
import { spanText, visible } from '../format.ts'
import { type ConfigOptions, loadOrFail, withConfigOptions, withJson } from '../options.ts'
import { printJson, type Terminal } from '../terminal.ts'

interface WhyOptions extends ConfigOptions {
  readonly json?: boolean
}

/** `mailactors queue why [ID]`. */
export function addWhyCommand(queue: Command, terminal: Terminal): void {
  const why = queue
    .command('why')
    .description(
      'why a mail is still here: what each recipient waits for, and until when; without an id: what new mail waits for',
    )
    .argument('[id]', 'queue id')
  withJson(withConfigOptions(why)).action(async (id: string | undefined, options: WhyOptions) => {
    const client = new ControlClient(loadOrFail(terminal, options).config.data_dir)
    if (id === undefined) {
      const state = (await client.request('queue.intake')) as IntakeState
      if (options.json) printJson(terminal, state)
      else terminal.print(intakeText(state))
      return
    }
    const mail = (await client.request('queue.why', { ids: [id] })) as QueueExplanation
    if (options.json) printJson(terminal, mail)
    else terminal.print(whyText(mail, Date.now()))
  })
}

export function intakeText(state: IntakeState): string {
  const { refusal, heldUp, delayMs, incoming, mails, mailLimit, recipients, recipientLimit } = state
  const isFull = mails >= mailLimit
  const answer =
    refusal !== null
      ? `refused for now: ${refusal} (queue.max_messages, queue.minfree)`
      : isFull && delayMs > 0
        ? `taken, and acknowledged ${spanText(delayMs)} later (service.in_flow_delay): memory is full`
        : 'taken and acknowledged at once'
  return [
    `new mail      ${answer}`,
    `held up       ${heldUp} acknowledgement${heldUp === 1 ? '' : 's'}`,
    `in memory     ${mails} of ${mailLimit} mails (qmgr_message_active_limit), ${recipients} of ${recipientLimit} recipients (qmgr_message_recipient_limit)`,
    `on disk       ${incoming} mail${incoming === 1 ? '' : 's'} never tried, waiting for room in memory`,
    '',
  ].join('\n')
}

export function whyText(mail: QueueExplanation, now: number): string {
  const { queueId, queueName, sender, arrivedAt, forcedExpire, isHeldUp } = mail
  const head = [
    `${queueId}  from <${visible(sender)}>, in ${queueName}, here for ${spanText(now - arrivedAt)} (since ${clock(arrivedAt)})`,
    ...(isHeldUp
      ? ['  It is safe, and its sender is not told yet: memory is full (service.in_flow_delay).']
      : []),
    ...(forcedExpire ? ['  An administrator wants it returned: the next attempt does that.'] : []),
  ]
  return `${[...head, ...mail.recipients.flatMap((recipient) => ['', ...recipientLines(recipient, now)])].join('\n')}\n`
}

function recipientLines(recipient: ExplainedRecipient, now: number): string[] {
  const { address, origTo, destination, attempts, waitsFor, last, bounceReason, returnedAt } = recipient
  return [
    `  ${visible(address)}${origTo === undefined ? '' : ` (written to ${visible(origTo)})`}`,
    `    goes to        ${visible(destination) || 'nowhere: the address cannot be routed'}`,
    `    waits for      ${waitsText(waitsFor, now)}`,
    ...(last === null
      ? [`    last attempt   none yet`]
      : [
          `    last attempt   ${spanText(now - last.at)} ago (${clock(last.at)}), number ${attempts}, at ${visible(last.relay)}`,
          `    ${last.remoteMta === undefined ? 'reason        ' : 'the server said'} ${visible(last.reply)}`,
        ]),
    ...(bounceReason === null ? [] : [`    failed         ${visible(bounceReason)}`]),
    ...(returnedAt === null
      ? ['    is returned    not as long as it is kept aside']
      : [`    is returned    ${when(returnedAt, now)}, if it is not delivered before`]),
  ]
}

function waitsText(waitsFor: WaitsFor, now: number): string {
  switch (waitsFor.kind) {
    case 'delivery':
      return `nothing: it is being delivered, since ${spanText(now - waitsFor.since)}`
    case 'commit':
      return 'its result to be written to disk'
    case 'memory':
      return `room in memory: other mail comes first (${waitsFor.mails} of ${waitsFor.mailLimit} mails, qmgr_message_active_limit; ${waitsFor.recipients} of ${waitsFor.recipientLimit} recipients, qmgr_message_recipient_limit)`
    case 'hold':
      return 'an operator: it is on hold (mailactors queue release)'
    case 'corrupt':
      return 'an operator: it is damaged and was set aside as corrupt'
    case 'notice':
      return 'the notice to its sender, which goes out when the other recipients were tried'
    case 'stop':
      return 'the next start: the service is stopping'
    case 'service':
      return 'a service: none is running'
    case 'window':
      return `a free place: ${waitsFor.running} of ${waitsFor.width} deliveries that the destination takes at once are running`
    case 'processes':
      return `a free place: ${waitsFor.running} of ${waitsFor.limit} deliveries of its transport are running (process_limit)`
    case 'turn':
      return `its turn: ${waitsFor.ahead} recipients wait in memory`
    case 'destination-pause':
      return `the pause after a delivery to this destination, ${when(waitsFor.until, now)} (destination_rate_delay)`
    case 'transport-pause':
      return `the pause between deliveries of its transport, ${when(waitsFor.until, now)} (transport_rate_delay)`
    case 'backoff':
      return `the next attempt, ${when(waitsFor.until, now)}`
    case 'dead-site':
      return `its destination, which is left alone for now; next attempt ${when(waitsFor.until, now)}: ${visible(waitsFor.reason)}`
    case 'dead-transport':
      return `its transport, whose deliveries cannot be started; next attempt ${when(waitsFor.until, now)}: ${visible(waitsFor.reason)}`
    case 'defer-transports':
      return `a flush: mail by ${waitsFor.transport} waits for one (defer_transports)`
  }
}

const when = (time: number, now: number): string =>
  time <= now ? 'now' : `in ${spanText(time - now)} (${clock(time)})`

const clock = (time: number): string =>
  new Date(time)
    .toISOString()
    .replace('T', ' ')
    .replace(/\.\d+Z$/, 'Z')

/** Which mails an operator means. */
import type { QueueListing, QueueSelection } from './contract.ts'

/** Whether a mail fits everything a selection says beside its ids. */
export function matcher(selection: QueueSelection): (mail: QueueListing) => boolean {
  const { queues, site } = selection
  const sender = selection.sender === undefined ? undefined : addressPattern(selection.sender)
  const recipient = selection.recipient === undefined ? undefined : addressPattern(selection.recipient)
  const nexthop = site?.toLowerCase()
  return (mail) => {
    if (queues !== undefined && !queues.includes(mail.queueName)) return false
    if (sender !== undefined && !sender(mail.sender)) return false
    if (recipient !== undefined && !mail.recipients.some(({ address }) => recipient(address))) return false
    if (nexthop === undefined) return true
    return mail.recipients.some(({ address, destination }) => {
      const lower = destination.toLowerCase()
      const isHop = lower === nexthop || lower.slice(lower.indexOf(':') + 1) === nexthop
      return isHop || address.toLowerCase().endsWith(`@${nexthop}`)
    })
  }
}

/** `user@domain`, `@domain`, `*@*.example.com`, `<>`; letters of any case. */
export function addressPattern(pattern: string): (address: string) => boolean {
  const wanted = pattern
    .trim()
    .replace(/^<(.*)>$/, '$1')
    .toLowerCase()
  if (wanted === '') return (address) => address === ''
  if (!wanted.includes('*')) {
    return wanted.startsWith('@')
      ? (address) => address.toLowerCase().endsWith(wanted)
      : (address) => address.toLowerCase() === wanted
  }
  const text = wanted.startsWith('@') ? `*${wanted}` : wanted
  const parts = text.split('*').map((part) => part.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&'))
  const expression = new RegExp(`^${parts.join('.*')}$`, 's')
  return (address) => expression.test(address.toLowerCase())
}

/** Who is told of what, RFC 3461 section 4.1. Without NOTIFY: failures and delays. */
import type { Notify } from '../contract.ts'

type Wish = readonly Notify[] | undefined

export const wantsFailure = (notify: Wish): boolean => notify === undefined || notify.includes('FAILURE')
export const wantsDelay = (notify: Wish): boolean => notify === undefined || notify.includes('DELAY')
export const wantsSuccess = (notify: Wish): boolean => notify?.includes('SUCCESS') === true

/** To whom a failure notice goes, or why to nobody. */
export type FailureAddressee =
  | { readonly to: 'sender' }
  /** A notice could not be delivered: the postmaster hears of it, if that is wanted. */
  | { readonly to: 'postmaster' }
  /** `double`: even that notice could not be delivered. `null`: nobody wants to know. */
  | { readonly to: 'nobody'; readonly why: 'double' | 'null' }

/** Decides on the sender of a mail whose recipients failed: notices never answer notices. */
export function failureAddressee(
  sender: string,
  doubleBounceSender: string,
  classes: readonly string[],
): FailureAddressee {
  if (sender.toLowerCase() === doubleBounceSender.toLowerCase()) return { to: 'nobody', why: 'double' }
  if (sender !== '') return { to: 'sender' }
  return classes.includes('2bounce') || classes.includes('bounce')
    ? { to: 'postmaster' }
    : { to: 'nobody', why: 'null' }
}

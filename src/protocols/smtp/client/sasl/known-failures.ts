/**
 * Logins that were refused for good (535): not tried again with the same password until they are old. One actor for all
 * delivery threads, on disk in `sasl/failures.db`. Of a password only a salted digest is kept.
 */
import { createHash, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { type ActorContext, actor, type Contract } from '../../../../actors/index.ts'
import type { Config } from '../../../../config/settings.ts'
import { FailureTable, type KnownFailure } from './failure-table.ts'

export type { KnownFailure } from './failure-table.ts'

export type SaslFailuresContract = Contract<{
  find(key: string): KnownFailure | null
  remember(key: string, failure: KnownFailure): void
  forget(key: string): void
}>

/** What a delivery knows of them. */
export interface SaslFailures {
  find(key: string): Promise<KnownFailure | undefined>
  remember(key: string, failure: { at: number; password: string; dsn: string; reason: string }): void
  forget(key: string): void
}

export const failureKey = (host: string, user: string): string => `${host.toLowerCase()};${user}`

export function passwordDigest(password: string, salt: string): string {
  return createHash('sha256').update(salt).update(password).digest('base64')
}

export const saslFailures = actor<SaslFailuresContract, undefined>({
  name: 'sasl-failures',
  module: import.meta.url,
  init: (context) => {
    let table: FailureTable | undefined
    const { data_dir } = context.setting<Config>('config')!
    const opened = () => (table ??= new FailureTable(join(data_dir, 'sasl')))
    return {
      find: (key) => opened().find(key),
      remember: (key, failure) => opened().remember(key, failure),
      forget: (key) => opened().forget(key),
      terminate: () => table?.close(),
    }
  },
})

/** Undefined: the actor is not there, and nothing is remembered. */
export function saslFailuresOf(context: ActorContext): SaslFailures | undefined {
  const store = context.whereis<SaslFailuresContract>('sasl-failures')
  if (store === undefined) return undefined
  return {
    find: (key) =>
      store.ask('find', key).then(
        (known) => known ?? undefined,
        // Then the server is asked once more.
        () => undefined,
      ),
    remember: (key, { password, ...failure }) => {
      const salt = randomBytes(12).toString('base64')
      store.tell('remember', key, { ...failure, salt, digest: passwordDigest(password, salt) })
    },
    forget: (key) => {
      store.tell('forget', key)
    },
  }
}

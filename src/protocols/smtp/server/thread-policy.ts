/** What the sessions of a thread share: the configuration as the server asks it, and how full the disk is. */
import { join } from 'node:path'
import type { ActorContext } from '../../../actors/index.ts'
import type { Config } from '../../../config/settings.ts'
import { Room } from '../../../queue/room.ts'
import { ServerPolicy } from './policy.ts'

/** Made once per thread and configuration; a reload brings a new one. */
export function policyOf(context: Pick<ActorContext, 'setting' | 'local'>): ServerPolicy {
  const config = context.setting<Config>('config')
  if (config === undefined) throw new Error('the system was started without a configuration')
  const known = context.local('smtpd.policies', () => new WeakMap<Config, ServerPolicy>())
  let policy = known.get(config)
  if (policy === undefined) {
    policy = new ServerPolicy(config)
    known.set(config, policy)
  }
  return policy
}

/** Whether there is space on the disk for a mail of so many octets, and for what the queue keeps free. */
export function hasRoom(
  context: Pick<ActorContext, 'clock' | 'local'>,
  policy: ServerPolicy,
  octets: number,
): boolean {
  const { queue, data_dir } = policy.config
  const room = context.local('smtpd.room', () => new Room(join(data_dir, 'queue')))
  const wanted = { max_messages: 0, minfree: queue.minfree + octets }
  return room.refusal(0, wanted, context.clock.monotonic()) === undefined
}

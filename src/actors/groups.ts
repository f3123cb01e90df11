/**
 * Groups of actors by name, after OTP's `pg`: join, leave, members, on whatever threads. Start one `groups` actor in
 * the tree and register it; all members of its groups are lost with it, so that they join again when they see it end.
 */

import type { Contract } from './contract.ts'
import { actor, type Down } from './definition.ts'
import type { AnyRef } from './ref.ts'
import { ReplyStream } from './stream.ts'
import type { WireValue } from './wire.ts'

/** What the `groups` actor answers. */
export type GroupsContract = Contract<{
  /** An actor that joins twice leaves twice. One that has ended is no member. */
  join(group: string, member: AnyRef): void
  /** `false`: it was no member. */
  leave(group: string, member: AnyRef): boolean
  /** In the order they joined. */
  members(group: string): readonly AnyRef[]
  /** Groups that have members. */
  names(): readonly string[]
  /** The members now, and again after each change. A reader that is behind gets the latest, not each. */
  follow(group: string): ReplyStream<readonly AnyRef[]>
  /** Tells each member the same message; returns how many took it. */
  publish(group: string, type: string, body: readonly WireValue[]): number
}>

interface Member {
  readonly ref: AnyRef
  joined: number
}

/** Keeps the members of groups; they leave when they end. */
export const groups = actor<GroupsContract>({
  name: 'groups',
  module: import.meta.url,
  init(context) {
    const byName = new Map<string, Map<number, Member>>()
    /** Each member's monitor and groups, by its id. */
    const known = new Map<number, { readonly monitor: number; readonly groups: Set<string> }>()
    const followers = new Map<string, Set<Follower>>()

    const membersOf = (group: string) => Array.from(byName.get(group)?.values() ?? [], ({ ref }) => ref)
    const changed = (group: string) => {
      const following = followers.get(group)
      if (following === undefined) return
      const members = membersOf(group)
      for (const follower of following) follower.show(members)
    }
    const remove = (group: string, id: number) => {
      const members = byName.get(group)
      members?.delete(id)
      if (members?.size === 0) byName.delete(group)
    }
    return {
      join(group, ref) {
        let members = byName.get(group)
        if (members === undefined) {
          members = new Map()
          byName.set(group, members)
        }
        const member = members.get(ref.id)
        if (member !== undefined) {
          member.joined++
          return
        }
        members.set(ref.id, { ref, joined: 1 })
        const before = known.get(ref.id)
        if (before !== undefined) before.groups.add(group)
        else known.set(ref.id, { monitor: context.monitor(ref), groups: new Set([group]) })
        changed(group)
      },
      leave(group, ref) {
        const member = byName.get(group)?.get(ref.id)
        if (member === undefined) return false
        if (--member.joined > 0) return true
        remove(group, ref.id)
        const entry = known.get(ref.id)
        entry?.groups.delete(group)
        if (entry?.groups.size === 0) {
          context.demonitor(entry.monitor)
          known.delete(ref.id)
        }
        changed(group)
        return true
      },
      members: membersOf,
      names: () => [...byName.keys()],
      follow(group) {
        const stream = new ReplyStream<readonly AnyRef[]>({ maxWaiting: 1 })
        const follower = new Follower(stream)
        let following = followers.get(group)
        if (following === undefined) {
          following = new Set()
          followers.set(group, following)
        }
        following.add(follower)
        stream.onClosed(() => {
          following.delete(follower)
          if (following.size === 0 && followers.get(group) === following) followers.delete(group)
        })
        follower.show(membersOf(group))
        return stream
      },
      publish: (group, type, body) => membersOf(group).filter((ref) => ref.tell(type, ...body)).length,
      handleDown({ ref }: Down) {
        const entry = known.get(ref.id)
        known.delete(ref.id)
        for (const group of entry?.groups ?? []) {
          remove(group, ref.id)
          changed(group)
        }
      },
    }
  },
})

/** One who follows a group: what it could not be shown at once it is shown when it has caught up. */
class Follower {
  readonly #stream: ReplyStream<readonly AnyRef[]>
  #latest: readonly AnyRef[] | undefined

  constructor(stream: ReplyStream<readonly AnyRef[]>) {
    this.#stream = stream
    stream.onRoom(() => {
      if (this.#latest !== undefined) this.show(this.#latest)
    })
  }

  show(members: readonly AnyRef[]): void {
    this.#latest = this.#stream.write(members) ? undefined : members
  }
}

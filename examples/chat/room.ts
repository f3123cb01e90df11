/** A room: who is in it, and what is said in it goes to all the others. */
import { type ActorRef, type AnyRef, actor, type Contract } from 'mailactors'
import type { Person } from './person.ts'

export type Room = Contract<{
  /** `false` when somebody of that name is in the room. */
  enter(name: string, person: AnyRef): boolean
  say(person: AnyRef, text: string): void
  names(): readonly string[]
}>

export const room = actor<Room>({
  name: 'room',
  module: import.meta.url,
  init(context) {
    const people = new Map<number, { name: string; ref: ActorRef<Person> }>()

    const toAll = (line: string, except?: number): void => {
      for (const { ref } of people.values()) {
        // Refused when that thread or person is behind: chat is not worth a queue without a bound.
        if (ref.id !== except) ref.tell('hear', line)
      }
    }
    return {
      enter(name, person) {
        for (const one of people.values()) if (one.name === name) return false
        // Its end, for whatever reason and on whatever thread, is how a person leaves.
        context.monitor(person)
        toAll(`* ${name} is here`)
        people.set(person.id, { name, ref: person as ActorRef<Person> })
        return true
      },
      say(person, text) {
        const one = people.get(person.id)
        if (one !== undefined) toAll(`${one.name}: ${text}`, person.id)
      },
      names: () => Array.from(people.values(), ({ name }) => name),
      handleDown({ ref }) {
        const one = people.get(ref.id)
        people.delete(ref.id)
        if (one !== undefined) toAll(`* ${one.name} is gone`)
      },
    }
  },
})

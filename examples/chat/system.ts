import { ActorSystem, supervisor } from 'mailactors'
import { listener } from './listener.ts'
import { room } from './room.ts'

/** People come and go: its children are all temporary and started by the listener. */
export const people = supervisor({
  name: 'people',
  module: import.meta.url,
  init: () => ({ strategy: 'one_for_one', children: [] }),
})

/** The room on a thread, the people on two others, the listener here: it is started last and stopped first. */
export function startChat(port: number): Promise<ActorSystem> {
  return ActorSystem.start({
    pools: { rooms: { minThreads: 1 }, people: { minThreads: 2 } },
    children: [
      { id: 'room', actor: room, placement: { pool: 'rooms' }, registerAs: 'room' },
      { id: 'people', actor: people, registerAs: 'people' },
      { id: 'listener', actor: listener, args: { port }, registerAs: 'listener' },
    ],
  })
}

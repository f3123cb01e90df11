/** Lookup tables for the other folders. A setting made with `maps` in `config/schema.ts` is the list of its tables. */
import type { ActorContext, AnyContract } from '../actors/index.ts'
import type { TableSource } from './config.ts'
import type { Maps } from './maps.ts'
import { Tables } from './tables.ts'

export type { TableSource } from './config.ts'
export {
  type AddressLookup,
  type AddressSearch,
  findAddress,
  findDomain,
  findNetwork,
  type Maps,
  mapAddress,
} from './maps.ts'
export { isInList } from './match-list.ts'
export type { Lookup, TableProblem } from './result.ts'
export { Tables, tableProblems } from './tables.ts'

/** The tables of the thread that the actor runs on, shared by all its actors. */
export function tablesOf<C extends AnyContract>(context: ActorContext<C>): Tables {
  return context.local(
    'tables',
    () =>
      new Tables({
        now: () => context.clock.now(),
        warn: ({ where, what }) => context.log.warn({ event: 'table.problem', where }, what),
      }),
  )
}

/** The tables of a setting, ready for lookups. */
export function mapsOf<C extends AnyContract>(
  context: ActorContext<C>,
  sources: readonly TableSource[],
): Maps {
  return tablesOf(context).maps(sources)
}

import { type ChildSpec, supervisor } from '../actors/index.ts'

export interface RootArgs {
  readonly children: readonly ChildSpec[]
  readonly intensity: number
  readonly periodMs: number
}

/** The root supervisor. When it gives up, the system has ended. */
export const root = supervisor<RootArgs>({
  name: 'root',
  // Not a URL: in a bundle that would be the program's, whose own actors may have this name. No thread imports it.
  module: 'mailactors:root',
  init: (_context, { children, intensity, periodMs }) => ({
    strategy: 'one_for_one',
    intensity,
    periodMs,
    children,
  }),
})

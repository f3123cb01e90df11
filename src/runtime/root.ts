import { type ChildSpec, supervisor } from '../actors/index.ts'

export interface RootArgs {
  readonly children: readonly ChildSpec[]
  readonly intensity: number
  readonly periodMs: number
}

/** The root supervisor. When it gives up, the system has ended. */
export const root = supervisor<RootArgs>({
  name: 'root',
  module: import.meta.url,
  init: (_context, { children, intensity, periodMs }) => ({
    strategy: 'one_for_one',
    intensity,
    periodMs,
    children,
  }),
})

/**
 * Checks of hashes that keep their thread busy: a job (see `docs/runtime-semantics.md`) for another thread than that of the
 * `auth` actor, which is given a way to start it.
 */
import { readPassword } from './schemes.ts'

/** Whether a password fits a field of the passwd-file. */
export function fitsPassword(field: string, password: string): boolean | Promise<boolean> {
  const stored = readPassword(field)
  return 'problem' in stored ? false : stored.verify(password)
}

/** Where other threads find it. */
export const passwordJob = { module: import.meta.url, name: 'fitsPassword', run: fitsPassword } as const

/** A hash of the highest cost takes a minute or so. */
export const passwordJobMs = 100_000

/** What the `auth` actor is started with. */
export interface AuthArgs {
  /** Runs `passwordJob` on another thread; rejects when it could not be found out. */
  readonly checkElsewhere: (field: string, password: string) => Promise<boolean>
}

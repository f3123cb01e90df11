/** Ids of users and groups of the system by name, from `/etc/passwd` and `/etc/group`. */
import { readFileSync } from 'node:fs'

export type IdKind = 'passwd' | 'group'

/** NaN: there is no such name, or it cannot be looked up. */
export function systemId(name: string, kind: IdKind, file = `/etc/${kind}`): number {
  try {
    for (const line of readFileSync(file, 'utf8').split('\n')) {
      const [known, , id = ''] = line.split(':')
      if (known === name && /^\d+$/.test(id)) return Number(id)
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error
  }
  return Number.NaN
}

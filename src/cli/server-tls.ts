/** Whether TLS of the servers can be done as the configuration has it: certificates and keys that are there and fit. */
import { ConfigError } from '../config/errors.ts'
import type { Config } from '../config/settings.ts'
import { certificateOf } from '../protocols/server-tls.ts'

/**
 * Reads each certificate of `[tls]` once. A service that already runs goes on without TLS when files vanish; one that
 * starts, or gets a new configuration, is better told.
 * @throws ConfigError with all that is wrong.
 */
export function checkServerTls({ tls }: Config): void {
  if (tls.cert === '' || tls.mode === 'no') return
  const all = {
    tls,
    ...Object.fromEntries(Object.entries(tls.sni).map(([name, files]) => [`tls.sni.${name}`, files])),
  }
  const problems = Object.entries(all).flatMap(([where, files]) => {
    const found = certificateOf(files, tls)
    if (!('problem' in found)) return []
    const key = files.key === '' ? '' : `, key ${files.key}`
    return [
      {
        where,
        what: `certificate ${files.cert}${key}: ${found.problem} (check the files and who may read them)`,
      },
    ]
  })
  if (problems.length > 0) throw new ConfigError(problems)
}

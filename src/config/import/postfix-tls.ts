/** Parameters of Postfix's TLS in deliveries whose name or values are others here. */
import type { Imported } from './imported.ts'

type Take = (value: string, imported: Imported, parameters: ReadonlyMap<string, string>) => void

const as =
  (key: string, name: string): Take =>
  (value, imported) =>
    imported.set(key, value, name)

/** Ways to ask for TLS from before there were levels; `unless`: those that say more. */
const level =
  (key: string, name: string, wanted: string, unless: readonly string[]): Take =>
  (value, imported, parameters) => {
    const isOverruled = unless.some((other) => !['', 'no', undefined].includes(parameters.get(other)))
    if (value === 'yes' && !isOverruled) imported.set(key, wanted, name)
  }

function ofClient(client: 'smtp' | 'lmtp'): Record<string, Take> {
  const own = (name: string) => `${client}_${name}`
  const session = own('tls_session_cache_database')
  const ours = `${client}.tls_security_level`
  const theirs = own('tls_security_level')
  return {
    [own('tls_CAfile')]: as(`${client}.tls_ca_file`, own('tls_CAfile')),
    [own('tls_CApath')]: as(`${client}.tls_ca_path`, own('tls_CApath')),
    // Any file of it; ours is in memory.
    [session]: (value, imported) => {
      if (value !== '') imported.set(`${client}.tls_session_cache_database`, 'memory', session)
    },
    [own('use_tls')]: level(ours, own('use_tls'), 'may', [theirs, own('enforce_tls')]),
    [own('enforce_tls')]: level(ours, own('enforce_tls'), 'encrypt', [theirs]),
    [own('tls_enable_rpk')]: (value, imported) => {
      if (value === 'yes') imported.leave(own('tls_enable_rpk'), value, 'raw public keys are not asked for')
    },
  }
}

export const tlsParameters: Readonly<Record<string, Take>> = {
  ...ofClient('smtp'),
  ...ofClient('lmtp'),
  tls_append_default_CA: as('tls.append_default_ca', 'tls_append_default_CA'),
  requiretls_enable: as('tls.requiretls_enable', 'requiretls_enable'),
}

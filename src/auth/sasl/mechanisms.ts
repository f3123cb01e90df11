/** The mechanisms by name. */
import { CramMd5 } from './cram-md5.ts'
import { External } from './external.ts'
import { LoginExchange } from './login.ts'
import type { SaslExchange, SaslHost } from './mechanism.ts'
import { OAuth } from './oauth.ts'
import { Plain } from './plain.ts'
import { Scram } from './scram.ts'

const mechanisms: Readonly<Record<string, (host: SaslHost) => SaslExchange>> = {
  PLAIN: () => new Plain(),
  LOGIN: (host) => new LoginExchange(host),
  'CRAM-MD5': (host) => new CramMd5(host),
  'SCRAM-SHA-1': (host) => new Scram(host, { hash: 'sha1', withBinding: false }),
  'SCRAM-SHA-1-PLUS': (host) => new Scram(host, { hash: 'sha1', withBinding: true }),
  'SCRAM-SHA-256': (host) => new Scram(host, { hash: 'sha256', withBinding: false }),
  'SCRAM-SHA-256-PLUS': (host) => new Scram(host, { hash: 'sha256', withBinding: true }),
  OAUTHBEARER: (host) => new OAuth(host, 'OAUTHBEARER'),
  XOAUTH2: (host) => new OAuth(host, 'XOAUTH2'),
  EXTERNAL: (host) => new External(host),
}

/** Begins an exchange; undefined when there is no such mechanism. */
export function startExchange(name: string, host: SaslHost): SaslExchange | undefined {
  return Object.hasOwn(mechanisms, name) ? mechanisms[name]!(host) : undefined
}

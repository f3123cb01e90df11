/** The mechanisms by name, and which of them a connection may use. */
import { CramMd5 } from './cram-md5.ts'
import { LoginExchange } from './login.ts'
import type { SaslExchange, SaslHost } from './mechanism.ts'
import { OAuth } from './oauth.ts'
import { Plain } from './plain.ts'
import { Scram } from './scram.ts'

interface Mechanism {
  /** Whoever listens learns something to log in with: for secured connections only. */
  readonly isCleartext: boolean
  readonly needsBinding: boolean
  readonly start: (host: SaslHost) => SaslExchange
}

const cleartext = { isCleartext: true, needsBinding: false }
const proven = { isCleartext: false, needsBinding: false }
const bound = { isCleartext: false, needsBinding: true }

const mechanisms: Readonly<Record<string, Mechanism>> = {
  PLAIN: { ...cleartext, start: () => new Plain() },
  LOGIN: { ...cleartext, start: () => new LoginExchange() },
  'CRAM-MD5': { ...proven, start: (host) => new CramMd5(host) },
  'SCRAM-SHA-1': { ...proven, start: (host) => new Scram(host, { hash: 'sha1', withBinding: false }) },
  'SCRAM-SHA-1-PLUS': { ...bound, start: (host) => new Scram(host, { hash: 'sha1', withBinding: true }) },
  'SCRAM-SHA-256': { ...proven, start: (host) => new Scram(host, { hash: 'sha256', withBinding: false }) },
  'SCRAM-SHA-256-PLUS': { ...bound, start: (host) => new Scram(host, { hash: 'sha256', withBinding: true }) },
  OAUTHBEARER: { ...cleartext, start: (host) => new OAuth(host, 'OAUTHBEARER') },
  XOAUTH2: { ...cleartext, start: (host) => new OAuth(host, 'XOAUTH2') },
}

/** Begins an exchange; undefined when there is no such mechanism. */
export function startExchange(name: string, host: SaslHost): SaslExchange | undefined {
  return Object.hasOwn(mechanisms, name) ? mechanisms[name]!.start(host) : undefined
}

/** Whether passwords, or what is as good, are sent as they are. */
export const isCleartext = (name: string): boolean => mechanisms[name]?.isCleartext === true

export const needsBinding = (name: string): boolean => mechanisms[name]?.needsBinding === true

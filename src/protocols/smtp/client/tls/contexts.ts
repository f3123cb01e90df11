/**
 * The TLS contexts of a thread: certificates read, ciphers set. One is made for each combination that policies ask
 * for, once, because reading the authorities of a system takes tens of milliseconds. A reload begins anew.
 */
import type { KeyObject, X509Certificate } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  createSecureContext,
  getCACertificates,
  type SecureContext,
  type SecureContextOptions,
} from 'node:tls'
import type { ClientSettings } from '../config.ts'
import { readAnchors } from './certificates.ts'
import type { TlsLevel } from './levels.ts'
import { type CipherLists, cipherString, protocolRange, sslOptions } from './parameters.ts'
import { parametersOf, type TlsPolicy } from './policy.ts'

export interface EngineSettings extends CipherLists {
  readonly ssl_options: readonly string[]
  readonly dane_digests: readonly string[]
  readonly append_default_ca: boolean
  readonly wildcard_matches_multiple_labels: boolean
}

export interface TlsContext {
  readonly context: SecureContext
  /** Public keys to trust, which OpenSSL takes in certificates only. */
  readonly trustedKeys: readonly KeyObject[]
  /** What they are certificates of, where there are such keys; empty: all is OpenSSL's business. */
  readonly trustedCertificates: readonly X509Certificate[]
  /** Names the combination: the same for contexts that do the same. */
  readonly key: string
}

/** Combinations kept; each has its copy of the authorities. */
const maxContexts = 64
/** Files read of `tls_ca_path`. */
const maxCaFiles = 5_000

export class Contexts {
  /** Events that were told of, once is enough. */
  readonly hinted = new Set<string>()
  readonly #settings: ClientSettings
  readonly #engine: EngineSettings
  readonly #known = new Map<string, TlsContext | Error>()
  #https: SecureContext | undefined

  constructor(settings: ClientSettings, engine: EngineSettings) {
    this.#settings = settings
    this.#engine = engine
  }

  /** The context for a policy at `level`; an error says why there is none. */
  get(policy: TlsPolicy, level: TlsLevel): TlsContext | Error {
    const ciphers = cipherString(policy.ciphers, policy.excluded, level, this.#engine)
    const anchors = level === 'verify' || level === 'secure' ? policy.trustAnchorFiles : []
    const key = JSON.stringify([ciphers, policy.protocols, anchors])
    const known = this.#known.get(key)
    if (known !== undefined) return known
    let made: TlsContext | Error
    try {
      made = this.#make(ciphers, policy.protocols, anchors, key)
    } catch (error) {
      made = error as Error
    }
    if (this.#known.size >= maxContexts) this.#known.delete(this.#known.keys().next().value!)
    this.#known.set(key, made)
    return made
  }

  /**
   * Tries what the settings name: files, versions and ciphers of each kind of level. Returns what is wrong. The
   * authorities of the system are left alone: reading them takes its time, and they are not ours to check.
   */
  check(): string | undefined {
    const { tls_ca_file: file, tls_ca_path: folder, tls_trust_anchor_file: anchors } = this.#settings
    try {
      if (file !== '' || folder !== '') this.#authorities()
      for (const anchor of anchors) readFile(anchor, readAnchors)
      const own = this.#ownCertificates()
      for (const level of ['may', 'encrypt', 'secure'] as const) {
        const { ciphers, protocols, excluded } = parametersOf(level, {}, this.#settings)
        const range = protocolRange(protocols)
        if (typeof range === 'string') return range
        const list = cipherString(ciphers, excluded, level, this.#engine)
        createContext(list, { ...own, ca: [], minVersion: range.minVersion, maxVersion: range.maxVersion })
      }
      return undefined
    } catch (error) {
      return (error as Error).message
    }
  }

  /** For web servers with policies: the same authorities, and nothing old. */
  https(): SecureContext | Error {
    try {
      this.#https ??= createSecureContext({ ca: [...this.#authorities()], minVersion: 'TLSv1.2' })
      return this.#https
    } catch (error) {
      return error as Error
    }
  }

  #make(
    ciphers: string,
    protocols: readonly string[],
    anchorFiles: readonly string[],
    key: string,
  ): TlsContext {
    const range = protocolRange(protocols)
    if (typeof range === 'string') throw new Error(range)
    const options = sslOptions(this.#engine.ssl_options)
    if (typeof options === 'string') throw new Error(options)
    const anchors = anchorFiles.map((file) => readFile(file, readAnchors))
    const certificates = anchors.flatMap((one) => one.certificates)
    const trustedKeys = anchors.flatMap((one) => one.keys)
    const authorities =
      anchorFiles.length > 0 ? certificates.map((certificate) => certificate.toString()) : this.#authorities()
    const context = createContext(ciphers, {
      minVersion: range.minVersion,
      maxVersion: range.maxVersion,
      secureOptions: range.secureOptions | options,
      ca: [...authorities],
      // A trust anchor is trusted by itself, whoever has issued it.
      allowPartialTrustChain: anchorFiles.length > 0,
      ...this.#ownCertificates(),
    })
    return { context, trustedKeys, trustedCertificates: trustedKeys.length > 0 ? certificates : [], key }
  }

  #authorities(): readonly string[] {
    const { tls_ca_file: file, tls_ca_path: folder } = this.#settings
    const found: string[] = []
    if (file !== '') found.push(...readFile(file, pemCertificates))
    if (folder !== '') found.push(...folderCertificates(folder))
    if ((file === '' && folder === '') || this.#engine.append_default_ca) found.push(...systemAuthorities())
    return [...new Set(found)]
  }

  #ownCertificates(): { cert?: string[]; key?: string[] } {
    const { tls_chain_files, tls_cert_file, tls_key_file, tls_eccert_file, tls_eckey_file } = this.#settings
    const pairs =
      tls_chain_files.length > 0
        ? tls_chain_files.map((file) => [file, file] as const)
        : (
            [
              [tls_cert_file, tls_key_file || tls_cert_file],
              [tls_eccert_file, tls_eckey_file || tls_eccert_file],
            ] as const
          ).filter(([cert]) => cert !== '')
    if (pairs.length === 0) return {}
    const read = (file: string) => readFile(file, (text) => text)
    for (const [cert, key] of pairs) {
      // One by one, for a message that names the file.
      readFile(cert, (text) => createSecureContext({ cert: text, key: read(key) }))
    }
    return { cert: pairs.map(([cert]) => read(cert)), key: pairs.map(([, key]) => read(key)) }
  }
}

interface ContextOptions extends SecureContextOptions {
  /** Node has it, its types do not. */
  readonly allowPartialTrustChain?: boolean
}

/** Throws with the list of ciphers where OpenSSL finds none in it, and with what is wrong of certificates and keys. */
function createContext(ciphers: string, options: ContextOptions): SecureContext {
  try {
    return createSecureContext({ ...options, ciphers })
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    if (/NO_CIPHER|CIPHER/.test(code)) throw new Error(`no cipher is left of \`${ciphers}\``)
    throw new Error(message)
  }
}

/** What the system trusts; where it has no list, the authorities that come with Node. */
function systemAuthorities(): readonly string[] {
  const system = getCACertificates('system')
  return system.length > 0 ? system : getCACertificates('bundled')
}

function readFile<T>(file: string, parse: (text: string) => T): T {
  try {
    return parse(readFileSync(file, 'utf8'))
  } catch (error) {
    throw new Error(`${file}: ${(error as Error).message}`)
  }
}

function pemCertificates(text: string): readonly string[] {
  const found = text.match(/-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----[\s\S]*?-----END [A-Z0-9 ]+-----/g)
  if (found === null) throw new Error('no certificate in it')
  return found
}

function folderCertificates(folder: string): readonly string[] {
  const names = readdirSync(folder).sort()
  if (names.length > maxCaFiles) throw new Error(`${folder}: more than ${maxCaFiles} files`)
  const found: string[] = []
  for (const name of names) {
    try {
      found.push(...readFile(join(folder, name), pemCertificates))
    } catch {
      // A folder of authorities has other things in it as well.
    }
  }
  if (found.length === 0) throw new Error(`${folder}: no certificates in it`)
  return found
}

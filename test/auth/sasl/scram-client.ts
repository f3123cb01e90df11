/** The client's side of SCRAM, written from RFC 5802 for tests alone. */
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto'

export interface ScramClientOptions {
  readonly hash: 'sha1' | 'sha256'
  readonly user: string
  readonly password: string
  readonly nonce?: string
  /** Default `n,,`. */
  readonly header?: string
  readonly binding?: Buffer
}

export class ScramClient {
  readonly #options: ScramClientOptions
  readonly #bare: string
  #serverSignature = ''

  constructor(options: ScramClientOptions) {
    this.#options = options
    const user = options.user.replaceAll('=', '=3D').replaceAll(',', '=2C')
    this.#bare = `n=${user},r=${options.nonce ?? 'clientnonce'}`
  }

  first(): string {
    return this.#header + this.#bare
  }

  final(serverFirst: string): string {
    const [, nonce = '', salt = '', iterations] = /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(serverFirst) ?? []
    const { hash, password, binding = Buffer.alloc(0) } = this.#options
    const hmac = (key: Buffer, text: string) => createHmac(hash, key).update(text).digest()
    const length = hash === 'sha1' ? 20 : 32
    const salted = pbkdf2Sync(password, Buffer.from(salt, 'base64'), Number(iterations), length, hash)
    const clientKey = hmac(salted, 'Client Key')
    const withoutProof = `c=${Buffer.concat([Buffer.from(this.#header), binding]).toString('base64')},r=${nonce}`
    const authMessage = `${this.#bare},${serverFirst},${withoutProof}`
    const signature = hmac(createHash(hash).update(clientKey).digest(), authMessage)
    const proof = Buffer.from(clientKey.map((octet, index) => octet ^ signature[index]!))
    this.#serverSignature = hmac(hmac(salted, 'Server Key'), authMessage).toString('base64')
    return `${withoutProof},p=${proof.toString('base64')}`
  }

  /** What the server has to say in the end. */
  get serverFinal(): string {
    return `v=${this.#serverSignature}`
  }

  get #header(): string {
    return this.#options.header ?? 'n,,'
  }
}

/** Lists of addresses and networks, such as `allow_nets` of the passwd-file. */
import { BlockList, isIP } from 'node:net'

export class Networks {
  readonly #list = new BlockList()
  /** `local`: connections that have no address, as in Dovecot; loopback has one. */
  readonly #hasLocal: boolean

  /** Entries that are none are left out: they allow nobody. */
  constructor(entries: readonly string[]) {
    this.#hasLocal = entries.includes('local')
    for (const entry of entries) {
      const [address = '', bits] = entry.trim().split('/')
      const family = isIP(address)
      if (family === 0) continue
      const kind = family === 4 ? 'ipv4' : 'ipv6'
      const most = family === 4 ? 32 : 128
      const prefix = bits === undefined ? most : Number(bits)
      if (Number.isInteger(prefix) && prefix >= 0 && prefix <= most)
        this.#list.addSubnet(address, prefix, kind)
    }
  }

  has(address: string): boolean {
    const plain = address.replace(/^::ffff:(?=\d+\.)/i, '')
    const family = isIP(plain)
    if (family === 0) return this.#hasLocal
    return this.#list.check(plain, family === 4 ? 'ipv4' : 'ipv6')
  }
}

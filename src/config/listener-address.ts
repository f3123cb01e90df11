import { resolve } from 'node:path'

/** The kernel keeps the path of a socket in 108 octets, the last one a NUL. */
const maxSocketPath = 107

export type AddressResult = { readonly address: string } | { readonly problem: string }

/** Why no socket can be at this absolute path, if so. */
export function socketPathProblem(path: string): string | undefined {
  const octets = Buffer.byteLength(path)
  if (octets <= maxSocketPath) return undefined
  return `socket path ${path} has ${octets} octets, ${maxSocketPath} are possible (use a shorter path)`
}

/** Checks `host:port`, `[v6]:port`, `:port` or `unix:/path` and returns it in this form, paths made absolute against `base`. */
export function parseListenerAddress(written: string, base: string): AddressResult {
  const text = written.trim()
  const forms = '(write host:port, [v6]:port, :port or unix:/path)'
  if (text === '') return { problem: `address is missing ${forms}` }
  if (text.startsWith('unix:')) {
    const path = text.slice('unix:'.length)
    if (path === '') return { problem: `"${written}" has no path ${forms}` }
    const absolute = resolve(base, path)
    const problem = socketPathProblem(absolute)
    return problem === undefined ? { address: `unix:${absolute}` } : { problem }
  }
  const match = /^(?:\[([0-9a-f:.%a-z]+)\]|([^[\]:\s/]*)):(\d{1,5})$/i.exec(text)
  if (match === null) {
    const bareV6 = /^[0-9a-f]*:[0-9a-f:]+:\d+$/i.test(text)
    return {
      problem: `"${written}" is not an address ${bareV6 ? '(an IPv6 address stands in brackets: [::1]:25)' : forms}`,
    }
  }
  const [, v6, host, port] = match
  if (Number(port) > 65_535) return { problem: `"${written}": port ${port} is out of range (0 to 65535)` }
  return { address: `${v6 === undefined ? host : `[${v6}]`}:${Number(port)}` }
}

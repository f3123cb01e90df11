/** Ports by service name: our own table first, then the services file of the system, `services(5)`. */
import { readFileSync } from 'node:fs'

/** The port of a service, or a sentence that says what is wrong with it. */
export function servicePort(service: string, known: Readonly<Record<string, string>>): number | string {
  if (/^[0-9]/.test(service)) {
    const port = /^[0-9]{1,5}$/.test(service) ? Number(service) : 0
    return port < 1 || port > 65_535 ? `"${service}" is not a port (1 to 65535)` : port
  }
  const name = service.toLowerCase()
  const port = Number(Object.hasOwn(known, name) ? known[name] : systemServices().get(name))
  return Number.isInteger(port) ? port : `unknown service "${service}"`
}

function systemServices(): ReadonlyMap<string, number> {
  const ports = new Map<string, number>()
  let text = ''
  try {
    text = readFileSync('/etc/services', 'utf8')
  } catch {
    // A system without the file has no names but ours.
  }
  for (const line of text.split('\n')) {
    const [name = '', port = '', ...aliases] = line.replace(/#.*$/, '').trim().split(/\s+/)
    const match = /^(\d+)\/tcp$/.exec(port)
    if (match === null) continue
    for (const one of [name, ...aliases]) if (!ports.has(one)) ports.set(one.toLowerCase(), Number(match[1]))
  }
  return ports
}

/** unbound on loopback, with a zone that bind's tools have signed: what it answers is validated, as on the net. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { tempDir } from './fixtures.ts'
import { freePorts } from './ports.ts'
import { until } from './until.ts'

export interface SignedZone {
  readonly name: string
  /** Lines of a zone file, without SOA and NS. */
  readonly records: readonly string[]
  /** Not signed at all. */
  readonly unsigned?: true
  /** Changes the zone after it was signed: what it touches is bogus. */
  readonly tamper?: (signed: string) => string
}

/** Starts it for the length of the test; returns `address:port`. `where`: not on a free port of 127.0.0.1. */
export async function startValidatingResolver(
  zones: readonly SignedZone[],
  where?: { readonly address: string; readonly port: number },
): Promise<string> {
  const dir = tempDir()
  const { address, port } = where ?? { address: '127.0.0.1', port: (await freePorts(1))[0]! }
  const written = zones.map((zone) => writeZone(dir, zone))
  const config = [
    'server:',
    `  interface: ${address}@${port}`,
    '  access-control: 127.0.0.0/8 allow',
    '  do-daemonize: no',
    '  username: ""',
    '  chroot: ""',
    `  directory: "${dir}"`,
    '  pidfile: ""',
    '  use-syslog: no',
    '  module-config: "validator iterator"',
    '  do-not-query-localhost: no',
    // Or it would answer for this name by itself.
    '  local-zone: "test." nodefault',
    ...written.flatMap(({ anchor }) => (anchor === undefined ? [] : [`  trust-anchor-file: "${anchor}"`])),
    ...written.flatMap(({ name, file }) => [
      'auth-zone:',
      `  name: "${name}"`,
      `  zonefile: "${file}"`,
      '  for-upstream: yes',
      '  for-downstream: no',
    ]),
    'remote-control:',
    '  control-enable: no',
    '',
  ]
  const file = join(dir, 'unbound.conf')
  writeFileSync(file, config.join('\n'))
  const child = spawn('unbound', ['-d', '-c', file], { stdio: ['ignore', 'ignore', 'pipe'] })
  let complaints = ''
  child.stderr.on('data', (chunk) => {
    complaints += String(chunk)
  })
  onTestFinished(() => stop(child))
  await until('unbound', () => isOpen(port, address), { describe: () => complaints })
  return `${address}:${port}`
}

function writeZone(dir: string, { name, records, unsigned, tamper }: SignedZone) {
  const file = join(dir, `${name}.zone`)
  const head = [
    `$ORIGIN ${name}.`,
    '$TTL 60',
    '@ IN SOA ns hostmaster 1 3600 600 86400 60',
    '@ IN NS ns',
    'ns IN A 127.0.0.1',
  ]
  writeFileSync(file, `${[...head, ...records].join('\n')}\n`)
  if (unsigned === true) return { name, file, anchor: undefined }
  const run = (program: string, ...args: string[]) =>
    execFileSync(program, args, { cwd: dir, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  const key = ['-a', 'ECDSAP256SHA256', '-K', dir]
  const ksk = run('dnssec-keygen', ...key, '-f', 'KSK', name).trim()
  run('dnssec-keygen', ...key, name)
  const signed = `${file}.signed`
  run('dnssec-signzone', '-S', '-K', dir, '-d', dir, '-o', name, '-O', 'full', '-f', signed, file)
  if (tamper !== undefined) {
    const text = readFileSync(signed, 'utf8')
    const changed = tamper(text)
    if (changed === text) throw new Error(`${name}: nothing was changed`)
    writeFileSync(signed, changed)
  }
  const anchor = readdirSync(dir).find((entry) => entry === `${ksk}.key`)!
  return { name, file: signed, anchor: join(dir, anchor) }
}

function isOpen(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  await ended
}

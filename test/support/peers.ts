/** Other people's servers, private instances on free ports, stopped with the test. */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { tempDir } from './fixtures.ts'
import { freePorts } from './ports.ts'
import { projectRoot, runProgram } from './service.ts'
import { within } from './until.ts'

type Environment = Readonly<Record<string, string>>

/** `nameServer`: the address of the only one it knows, port 53. */
async function startPeer(
  script: string,
  args: readonly string[],
  env: Environment,
  nameServer?: string,
): Promise<string> {
  const program = join(projectRoot, 'bench', 'peers', script)
  const parent = tempDir()
  // They drop root and must still get in.
  chmodSync(parent, 0o755)
  const dir = join(parent, 'p')
  mkdirSync(dir)
  onTestFinished(async () => {
    await runProgram(program, ['stop', dir])
  })
  const command = [program, 'start', dir, ...args]
  const started = await runServerScript(
    nameServer === undefined ? command : [...withNameServer(parent, nameServer), ...command],
    env,
  )
  if (started.code !== 0) throw new Error(`${script}: ${started.stderr}`)
  return dir
}

/** A command in front of another one, which then has a resolv.conf of its own. */
function withNameServer(dir: string, address: string): readonly string[] {
  const file = join(dir, 'resolv.conf')
  writeFileSync(file, `nameserver ${address}\noptions trust-ad timeout:3 attempts:2\n`, { mode: 0o644 })
  return ['unshare', '-m', 'sh', '-c', 'mount --bind "$0" /etc/resolv.conf && exec "$@"', file]
}

/** Why `withNameServer` cannot be had. */
export function whyNoNameServerOfItsOwn(): string | undefined {
  const tried = spawnSync('unshare', ['-m', 'mount', '--bind', '/etc/resolv.conf', '/etc/resolv.conf'])
  return tried.status === 0 ? undefined : 'no mount namespaces for a resolv.conf of its own'
}

/** The servers it starts inherit pipes and would hold them open: their output goes nowhere. */
async function runServerScript(command: readonly string[], env: Environment) {
  return runProgram(
    'bash',
    ['-c', '"$0" "$@" >/dev/null 2>"$LOG"; code=$?; cat "$LOG" >&2; exit $code', ...command],
    {
      env: { ...env, LOG: join(tempDir(), 'log') },
    },
  )
}

export interface Peer {
  readonly dir: string
  readonly port: number
}

/** A Postfix that takes mail and discards it; reject@ gets 550, tempfail@ 450. */
export async function startReceivingPostfix(env: Environment = {}): Promise<Peer> {
  return await startPostfix('postfix-smtpd.sh', [], env)
}

/** A Postfix that relays everything to 127.0.0.1:`nexthop`. */
export async function startRelayingPostfix(nexthop: number): Promise<Peer> {
  return await startPostfix('postfix-relay.sh', [`127.0.0.1:${nexthop}`], {})
}

/** A Postfix that relays by `settings` (main.cf) and `services` (more of master.cf). */
export async function startPostfixModel(
  settings: string,
  services: string,
  nameServer?: string,
): Promise<Peer> {
  const env = { SETTINGS: settings, SERVICES: services }
  return await startPostfix('postfix-relay.sh', ['127.0.0.1:9'], env, nameServer)
}

async function startPostfix(
  script: string,
  args: readonly string[],
  env: Environment,
  nameServer?: string,
): Promise<Peer> {
  const [port = 0] = await freePorts(1)
  const start = () => startPeer(script, [`${port}`, ...args], env, nameServer)
  const dir = await start()
  if (await greets(port)) return { port, dir }
  // Its master listened and started nobody: seen once, on a busy machine.
  await runProgram(join(projectRoot, 'bench', 'peers', script), ['stop', dir])
  return { port, dir: await start() }
}

/** Whether somebody says something to who connects. */
async function greets(port: number): Promise<boolean> {
  const socket = connect({ port, host: '127.0.0.1' })
  try {
    await within('a greeting', once(socket, 'data'), 15_000)
    return true
  } catch {
    return false
  } finally {
    socket.end('QUIT\r\n')
  }
}

/** A Dovecot with POP3 on `port` and LMTP on `lmtpPort`; any user, any password. */
export async function startDovecot(env: Environment = {}): Promise<Peer & { readonly lmtpPort: number }> {
  const [port = 0, lmtpPort = 0] = await freePorts(2)
  const dir = await startPeer('dovecot-pop3.sh', [`${port}`], { LMTP_PORT: `${lmtpPort}`, ...env })
  return { port, lmtpPort, dir }
}

/** Why Exim and OpenSMTPD, which exclude Postfix, cannot be run from where they are unpacked. */
export function whyNoUnpackedMta(): string | undefined {
  if (process.getuid?.() !== 0) return 'Exim and OpenSMTPD must be started by root'
  const checked = spawnSync(join(projectRoot, 'bench', 'peers', 'unpacked-mta.sh'), ['--check'])
  return checked.status === 0
    ? undefined
    : 'Exim and OpenSMTPD not unpacked (bench/peers/unpacked-mta.sh unpack)'
}

/** One of them, relaying what it takes to 127.0.0.1:`nexthop`. */
export async function startUnpackedMta(
  program: 'exim' | 'opensmtpd',
  nexthop: number,
  env: Environment,
): Promise<Peer> {
  const [port = 0] = await freePorts(1)
  return { port, dir: await startPeer('unpacked-mta.sh', [program, `${port}`, `${nexthop}`], env) }
}

/** Ours and Postfix as relays to one next hop: a queue on the same disk, its usual durability, its log in a file. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ControlClient } from '../../src/cli/control-client.ts'
import { freePorts } from '../../test/support/ports.ts'
import { Service } from '../../test/support/service.ts'
import { pidFrom } from './proc-tree.ts'
import { atEnd, run } from './processes.ts'

export interface Relay {
  readonly port: number
  readonly pid: number
  /** Tries everything that waits, now. */
  release(): Promise<void>
  stop(): Promise<void>
}

/** What `smtp-source` sends: 4 KB, one recipient. */
export const OCTETS = 4096

/** Sends `mails`, each over a connection of its own unless `reuse`; answers with the seconds it took. */
export const source = (
  port: number,
  mails: number,
  { sessions, reuse = false }: { readonly sessions: number; readonly reuse?: boolean },
): Promise<{ seconds: number }> =>
  run(
    'smtp-source',
    // -C: tries again when a connect is refused
    [...(reuse ? ['-d'] : []), '-s', `${sessions}`, '-m', `${mails}`, '-l', `${OCTETS}`, '-C', '10'].concat([
      '-f',
      'sender@peers.test',
      '-t',
      'user@dest.test',
      `127.0.0.1:${port}`,
    ]),
    { timeoutMs: 300_000 },
  )

export interface OurOptions {
  /** TOML tables beside `[smtp]`. */
  readonly tables?: string
  /** Lines of `[smtp]`. */
  readonly smtp?: string
  readonly nodeArgs?: readonly string[]
}

export async function startOurs(dir: string, nexthopPort: number, options: OurOptions = {}): Promise<Relay> {
  const service = await Service.prepare({
    dir,
    listeners: ['smtp'],
    tables: `[smtp]\nrelayhost = "[127.0.0.1]:${nexthopPort}"\n${options.smtp ?? ''}\n${options.tables ?? ''}`,
    nodeArgs: options.nodeArgs ?? [],
  })
  const stop = atEnd(async () => {
    if (service.isRunning) await service.stop()
  })
  await service.run()
  // Over the control socket: the start of a command is not what is measured.
  const release = async (): Promise<void> => {
    await new ControlClient(service.dataDir).request('queue.flush', { site: '' })
  }
  return { port: service.ports.smtp, pid: service.pid, release, stop }
}

const postfixScript = fileURLToPath(new URL('../peers/postfix-relay.sh', import.meta.url))

/** @param environment What the script reads: CONCURRENCY, PROCESS_LIMIT, SETTINGS, … */
export async function startPostfix(
  dir: string,
  nexthopPort: number,
  environment: Readonly<Record<string, string>> = {},
): Promise<Relay> {
  const [port = 0] = await freePorts(1)
  const stop = atEnd(async () => {
    await run(postfixScript, ['stop', dir], { timeoutMs: 30_000 })
  })
  await run(postfixScript, ['start', dir, `${port}`, `127.0.0.1:${nexthopPort}`], {
    timeoutMs: 30_000,
    env: environment,
  })
  const release = async (): Promise<void> => {
    const etc = join(dir, 'etc')
    await run('postsuper', ['-c', etc, '-H', 'ALL'], { timeoutMs: 60_000 })
    await run('postqueue', ['-c', etc, '-f'], { timeoutMs: 60_000 })
  }
  return { port, pid: pidFrom(join(dir, 'queue', 'pid', 'master.pid')), release, stop }
}

/** Postfix's settings that keep new mail on hold until `release`. */
export const holding = 'smtpd_client_restrictions=check_client_access static:HOLD'

/** What this machine lets a test do; each `whyNot…` is a reason to skip, or undefined. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findProgram } from '../../bench/harness/processes.ts'

const isRoot = process.getuid?.() === 0

/** A file system of a fixed size can be mounted. */
export function whyNotMount(): string | undefined {
  if (!isRoot) return 'only root can mount a small file system'
  const dir = mkdtempSync(join(tmpdir(), 'ma-'))
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', dir])
  if (mounted.status === 0) spawnSync('umount', [dir])
  rmdirSync(dir)
  return mounted.status === 0 ? undefined : 'mounting a tmpfs is not allowed here'
}

/** A network namespace of its own, with a loopback of its own, in which the default ports are free. */
export function whyNotNamespace(): string | undefined {
  if (!isRoot) return 'only root can make a network namespace'
  if (findProgram('nsenter') === undefined || findProgram('ip') === undefined)
    return 'nsenter or ip not installed'
  const made = spawnSync('unshare', ['-n', 'ip', 'link', 'set', 'lo', 'up'])
  return made.status === 0 ? undefined : 'network namespaces are not allowed here'
}

/** ` (skipped: …)` for the title of a test that is skipped for this reason. */
export const because = (reason: string | undefined): string =>
  reason === undefined ? '' : ` (skipped: ${reason})`

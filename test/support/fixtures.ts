/** Services, sinks and directories that end with the test. The directory of a failed test is kept and named. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { Service, type ServiceOptions } from './service.ts'
import { type Misbehave, SmtpSink } from './smtp-sink.ts'

function keepWhenFailed(dir: string, isFailed: boolean): boolean {
  if (isFailed) console.error(`kept for a look: ${dir}`)
  return isFailed
}

/** A directory below the system's temporary one; its path is short, as the paths of sockets must be. */
export function tempDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'ma-'))
  onTestFinished(({ task }) => {
    if (!keepWhenFailed(dir, task.result?.state === 'fail')) rmSync(dir, { recursive: true, force: true })
  })
  return dir
}

/** A service that is ready. */
export async function startService(options: ServiceOptions = {}): Promise<Service> {
  const service = await prepareService(options)
  await service.run()
  return service
}

/** A service with its configuration written, not started. */
export async function prepareService(options: ServiceOptions = {}): Promise<Service> {
  const service = await Service.prepare(options)
  onTestFinished(async ({ task }) => {
    await service.dispose({ keep: keepWhenFailed(service.dir, task.result?.state === 'fail') })
  })
  return service
}

export async function startSink(misbehave?: Misbehave): Promise<SmtpSink> {
  const sink = await SmtpSink.start(misbehave === undefined ? {} : { misbehave })
  onTestFinished(() => sink.stop())
  return sink
}

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { tempDir } from '../support/fixtures.ts'
import { runCommand } from '../support/service.ts'

test('serve --check reads every table, also those of lists and of transports, and names file and line', async () => {
  const cwd = tempDir()
  writeFileSync(join(cwd, 'generic'), 'ok yes\nlonely\n')
  writeFileSync(join(cwd, 'checks'), '/(/ REJECT\n')
  writeFileSync(
    join(cwd, 'mailactors.toml'),
    `[smtp]
generic_maps = "texthash:generic"
connection_cache_destinations = ["d.test", "!texthash:${cwd}/nowhere"]
[transports.other]
protocol = "smtp"
[transports.other.smtp]
header_checks = "regexp:checks"
`,
  )
  const { code, stderr } = await runCommand(['serve', '--check'], { cwd })
  expect(code).toBe(78)
  const lines = stderr.trim().split('\n')
  expect(lines).toHaveLength(3)
  expect(lines.join('\n')).toContain(`${cwd}/generic:2: there is a key and no value`)
  expect(lines.join('\n')).toContain(
    `${cwd}/nowhere: there is no such file (table of smtp.connection_cache_destinations)`,
  )
  expect(lines.join('\n')).toContain(
    `${cwd}/checks:1: a ")" is missing (table of transports.other.smtp.header_checks)`,
  )
})

test('config --lookup asks tables and settings', async () => {
  const cwd = tempDir()
  writeFileSync(join(cwd, 'generic'), 'a@b.test c@d.test\n')
  const ask = (...args: string[]) => runCommand(['config', '--lookup', ...args], { cwd })
  expect(await ask('texthash:generic', 'A@b.test')).toMatchObject({ stdout: 'c@d.test\n', code: 0 })
  expect(await ask('texthash:generic', 'x@b.test')).toMatchObject({ stdout: '', code: 66 })
  const setting = await ask('smtp.generic_maps', 'a@b.test', '--set', 'smtp.generic_maps=texthash:generic')
  expect(setting).toMatchObject({ stdout: 'c@d.test\n', code: 0 })
  expect((await ask('hash:generic', 'a')).stderr).toContain('write texthash:generic')
})

/** Whether TLS of deliveries can be done as the configuration has it: files that are there, ciphers that exist. */
import { ConfigError } from '../config/errors.ts'
import type { Config } from '../config/settings.ts'
import { clientSettings } from '../protocols/smtp/client/config.ts'
import { Contexts } from '../protocols/smtp/client/tls/contexts.ts'
import { readDkimKey } from '../protocols/smtp/client/tls/rpt/dkim.ts'

/**
 * Reads what each transport needs, once.
 * @throws ConfigError with all that is wrong.
 */
export function checkDeliveryTls(config: Config): void {
  const problems = new Map<string, string>()
  for (const name of ['smtp', 'lmtp', ...Object.keys(config.transports)]) {
    const settings = clientSettings(config.smtp, config.lmtp, name, config.transports[name])
    const what = new Contexts(settings, config.tls).check()
    // Transports have most settings from [smtp]: what is wrong there is told once.
    if (what !== undefined && ![...problems.values()].includes(what)) problems.set(name, what)
  }
  try {
    if (config.smtp.tlsrpt_dkim_key_file !== '') readDkimKey(config.smtp.tlsrpt_dkim_key_file)
  } catch (error) {
    problems.set('reports', (error as Error).message)
  }
  if (problems.size === 0) return
  throw new ConfigError([...problems].map(([name, what]) => ({ where: `TLS of ${name}`, what })))
}

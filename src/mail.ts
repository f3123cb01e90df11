/** mailactors/mail: the mail system as a library. */
export { ConfigError, ConfigFileError } from './config/errors.ts'
export { type LoadOptions, loadConfig } from './config/loader.ts'
export type { Config, ListenerConfig } from './config/settings.ts'
export type { ListenerInfo } from './listeners/contract.ts'
export { type ServeOptions, type Service, serve } from './serve.ts'

/**
 * User names and where a user's files are. A name becomes a part of paths, so what could leave the folder it is
 * put in is no name at all: this is checked where users are made and again where a path is made.
 */
import { isAbsolute, join, resolve } from 'node:path'

/** Octets of a file name on the file systems in use. */
const maxOctets = 255

/** Why a text cannot be a user name, or undefined when it can. */
export function userNameProblem(name: string): string | undefined {
  if (name === '') return 'is empty'
  if (Buffer.byteLength(name) > maxOctets) return `is longer than ${maxOctets} octets`
  if (/[\p{Cc}\s]/u.test(name)) return 'contains a blank or a control character'
  const forbidden = /[/\\:%]/.exec(name)
  if (forbidden !== null) return `contains "${forbidden[0]}"`
  if (name.includes('..') || name === '.') return 'contains ".."'
  return undefined
}

/** What the variables of a path stand for. */
export interface PathVariables {
  /** `%u`; `%n` is its part before the `@`, `%d` the part after it. */
  readonly user: string
  /** `%h`. */
  readonly home: string
}

/** Fills in `%u %n %d %h` and `%%`. Anything else after a `%` stays as it is. */
export function expandVariables(template: string, { user, home }: PathVariables): string {
  const at = user.lastIndexOf('@')
  const values: Readonly<Record<string, string>> = {
    u: user,
    n: at < 0 ? user : user.slice(0, at),
    d: at < 0 ? '' : user.slice(at + 1),
    h: home,
    '%': '%',
  }
  return template.replace(/%([undh%])/g, (whole, letter: string) => values[letter] ?? whole)
}

export interface UserPaths {
  readonly home: string
  readonly maildir: string
  /** Where they are not in the Maildir. */
  readonly control?: string
  readonly index?: string
}

/** Templates of paths; `controlPath` and `indexPath` may be empty. */
export interface PathSettings {
  readonly dataDir: string
  readonly mailPath: string
  readonly controlPath: string
  readonly indexPath: string
}

/**
 * Absolute paths of a user's home and Maildir. `givenHome` is the passwd-file's, empty for the default,
 * DATA_DIR/mail/USER. Paths that come out relative start from the data directory.
 */
export function userPaths(user: string, givenHome: string, settings: PathSettings): UserPaths {
  const written = givenHome === '' ? join(settings.dataDir, 'mail', '%u') : givenHome
  const home = absolute(expandVariables(written, { user, home: '' }), settings.dataDir)
  const place = (template: string): string =>
    absolute(expandVariables(template, { user, home }), settings.dataDir)
  const maildir = place(settings.mailPath)
  const elsewhere = (template: string): string | undefined => {
    const path = template === '' ? maildir : place(template)
    return path === maildir ? undefined : path
  }
  const control = elsewhere(settings.controlPath)
  const index = elsewhere(settings.indexPath)
  return {
    home,
    maildir,
    ...(control === undefined ? {} : { control }),
    ...(index === undefined ? {} : { index }),
  }
}

/** Templates in a `userdb_mail` of Dovecot: `maildir:PATH:CONTROL=PATH:INDEX=PATH`. What it does not say is as in `settings`. */
export function mailLocation(location: string | undefined, settings: PathSettings): PathSettings {
  if (location === undefined) return settings
  const [mailPath = '', ...options] = location.replace(/^maildir:/, '').split(':')
  const option = (name: string): string =>
    options.find((one) => one.startsWith(`${name}=`))?.slice(name.length + 1) ?? ''
  return { ...settings, mailPath, controlPath: option('CONTROL'), indexPath: option('INDEX') }
}

/** As the configuration has them. */
export const pathSettings = ({
  data_dir,
  mail,
}: {
  readonly data_dir: string
  readonly mail: { readonly path: string; readonly control_path: string; readonly index_path: string }
}): PathSettings => ({
  dataDir: data_dir,
  mailPath: mail.path,
  controlPath: mail.control_path,
  indexPath: mail.index_path,
})

function absolute(path: string, base: string): string {
  return isAbsolute(path) ? resolve(path) : resolve(base, path)
}

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
}

/**
 * Absolute paths of a user's home and Maildir. `givenHome` is the passwd-file's, empty for the default,
 * DATA_DIR/mail/USER. Paths that come out relative start from the data directory.
 */
export function userPaths(
  user: string,
  givenHome: string,
  settings: { readonly dataDir: string; readonly mailPath: string },
): UserPaths {
  const written = givenHome === '' ? join(settings.dataDir, 'mail', '%u') : givenHome
  const home = absolute(expandVariables(written, { user, home: '' }), settings.dataDir)
  const maildir = absolute(expandVariables(settings.mailPath, { user, home }), settings.dataDir)
  return { home, maildir }
}

function absolute(path: string, base: string): string {
  return isAbsolute(path) ? resolve(path) : resolve(base, path)
}

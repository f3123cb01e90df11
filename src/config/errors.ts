import { MailactorsError } from '../actors/index.ts'

/** One thing that is wrong with the configuration. */
export interface ConfigProblem {
  /** `FILE:LINE`, `--set KEY` or the name of an environment variable. */
  readonly where: string
  /** What is wrong there, and after it in brackets how to mend it, when we can tell. */
  readonly what: string
}

/** The configuration cannot be used. `problems` has everything that is wrong, not only the first thing. */
export class ConfigError extends MailactorsError {
  readonly code = 'MA_CONFIG'
  readonly problems: readonly ConfigProblem[]

  constructor(problems: readonly ConfigProblem[]) {
    super(problems.map(({ where, what }) => `${where}: ${what}`).join('\n'), { problems: problems.length })
    this.problems = problems
  }
}

/** The configuration file itself cannot be read. */
export class ConfigFileError extends MailactorsError {
  readonly code = 'MA_CONFIG_FILE'
  readonly path: string
  /** `ENOENT`, `EACCES`, … */
  readonly errno: string

  constructor(path: string, cause: NodeJS.ErrnoException) {
    super(`cannot read ${path}: ${cause.message}`, { path, errno: cause.code }, { cause })
    this.path = path
    this.errno = cause.code ?? ''
  }
}

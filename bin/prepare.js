// Runs after npm ci, and before npm pack: builds. `npx mailactors` in a checkout installs the project into npm's
// cache as a link and so comes here too: then a build that is there stays, as a service may be running from it.
'use strict'

const { existsSync } = require('node:fs')
const { join } = require('node:path')
const { spawnSync } = require('node:child_process')

const root = join(__dirname, '..')
const isBuilt = existsSync(join(root, 'dist', 'cli', 'main.js'))

if (process.env.npm_command !== 'exec' || !isBuilt) {
  const { status } = spawnSync('npm', ['run', 'build'], {
    cwd: root,
    stdio: 'inherit',
    shell: process.platform === 'win32',
  })
  process.exitCode = status === null ? 1 : status
}

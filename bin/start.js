// Loaded only by a Node that is new enough. The built program, or in a checkout without a build its source.
'use strict'

const { existsSync } = require('node:fs')
const { basename, join } = require('node:path')
const { pathToFileURL } = require('node:url')

const built = join(__dirname, '..', 'dist', 'cli', 'main.js')
const source = join(__dirname, '..', 'src', 'cli', 'main.ts')
// For the tests of a checkout: they mean the source, whatever was built last.
const wantsSource = Boolean(process.env.MAILACTORS_FROM_SOURCE)
delete process.env.MAILACTORS_FROM_SOURCE
const entry = existsSync(built) && !wantsSource ? built : source

// A link with such a name stands in for that program.
const meaning = { sendmail: ['send'], mailq: ['send', '-bp'], newaliases: ['send', '-I'] }
const called = process.env.MAILACTORS_CALLED || basename(process.argv[1] || '')
delete process.env.MAILACTORS_CALLED

import(pathToFileURL(entry).href)
  .then(({ main }) => main([...(meaning[called] || []), ...process.argv.slice(2)]))
  .catch((error) => {
    process.stderr.write(`mailactors: internal error: ${error?.stack ?? error}\n`)
    process.exitCode = 70
  })

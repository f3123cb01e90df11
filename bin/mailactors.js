#!/usr/bin/env node
// biome-ignore-all lint/suspicious/noVar: any old Node must get as far as the message that it is too old
// biome-ignore-all lint/complexity/useArrowFunction: likewise
// biome-ignore-all lint/correctness/noInnerDeclarations: likewise
// biome-ignore-all lint/style/useNodejsImportProtocol: likewise
// biome-ignore-all lint/complexity/useOptionalChain: likewise
// biome-ignore-all lint/style/useTemplate: likewise

// The command. Plain old JavaScript on purpose, see bin/package.json: it runs on whatever Node the machine has,
// and hands over to the Node that this checkout pins when that one is too old.
'use strict'

// libuv reads this when its thread pool is first used, so it has to be set before anything is loaded. Its default
// of four threads is a silent bottleneck for a service that flushes files.
if (!process.env.UV_THREADPOOL_SIZE) process.env.UV_THREADPOOL_SIZE = '16'

var fs = require('fs')
var path = require('path')

var root = path.dirname(__dirname)

// Same as `engines` in package.json: ^24.20.0 || >=26.6.0.
function isSupported(version) {
  var parts = version.replace(/^v/, '').split('.')
  var major = Number(parts[0])
  var minor = Number(parts[1])
  return (major === 24 && minor >= 20) || (major === 26 && minor >= 6) || major > 26
}

function pinnedNode() {
  var candidates = ['node_modules/node/bin/node', 'node_modules/.bin/node', 'node_modules/node/bin/node.exe']
  for (var index = 0; index < candidates.length; index++) {
    var file = path.join(root, candidates[index])
    if (fs.existsSync(file)) return file
  }
  return undefined
}

function fail(line) {
  process.stderr.write('mailactors: ' + line + '\n')
  process.exitCode = 78
}

function handOver(node) {
  var argv = [path.join(__dirname, 'mailactors.js')].concat(process.argv.slice(2))
  var env = Object.assign({}, process.env, {
    MAILACTORS_HANDED_OVER: '1',
    MAILACTORS_CALLED: path.basename(process.argv[1]),
  })
  // Sockets that a service manager opened stand behind the three standard descriptors.
  var stdio = ['inherit', 'inherit', 'inherit']
  for (var fd = 3; fd < 3 + (Number(process.env.LISTEN_FDS) || 0); fd++) stdio.push(fd)
  var child = require('child_process').spawn(node, argv, { stdio: stdio, env: env })
  var signals = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2']
  signals.forEach(function (signal) {
    process.on(signal, function () {
      child.kill(signal)
    })
  })
  child.on('error', function (error) {
    fail('node: cannot start ' + node + ': ' + error.message + ' (run npm ci again)')
  })
  child.on('exit', function (code, signal) {
    if (signal === null) {
      process.exitCode = code === null ? 70 : code
      return
    }
    // It died by a signal: so do we, that the caller sees the same.
    signals.forEach(function (name) {
      process.removeAllListeners(name)
    })
    process.kill(process.pid, signal)
  })
}

if (isSupported(process.version)) {
  delete process.env.MAILACTORS_HANDED_OVER
  require('./start.js')
} else {
  var node = process.env.MAILACTORS_HANDED_OVER ? undefined : pinnedNode()
  if (node !== undefined) handOver(node)
  else
    fail(
      'Node ' +
        process.version +
        ' is too old: 24.20 or later, or 26.6 or later is needed (install it from https://nodejs.org)',
    )
}

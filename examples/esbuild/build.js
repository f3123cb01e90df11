// Everything in one file, and beside it the one that piscina starts its threads with. Where packages may stay in
// node_modules, `npm run build:external` is all it takes.
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

await build({
  entryPoints: {
    main: 'main.ts',
    worker: fileURLToPath(new URL('worker.js', import.meta.resolve('piscina'))),
  },
  outdir: 'dist',
  bundle: true,
  minify: true,
  platform: 'node',
  target: 'node24',
  // import.meta.url, by which threads find their modules, is there in ES modules alone.
  format: 'esm',
  // What CommonJS packages expect around them.
  define: { __dirname: 'import.meta.dirname' },
  banner: {
    js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url)",
  },
  // Native and optional.
  external: ['@napi-rs/nice'],
})

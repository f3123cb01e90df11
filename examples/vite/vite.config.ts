// Everything in one file, and beside it the one that piscina starts its threads with. Where packages may stay in
// node_modules, which is Vite's default for servers, `npm run build:external` is all it takes.
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'

const root = import.meta.dirname

export default defineConfig(({ mode }) =>
  mode === 'external'
    ? { root, build: { ssr: 'main.ts', target: 'node24' } }
    : {
        root,
        // What CommonJS packages expect around them.
        define: { __dirname: 'import.meta.dirname' },
        // All but what is native and optional.
        ssr: { noExternal: true, external: ['@napi-rs/nice'] },
        build: {
          ssr: true,
          target: 'node24',
          rolldownOptions: {
            input: {
              main: 'main.ts',
              worker: fileURLToPath(new URL('worker.js', import.meta.resolve('piscina'))),
            },
            // No folder for parts: piscina looks for its worker beside itself.
            output: { chunkFileNames: '[name]-[hash].js' },
          },
        },
      },
)

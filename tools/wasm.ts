/**
 * Writes the WebAssembly of this project into modules, from its text: `npm run wasm`. A test says when one is behind.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import wabt from 'wabt'

const folder = new URL('../src/protocols/pop3/', import.meta.url)
export const moduleFile = fileURLToPath(new URL('wire-form-module.ts', folder))

/** The text of the module. */
export async function wireFormModule(): Promise<string> {
  const { parseWat } = await wabt()
  const module = parseWat('wire-form.wat', readFileSync(new URL('wire-form.wat', folder), 'utf8'), {
    simd: true,
  })
  const base64 = Buffer.from(module.toBinary({}).buffer).toString('base64')
  module.destroy()
  return `/** \`wire-form.wat\` as WebAssembly, in base64. Written by \`npm run wasm\`. */
export const wireFormModule =
  '${base64}'
`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(moduleFile, await wireFormModule())

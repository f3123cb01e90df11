/**
 * The library as it is shipped: built. `MAILACTORS_DIST` names another build, to compare two. Typed by the sources,
 * so that the benchmark can be checked before anything is built.
 */
const url = process.env.MAILACTORS_DIST ?? new URL('../../dist/', import.meta.url).href
export const ours = (await import(new URL('index.js', url).href)) as typeof import('../../src/index.ts')

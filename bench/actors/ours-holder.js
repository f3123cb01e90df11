/**
 * The actor of the recovery question. JavaScript, as what is shipped is: the first TypeScript module of a thread costs
 * some 50 ms, for the stripping of types has to be loaded.
 */
const url = process.env.MAILACTORS_DIST ?? new URL('../../dist/', import.meta.url).href
const { actor, Deferred } = await import(new URL('index.js', url).href)

/** Holds its asks, so that they are open when its thread dies. */
export const holder = actor({
  name: 'holder',
  module: import.meta.url,
  init: () => ({ hold: () => new Deferred(), ready: () => 1 }),
})

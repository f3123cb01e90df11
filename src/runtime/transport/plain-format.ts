/**
 * Plain frames, a fast way for those there are most of: small, of plain values, with ASCII strings. They are msgpack
 * as any other encoder writes it, so msgpackr can read them; they only take a fraction of msgpackr's time, because
 *
 * - they are written into the ring where they are to be read, and read there;
 * - many frames' strings are cut out of one string made by one call: a call into native code for each costs more than
 *   all the rest;
 * - names (message types and the keys of objects) come out of tables, with their octets, and the next one is expected
 *   to be the one that followed last time;
 * - objects are made by a function for their keys, compiled once these have come several times.
 *
 * What they do not have (octets, bigints, other classes, large or non-ASCII values) is left to msgpackr. They begin
 * with an array of the long form, although they have less than 16 elements; msgpackr never writes that, so the reader
 * can tell.
 */

/** First octet of a plain frame; the two behind it are the number of its elements. */
export const plainMark = 0xdc

/** Most octets of a plain frame. */
export const maxPlain = 1_024

/** Octets that must be there behind a plain frame, of whatever: names are written and compared in whole words. */
export const plainSlack = 32

/** Of a frame, an array or an object. */
export const maxElements = 15

/** The msgpack extension of an actor's ref. */
export const refType = 0x41

/** Longer names are strings like others. With the octet before it a name has four words at most. */
export const longestName = 15

/**
 * What crosses threads. A frame is an array `[to, from, type, seq, ...body]`:
 *
 *     tell       [actor, 0,     'type', 0,   ...body]
 *     ask        [actor, 0,     'type', ask, ...body]
 *     answer     [ask,   0,     1,      0,   value]
 *     refuse     [ask,   0,     2,      0,   failure, why, reason]
 *     spawn      [actor, 0,     3,      0,   definition, args, parent, link, childId, restarts, name, socket, report,
 *                 crashes]
 *     started    [actor, child, 4,      0,   reason]
 *     signals    [actor, from,  5…8,    monitor, reason]
 *     relations  [actor, from,  9…12,   monitor]
 *     name       [0,     actor, 13,     thread, name, replaces]
 *     no name    [0,     actor, 14,     thread, name]
 *     conflict   [actor, 0,     15,     0,   name]
 *     stream     [ask,   0,     16,     0]                 opened, to who asked
 *     item       [ask,   0,     17,     0,   value]
 *     done       [ask,   0,     18,     0]
 *     grant      [ask,   0,     19,     items]             to the writer; `ask` is the reader's number
 *     cancel     [ask,   0,     20,     0]
 *
 * An ask for a stream has its window, how many items may be under way, in the place of `from`.
 * `from` lives on the thread the frame comes from.
 */
export const frame = {
  answer: 1,
  refuse: 2,
  spawn: 3,
  started: 4,
  exit: 5,
  link: 6,
  down: 7,
  kill: 8,
  relateLink: 9,
  relateUnlink: 10,
  relateWatch: 11,
  relateUnwatch: 12,
  name: 13,
  noName: 14,
  conflict: 15,
  streamOpened: 16,
  streamItem: 17,
  streamDone: 18,
  streamGrant: 19,
  streamCancel: 20,
} as const

export const signalKinds = ['exit', 'link', 'down', 'kill'] as const
export const relationKinds = ['link', 'unlink', 'watch', 'unwatch'] as const

export type StreamFrame = (typeof frame)[
  | 'streamOpened'
  | 'streamItem'
  | 'streamDone'
  | 'streamGrant'
  | 'streamCancel']

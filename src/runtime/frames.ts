/**
 * What crosses threads. A frame is an array `[to, from, type, seq, ...body]`:
 *
 *     tell       [actor, 0,     'type', 0,   ...body]
 *     ask        [actor, 0,     'type', ask, ...body]
 *     answer     [ask,   0,     1,      0,   value]
 *     refuse     [ask,   0,     2,      0,   failure, why, reason]
 *     spawn      [actor, 0,     3,      0,   definition, args, parent, link, childId, restarts, name, socket, report]
 *     started    [actor, child, 4,      0,   reason]
 *     signals    [actor, from,  5…8,    monitor, reason]
 *     relations  [actor, from,  9…12,   monitor]
 *     name       [0,     actor, 13,     thread, name, replaces]
 *     no name    [0,     actor, 14,     thread, name]
 *     conflict   [actor, 0,     15,     0,   name]
 *
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
} as const

export const signalKinds = ['exit', 'link', 'down', 'kill'] as const
export const relationKinds = ['link', 'unlink', 'watch', 'unwatch'] as const

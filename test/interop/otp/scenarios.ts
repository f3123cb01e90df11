/** The scenarios written by hand. Each name is a claim of its own. */
import type { InstanceNode, Life, Node, Scenario, Step, SupNode, WorkerNode } from './scenario.ts'

const w = (id: string, rest: Omit<Partial<WorkerNode>, 'id' | 'kind'> = {}): WorkerNode => ({
  kind: 'worker',
  id,
  ...rest,
})
const sup = (
  id: string,
  children: readonly Node[],
  rest: Omit<Partial<SupNode>, 'id' | 'kind' | 'children'> = {},
): SupNode => ({ kind: 'sup', id, strategy: 'one_for_one', intensity: 5, period: 3600, children, ...rest })
const instance = (id: string, life: Life = [], goodbye: InstanceNode['goodbye'] = 'ok'): InstanceNode => ({
  kind: 'instance',
  id,
  life,
  goodbye,
})
const pool = (
  rest: Omit<Partial<SupNode>, 'id' | 'kind' | 'children'> = {},
  template: Partial<Node> = {},
): SupNode =>
  sup('top', [{ kind: 'template', id: 'each', ...template } as Node], {
    strategy: 'simple_one_for_one',
    ...rest,
  })
const abc = [w('a'), w('b'), w('c')]
const reasons = ['normal', 'shutdown', 'shutdown_term', 'error'] as const
const restarts = ['permanent', 'transient', 'temporary'] as const
const strategies = ['one_for_one', 'one_for_all', 'rest_for_one'] as const

const starting: Scenario[] = [
  { name: 'children start in order and stop in reverse', top: sup('top', abc), steps: [['stop']] },
  { name: 'an empty supervisor starts and stops', top: sup('top', []), steps: [['stop']] },
  ...(['fail', 'fail_shutdown', 'fail_normal'] as const).map((how) => ({
    name: `a child whose init says ${how} undoes the start, in reverse`,
    top: sup('top', [w('a'), w('b'), w('c', { life: [how] }), w('d')]),
    steps: [],
  })),
  {
    name: 'a temporary child that fails undoes the start, too',
    top: sup('top', [w('a'), w('b', { life: ['fail'], restart: 'temporary' })]),
    steps: [],
  },
  { name: 'a supervisor whose init fails', top: sup('top', abc, { life: ['fail'] }), steps: [] },
  { name: 'a supervisor whose init ignores', top: sup('top', abc, { life: ['ignore'] }), steps: [] },
  {
    name: 'a nested supervisor that cannot start undoes all',
    top: sup('top', [w('a'), sup('in', [w('b'), w('c', { life: ['fail'] })]), w('d')]),
    steps: [],
  },
  {
    name: 'a nested supervisor that ignores',
    top: sup('top', [w('a'), sup('in', [w('b')], { life: ['ignore'] }), w('c')]),
    steps: [['restart', 'top', 'in'], ['stop']],
  },
  ...restarts.map((restart) => ({
    name: `a ${restart} child that ignores`,
    top: sup('top', [w('a', { restart, life: ['ignore'] }), w('b', { restart })]),
    steps: [
      ['start', 'top', w('c', { restart, life: ['ignore'] })],
      ['restart', 'top', 'a'],
      ['terminate', 'top', 'c'],
      ['delete', 'top', 'c'],
      ['stop'],
    ] as Step[],
  })),
  {
    name: 'a restart that ignores leaves the child stopped',
    top: sup('top', [w('a', { life: ['ok', 'ignore'] }), w('b')]),
    steps: [['exit', 'a', 'error'], ['restart', 'top', 'a'], ['stop']],
  },
  {
    name: 'a start that waits holds up the next ones',
    top: sup('top', [w('a'), w('b', { life: ['gate'] }), w('c')]),
    steps: [['release', 'b'], ['stop']],
  },
  {
    name: 'a child killed in its init did not start',
    top: sup('top', [w('a'), w('b', { life: ['gate'] }), w('c')]),
    steps: [['kill', 'b']],
  },
  ...restarts.map((restart) => ({
    name: `a supervisor waits for the start of a ${restart} child`,
    top: sup('top', [w('a')]),
    steps: [
      ['start', 'top', w('b', { restart, life: ['gate'] })],
      ['start', 'top', w('c', { restart })],
      ['terminate', 'top', 'a'],
      ['release', 'b'],
      ['stop'],
    ] as Step[],
  })),
  {
    name: 'a stop waits for the start in hand',
    top: sup('top', [w('a')]),
    steps: [['start', 'top', w('b', { life: ['gate'] })], ['stop'], ['release', 'b']],
  },
]

const restarting: Scenario[] = [
  ...strategies.flatMap((strategy) =>
    restarts.flatMap((restart) =>
      reasons.map((reason) => ({
        name: `${strategy}: a ${restart} child ends by itself, reason ${reason}`,
        top: sup('top', [w('a'), w('b', { restart }), w('c')], { strategy }),
        steps: [['exit', 'b', reason], ['stop']] as Step[],
      })),
    ),
  ),
  ...strategies.flatMap((strategy) =>
    restarts.map((restart) => ({
      name: `${strategy}: a ${restart} child is killed`,
      top: sup('top', [w('a'), w('b', { restart }), w('c')], { strategy }),
      steps: [['kill', 'b'], ['kill', 'a'], ['kill', 'c'], ['stop']] as Step[],
    })),
  ),
  ...(['one_for_all', 'rest_for_one'] as const).map((strategy) => ({
    name: `${strategy}: temporary bystanders are not started again, transient ones are`,
    top: sup('top', [w('a'), w('b', { restart: 'temporary' }), w('c', { restart: 'transient' }), w('d')], {
      strategy,
    }),
    steps: [['kill', 'a'], ['exit', 'c', 'normal'], ['kill', 'a'], ['stop']] as Step[],
  })),
  ...(['one_for_all', 'rest_for_one'] as const).map((strategy) => ({
    name: `${strategy}: a terminated sibling is started again with the others`,
    top: sup('top', [w('a'), w('b'), w('c')], { strategy }),
    steps: [['terminate', 'top', 'b'], ['kill', 'a'], ['stop']] as Step[],
  })),
  ...(['one_for_all', 'rest_for_one'] as const).map((strategy) => ({
    name: `${strategy}: another child fails while all restart`,
    top: sup('top', [w('a'), w('b', { life: ['ok', 'fail', 'fail', 'ok'] }), w('c')], { strategy }),
    steps: [['kill', 'a'], ['kill', 'c'], ['stop']] as Step[],
  })),
  ...strategies.map((strategy) => ({
    name: `${strategy}: a restart that fails is tried again`,
    top: sup('top', [w('a'), w('b', { life: ['ok', 'fail', 'fail', 'ok'] }), w('c')], { strategy }),
    steps: [['kill', 'b'], ['kill', 'b'], ['stop']] as Step[],
  })),
  ...strategies.map((strategy) => ({
    name: `${strategy}: failing restarts count, and the supervisor gives up`,
    top: sup('top', [w('a'), w('b', { life: ['ok', 'fail', 'fail', 'fail', 'fail'] }), w('c')], {
      strategy,
      intensity: 3,
    }),
    steps: [['exit', 'b', 'error']] as Step[],
  })),
  ...strategies.map((strategy) => ({
    name: `${strategy}: several children end at once`,
    top: sup('top', abc, { strategy }),
    steps: [
      [
        'all',
        [
          ['kill', 'a'],
          ['kill', 'b'],
          ['kill', 'c'],
        ],
      ],
      ['stop'],
    ] as Step[],
  })),
  {
    name: 'children that end while another one restarts',
    top: sup('top', [w('a', { life: ['ok', 'gate'] }), w('b'), w('c', { restart: 'temporary' })]),
    steps: [['kill', 'a'], ['kill', 'b'], ['exit', 'c', 'error'], ['release', 'a'], ['stop']],
  },
  ...(['one_for_all', 'rest_for_one'] as const).map((strategy) => ({
    name: `${strategy}: a sibling ends while all are restarting`,
    top: sup('top', [w('a'), w('b', { life: ['ok', 'gate'] }), w('c')], { strategy }),
    steps: [['kill', 'a'], ['kill', 'a'], ['release', 'b'], ['stop']] as Step[],
  })),
  {
    name: 'a stop while a restart waits',
    top: sup('top', [w('a', { life: ['ok', 'gate'] }), w('b')]),
    steps: [['kill', 'a'], ['stop'], ['release', 'a']],
  },
  ...strategies.map((strategy) => ({
    name: `${strategy}: a request gets in between restarts that fail`,
    top: sup('top', [w('a'), w('b', { life: ['ok', ...Array<'fail'>(3_000).fill('fail')] }), w('c')], {
      strategy,
      intensity: 1_000_000,
    }),
    collapse: true,
    steps: [
      ['now', ['exit', 'b', 'error']],
      ['until', 'fail b', 5],
      ['terminate', 'top', strategy === 'one_for_all' ? 'b' : 'b'],
      ['stop'],
    ] as Step[],
  })),
  {
    name: 'a stop gets in between restarts that fail',
    top: sup('top', [w('a'), w('b', { life: ['ok', ...Array<'fail'>(3_000).fill('fail')] })], {
      intensity: 1_000_000,
    }),
    collapse: true,
    steps: [['now', ['exit', 'b', 'error']], ['until', 'fail b', 5], ['stop']],
  },
  {
    name: 'what a restarting child answers to requests',
    top: sup('top', [w('a', { life: ['ok', 'fail', 'gate'] }), w('b')]),
    steps: [['kill', 'a'], ['release', 'a'], ['stop']],
  },
]

const intensity: Scenario[] = [
  ...[0, 1, 2].map((limit) => ({
    name: `intensity ${limit}: one restart more ends the supervisor`,
    top: sup('top', abc, { intensity: limit }),
    steps: Array.from({ length: limit + 1 }, (): Step => ['kill', 'b']),
  })),
  {
    name: 'restarts of all children count together',
    top: sup('top', abc, { intensity: 2 }),
    steps: [
      ['kill', 'a'],
      ['kill', 'b'],
      ['kill', 'c'],
    ],
  },
  {
    name: 'one restart within the period may not be followed by another one at its very end',
    top: sup('top', abc, { intensity: 1, period: 1 }),
    steps: [
      [
        'all',
        [
          ['second', 0],
          ['kill', 'a'],
        ],
      ],
      [
        'all',
        [
          ['second', 1],
          ['kill', 'a'],
        ],
      ],
    ],
  },
  {
    name: 'but by one after it',
    top: sup('top', abc, { intensity: 1, period: 1 }),
    steps: [
      [
        'all',
        [
          ['second', 0],
          ['kill', 'a'],
        ],
      ],
      [
        'all',
        [
          ['second', 2],
          ['kill', 'a'],
        ],
      ],
      ['kill', 'a'],
    ],
  },
  {
    name: 'the period slides',
    top: sup('top', abc, { intensity: 2, period: 2 }),
    steps: [
      [
        'all',
        [
          ['second', 0],
          ['kill', 'a'],
        ],
      ],
      [
        'all',
        [
          ['second', 2],
          ['kill', 'a'],
        ],
      ],
      [
        'all',
        [
          ['second', 3],
          ['kill', 'a'],
        ],
      ],
      [
        'all',
        [
          ['second', 4],
          ['kill', 'a'],
        ],
      ],
    ],
  },
  {
    name: 'the defaults are one restart in five seconds',
    top: { kind: 'sup', id: 'top', strategy: 'one_for_one', children: abc },
    steps: [
      ['kill', 'a'],
      ['kill', 'a'],
    ],
  },
  {
    name: 'a nested supervisor that gives up is restarted by its parent',
    top: sup('top', [w('a'), sup('in', [w('b'), w('c')], { intensity: 1 }), w('d')]),
    steps: [['kill', 'b'], ['kill', 'b'], ['kill', 'c'], ['stop']],
  },
  ...(['one_for_all', 'rest_for_one'] as const).map((strategy) => ({
    name: `${strategy}: a nested supervisor that gives up takes siblings along`,
    top: sup('top', [w('a'), sup('in', [w('b')], { intensity: 0 }), w('d')], { strategy }),
    steps: [['kill', 'b'], ['kill', 'b'], ['stop']] as Step[],
  })),
  ...(['transient', 'temporary'] as const).map((restart) => ({
    name: `a ${restart} supervisor that gives up is not restarted`,
    top: sup('top', [sup('in', [w('b')], { intensity: 0, restart }), w('d')]),
    steps: [['kill', 'b'], ['restart', 'top', 'in'], ['stop']] as Step[],
  })),
  {
    name: 'giving up goes up to the top',
    top: sup('top', [w('a'), sup('in', [sup('inmost', [w('b')], { intensity: 0 })], { intensity: 0 })], {
      intensity: 0,
    }),
    steps: [['kill', 'b']],
  },
  {
    name: 'a nested supervisor that cannot restart is tried again',
    top: sup('top', [sup('in', [w('a'), w('b', { life: ['ok', 'fail', 'ok'] })], { intensity: 0 }), w('c')]),
    steps: [['kill', 'a'], ['stop']],
  },
]

const stopping: Scenario[] = [
  {
    name: 'a child that takes too long is killed',
    top: sup('top', [w('a'), w('b', { goodbye: 'hang', shutdown: 50 }), w('c')]),
    steps: [['stop'], ['wait', 120]],
  },
  {
    name: 'a shutdown time of 0 gives no time',
    top: sup('top', [w('a'), w('b', { goodbye: 'hang', shutdown: 0 })]),
    steps: [['all', [['stop'], ['wait', 30]]]],
  },
  {
    name: 'brutal_kill does not ask',
    top: sup('top', [w('a'), w('b', { shutdown: 'brutal_kill' }), w('c')]),
    steps: [['stop']],
  },
  {
    name: 'infinity waits',
    top: sup('top', [w('a'), w('b', { shutdown: 'infinity', goodbye: 'gate' }), w('c')]),
    steps: [['stop'], ['wait', 60], ['release', 'b']],
  },
  {
    name: 'a goodbye that fails does not hold up the others',
    top: sup('top', [w('a'), w('b', { goodbye: 'fail' }), w('c')]),
    steps: [['stop']],
  },
  {
    name: 'terminate_child keeps to the shutdown time, and others wait',
    top: sup('top', [w('a', { goodbye: 'gate', shutdown: 'infinity' }), w('b')]),
    steps: [['terminate', 'top', 'a'], ['terminate', 'top', 'b'], ['release', 'a'], ['stop']],
  },
  {
    name: 'a temporary child is stopped in its turn',
    top: sup('top', [
      w('a'),
      w('b', { restart: 'temporary', goodbye: 'gate', shutdown: 'infinity' }),
      w('c', { restart: 'temporary', goodbye: 'gate', shutdown: 'infinity' }),
    ]),
    steps: [['stop'], ['release', 'c'], ['release', 'b']],
  },
  {
    name: 'children that are killed while their supervisor stops',
    top: sup('top', [w('a'), w('b', { goodbye: 'gate', shutdown: 'infinity' })]),
    steps: [['stop'], ['kill', 'a'], ['kill', 'b']],
  },
  {
    name: 'nested supervisors stop depth first',
    top: sup('top', [w('a'), sup('one', [w('b'), sup('two', [w('c'), w('d')])]), w('e')]),
    steps: [['stop']],
  },
  {
    name: 'a nested supervisor is terminated and restarted as a whole',
    top: sup('top', [w('a'), sup('in', [w('b'), w('c')])]),
    steps: [['terminate', 'top', 'in'], ['start', 'top', sup('in', [])], ['restart', 'top', 'in'], ['stop']],
  },
  {
    name: 'a supervisor with a shutdown time is killed, and its children end with it',
    top: sup('top', [
      w('a'),
      sup('in', [w('b', { goodbye: 'hang', shutdown: 'infinity' })], { shutdown: 50 }),
    ]),
    steps: [['stop'], ['unordered', ['wait', 120]]],
  },
  {
    name: 'a killed supervisor takes its children along and comes back',
    top: sup('top', [w('a'), sup('in', [w('b')])]),
    steps: [['unordered', ['kill', 'in']], ['stop']],
  },
  {
    name: 'a killed supervisor, its children of all kinds',
    top: sup('top', [
      sup('in', [w('b'), w('c', { restart: 'temporary' }), w('d', { restart: 'transient' })]),
    ]),
    steps: [['unordered', ['kill', 'in']], ['stop']],
  },
  {
    name: 'supervisors below a killed one stop in order',
    top: sup('top', [
      sup('one', [sup('two', [w('b'), w('c')], { restart: 'transient' })], { restart: 'temporary' }),
    ]),
    steps: [['kill', 'one'], ['stop']],
  },
  {
    name: 'a supervisor whose parent is killed finishes its start first',
    top: sup(
      'top',
      [sup('one', [sup('two', [w('b', { life: ['gate'] }), w('c')])], { restart: 'temporary' })],
      { life: [] },
    ),
    steps: [
      ['kill', 'one'],
      ['release', 'b'],
    ],
  },
]

const requests: Scenario[] = [
  {
    name: 'an end is heard of after the requests that waited before it',
    top: sup('top', [w('a'), w('b', { life: ['ok', 'gate'] })]),
    steps: [['kill', 'b'], ['terminate', 'top', 'a'], ['kill', 'a'], ['release', 'b'], ['stop']],
  },
  {
    name: 'the life of a child by requests',
    top: sup('top', [w('a')]),
    steps: [
      ['start', 'top', w('a')],
      ['restart', 'top', 'a'],
      ['delete', 'top', 'a'],
      ['terminate', 'top', 'x'],
      ['restart', 'top', 'x'],
      ['delete', 'top', 'x'],
      ['terminate', 'top', 'a'],
      ['terminate', 'top', 'a'],
      ['start', 'top', w('a')],
      ['restart', 'top', 'a'],
      ['restart', 'top', 'a'],
      ['terminate', 'top', 'a'],
      ['delete', 'top', 'a'],
      ['restart', 'top', 'a'],
      ['start', 'top', w('a')],
      ['stop'],
    ],
  },
  ...restarts.map((restart) => ({
    name: `requests about a ${restart} child that ended`,
    top: sup('top', [w('a', { restart }), w('b')]),
    steps: [
      ['exit', 'a', 'normal'],
      ['restart', 'top', 'a'],
      ['terminate', 'top', 'a'],
      ['start', 'top', w('a', { restart })],
      ['delete', 'top', 'a'],
      ['stop'],
    ] as Step[],
  })),
  {
    name: 'a child that does not start is not kept',
    top: sup('top', []),
    steps: [
      ['start', 'top', w('a', { life: ['fail'] })],
      ['start', 'top', w('b', { life: ['fail_shutdown'] })],
      ['start', 'top', w('a')],
      ['stop'],
    ],
  },
  {
    name: 'a child that does not restart by request stays stopped',
    top: sup('top', [w('a', { life: ['ok', 'fail'] })]),
    steps: [['terminate', 'top', 'a'], ['restart', 'top', 'a'], ['restart', 'top', 'a'], ['stop']],
  },
  {
    name: 'children started by request stop in the order of their start, too',
    top: sup('top', [w('a')]),
    steps: [
      ['start', 'top', w('b')],
      ['start', 'top', w('c', { restart: 'temporary' })],
      ['start', 'top', w('d')],
      ['terminate', 'top', 'b'],
      ['restart', 'top', 'b'],
      ['stop'],
    ],
  },
  {
    name: 'children started by request restart with their siblings',
    top: sup('top', [w('a')], { strategy: 'rest_for_one' }),
    steps: [
      ['start', 'top', w('b')],
      ['start', 'top', w('c', { restart: 'temporary' })],
      ['start', 'top', w('d')],
      ['kill', 'b'],
      ['stop'],
    ],
  },
  {
    name: 'count_children tells supervisors from workers',
    top: sup('top', [w('a'), sup('in', [w('b')]), w('c', { restart: 'temporary' })]),
    steps: [['terminate', 'top', 'in'], ['kill', 'c'], ['terminate', 'top', 'a'], ['stop']],
  },
  {
    name: 'a child that waits for its restart is restarting to requests',
    top: sup(
      'top',
      [w('a', { life: ['ok', 'fail', 'fail', 'fail', 'ok'] }), w('b', { life: ['ok', 'gate'] })],
      { intensity: 50 },
    ),
    steps: [
      // b waits at its gate, so that all of these wait in the supervisor's queue, in this order.
      ['kill', 'b'],
      ['kill', 'a'],
      ['restart', 'top', 'a'],
      ['delete', 'top', 'a'],
      ['start', 'top', w('a')],
      ['release', 'b'],
      ['stop'],
    ],
  },
  {
    name: 'a restarting child can be terminated, deleted and started',
    top: sup('top', [w('a', { life: ['ok', 'fail', 'fail', 'ok'] }), w('b', { life: ['ok', 'gate'] })], {
      intensity: 50,
    }),
    steps: [
      ['kill', 'b'],
      ['kill', 'a'],
      ['terminate', 'top', 'a'],
      ['delete', 'top', 'a'],
      ['start', 'top', w('a')],
      ['release', 'b'],
      ['stop'],
    ],
  },
  {
    name: 'wrong child specs',
    top: sup('top', []),
    steps: [
      ['start', 'top', w('a', { restart: 'always' as 'permanent' })],
      ['start', 'top', w('a', { shutdown: 'never' as 'infinity' })],
      ['start', 'top', w('a', { significant: true })],
      ['start', 'top', w('a', { significant: true, restart: 'transient' })],
      ['stop'],
    ],
  },
]

const significant: Scenario[] = [
  ...(['any_significant', 'all_significant'] as const).flatMap((auto_shutdown) =>
    (['transient', 'temporary'] as const).flatMap((restart) =>
      reasons.map((reason) => ({
        name: `${auto_shutdown}: a significant ${restart} child ends, reason ${reason}`,
        top: sup(
          'top',
          [
            w('a', { restart, significant: true }),
            w('b', { restart, significant: true }),
            w('c'),
            w('d', { restart }),
          ],
          { auto_shutdown },
        ),
        steps: (['d', 'a', 'b'] as const).map((id): Step => ['exit', id, reason]),
      })),
    ),
  ),
  {
    name: 'all_significant: the last one ends the supervisor',
    top: sup(
      'top',
      [
        w('a', { restart: 'temporary', significant: true }),
        w('b', { restart: 'transient', significant: true }),
        w('c'),
      ],
      { auto_shutdown: 'all_significant' },
    ),
    steps: [
      ['kill', 'a'],
      ['kill', 'b'],
      ['exit', 'b', 'normal'],
    ],
  },
  {
    name: 'all_significant: a child that restarts counts as living',
    top: sup(
      'top',
      [
        w('a', { restart: 'transient', significant: true, life: ['ok', 'fail', 'gate'] }),
        w('b', { restart: 'transient', significant: true }),
      ],
      { auto_shutdown: 'all_significant' },
    ),
    steps: [
      [
        'all',
        [
          ['kill', 'a'],
          ['exit', 'b', 'normal'],
        ],
      ],
      ['release', 'a'],
      ['exit', 'a', 'normal'],
    ],
  },
  ...(['any_significant', 'all_significant'] as const).map((auto_shutdown) => ({
    name: `${auto_shutdown}: what is terminated by request ends nobody`,
    top: sup('top', [w('a', { restart: 'transient', significant: true }), w('b')], { auto_shutdown }),
    steps: [
      ['terminate', 'top', 'a'],
      ['restart', 'top', 'a'],
      ['exit', 'a', 'normal'],
    ] as Step[],
  })),
  ...(['one_for_all', 'rest_for_one'] as const).map((strategy) => ({
    name: `${strategy}: a significant bystander ends nobody`,
    top: sup('top', [w('a'), w('b', { restart: 'temporary', significant: true }), w('c')], {
      strategy,
      auto_shutdown: 'any_significant',
    }),
    steps: [['kill', 'a'], ['stop']] as Step[],
  })),
  {
    name: 'never: significance is refused, and an end is an end',
    top: sup('top', [w('a', { restart: 'transient', significant: true })]),
    steps: [],
  },
  {
    name: 'a permanent child cannot be significant',
    top: sup('top', [w('a', { significant: true })], { auto_shutdown: 'any_significant' }),
    steps: [],
  },
  {
    name: 'an automatic shutdown goes up by significant supervisors',
    top: sup(
      'top',
      [
        w('a'),
        sup('in', [w('b', { restart: 'transient', significant: true })], {
          auto_shutdown: 'any_significant',
          restart: 'transient',
          significant: true,
        }),
      ],
      { auto_shutdown: 'any_significant' },
    ),
    steps: [['exit', 'b', 'normal']],
  },
  {
    name: 'a permanent supervisor comes back after its automatic shutdown',
    top: sup('top', [
      sup('in', [w('b', { restart: 'transient', significant: true })], { auto_shutdown: 'any_significant' }),
    ]),
    steps: [['exit', 'b', 'normal'], ['stop']],
  },
]

const simple: Scenario[] = [
  ...restarts.flatMap((restart) =>
    [...reasons, 'kill' as const].map((reason) => ({
      name: `simple_one_for_one: a ${restart} child ends, ${reason}`,
      top: pool({}, { restart }),
      steps: [
        ['start', 'top', instance('a')],
        ['start', 'top', instance('b')],
        reason === 'kill' ? ['kill', 'a'] : ['exit', 'a', reason],
        ['unordered', ['stop']],
      ] as Step[],
    })),
  ),
  {
    name: 'simple_one_for_one: what cannot start is not kept',
    top: pool(),
    steps: [
      ['start', 'top', instance('a', ['fail'])],
      ['start', 'top', instance('b', ['ignore'])],
      ['start', 'top', instance('c')],
      ['stop'],
    ],
  },
  {
    name: 'simple_one_for_one: a restart that fails is tried again',
    top: pool(),
    steps: [['start', 'top', instance('a', ['ok', 'fail', 'fail', 'ok'])], ['kill', 'a'], ['stop']],
  },
  {
    name: 'simple_one_for_one: a restart that ignores forgets the child',
    differs:
      'OTP 25 keeps a row without a process, and fails at its own stop; later releases forget the child',
    top: pool(),
    steps: [['start', 'top', instance('a', ['ok', 'ignore'])], ['kill', 'a'], ['stop']],
  },
  {
    name: 'simple_one_for_one: gives up',
    top: pool({ intensity: 1 }),
    steps: [
      ['start', 'top', instance('a')],
      ['start', 'top', instance('b')],
      ['kill', 'a'],
      ['unordered', ['kill', 'b']],
    ],
  },
  {
    name: 'simple_one_for_one: children are terminated by request',
    top: pool(),
    steps: [
      ['start', 'top', instance('a')],
      ['start', 'top', instance('b')],
      ['terminate_instance', 'top', 'a'],
      ['terminate_instance', 'top', 'a'],
      ['restart', 'top', 'a'],
      ['delete', 'top', 'a'],
      ['stop'],
    ],
  },
  {
    name: 'simple_one_for_one: all children stop at once',
    top: pool({}, { shutdown: 'infinity' }),
    steps: [
      ['start', 'top', instance('a', [], 'gate')],
      ['start', 'top', instance('b', [], 'gate')],
      ['start', 'top', instance('c', [], 'gate')],
      ['unordered', ['stop']],
      ['release', 'b'],
      ['release', 'a'],
      ['release', 'c'],
    ],
  },
  {
    name: 'simple_one_for_one: those that take too long are killed',
    top: pool({}, { shutdown: 50 }),
    steps: [
      ['start', 'top', instance('a', [], 'hang')],
      ['start', 'top', instance('b')],
      ['start', 'top', instance('c', [], 'hang')],
      ['unordered', ['stop']],
      ['wait', 120],
    ],
  },
  {
    name: 'simple_one_for_one: brutal_kill does not ask',
    top: pool({}, { shutdown: 'brutal_kill' }),
    steps: [['start', 'top', instance('a')], ['start', 'top', instance('b')], ['stop']],
  },
  {
    name: 'simple_one_for_one: a start that waits holds up the next one',
    top: pool({}, { restart: 'temporary' }),
    steps: [
      ['start', 'top', instance('a', ['gate'])],
      ['start', 'top', instance('b')],
      ['release', 'a'],
      ['unordered', ['stop']],
    ],
  },
  ...(['any_significant', 'all_significant'] as const).map((auto_shutdown) => ({
    name: `simple_one_for_one: ${auto_shutdown}`,
    top: pool({ auto_shutdown }, { restart: 'transient', significant: true }),
    steps: [
      ['start', 'top', instance('a')],
      ['start', 'top', instance('b')],
      ['terminate_instance', 'top', 'a'],
      ['exit', 'b', 'normal'],
    ] as Step[],
  })),
]

const otherwise: Scenario[] = [
  {
    name: 'a child of a simple_one_for_one has an id',
    differs: 'children of simple_one_for_one have ids; OTP takes a pid there and refuses an id',
    top: pool(),
    steps: [['start', 'top', instance('a')], ['terminate', 'top', '1'], ['stop']],
  },
]

export const scenarios: readonly Scenario[] = [
  ...otherwise,
  ...starting,
  ...restarting,
  ...intensity,
  ...stopping,
  ...requests,
  ...significant,
  ...simple,
]

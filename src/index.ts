/** mailactors: actors and supervision trees, on as many threads as you like. No mail in it. */

export type {
  ActorContext,
  ActorDefinition,
  ActorOptions,
  ActorRef,
  AnyActorDefinition,
  AnyContract,
  AnyRef,
  AskFailure,
  AskOptions,
  Backoff,
  Body,
  ChildCounts,
  ChildError,
  ChildInfo,
  ChildResult,
  ChildSpec,
  Clock,
  Contract,
  Crash,
  Down,
  EnterTransition,
  ErrorDetails,
  ExitReason,
  GroupsContract,
  HandlerResult,
  Handlers,
  Inserted,
  KeyOf,
  Logger,
  MessageType,
  PartitionsOptions,
  Placement,
  Reply,
  Restart,
  Routees,
  RouterOptions,
  RoutingStrategy,
  Shutdown,
  SpawnOptions,
  StartChildResult,
  StateHandlers,
  StateMachineOptions,
  Strategy,
  StreamClosed,
  StreamEnd,
  StreamItem,
  StreamOptions,
  StreamReader,
  StreamType,
  SupervisorContract,
  SupervisorOptions,
  SupervisorSpec,
  TellOptions,
  Transition,
  TypedChildSpec,
  Wire,
  WireValue,
} from './actors/index.ts'
export {
  ActorExit,
  AskError,
  actor,
  child,
  Deferred,
  errorReason,
  groups,
  HashRing,
  ignore,
  isExpected,
  killed,
  MailactorsError,
  noActor,
  normal,
  partitions,
  ReplyStream,
  router,
  shutdown,
  stateMachine,
  supervisor,
  UsageError,
} from './actors/index.ts'
export { runThread } from './runtime/bundle-entry.ts'
export { Credits } from './runtime/credits.ts'
export type { ActorInfo } from './runtime/inspect.ts'
export type { JobFailure, JobFunction, JobOptions, Jobs, JobsOptions } from './runtime/jobs.ts'
export { JobError, job } from './runtime/jobs.ts'
export { QuarantineError } from './runtime/kinds.ts'
export type { LogFormat, LogLevel, LogOptions } from './runtime/log.ts'
export type {
  DeadLetterEvent,
  DeadLetterReport,
  RestartedEvent,
  TerminatedEvent,
} from './runtime/observer.ts'
export type { OneShotOptions } from './runtime/one-shot.ts'
export { serveOnce } from './runtime/one-shot.ts'
export type {
  PoolQuarantinedEvent,
  PoolResizedEvent,
  PoolStatistics,
  ThreadEvent,
  ThreadExitEvent,
  ThreadRecycledEvent,
  ThreadStalledEvent,
  ThreadState,
  ThreadStatistics,
} from './runtime/pool-events.ts'
export type { HookPlace, PoolHooks } from './runtime/pool-hooks.ts'
export type { PoolChange, PoolLimits, PoolOptions, PoolSize } from './runtime/pool-options.ts'
export type { Pools, Recycling } from './runtime/pools.ts'
export type { SystemEvents, SystemOptions } from './runtime/system.ts'
export { ActorSystem, StartError } from './runtime/system.ts'

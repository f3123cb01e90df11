/** What an actor author sees. Imports nothing of ours. */

export type { Backoff } from './backoff.ts'
export type { ActorContext, Clock, Logger, Placement, SpawnOptions } from './context.ts'
export { silentLog } from './context.ts'
export type {
  AnyContract,
  Body,
  Contract,
  KeyOf,
  MessageType,
  Reply,
  StreamItem,
  StreamType,
} from './contract.ts'
export type {
  ActorDefinition,
  ActorOptions,
  AnyActorDefinition,
  Down,
  HandlerResult,
  Handlers,
} from './definition.ts'
export { actor, Deferred } from './definition.ts'
export type { AskFailure, ErrorDetails } from './errors.ts'
export { AskError, MailactorsError, UsageError } from './errors.ts'
export type { ExitReason } from './exit-reason.ts'
export {
  ActorExit,
  errorReason,
  ignore,
  ignored,
  isExpected,
  killed,
  noActor,
  normal,
  shutdown,
} from './exit-reason.ts'
export type { GroupsContract } from './groups.ts'
export { groups } from './groups.ts'
export { HashRing } from './hash-ring.ts'
export type { PartitionsOptions } from './partitions.ts'
export { partitions } from './partitions.ts'
export type { ActorRef, AnyRef, AskOptions, TellOptions } from './ref.ts'
export type { Routees, RouterOptions, RoutingStrategy } from './router.ts'
export { router } from './router.ts'
export type {
  EnterTransition,
  Inserted,
  StateHandlers,
  StateMachineOptions,
  Transition,
} from './state-machine.ts'
export { stateMachine } from './state-machine.ts'
export type { StreamClosed, StreamEnd, StreamOptions, StreamReader } from './stream.ts'
export { ReplyStream } from './stream.ts'
export type {
  ChildCounts,
  ChildError,
  ChildInfo,
  ChildResult,
  ChildSpec,
  Crash,
  Restart,
  Shutdown,
  StartChildResult,
  Strategy,
  SupervisorContract,
  SupervisorOptions,
  SupervisorSpec,
  TypedChildSpec,
} from './supervisor.ts'
export { child } from './supervisor.ts'
export { supervisor } from './supervisor-behaviour.ts'
export type { Wire, WireValue } from './wire.ts'

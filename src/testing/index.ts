/** For tests of actors: virtual time, orders of events drawn from seeds, simulated threads, faults. */
export { type Explored, ExploreError, type ExploreOptions, explore } from './explore.ts'
export { Random } from './random.ts'
export { ScriptError, ScriptedSocket } from './scripted-socket.ts'
export type { LostFrame } from './simulated-threads.ts'
export {
  type ChaosOptions,
  type DeadLetter,
  StuckError,
  TestSystem,
  type TestSystemOptions,
  type Way,
} from './test-system.ts'
export type { RecordedMessage } from './trace.ts'

/** For tests of actors: a system with virtual time. */
export { type DeadLetter, TestSystem, type TestSystemOptions } from './test-system.ts'

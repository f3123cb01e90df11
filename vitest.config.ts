import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Each test file is a process of its own: systems start threads, and one file's crash must not be another's.
    pool: 'forks',
    // Many tests wait for a peer or a disk more than they compute: on two cores, two files at a time.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    // For busy machines. It can hide a race: the report says what was run twice, and that is to be looked into.
    retry: process.env.CI === undefined ? 0 : 1,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})

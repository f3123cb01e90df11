import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Each test file is a process of its own: systems start threads, and one file's crash must not be another's.
    pool: 'forks',
    testTimeout: 20_000,
    hookTimeout: 20_000,
  },
})

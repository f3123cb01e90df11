import { defineConfig } from 'vitest/config'

// The root keeps vitest from configuration files further up. Real threads and sockets take their time on a busy machine.
export default defineConfig({ root: import.meta.dirname, test: { testTimeout: 30_000 } })

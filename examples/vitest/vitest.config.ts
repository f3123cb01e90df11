import { defineConfig } from 'vitest/config'

// Nothing is needed for actors. The root keeps vitest from configuration files further up.
export default defineConfig({ root: import.meta.dirname })

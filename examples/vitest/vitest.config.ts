import { defineConfig } from 'vitest/config'

// Actors need nothing here. The root keeps vitest from configuration files further up.
export default defineConfig({ root: import.meta.dirname })

import type { ActorDefinition } from '../../src/index.ts'

export const holder: ActorDefinition<{ hold(): number; ready(): number }>

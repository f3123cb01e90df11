import { getHeapStatistics } from 'node:v8'

/** Octets of JavaScript heap this thread uses. */
export function heapBytes(): number {
  return getHeapStatistics().used_heap_size
}

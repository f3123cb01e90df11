/** The promise to wait for, if `value` is one; one of another library counts, and may throw when it is looked at. */
export function asPromise(value: unknown): Promise<unknown> | undefined {
  if (value instanceof Promise) return value
  if (typeof value !== 'object' || value === null) return undefined
  const isThenable = typeof (value as { then?: unknown }).then === 'function'
  return isThenable ? Promise.resolve(value) : undefined
}

/** Handlers of an actor that takes every message of a contract it need not know: routers. */
export function anyMessage(
  handle: (type: string, body: readonly unknown[]) => unknown,
  own: { readonly [name: string]: unknown },
): object {
  const handlers = new Map<string, (...body: unknown[]) => unknown>()
  return new Proxy(own, {
    get(target, name) {
      // Whoever has `then` is taken for a promise.
      if (typeof name !== 'string' || name === 'then') return undefined
      if (Object.hasOwn(target, name)) return target[name]
      if (name === 'terminate' || name === 'handleDown' || name === 'handleExit') return undefined
      let handler = handlers.get(name)
      if (handler === undefined) {
        handler = (...body) => handle(name, body)
        handlers.set(name, handler)
      }
      return handler
    },
  })
}

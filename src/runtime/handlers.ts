/** What `init` returned: a handler for each type of message, and those for ends. */
export type AnyHandlers = { readonly [type: string]: ((...body: unknown[]) => unknown) | undefined }

// Handlers may be any object, and each has these; or they are not for messages.
const notMessages: ReadonlySet<string> = new Set([
  ...Object.getOwnPropertyNames(Object.prototype),
  'terminate',
  'handleDown',
  'handleExit',
])

/** `undefined`: it takes no such message. */
export function handlerOf(handlers: AnyHandlers | undefined, type: string): AnyHandlers[string] {
  const handler = handlers?.[type]
  return typeof handler !== 'function' || notMessages.has(type) ? undefined : handler
}

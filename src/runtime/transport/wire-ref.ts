/** Base of the class whose instances cross threads as actor refs: the codec knows them by it. */
export abstract class WireRef {
  abstract readonly thread: number
  abstract readonly id: number
}

/** Base of the class whose instances cross threads as actor refs: the codec knows them by it. */
export abstract class WireRef {
  abstract readonly thread: number
  abstract readonly id: number
  /** What knows the ref. It can be sent by nobody else: numbers mean another actor in another system. */
  get home(): object | undefined {
    return undefined
  }
}

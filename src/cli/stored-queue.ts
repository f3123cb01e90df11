import { join } from 'node:path'
import { databaseFailure } from './exit.ts'

/** Work on the queue of a service that does not run: what is wrong with its database is said with the path. */
export async function withStoredQueue<T>(dataDir: string, work: () => T): Promise<T> {
  try {
    return work()
  } catch (error) {
    throw databaseFailure(error, join(dataDir, 'queue', 'queue.db')) ?? error
  }
}

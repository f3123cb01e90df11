import { join } from 'node:path'
import { QueueVersionError } from '../queue/errors.ts'
import { databaseFailure } from './exit.ts'
import { startFailure } from './start-failure.ts'

/** Work on the queue of a service that does not run: what is wrong with its database is said with the path. */
export async function withStoredQueue<T>(dataDir: string, work: () => T): Promise<T> {
  try {
    return work()
  } catch (error) {
    if (error instanceof QueueVersionError) throw startFailure(error)
    throw databaseFailure(error, join(dataDir, 'queue', 'queue.db')) ?? error
  }
}

/**
 * Servers that ask for a login and go on in all sorts of ways, from a seed. Left out: a challenge after all was said, at
 * which Postfix leaves and we answer with nothing, to hear the reason (100 times at the most); and ANONYMOUS.
 */
import { Random } from '../../../src/testing/random.ts'
import type { Answer, Script } from '../../protocols/smtp/client/scripted-server.ts'
import type { ModelCase } from '../../support/postfix-model.ts'
import { close } from './listed.ts'
import { saslProfiles } from './sasl-and-sink.ts'

/** Beginnings of what a client sends for `u` with the password `p:w`. */
const [user, password] = ['dQ==', 'cDp3']
/** `u ` and a digest. */
const digest = 'dS'

const base64 = (text: string): string => Buffer.from(text).toString('base64')

export function randomSaslCases(seed: number, count: number): ModelCase[] {
  const random = new Random(seed)
  const pick = <T>(...choices: readonly T[]): T => random.pick(choices)
  /** What ends an exchange. */
  const final = (): string => {
    const code = pick(
      '235',
      '235',
      '235',
      '250',
      '220',
      '421',
      '432',
      '454',
      '500',
      '501',
      '504',
      '530',
      '534',
      '535',
      '538',
      '554',
    )
    return `${code}${pick('', ' no', ` ${code[0]}.7.0 words`, ` ${code[0]}.7.8 words`, ' 2.7.0 other class', ` ${code[0]}.7.8`)}`
  }
  const challenge = (): string =>
    `334${pick('', ' ', ` ${base64('Username:')}`, ` ${base64('Password:')}`, ` ${base64('<1@mx>')}`, ' not*base64', ' abc', ` ${base64('x'.repeat(200))}`)}`
  const answer = (usual: string, mayAsk = false): Answer => {
    if (random.chance(0.5)) return usual
    if (random.chance(0.1)) return close(random.chance(0.5) ? final() : '')
    return mayAsk && random.chance(0.5) ? challenge() : final()
  }
  const script = (): Script => {
    const offered = ['PLAIN', 'LOGIN', 'CRAM-MD5', 'GSSAPI', 'X-ODD'].filter(() => random.chance(0.45))
    const line = `${pick('AUTH ', 'AUTH ', 'AUTH=', 'auth ')}${offered.join(pick(' ', ' ', '  '))}`
    return {
      keywords: [
        ...(offered.length > 0 || random.chance(0.3) ? [line] : []),
        ...['PIPELINING', 'ENHANCEDSTATUSCODES'].filter(() => random.chance(0.5)),
      ],
      answers: {
        'AUTH PLAIN': answer('235 2.7.0 ok'),
        'AUTH LOGIN': answer(`334 ${base64('Username:')}`, true),
        'AUTH CRAM-MD5': answer(`334 ${base64('<1@mx>')}`, true),
        [user]: answer(`334 ${base64('Password:')}`, true),
        [password]: answer('235 2.7.0 ok'),
        [digest]: answer('235 2.7.0 ok'),
        ...(random.chance(0.15) ? { MAIL: pick('450 4.1.1 later', '550 5.1.1 no', '530 5.7.0 log in') } : {}),
      },
    }
  }
  return Array.from(
    { length: count },
    (_, index): ModelCase => ({
      name: `random login ${index} of seed ${seed}`,
      profile: random.pick(saslProfiles),
      servers: Array.from({ length: 1 + random.below(2) }, () => [script()]),
    }),
  )
}

/**
 * AUTH, RFC 4954: which mechanisms can be used when, and what is written around their messages. The `auth` actor carries
 * the exchanges out.
 *
 *     AUTH mechanism [initial-response]       ; base64, or "=" for an empty one
 */
import type { SaslReply } from '../../../auth/contract.ts'
import { isCleartext } from '../../../auth/sasl/offer.ts'
import { decodeSasl, encodeSasl } from '../../server-sasl.ts'
import { allowsCleartext, authMechanisms, hasAuth } from './greeting.ts'
import * as replies from './replies.ts'
import { answer, type Environment, limited, type SessionState, type Transition } from './state.ts'

export function auth(state: SessionState, argument: string, environment: Environment): Transition {
  if (!hasAuth(environment)) return answer(state, replies.outOfOrder('There is no login here'))
  if (state.greeting !== 'EHLO') return answer(state, replies.outOfOrder('EHLO comes before AUTH'))
  if (state.user !== undefined) return answer(state, replies.outOfOrder('You are logged in already'))
  if (state.mail !== undefined) return answer(state, replies.outOfOrder('No AUTH within a mail'))
  const [name = '', initial, ...more] = argument.split(/ +/)
  if (name === '' || more.length > 0) return answer(state, replies.syntax('AUTH mechanism [response]'))
  const mechanism = name.toUpperCase()
  if (!authMechanisms(state, environment).includes(mechanism)) {
    const isHidden = isCleartext(mechanism) && !allowsCleartext(state, environment)
    return answer(state, isHidden ? replies.encryptionRequired : replies.unknownMechanism)
  }
  if (environment.policy.config.tls.client_cert.require && environment.certificateName() === undefined)
    return answer(state, replies.certificateRequired)
  const data = initial === undefined || initial === '=' ? Buffer.alloc(0) : decodeSasl(initial)
  if (data === undefined) return answer(state, replies.badBase64)
  const effect = { kind: 'sasl', mechanism, initial: initial === undefined ? undefined : data } as const
  return limited(state, environment, 'auth', () => ({ state, reply: '', effect }))
}

/** A line of the client within an AUTH exchange; `*` gives it up (RFC 4954 section 4). */
export function authResponse(state: SessionState, line: string): Transition {
  const ended = { ...state, inExchange: false }
  if (line === '*') return answer(ended, replies.authCancelled)
  const data = decodeSasl(line)
  if (data === undefined) return answer(ended, replies.badBase64)
  return { state: ended, reply: '', effect: { kind: 'sasl-response', data } }
}

/** The answer of the auth actor to a message of the client. */
export function saslAnswered(state: SessionState, reply: SaslReply): Transition {
  switch (reply.kind) {
    case 'challenge':
      return { state: { ...state, inExchange: true }, reply: `334 ${encodeSasl(reply.data)}\r\n` }
    case 'success':
      return { state: { ...state, user: reply.account.user }, reply: replies.authOk }
    case 'failure':
      switch (reply.reason) {
        case 'internal':
          return { state, reply: replies.authUnavailable, isForgiven: true }
        case 'malformed':
          return answer(state, replies.badCredentials)
        case 'credentials':
          return answer(state, replies.authFailed)
      }
  }
}

/**
 * AUTH with PLAIN (RFC 4616) and LOGIN: RFC 4954. Passwords are checked by the `auth` actor.
 *
 *     message = [authzid] UTF8NUL authcid UTF8NUL passwd
 */
import { isUtf8 } from 'node:buffer'
import type { VerifyResult } from '../../../auth/contract.ts'
import { allowsAuth, hasAuth } from './greeting.ts'
import * as replies from './replies.ts'
import { answer, type Environment, type SessionState, type Transition } from './state.ts'

const askUser = '334 VXNlcm5hbWU6\r\n' // "Username:", what clients of LOGIN look for.
const askPassword = '334 UGFzc3dvcmQ6\r\n' // "Password:"

export function auth(state: SessionState, argument: string, environment: Environment): Transition {
  if (!hasAuth(environment)) return answer(state, replies.notOffered)
  if (state.greeting !== 'EHLO') return answer(state, replies.outOfOrder('EHLO comes before AUTH'))
  if (state.user !== undefined) return answer(state, replies.outOfOrder('You are logged in already'))
  if (state.mail !== undefined) return answer(state, replies.outOfOrder('No AUTH within a mail'))
  if (!allowsAuth(state, environment)) return answer(state, replies.encryptionRequired)
  const [mechanism, initial, ...more] = argument.split(/ +/)
  if (mechanism === '' || more.length > 0) return answer(state, replies.syntax('AUTH mechanism [response]'))
  switch (mechanism!.toUpperCase()) {
    case 'PLAIN':
      if (initial === undefined) return { state: { ...state, auth: { step: 'plain' } }, reply: '334 \r\n' }
      return plain(state, initial)
    case 'LOGIN':
      if (initial === undefined) return { state: { ...state, auth: { step: 'login-user' } }, reply: askUser }
      return loginUser(state, initial)
    default:
      return answer(state, replies.unknownMechanism)
  }
}

/** A line of the client within an AUTH exchange; `*` gives it up (RFC 4954 section 4). */
export function authResponse(state: SessionState, line: string): Transition {
  const dialogue = state.auth!
  const ended = { ...state, auth: undefined }
  if (line === '*') return answer(ended, replies.authCancelled)
  switch (dialogue.step) {
    case 'plain':
      return plain(ended, line)
    case 'login-user':
      return loginUser(ended, line)
    case 'login-password': {
      const password = decode(line)
      if (password === undefined) return answer(ended, replies.badBase64)
      return verify(ended, dialogue.user, password)
    }
  }
}

/** The answer to a `verify` effect. `unavailable`: the check itself failed. */
export function passwordVerified(
  state: SessionState,
  user: string,
  result: VerifyResult | 'unavailable',
): Transition {
  if (result === 'unavailable' || (!result.ok && result.reason === 'internal')) {
    return { state, reply: replies.authUnavailable, isForgiven: true }
  }
  if (!result.ok) return answer(state, replies.authFailed)
  return { state: { ...state, user: result.account.user || user }, reply: replies.authOk }
}

function plain(state: SessionState, response: string): Transition {
  const message = decode(response)
  if (message === undefined) return answer(state, replies.badBase64)
  const parts = message.split('\0')
  if (parts.length !== 3) return answer(state, replies.badCredentials)
  const [authorizationId, user, password] = parts as [string, string, string]
  // Nobody acts for somebody else here.
  if (authorizationId !== '' && authorizationId !== user) return answer(state, replies.authFailed)
  return verify(state, user, password)
}

function loginUser(state: SessionState, response: string): Transition {
  const user = decode(response)
  if (user === undefined) return answer(state, replies.badBase64)
  return { state: { ...state, auth: { step: 'login-password', user } }, reply: askPassword }
}

function verify(state: SessionState, user: string, password: string): Transition {
  if (user === '' || user.includes('\0') || password.includes('\0')) {
    return answer(state, replies.badCredentials)
  }
  return { state, reply: '', effect: { kind: 'verify', user, password } }
}

/** Base64 in UTF-8; `=` stands for an empty response. Undefined: it is neither. */
function decode(text: string): string | undefined {
  if (text === '' || text === '=') return ''
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return undefined
  const octets = Buffer.from(text, 'base64')
  return isUtf8(octets) ? octets.toString('utf8') : undefined
}

/**
 * The sentences of the server, RFC 5321 section 4.2 with the codes of RFC 3463. Each is a whole reply with its
 * CRLF. What a client sent is repeated only where a person needs it, shortened and without control characters.
 */
export const ok = '250 2.0.0 Ok\r\n'
export const senderOk = '250 2.1.0 Sender ok\r\n'
export const recipientOk = '250 2.1.5 Recipient ok\r\n'
export const startContent = '354 Send the mail, then a line with a single dot\r\n'
export const goodbye = '221 2.0.0 Goodbye\r\n'
export const readyForTls = '220 2.0.0 Begin TLS\r\n'
export const notVerified = (address: string) => `252 2.0.0 <${echo(address)}> may get mail\r\n`
export const etrnStarted = '250 Delivery begins\r\n'
export const authOk = '235 2.7.0 Logged in\r\n'

export const stopping = (hostname: string) => `421 4.3.2 ${hostname} is shutting down, try again later\r\n`
export const idleTooLong = (hostname: string) => `421 4.4.2 ${hostname} waited too long for you\r\n`
export const tooManyErrors = (hostname: string) => `421 4.7.0 ${hostname} saw too many errors\r\n`
export const tooManyConnections = (hostname: string) =>
  `421 4.7.0 ${hostname} has too many connections from you\r\n`
export const notSmtp = '221 2.7.0 This is not the protocol spoken here\r\n'
export const lineFlood = '421 4.7.0 Line without end\r\n'
export const internal = (hostname: string) =>
  `421 4.3.0 ${hostname} had an internal failure, try again later\r\n`

export const overLimit = '450 4.7.1 Too much from you, try again later\r\n'
export const lookupFailed = '451 4.3.0 The recipient cannot be looked up now\r\n'
export const userBusy = '451 4.3.0 Too many deliveries for this user at the same time\r\n'
export const notStored = '451 4.3.0 The mail could not be stored now\r\n'
export const overQuota = (quota: { readonly message: string; readonly full_tempfail: boolean }): string =>
  `${quota.full_tempfail ? '452 4.2.2' : '552 5.2.2'} ${quota.message}\r\n`
export const noRoom = '452 4.3.1 No room for the mail now\r\n'
export const tooManyRecipients = '452 4.5.3 Too many recipients for one mail\r\n'
export const tlsUnavailable = '454 4.7.0 TLS is not available now\r\n'
export const tlsOverLimit = '454 4.7.0 Too many TLS sessions from you\r\n'
export const etrnFailed = '458 Delivery cannot begin now\r\n'
export const etrnUnserved = (domain: string) => `459 <${echo(domain)}> is not served here\r\n`
export const authUnavailable = '454 4.7.0 Passwords cannot be checked now\r\n'

export const malformed = '500 5.5.2 That is not a command\r\n'
export const unknownCommand = '500 5.5.2 Command unknown\r\n'
export const lmtpGreeting = '500 5.5.1 This is LMTP: begin with LHLO\r\n'
export const lineTooLong = '500 5.5.2 Line too long\r\n'
export const strayLineEnd = '500 5.5.2 A line ends in CR LF; neither alone, nor NUL, may stand in it\r\n'
export const notUtf8 = '500 5.5.2 Neither ASCII nor UTF-8\r\n'
export const etrnSyntax = '500 Expected: ETRN domain\r\n'
export const etrnDomain = '501 That is no domain\r\n'
export const greetingSyntax = (verb: string) => `501 Expected: ${verb} hostname\r\n`
export const noDsn = '501 5.7.1 Delivery notifications are not offered\r\n'
export const badAttribute = (name: string) => `501 5.5.4 Malformed value of ${echo(name)}\r\n`
export const unknownAttribute = (command: string) => `501 5.5.4 Attribute unknown to ${command}\r\n`
export const syntax = (form: string) => `501 5.5.4 Expected: ${form}\r\n`
export const badParameter = (name: string) => `501 5.5.4 Malformed parameter ${name}\r\n`
export const badSender = (reason: string) => `501 5.1.7 Sender: ${reason}\r\n`
export const badRecipient = (reason: string) => `501 5.1.3 Recipient: ${reason}\r\n`
export const badBase64 = '501 5.5.2 That is not base64\r\n'
export const badCredentials = '501 5.5.2 Malformed credentials\r\n'
export const authCancelled = '501 5.7.0 Login given up\r\n'
export const notOffered = '502 5.5.1 Command not offered here\r\n'
export const etrnEarly = '503 Begin with EHLO or HELO\r\n'
export const etrnWithinMail = '503 No ETRN within a mail\r\n'
export const outOfOrder = (what: string) => `503 5.5.1 ${what}\r\n`
export const unknownMechanism = '504 5.5.4 Login mechanism unknown\r\n'
export const chunksNotOffered = '521 5.5.1 BDAT is not offered here\r\n'
export const badChunk = '521 5.5.4 Expected: BDAT size [LAST]\r\n'
export const tlsRequired = '530 5.7.0 Begin with STARTTLS\r\n'
export const authRequired = '530 5.7.0 Log in first\r\n'
export const authFailed = '535 5.7.8 User name or password wrong\r\n'
export const certificateRequired = '535 5.7.8 Logging in needs a client certificate\r\n'
export const encryptionRequired = '538 5.7.11 Logging in needs an encrypted connection\r\n'
export const notAuthorized = '550 5.7.0 Not for you\r\n'
export const unknownUser = (address: string) => `550 5.1.1 <${echo(address)}>: no such user here\r\n`
export const bareNewline = '550 5.5.2 An LF stood alone; lines end in CR LF\r\n'
export const emptyChunk = '551 5.7.1 An empty chunk that is not the last\r\n'
export const chunkSkipped = '551 5.0.0 Skipped, after an error in an earlier chunk\r\n'
export const chunkTooLarge = '552 5.3.4 With this chunk the mail is too large\r\n'
export const tooLarge = '552 5.3.4 Mail too large\r\n'
export const needsUtf8 = '553 5.6.7 Address needs SMTPUTF8\r\n'
export const relayDenied = (address: string) => `554 5.7.1 <${echo(address)}>: no relaying for you\r\n`
export const tlsActive = '554 5.5.1 TLS is active already\r\n'
export const outOfStep = '554 5.5.0 Wait for the reply before you go on\r\n'
export const noRecipients = '554 5.5.1 No recipient was accepted\r\n'
export const tooManyHops = '554 5.4.0 Too many hops: the mail goes in circles\r\n'
export const unknownParameter = '555 5.5.4 Parameter unknown\r\n'

/** What a client sent, fit to be repeated in one reply line. */
function echo(text: string): string {
  const clean = text.replace(/[^ -~\u00a0-\u{10ffff}]/gu, '?')
  return clean.length > 256 ? `${clean.slice(0, 253)}...` : clean
}

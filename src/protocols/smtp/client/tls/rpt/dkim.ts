/** DKIM signatures of reports that go by mail: RFC 8460 section 3 asks for them. */
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { buffer } from 'node:stream/consumers'

/** Receivers need not look at shorter keys, RFC 8301 section 3.2. */
const minBits = 1_024

/** What a signature says of a report, and no relay changes. */
const signedFields =
  'From:To:Subject:Date:Message-ID:MIME-Version:Content-Type:Auto-Submitted:TLS-Required:TLS-Report-Domain:TLS-Report-Submitter'

export interface DkimKey {
  readonly domain: string
  readonly selector: string
  readonly key: KeyObject
}

/** Throws with the file and what is wrong with it. */
export function readDkimKey(file: string): KeyObject {
  let key: KeyObject
  try {
    key = createPrivateKey(readFileSync(file))
  } catch (error) {
    throw new Error(`${file}: no private key can be read from it (${(error as Error).message})`)
  }
  if (key.asymmetricKeyType !== 'rsa') {
    throw new Error(
      `${file}: the key is ${key.asymmetricKeyType}; DKIM needs one of RSA (openssl genrsa 2048)`,
    )
  }
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0
  if (bits < minBits) throw new Error(`${file}: the key has ${bits} bits; it needs ${minBits}, better 2048`)
  return key
}

/** The mail with a `DKIM-Signature` field in front. */
export async function signMail(mail: Buffer, { domain, selector, key }: DkimKey): Promise<Buffer> {
  // Once a day, on one thread: the others need not load it.
  const { default: DKIM } = await import('nodemailer/lib/dkim')
  const signer = new DKIM({
    domainName: domain,
    keySelector: selector,
    privateKey: key,
    headerFieldNames: signedFields,
  })
  return buffer(signer.sign(mail))
}

/** What has to stand in the DNS: RFC 6376 section 3.6.1, with the service type of RFC 8460 section 3. */
export function dkimRecord({ domain, selector, key }: DkimKey): {
  readonly name: string
  readonly text: string
} {
  const publicKey = createPublicKey(key).export({ format: 'der', type: 'spki' }).toString('base64')
  return { name: `${selector}._domainkey.${domain}`, text: `v=DKIM1; k=rsa; s=tlsrpt; p=${publicKey}` }
}

/**
 * Limits of a user in the extra fields of the passwd-file, as Dovecot has them: `userdb_quota_storage_size=1G` and
 * `userdb_quota_message_count=1000` (2.4), or `userdb_quota_rule=*:storage=1G:messages=1000` (2.3; a number without
 * a unit is KiB there). Rules for single folders, and percentages, are passed over.
 */
export function quotaFields(
  extra: ReadonlyMap<string, string>,
): { readonly octets?: number; readonly mails?: number } | undefined {
  const octets = size(extra.get('userdb_quota_storage_size'), 1)
  const mails = count(extra.get('userdb_quota_message_count'))
  const rule = ruleFields(extra.get('userdb_quota_rule') ?? '')
  const quota = { octets: octets ?? rule.octets, mails: mails ?? rule.mails }
  if (quota.octets === undefined && quota.mails === undefined) return undefined
  return {
    ...(quota.octets !== undefined && { octets: quota.octets }),
    ...(quota.mails !== undefined && { mails: quota.mails }),
  }
}

function ruleFields(rule: string): {
  readonly octets: number | undefined
  readonly mails: number | undefined
} {
  const [folder, ...limits] = rule.split(':')
  let octets: number | undefined
  let mails: number | undefined
  for (const limit of folder === '*' ? limits : []) {
    const [kind, value] = limit.split('=')
    if (kind === 'storage') octets = size(value, 1024)
    if (kind === 'bytes') octets = size(value, 1)
    if (kind === 'messages') mails = count(value)
  }
  return { octets, mails }
}

const units: Readonly<Record<string, number>> = { B: 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 }

function size(text: string | undefined, unit: number): number | undefined {
  const match = /^([0-9]{1,12})([BKMGT]?)$/i.exec(text ?? '')
  if (match === null) return undefined
  return Number(match[1]) * (units[match[2]!.toUpperCase()] ?? unit)
}

const count = (text: string | undefined): number | undefined =>
  /^[0-9]{1,12}$/.test(text ?? '') ? Number(text) : undefined

/** Settings that Postfix's client and ours have alike. */
import type { Profile } from '../../support/postfix-model.ts'

export const plain: Profile = { name: 'plain' }
export const lmtp: Profile = { name: 'plainlmtp', lmtp: true }
const waits = ['helo', 'mail', 'rcpt', 'data_init', 'data_xfer', 'data_done', 'rset', 'quit'] as const
/** Three seconds for everything: for servers that fall silent. */
export const hasty: Profile = {
  name: 'hasty',
  postfix: Object.fromEntries(waits.map((wait) => [`${wait}_timeout`, '3s'])),
  ours: Object.fromEntries(waits.map((wait) => [`${wait}_timeout`, 3_000])),
}
export const hastyLmtp: Profile = {
  name: 'hastylmtp',
  lmtp: true,
  postfix: Object.fromEntries(
    waits.map((wait) => [wait === 'helo' ? 'lhlo_timeout' : `${wait}_timeout`, '3s']),
  ),
  ours: hasty.ours!,
}

export const generic: Profile = {
  name: 'generic',
  postfix: {
    generic_maps:
      'inline:{ {s@sender.test = pub@out.test}, {x@in.test = x@out.test}, {@whole.test = @all.test}, {y@in.test = "q y"@out.test}, {user@in.test = u@out.test} }',
  },
  ours: {
    generic_maps: [
      {
        's@sender.test': 'pub@out.test',
        'x@in.test': 'x@out.test',
        '@whole.test': '@all.test',
        'y@in.test': '"q y"@out.test',
        'user@in.test': 'u@out.test',
      },
    ],
  },
}

/** Tables `[content]` and `[rewrite]`: how mail is read and changed on its way out. */
import { boolean, integer, list } from '../../../../config/schema.ts'

export const contentSettings = {
  disable_mime_output_conversion: boolean({
    default: false,
    doc: 'Send 8-bit mail as it is to servers that do not offer 8BITMIME. Otherwise its parts are converted to quoted-printable.',
  }),
  mime_boundary_length_limit: integer({
    default: 2_048,
    min: 1,
    max: 100_000,
    doc: 'Octets of a MIME boundary that are compared.',
  }),
  mime_nesting_limit: integer({
    default: 100,
    min: 1,
    max: 1_000,
    doc: 'Multiparts within multiparts; mail with more that has to be converted is returned.',
  }),
  header_size_limit: integer({
    default: 102_400,
    min: 1_000,
    max: 10_000_000,
    doc: 'Octets of a header field that are kept when mail comes in, and of fields in its parts where content is converted, checked or mapped.',
  }),
}

export const rewriteSettings = {
  propagate_unmatched_extensions: list({
    default: ['canonical', 'virtual'],
    doc: 'Maps whose result gets the extension of an address (`user+extension`) that was found without it. Delivery looks for `generic`.',
  }),
}

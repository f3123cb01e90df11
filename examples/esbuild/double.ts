import { job } from 'mailactors'

export const double = job({ module: import.meta.url, name: 'double' }, (value: number) => 2 * value)

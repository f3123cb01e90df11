/** POP3 clients that others wrote, through STLS and through TLS from the start. */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { Authority } from '../support/certificates.ts'
import { tempDir } from '../support/fixtures.ts'
import { freePorts } from '../support/ports.ts'
import { because } from '../support/privileges.ts'
import { runProgram, Service } from '../support/service.ts'

interface Secured {
  readonly service: Service
  /** Port of each way. */
  readonly stls: number
  readonly implicit: number
  /** PEM of who signed the certificate of `localhost`. */
  readonly ca: string
}

const mail = 'Subject: secured\n\n.dot\nthe end\n'

let dir: string
let secured: Secured

/** One service for all: two mails for ann, none of which may be fetched in clear, and none of which is removed. */
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'ma-'))
  chmodSync(dir, 0o755)
  const authority = await Authority.make()
  const { cert, key } = await authority.issue({ names: ['localhost'] })
  const [ca, pem] = [join(dir, 'ca.pem'), join(dir, 'localhost.pem')]
  writeFileSync(ca, authority.cert)
  writeFileSync(pem, cert + key)
  const [stls = 0, implicit = 0] = await freePorts(2)
  const listeners = [
    `{service="pop3",address="127.0.0.1:${stls}",tls="starttls"}`,
    `{service="pop3",address="127.0.0.1:${implicit}",tls="implicit"}`,
  ]
  const service = await Service.prepare({
    args: [
      '--set',
      `listener=[${listeners.join()}]`,
      '--set',
      `tls.cert=${pem}`,
      '--set',
      'tls.mode=required',
    ],
  })
  const maildir = join(service.dataDir, 'mail', 'ann', 'Maildir')
  for (const folder of ['tmp', 'new', 'cur']) mkdirSync(join(maildir, folder), { recursive: true })
  for (const second of [1, 2]) writeFileSync(join(maildir, 'new', `170000000${second}.M1P1.h`), mail)
  await service.run()
  secured = { service, stls, implicit, ca }
})
afterAll(async () => {
  await secured.service.dispose()
  rmSync(dir, { recursive: true, force: true })
})

const bodies = (texts: readonly string[]) =>
  texts.filter((text) => /Subject: secured\r?\n\r?\n\.dot\r?\nthe end/.test(text)).length

const mailsIn = (maildir: string): string[] =>
  ['new', 'cur'].flatMap((folder) =>
    readdirSync(join(maildir, folder)).map((file) => readFileSync(join(maildir, folder, file), 'latin1')),
  )

function emptyMaildir(): string {
  const dir = tempDir()
  for (const path of [dir, ...['tmp', 'new', 'cur'].map((folder) => join(dir, folder))]) {
    mkdirSync(path, { recursive: true })
    chmodSync(path, 0o777)
  }
  return dir
}

const ways = ['stls', 'implicit'] as const

const noCurl = whyMissing(['curl'])
describe.skipIf(noCurl !== undefined)(`curl${because(noCurl)}`, () => {
  test.each(ways)('fetches through %s', async (way) => {
    const { ca, ...ports } = secured
    const url = `${way === 'stls' ? 'pop3' : 'pop3s'}://localhost:${ports[way]}/1`
    const args = ['-sS', '-m', '20', '--ssl-reqd', '--cacert', ca, '-u', 'ann:secret', url]
    const result = await runProgram('curl', args)
    expect(result).toMatchObject({ code: 0 })
    expect(bodies([result.stdout])).toBe(1)
  })
})

const noMpop = whyMissing(['mpop'])
describe.skipIf(noMpop !== undefined)(`mpop${because(noMpop)}`, () => {
  test.each(ways)('fetches through %s', async (way) => {
    const { ca, ...ports } = secured
    const maildir = emptyMaildir()
    const args = [
      ...['--quiet', '--host=localhost', `--port=${ports[way]}`, '--user=ann', '--auth=plain', '--tls=on'],
      ...[`--tls-starttls=${way === 'stls' ? 'on' : 'off'}`, `--tls-trust-file=${ca}`, '--keep=on'],
      ...[
        '--passwordeval=echo secret',
        `--uidls-file=${join(maildir, 'uidls')}`,
        `--deliver=maildir,${maildir}`,
      ],
    ]
    expect(await runProgram('mpop', args)).toMatchObject({ code: 0 })
    expect(bodies(mailsIn(maildir))).toBe(2)
  })
})

const noFetchmail = whyMissing(['fetchmail'])
describe.skipIf(noFetchmail !== undefined)(`fetchmail${because(noFetchmail)}`, () => {
  test.each(ways)('fetches through %s', async (way) => {
    const { ca, ...ports } = secured
    const dir = tempDir()
    const file = join(dir, 'fetchmailrc')
    const lines = [
      `poll localhost service ${ports[way]} protocol pop3`,
      '  username "ann" password "secret"',
      `  ${way === 'stls' ? "sslproto 'TLS1.2+'" : 'ssl'} sslcertck sslcertfile "${ca}" keep fetchall no rewrite`,
      `  mda "cat >> ${join(dir, 'mbox')}"`,
      '',
    ]
    writeFileSync(file, lines.join('\n'), { mode: 0o600 })
    const result = await runProgram('fetchmail', ['-f', file, '--nodetach'], { env: { FETCHMAILHOME: dir } })
    expect(result, result.stdout).toMatchObject({ code: 0 })
    expect(readFileSync(join(dir, 'mbox'), 'latin1').match(/the end/g)).toHaveLength(2)
  })
})

const noGetmail = whyMissing(['getmail', 'setpriv'], { root: true })
test.skipIf(noGetmail !== undefined)(
  `getmail fetches through implicit TLS${because(noGetmail)}`,
  async () => {
    const { ca, implicit } = secured
    const dir = emptyMaildir()
    const lines = [
      ...['[retriever]', 'type = SimplePOP3SSLRetriever', 'server = localhost', `port = ${implicit}`],
      ...[`ca_certs = ${ca}`, 'username = ann', 'password = secret'],
      ...['[destination]', 'type = Maildir', `path = ${dir}/`, '[options]', 'delete = false', ''],
    ]
    writeFileSync(join(dir, 'getmailrc'), lines.join('\n'))
    chmodSync(join(dir, 'getmailrc'), 0o644)
    const result = await runProgram('setpriv', [
      ...['--reuid=nobody', '--regid=nogroup', '--clear-groups'],
      ...['getmail', `--getmaildir=${dir}`, '--rcfile=getmailrc'],
    ])
    expect(result, result.stdout).toMatchObject({ code: 0 })
    expect(bodies(mailsIn(dir))).toBe(2)
  },
)

const noPython = whyMissing(['python3'])
describe.skipIf(noPython !== undefined)(`Python's poplib${because(noPython)}`, () => {
  test.each(ways)('fetches through %s', async (way) => {
    const { ca, ...ports } = secured
    const script = [
      'import poplib, ssl, sys',
      'context = ssl.create_default_context(cafile=sys.argv[3])',
      'if sys.argv[1] == "stls":',
      '    p = poplib.POP3("localhost", int(sys.argv[2]), timeout=20)',
      '    assert "SASL" not in p.capa() and "STLS" in p.capa(), p.capa()',
      '    p.stls(context)',
      'else: p = poplib.POP3_SSL("localhost", int(sys.argv[2]), context=context, timeout=20)',
      'assert "STLS" not in p.capa(), p.capa()',
      'p.user("ann"); p.pass_("secret")',
      'assert p.retr(1)[1][-2:] == [b".dot", b"the end"], p.retr(1)',
      'p.dele(1); p.rset(); p.quit()',
    ]
    const result = await runProgram('python3', ['-c', script.join('\n'), way, `${ports[way]}`, ca])
    expect(result).toMatchObject({ code: 0, stderr: '' })
  })
})

const noNeomutt = whyMissing(['neomutt', 'script'])
describe.skipIf(noNeomutt !== undefined)(`neomutt${because(noNeomutt)}`, () => {
  test.each(ways)('saves all mails through %s', async (way) => {
    const { ca, ...ports } = secured
    const dir = tempDir()
    const rc = [
      `set certificate_file=${ca}`,
      'set ssl_force_tls=yes ssl_starttls=yes pop_authenticators=user pop_delete=no pop_checkinterval=0',
      'set pop_pass=secret confirmappend=no confirmcreate=no delete=yes quit=yes sleep_time=0 wait_key=no',
      `set folder=${dir} spoolfile=${join(dir, 'spool')} record=""`,
      // Tags everything and copies it.
      `push "<tag-pattern>~A<enter><tag-prefix><copy-message><kill-line>${join(dir, 'saved')}<enter><exit>"`,
      '',
    ]
    writeFileSync(join(dir, 'rc'), rc.join('\n'))
    const url = `${way === 'stls' ? 'pop' : 'pops'}://ann@localhost:${ports[way]}/`
    const command = `TERM=xterm HOME=${dir} neomutt -n -F ${join(dir, 'rc')} -f ${url}`
    const result = await runProgram('timeout', ['30', 'script', '-qec', command, '/dev/null'])
    const saved = readFileSync(join(dir, 'saved'), 'latin1')
    expect(saved.match(/the end/g), result.stdout.slice(-2000)).toHaveLength(2)
  })
})

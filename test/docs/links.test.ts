/** Links between documents lead somewhere. */
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { projectRoot } from '../support/service.ts'

const documents = globSync(['*.md', 'docs/*.md'], { cwd: projectRoot })

/** As GitHub makes them of headings. */
const anchorsIn = (text: string): string[] => [
  ...[...text.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  ),
  ...[...text.matchAll(/<a id="([^"]+)">/g)].map(([, id = '']) => id),
]

test.each(documents)('the links of %s lead to files and headings that are there', (document) => {
  const text = readFileSync(join(projectRoot, document), 'utf8').replaceAll(/```[\s\S]*?```/g, '')
  const broken = [...text.matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target = '']) => target)
    .filter((target) => !/^[a-z]+:/.test(target))
    .filter((target) => {
      const [path = '', anchor] = target.split('#')
      const file = path === '' ? document : join(dirname(document), path)
      if (!existsSync(join(projectRoot, file))) return true
      return (
        anchor !== undefined && !anchorsIn(readFileSync(join(projectRoot, file), 'utf8')).includes(anchor)
      )
    })
  expect(broken).toEqual([])
})

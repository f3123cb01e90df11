/** One page with a plot for each question; nothing is loaded from elsewhere. */

export interface Plot {
  readonly title: string
  readonly unit: string
  readonly better: 'more' | 'less'
  readonly bars: readonly { readonly name: string; readonly value: number; readonly text: string }[]
}

const escaped = (text: string): string => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`)

const row = 24
const left = 130
const width = 420

function svg({ bars }: Plot): string {
  const most = Math.max(...bars.map(({ value }) => value))
  const drawn = bars.map(({ name, value, text }, at) => {
    const y = at * row
    const long = Math.max(1, (value / most) * width)
    return [
      `<text x="${left - 8}" y="${y + 16}" text-anchor="end">${escaped(name)}</text>`,
      `<rect x="${left}" y="${y + 3}" width="${long.toFixed(1)}" height="${row - 6}" class="${at === 0 ? 'ours' : ''}"/>`,
      `<text x="${left + long + 6}" y="${y + 16}">${escaped(text)}</text>`,
    ].join('')
  })
  const height = bars.length * row
  return `<svg viewBox="0 0 ${left + width + 110} ${height}" width="${left + width + 110}" height="${height}">${drawn.join('')}</svg>`
}

export function page(title: string, facts: string, plots: readonly Plot[]): string {
  const sections = plots.map(
    (plot) =>
      `<h2>${escaped(plot.title)}</h2><p>${escaped(plot.unit)}, ${plot.better} is better</p>${svg(plot)}`,
  )
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>${escaped(title)}</title>
<style>
body { font: 14px system-ui, sans-serif; margin: 2em; color: #222; background: #fff }
h2 { font-size: 15px; margin: 1.6em 0 0 }
p { margin: 0 0 .4em; color: #666 }
text { font: 12px system-ui, sans-serif }
rect { fill: #b8c4d0 }
rect.ours { fill: #2b6cb0 }
</style>
<h1>${escaped(title)}</h1><p>${escaped(facts)}</p>
${sections.join('\n')}
</html>
`
}

/** The results as one HTML page with plots, which needs nothing else. */
import { type Result, slotMs } from './measured.ts'

const width = 640
const height = 200
const margin = 40

export function resultPage(results: readonly Result[], about: Readonly<Record<string, string>>): string {
  const facts = Object.entries(about).map(([name, value]) => `${escaped(name)} ${escaped(value)}`)
  return [
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>mailactors bench</title>',
    '<style>body{font:16px/1.4 system-ui;max-width:720px;margin:2rem auto;padding:0 1rem}svg{width:100%}',
    'text{font:11px system-ui;fill:#555}.line{fill:none;stroke:#06c;stroke-width:1.5}.axis{stroke:#bbb}</style>',
    `<h1>mailactors bench</h1><p>${facts.join(', ')}</p>`,
    ...results.map(section),
    '</html>\n',
  ].join('\n')
}

function section(result: Result): string {
  const { scenario, unit, perSecond, perCpuSecond, p50Ms, p99Ms, slots, percentiles } = result
  const rate = `${Math.round(perSecond)} ${unit}/s`
  const cpu = perCpuSecond === null ? '' : `, ${Math.round(perCpuSecond)} per CPU second`
  const perSecondSlots = slots.slice(0, -1).map((count) => (count * 1000) / slotMs)
  return [
    `<h2>${escaped(scenario)}</h2><p>${rate}${cpu}; p50 ${p50Ms.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)} ms</p>`,
    plot(perSecondSlots, `${unit} per second, over ${((slots.length * slotMs) / 1000).toFixed(1)} s`),
    plot(percentiles, 'milliseconds, by percentile 0 to 100'),
  ].join('\n')
}

function plot(values: readonly number[], caption: string): string {
  const top = Math.max(...values, 1e-9)
  const x = (index: number) => margin + (index / Math.max(1, values.length - 1)) * (width - margin - 10)
  const y = (value: number) => height - 20 - (value / top) * (height - 40)
  const points = values.map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`).join(' ')
  const label = (value: number) => (value >= 100 ? Math.round(value) : value.toFixed(1))
  return [
    `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(caption)}">`,
    `<line class="axis" x1="${margin}" y1="${y(0)}" x2="${width - 10}" y2="${y(0)}"/>`,
    `<line class="axis" x1="${margin}" y1="${y(top)}" x2="${margin}" y2="${y(0)}"/>`,
    `<text x="2" y="${y(top) + 4}">${label(top)}</text><text x="2" y="${y(0)}">0</text>`,
    `<text x="${margin}" y="${height - 4}">${escaped(caption)}</text><polyline class="line" points="${points}"/></svg>`,
  ].join('')
}

const escaped = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`)

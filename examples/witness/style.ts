/** The style of the HTML report: light and dark, on a phone and on paper. */
export const style = `
:root {
  color-scheme: light dark;
  --text: #1b2430; --quiet: #55606e; --page: #f6f8fa; --card: #ffffff; --line: #d9dfe6;
  --good: #15703a; --bad: #b91c1c; --bound: #b91c1c;
  --before-alone: #d08700; --before: #c2410c; --after: #1d4ed8; --crowd: #0e7490; --grouped: #7c3aed; --idle: #9db4dd;
}
@media (prefers-color-scheme: dark) {
  :root {
    --text: #e6ebf1; --quiet: #a3afbd; --page: #0f141b; --card: #171e27; --line: #2b3542;
    --good: #4ade80; --bad: #f87171; --bound: #f87171;
    --before-alone: #fcd34d; --before: #fb923c; --after: #7aa9ff; --crowd: #22d3ee; --grouped: #b79bff; --idle: #44597f;
  }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 84rem; padding: 1.5rem 1rem 3rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif }
h1 { margin: 0; font-size: 1.6rem } h2 { margin: 0 0 .5rem; font-size: 1.2rem } h3 { margin: 1rem 0 .3rem; font-size: 1rem }
p { margin: .3rem 0 .8rem; max-width: 46rem; color: var(--quiet) }
.verdict { font-size: 1.15rem; font-weight: 600 } .good { color: var(--good) } .bad { color: var(--bad) }
section { margin: 1rem 0; padding: 1rem 1.2rem; background: var(--card); border: 1px solid var(--line); border-radius: .6rem }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem 2rem }
figure { margin: 0; min-width: 0 } figcaption { font-weight: 600 }
svg { width: 100%; height: auto; overflow: visible } svg.narrow { display: none }
svg text { font-family: system-ui, sans-serif; font-size: 13px }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: 0 0 .8rem; padding: 0; list-style: none }
.legend i, figcaption i { display: inline-block; width: .8rem; height: .8rem; margin-right: .4rem; border-radius: .2rem; vertical-align: -.05rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
th { color: var(--quiet); font-weight: 600 }
th:first-child, td:first-child, .criteria th, .criteria td { text-align: left }
.criteria td { white-space: normal; vertical-align: top } .criteria td:first-child { font-weight: 700 }
.criteria .pass td:first-child { color: var(--good) } .criteria .FAIL td:first-child { color: var(--bad) }
footer { color: var(--quiet) }
code { font-size: .95em }
@media (max-width: 40rem) { body { padding: 1rem .6rem } section { padding: .8rem } svg.wide { display: none } svg.narrow { display: block } }
`

"""How the page looks: light or dark as the reader has it, on paper light, from a phone's width on."""

from __future__ import annotations

from typing import Final

LIGHT: Final = """
--ink:#1c2128;--soft:#57606a;--rule:#d8dee4;--back:#ffffff;--card:#f6f8fa;--median:#0a4f9e;--high:#4f93d8;
--fan:#0a4f9e2e;--past:#6e7781;--exists:#1c2128;--missing:#c6282873;--bad:#b3261e;--good:#1a7f37;--warn:#9a6700;
--committed:#6e7781;--reserved:#0a4f9e;--on_demand:#d9822b;--spot:#2a9d8f;--plan:#0a4f9e;--other:#b6c2cf;
"""
DARK: Final = """
--ink:#e6edf3;--soft:#9da7b3;--rule:#30363d;--back:#0f1419;--card:#171d24;--median:#79b8ff;--high:#3d7fc4;
--fan:#79b8ff38;--past:#9da7b3;--exists:#e6edf3;--missing:#ff6b6b80;--bad:#ff8a80;--good:#56d364;--warn:#e3b341;
--committed:#8b949e;--reserved:#58a6ff;--on_demand:#e09b4f;--spot:#3fb8a9;--plan:#58a6ff;--other:#48525d;
"""
STYLE: Final = f"""
:root{{color-scheme:light dark;{LIGHT}}}
@media(prefers-color-scheme:dark){{:root{{{DARK}}}}}
@media print{{:root{{color-scheme:light;{LIGHT}}}body{{font-size:10pt}}
details::details-content{{content-visibility:visible;display:block}}}}
*{{box-sizing:border-box;print-color-adjust:exact;-webkit-print-color-adjust:exact}}
body{{margin:0 auto;padding:1.5rem clamp(1rem,4vw,3rem) 4rem;max-width:76rem;background:var(--back);color:var(--ink);
font:16px/1.5 system-ui,"Segoe UI",Roboto,"Liberation Sans",sans-serif;
font-variant-numeric:tabular-nums;overflow-wrap:break-word}}
h1{{font-size:1.7rem;line-height:1.2;margin:0}}
h2{{font-size:1.25rem;margin:2.5rem 0 1rem;padding-top:.75rem;border-top:1px solid var(--rule)}}
h3{{font-size:1rem;margin:1.5rem 0 .5rem}}
h3 small{{font-weight:400;color:var(--soft);margin-left:.6em}}
header p,figcaption,caption,.unit,.keys,summary{{color:var(--soft);font-size:.875rem}}
header p{{margin:.35rem 0 0}}
.tiles{{display:grid;grid-template-columns:repeat(auto-fit,minmax(13.5rem,1fr));gap:1rem}}
.tile{{background:var(--card);border:1px solid var(--rule);border-left:4px solid var(--rule);
border-radius:6px;padding:.9rem 1rem}}
.tile h3{{margin:0;font-size:.875rem;font-weight:500;color:var(--soft)}}
.tile p{{margin:.2rem 0 0;font-size:.875rem;color:var(--soft)}}
.tile .value{{font-size:1.15rem;font-weight:600;line-height:1.25;color:var(--ink)}}
.warn{{border-left-color:var(--warn)}}.alarm{{border-left-color:var(--bad)}}.well{{border-left-color:var(--good)}}
.bad{{color:var(--bad)}}.good{{color:var(--good)}}
article{{break-inside:avoid;margin:0 0 2rem}}
figure{{margin:0;break-inside:avoid}}
figcaption{{margin:.4rem 0 0}}
.keys{{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;margin:0 0 .3rem}}
.keys span{{display:inline-flex;align-items:center;gap:.45em}}
.key{{display:inline-block;width:1.4em;height:.75em;border-radius:2px}}
.unit{{margin:0 0 .5rem}}
.plot{{display:grid;grid-template-columns:4rem minmax(0,1fr);grid-template-rows:15rem 1.6rem;padding-right:1.5rem}}
.plot svg{{grid-column:2;width:100%;height:100%;overflow:visible}}
.values,.times{{position:relative;font-size:.75rem;color:var(--soft)}}
.times{{grid-column:2}}
.tick{{position:absolute;white-space:nowrap;line-height:1}}
.values .tick{{right:.6rem;transform:translateY(50%)}}
.times .tick{{top:.5rem;transform:translateX(-50%)}}
path{{fill:none;vector-effect:non-scaling-stroke}}
.grid{{stroke:var(--rule);stroke-width:1}}
.divide{{stroke:var(--soft);stroke-width:1.5;stroke-dasharray:2 3}}
.line{{stroke-width:1.5px;stroke-linejoin:round}}
path.past{{stroke:var(--past);stroke-width:1}}path.high{{stroke:var(--high)}}path.median{{stroke:var(--median)}}
path.exists{{stroke:var(--exists);stroke-dasharray:7 4;stroke-width:2}}
path.fan{{fill:var(--fan)}}path.missing{{fill:var(--missing)}}
i.past{{background:var(--past);height:2px}}i.high{{background:var(--high);height:3px}}
i.median{{background:var(--median);height:3px}}i.fan{{background:var(--fan)}}i.missing{{background:var(--missing)}}
i.divide{{height:1em;width:0;border-radius:0;border-left:2px dotted var(--soft)}}
i.exists{{height:0;border-radius:0;border-top:2px dashed var(--exists)}}
i.committed{{background:var(--committed)}}i.reserved{{background:var(--reserved)}}i.on_demand{{background:var(--on_demand)}}
i.spot{{background:var(--spot)}}i.plan{{background:var(--plan)}}i.other{{background:var(--other)}}
.facts{{display:grid;grid-template-columns:repeat(auto-fill,minmax(12.5rem,1fr));gap:.6rem 1.5rem;margin:.8rem 0 0}}
.facts div{{break-inside:avoid}}
dt{{font-size:.8125rem;color:var(--soft)}}dd{{margin:0;overflow-wrap:anywhere}}
.bars{{list-style:none;margin:0;padding:0}}
.bars li{{display:grid;grid-template-columns:11rem 1fr 8.5rem;gap:.1rem 1rem;
align-items:center;margin:.45rem 0;break-inside:avoid}}
.bars .sum{{text-align:right}}
.bars .more{{grid-column:2/4;font-size:.8125rem;color:var(--soft)}}
.bar{{display:flex;height:1rem;min-width:5rem;background:var(--card)}}
.bar i{{display:block;height:100%}}
table{{border-collapse:collapse;width:100%;margin:1rem 0;font-size:.875rem}}
caption{{text-align:left;padding:0 0 .4rem}}
th{{text-align:left;font-weight:500;color:var(--soft);vertical-align:bottom}}
th,td{{padding:.4rem .8rem .4rem 0;border-bottom:1px solid var(--rule)}}
td{{vertical-align:top}}data{{white-space:nowrap}}
td .bar{{min-width:8rem;margin-top:.15rem}}
tr{{break-inside:avoid}}
.part{{display:block}}
details{{margin:1rem 0}}summary{{cursor:pointer}}
ul{{padding-left:1.2rem}}
@media(max-width:44rem){{
.minor{{display:none}}
.plot{{grid-template-columns:3.2rem minmax(0,1fr);grid-template-rows:12rem 1.6rem;padding-right:1rem}}
.bars li{{grid-template-columns:1fr auto}}.bars .bar{{grid-column:1/3;grid-row:2}}.bars .more{{grid-column:1/3}}
thead{{display:none}}
table,tbody,tr,td,caption{{display:block}}
tr{{border-bottom:1px solid var(--rule);padding:.5rem 0}}
td{{overflow-wrap:anywhere}}td:empty{{display:none}}
.facts{{grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr))}}
td{{border:0;padding:.1rem 0;display:grid;grid-template-columns:8.5rem minmax(0,1fr);gap:.8rem}}
td::before{{content:attr(data-label);color:var(--soft)}}
}}
"""

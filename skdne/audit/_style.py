"""The page of a report: its skeleton, style and notes."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; margin: 0 auto;
 max-width: 68rem; padding: 1rem; }}
h1 {{ font-size: 1.7rem; line-height: 1.2; margin: .5rem 0; }}
h2 {{ font-size: 1.25rem; margin: 2.2rem 0 .3rem; border-top: 1px solid #ccc; padding-top: 1rem; }}
p, li {{ max-width: 46rem; overflow-wrap: anywhere; }}
.box {{ border-left: 5px solid #0072B2; background: #eef5fa; padding: .3rem 1rem; margin: 1rem 0; }}
.box.warn {{ border-color: #D55E00; background: #fdf1e8; }}
.box h2 {{ border: 0; padding: 0; margin: .5rem 0 .2rem; font-size: 1.05rem; }}
.box ul {{ margin: .2rem 0 .5rem; padding-left: 1.2rem; }}
.pictures {{ display: flex; flex-wrap: wrap; gap: 1rem; }}
figure {{ margin: .5rem 0; flex: 0 1 32rem; min-width: min(100%, 20rem); }}
figcaption {{ font-weight: 600; }}
img {{ width: 100%; height: auto; display: block; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: .22rem .7rem .22rem 0; border-bottom: 1px solid #e4e4e4;
 vertical-align: top; }}
th {{ border-bottom: 2px solid #999; }}
td:first-child {{ min-width: 8.5rem; }}
td.n {{ white-space: nowrap; }}
.i {{ color: #595959; }}
.flag {{ color: #a34100; }}
summary {{ cursor: pointer; padding: .3rem 0; }}
@media print {{ body {{ max-width: none; }} section {{ break-inside: avoid; }} }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{facts}</p>
<div class="box"><h2>In short</h2>{summary}</div>
<div class="box warn"><h2>Warnings</h2>{warnings}</div>
{sections}
<section><h2>How to read this</h2>{notes}</section>
</body>
</html>
"""

NOTES = """<ul>
<li>Brackets hold 95% intervals from a bootstrap of whole patients; the classifier and the probes
are held fixed. In simulations they held the true rate of a group in 93% to 96% of cases: read
them as slightly too narrow. Differences to the baseline are paired.</li>
<li>A largest difference between groups is never negative and so biased upwards; its interval comes
from the deviation of the groups' rates, is wide rather than narrow, and may reach 0.</li>
<li>p is the share of permutations of the attribute within y whose largest standardised gap is as
large as this one: the probability of any false flag is at most {level} for all gaps together. A
difference in selection rates that different prevalences explain is not flagged.</li>
<li>No flag is no proof of fairness; small groups hide large gaps. Read the intervals.</li>
<li>EO_p, EO_n: gap in true positive and true negative rate. |1-DI|: one minus the smallest over the
largest selection rate. TPR ratio gap: the same of true positive rates, which is what the
code of Jin et al. 2024 reports as |1-DI|.</li>
</ul>"""

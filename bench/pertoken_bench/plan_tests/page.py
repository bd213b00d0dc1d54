"""docs/capacity.md: how the plan forecasts, and how good that is."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import TextWrapper

import numpy as np

from pertoken_bench.plan_tests.prior import Prior
from pertoken_bench.plan_tests.score import Tested, Week, median_ratio, pooled
from pertoken_bench.plan_tests.series import ADDED, HELD_OUT, TUNED

INTRODUCTION = """# How good the capacity plan is

`pertoken plan` forecasts what services will be asked for, draws jointly resampled futures and sizes GPUs for them.
This
page is written by `make plan-tests`; how GPUs are bought is in [purchase.md](purchase.md).

```console
pertoken plan -f services-and-pools.yaml --history last-month.csv.gz --horizon-days 28 \\
    --what-if growth=20% --what-if gpu=h200-sxm,price=3.10 -o json
```

## How it works

- **History** (`capacity/history/`): bins become hours; hours of which less than half is told are gaps, never zeros;
the
  busiest five minutes of each are kept.
- **Point forecast** (`capacity/forecast/models.py`): seasonal naive, seasonal exponential smoothing, and the levels
of
days (exponential smoothing and Theta of statsforecast, means, medians) spread over the hours by day types; the
median
  of all of them, unless back-tests prefer one, chosen for each span of leads by itself.
- **Back-tests** (`capacity/forecast/backtest.py`): on days of the past, with what was known then: the model is
chosen and
  the P90 formed without what came later.
- **P50 and P90** (`capacity/forecast/misses.py`): quantiles of the misses by lead, the service's own mixed with
those of
  other services (n origins against ten). Beyond three days the P50 is the forecast itself.
- **Futures** (`capacity/forecast/draw.py`): each repeats the misses of one past origin for all services at once: what
  peaked together peaks together. None exceeds at a level 1.5 times the larger of the forecast and of what half as many
  hours of the history exceeded.
- **Bursts** (`capacity/bursts/`): fleets of a few replicas serve single requests in the operator's step times,
  and carry
  the highest rate that keeps the objectives: requests of the history where it has them, else drawn in bursts of 15 on
  average, 0.1 s apart.
- **GPUs** (`capacity/gpus/`): the busiest minutes of the hour, start-ups ahead of the next one, the operator's own
  sustainable rate and SLO knee, the cheapest whole mix of variants, whole nodes.

With less than two weeks of history no weekday is told from another, except a pair of days that clearly differs from
the
other five; with less than six weeks months are not. The plan says so beside the service. What a short history
cannot tell
of joint peaks is taken as common to all services, which is the careful side.

"""
CELL = "| {} |"
WIDTH = 118


def page(tested: Sequence[Tested], weeks: Sequence[Week], prior: Prior) -> str:
    """The whole page."""
    parts = [INTRODUCTION, _pooled(tested), _by_lead(tested), _series(tested), _weeks(weeks), _numbers(prior)]
    return "\n\n".join(_wrapped(block) for block in "".join(parts).rstrip().split("\n\n")) + "\n"


def _wrapped(block: str) -> str:
    """A paragraph or a list in lines of `WIDTH` letters; tables, titles and code as they are."""
    if block.lstrip().startswith(("|", "#", "```", "pertoken plan -f", "    ")):
        return block
    listed = block.startswith("- ")
    items = block.removeprefix("- ").split("\n- ") if listed else [block]
    first, further = ("- ", "  ") if listed else ("", "")
    wrapper = TextWrapper(WIDTH, first, further, break_on_hyphens=False, break_long_words=False)
    lines = [wrapper.fill(" ".join(item.split())) for item in items]
    return "\n".join(lines)


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(CELL.format(" | ".join(cells)) for cells in lines) + "\n\n"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _splits(names: Sequence[str]) -> list[str]:
    return [split for split in (HELD_OUT, TUNED, ADDED) if split in names]


def _pooled(tested: Sequence[Tested]) -> str:
    text = """## Back-tests with rolling origins

Every origin is a day of the past with at least three days before it, and forecasts up to four weeks. WAPE: sum of
absolute
errors of the P50 over the sum of what came. P90 held: hours that did not exceed the P90 that was known then; the
interval
redraws whole series. Numbers were tuned on every second series (`tuned`); `held out` are the others.

"""
    rows = []
    for split in _splits([each.series.split for each in tested]):
        part = [each for each in tested if each.series.split == split]
        scores = [each.outlook.score for each in part]
        held = pooled([score.coverage or 0.0 for score in scores], [float(score.hours) for score in scores])
        even = pooled([score.coverage or 0.0 for score in scores], [1.0] * len(scores))
        ratio = median_ratio([(score.wape or 0.0, score.naive_wape or 0.0) for score in scores])
        rows.append([split, str(len(part)), _interval(held), _interval(even), f"{ratio:.3f}"])
    head = ("series", "count", "P90 held, by hours", "P90 held, by series", "median WAPE ÷ seasonal naive's")
    return text + _rows(head, rows)


def _interval(values: tuple[float, float, float]) -> str:
    return f"{values[0]:.1%} ({values[1]:.1%} to {values[2]:.1%})"


def _by_lead(tested: Sequence[Tested]) -> str:
    text = "By lead, held-out series:\n\n"
    spans: dict[int, list[tuple[float, float, float, float]]] = {}
    names: dict[int, int] = {}
    for each in tested:
        if each.series.split != HELD_OUT:
            continue
        for score in each.outlook.by_span:
            if score.coverage is not None and score.wape is not None and score.naive_wape:
                row = (score.coverage, float(score.hours), score.wape, score.naive_wape)
                spans.setdefault(score.from_hour, []).append(row)
                names[score.from_hour] = max(names.get(score.from_hour, 0), score.to_hour)
    rows = []
    for begin, scores in sorted(spans.items()):
        held = pooled([row[0] for row in scores], [row[1] for row in scores])
        wapes = float(np.median([row[2] for row in scores]))
        ratio = median_ratio([(row[2], row[3]) for row in scores])
        rows.append([f"{begin} to {names[begin]} h", str(len(scores)), _interval(held), _share(wapes), f"{ratio:.3f}"])
    return text + _rows(("lead", "series", "P90 held", "median WAPE", "median WAPE ÷ naive's"), rows)


def _series(tested: Sequence[Tested]) -> str:
    text = "Services (single clients are only in the sums above):\n\n"
    rows = []
    for each in tested:
        if each.series.client:
            continue
        score = each.outlook.score
        interval = "-" if score.low is None else f"{score.low:.0%} to {score.high:.0%}"
        days = f"{len(each.series.values) / 24:.0f}"
        shares = [_share(score.wape), _share(score.naive_wape), _share(score.coverage), interval]
        rows.append([f"`{each.series.name}`", each.series.split, days, *shares, each.outlook.model])
    head = ("series", "split", "days", "WAPE", "naive WAPE", "P90 held", "95 % interval", "model")
    return text + _rows(head, rows)


def _weeks(weeks: Sequence[Week]) -> str:
    text = """## Weeks that came after

Plans from the first days of each series, and the week that followed (two days of it at least); nothing is chosen with
hindsight.

"""
    rows = []
    bands = ((0, 6, "4 to 5 days"), (7, 7, "7 days"), (8, 13, "9 to 11 days"), (14, 99, "14 days and more"))
    for split in _splits([week.series.split for week in weeks]):
        for low, high, name in bands:
            part = [week for week in weeks if week.series.split == split and low <= week.days <= high]
            if part:
                held = pooled([week.coverage for week in part], [1.0] * len(part))
                ratio = median_ratio([(week.wape, week.naive_wape) for week in part])
                rows.append([split, name, str(len(part)), _interval(held), f"{ratio:.3f}"])
    return text + _rows(("series", "history", "plans", "P90 held", "median WAPE ÷ naive's"), rows)


def _numbers(prior: Prior) -> str:
    lines = ",\n".join(f"    {row}" for row in prior.rows)
    return f"""## What the numbers rest on

`PRIOR_MISSES` of `operator/pertoken/capacity/tuning.py`, from the {prior.series[0]} `tuned` series (the longest
leads from
{prior.series[-1]}), and `usual_scale` = {prior.scale}:

```text
{lines}
```

`weekend_contrast` was chosen with all series in sight; it moves the median WAPE by less than two per cent. The
series,
their sources and licences: `bench/pertoken_bench/plan_tests/data/README.md`. Others are scored with
`make plan-tests ARGS="FILE…"`.
"""

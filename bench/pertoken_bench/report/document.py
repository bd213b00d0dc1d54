"""docs/benchmarks.md out of the results: every figure on it comes from a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from pertoken_bench.report.html_report import pareto
from pertoken_bench.report.summary import keeps, summary, worst_of

Results = Mapping[str, Mapping[str, Any]]
Row = Mapping[str, Any]
MINUTES: Final = 60.0
SHOWN_BESIDE: Final = ("pertoken", "clairvoyant", "static-best", "hpa-running", "llmd-queue", "llmd-slo")
NO_POLICIES_OF_OTHERS: Final = frozenset({"ablations", "instant"})  # sections of pertoken alone

INTRO: Final = """# Benchmarks

What autoscaling policies cost and how they serve, on recorded traffic and simulated engines. Written by `make bench`
(`python -m pertoken_bench.report`); every figure below comes from its runs. How to run your own: [bench.md](bench.md);
the peers' rules: [policies.md](policies.md). Its engine equals the sandbox's step-by-step one to 1e-6
(`tests/bench/test_engine_exact.py`) and was laid beside vLLM's own scheduler and the live HPA controller and KEDA
([conformance.md](conformance.md)); it is a simulator all the same, and its step times are tables of measured kernels,
not a rack of GPUs.

Means over {seeds} seeds, ± half of the 95 % interval (Student's t) where room allows. A seed changes the jitter of
repeated arrivals, the replicas' speeds, the step noise and the start-up times. **Attained** is the share of requests
with TTFT and mean inter-token latency both within the objective (unfinished ones are misses); a policy that attains
less than the {required:.0%} asked for has not done the job, whatever it saved; **worst** is that share in the worst ten
minutes of the run. **x bound** is cost over a provable lower bound at the attainment reached. Bold: no other policy
costs less and attains as much (the Pareto front).
"""

DEFINITIONS: Final = Path(__file__).with_name("definitions.md").read_text(encoding="utf-8")


def page(results: Results) -> str:
    """The whole page; sections without results are left out."""
    main = results["all"]
    parts = [INTRO.format(seeds=main["seeds"], required=main["required"])]
    parts += summary([section for name, section in results.items() if name not in NO_POLICIES_OF_OTHERS])
    parts += _main_section(results, "all", "One hour, three replicas", "bench-azure-conv.svg")
    parts += _main_section(results, "larger", "One hour, nine to sixteen replicas", "bench-azure-conv-16.svg")
    if "larger" in results:
        parts.append("![Ready replicas over time](images/bench-azure-conv-16-replicas.svg)\n")
    for section in (_tuned, _ablations, _regret, _others, _losses):
        parts += section(results)
    parts.append(DEFINITIONS)
    parts.append(_made(results))
    return "\n".join(parts)


def _main_section(results: Results, name: str, title: str, picture: str) -> Iterator[str]:
    if name not in results:
        return
    section = results[name]
    yield f"## {title}\n\n`bench/scenarios/{section['scenario']}.yaml`: {section['description']}.\n"
    yield f"![cost against attainment](images/{picture})\n"
    yield table(section["rows"], section["required"])


def table(rows: Sequence[Row], required: float) -> str:
    """Policies that keep the objective first, by cost; then the others by attainment."""
    front = pareto(rows)
    ordered = sorted(rows, key=lambda row: _order(row, required))
    lines = [
        "| policy | USD | attained % | worst % | USD per 1M good tokens | x bound | TTFT p95 ms | ITL p95 ms | moves |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in ordered:
        name = f"**{row['policy']}**" if row["policy"] in front else row["policy"]
        cells = (
            figure(row["usd"], ".2f"),
            figure(row["slo_attainment"], ".2f", 100.0),
            worst_cell(row),
            figure(row["usd_per_million_good_tokens"], ".4f"),
            figure(row["bound_ratio"], ".2f"),
            figure(row["ttft_ms"]["p95"], ".0f", half=False),
            figure(row["itl_ms"]["p95"], ".1f", half=False),
            figure(row["scale_events"], ".0f", half=False),
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _order(row: Row, required: float) -> tuple[bool, float]:
    kept = keeps(row, required)
    return not kept, row["usd"]["mean"] if kept else -(row["slo_attainment"]["mean"] or 0.0)


def figure(value: Mapping[str, Any], digits: str, factor: float = 1.0, *, half: bool = True) -> str:
    """Mean, and half of its interval."""
    if value["mean"] is None:
        return "-"
    text = format(value["mean"] * factor, digits)
    if not half or value["interval"] is None:
        return text
    low, high = value["interval"]
    return f"{text} ± {format((high - low) / 2.0 * factor, digits)}"


def worst_cell(row: Row) -> str:
    """Per cent of requests within the objectives in the worst ten minutes; a dash where it was not measured."""
    share = worst_of(row)
    return "-" if share is None else f"{share * 100.0:.1f}"


def by_name(rows: Iterable[Row]) -> dict[str, Row]:
    """Rows by policy."""
    return {row["policy"]: row for row in rows}


def _tuned(results: Results) -> Iterator[str]:
    if "tuned" not in results:
        return
    section = results["tuned"]
    yield (
        "## Tuned\n\nEach policy's grid of eight settings and its defaults were tried on the first third of the hour; "
        "the cheapest that kept the objective there (else the best attainment) is scored on the rest, beside the "
        f"defaults on the same rest. {section['trials']} trials in all, the same number for each policy.\n"
    )
    yield table(section["rows"], section["required"])
    chosen = [
        f"`{row['policy']}`: {', '.join(f'{knob} {value:g}' for knob, value in row['settings'].items()) or 'defaults'}"
        for row in section["rows"]
        if row["policy"].endswith(":tuned")
    ]
    yield f"Chosen: {'; '.join(chosen)}.\n"


def _ablations(results: Results) -> Iterator[str]:
    if "ablations" not in results or "larger" not in results:
        return
    rows = [*results["ablations"]["rows"], by_name(results["larger"]["rows"])["pertoken"]]
    yield (
        "## What pertoken's parts are worth\n\n`azure-conv-16`, pertoken with one ability taken away: moving batch cap "
        "and prefill chunk (`fixed-cap`), the chunk alone (`fixed-chunk`), calibration (`no-calibration`), looking "
        "ahead over the start-up (`no-lookahead`), tokens instead of requests as demand (`requests`). `foresight` has "
        "the planner's capacity of a replica and knows the demand that comes.\n"
    )
    yield table(rows, results["larger"]["required"])
    yield "\n".join(_ablation_words(rows, results["larger"]["required"])) + "\n"


def _ablation_words(rows: Sequence[Row], required: float) -> Iterator[str]:
    row_of = by_name(rows)
    own = row_of["pertoken"]
    for name, row in row_of.items():
        if name == "pertoken":
            continue
        usd = row["usd"]["mean"] / own["usd"]["mean"] - 1.0
        share = (row["slo_attainment"]["mean"] - own["slo_attainment"]["mean"]) * 100.0
        apart = "clear of" if _apart(row, own, "slo_attainment") or _apart(row, own, "usd") else "within"
        held = "keeps" if keeps(row, required) else "misses"
        yield f"- `{name}` {held} the objective: {usd:+.1%} USD, {share:+.2f} points; {apart} the seeds' spread."


def _apart(row: Row, other: Row, name: str) -> bool:
    first, second = row[name]["interval"], other[name]["interval"]
    return bool(first and second and (first[0] > second[1] or second[0] > first[1]))


def _regret(results: Results) -> Iterator[str]:
    """From the bound up to pertoken, each step with one more thing that is not known or not possible."""
    if not {"larger", "ablations", "instant"} <= set(results):
        return
    larger = by_name(results["larger"]["rows"])
    foresight = by_name(results["ablations"]["rows"])["pertoken:foresight"]
    instant = by_name(results["instant"]["rows"])["pertoken"]
    own, seer = larger["pertoken"], larger["clairvoyant"]
    bound = seer["usd"]["mean"] / seer["bound_ratio"]["mean"]
    steps = (
        ("lower bound", bound, None, "no noise, no whole replicas, no start-up, all known"),
        ("clairvoyant", seer["usd"]["mean"], seer, "whole replicas, start-up, noise, latency from step to step"),
        ("pertoken:foresight", foresight["usd"]["mean"], foresight, "the planner's model instead of a search"),
        ("pertoken, replicas start at once", instant["usd"]["mean"], instant, "demand must be observed"),
        ("pertoken", own["usd"]["mean"], own, "start-up of two minutes: demand must be forecast"),
    )
    yield (
        "## Where the money goes\n\n`azure-conv-16`. Each line lets go of one more advantage; a line that attains less "
        "than asked for is not cheaper but worse, so differences only tell beside their attainment.\n\n"
        "| policy | USD | attained % | what is added |\n|---|---|---|---|"
    )
    for name, usd, row, words in steps:
        share = "-" if row is None else figure(row["slo_attainment"], ".2f", 100.0)
        yield f"| {name} | {usd:.2f} | {share} | {words} |"
    shares = [usd - before for (_, before, _, _), (_, usd, _, _) in pairwise(steps)]
    yield (
        f"\nIntegrality, start-up and noise cost {shares[0]:.2f} USD over the bound (which is not attainable); the "
        f"planner's model {shares[1]:+.2f}; not knowing the demand {shares[2]:+.2f}; forecasting it over the start-up "
        f"{shares[3]:+.2f}.\n"
    )
    if not keeps(foresight, results["larger"]["required"]):
        share = foresight["slo_attainment"]["mean"]
        yield (
            f"Knowing the demand of every minute, the planner attains {share:.1%}: what it takes a replica to carry is "
            "more than one carries within the objective while arrivals burst inside a minute. Its head-room for "
            "forecast errors covers that elsewhere.\n"
        )


def _others(results: Results) -> Iterator[str]:
    others = [section for name, section in results.items() if name.startswith("other-")]
    if not others:
        return
    names = [row["policy"] for row in others[0]["rows"] if row["policy"] in SHOWN_BESIDE]
    yield (
        "## Other scenarios\n\nUSD, share of requests within the objectives, and that share in the worst ten minutes; "
        f"{others[0]['seeds']} seeds; objectives missed in italics. `static-best` and `clairvoyant` know the trace.\n"
    )
    yield f"| scenario | {' | '.join(names)} |\n|---|{'---|' * len(names)}"
    for section in others:
        cells = []
        for row in section["rows"]:
            if row["policy"] not in SHOWN_BESIDE:
                continue
            share = row["slo_attainment"]["mean"] or 0.0
            text = f"{row['usd']['mean']:.2f}, {share:.2%}, {worst_cell(row)}"
            cells.append(text if keeps(row, section["required"]) else f"*{text}*")
        yield f"| `{section['scenario']}` | {' | '.join(cells)} |"
    yield ""


def _losses(results: Results) -> Iterator[str]:
    """Every place where another policy was better, found by comparing, not chosen."""
    yield (
        "## Where pertoken loses\n\nFound by comparing all rows above: policies that cost less and attain what is "
        "asked for (or, where pertoken does not, as much); objectives that pertoken misses and who keeps them. The "
        "fixed fleets know the trace, the others do not.\n"
    )
    for name, section in results.items():
        if name in NO_POLICIES_OF_OTHERS:
            continue
        rows = by_name(section["rows"])
        if "pertoken" in rows:
            yield from _lost(rows, section)
    yield ""


def _lost(rows: Mapping[str, Row], section: Mapping[str, Any]) -> Iterator[str]:
    own, required = rows["pertoken"], section["required"]
    mine, usd = own["slo_attainment"]["mean"] or 0.0, own["usd"]["mean"]
    kept = mine >= required
    worse: list[str] = [] if kept else [f"misses the objective ({mine:.2%} of {required:.0%})"]
    for name, row in rows.items():
        share = row["slo_attainment"]["mean"] or 0.0
        if name.startswith("pertoken") or name == "clairvoyant":
            continue
        better = share >= (required if kept else mine) and row["usd"]["mean"] < usd
        if better:
            worse.append(f"`{name}` costs {1.0 - row['usd']['mean'] / usd:.1%} less at {share:.2%}")
        elif not kept and share >= required:
            worse.append(f"`{name}` keeps it for {row['usd']['mean'] / usd - 1.0:.1%} more")
    if worse:
        yield (
            f"- `{section['scenario']}`{' (last two thirds)' if section.get('trials') else ''}: "
            + "; ".join(worse)
            + "."
        )


def _made(results: Results) -> str:
    seconds = sum(section["seconds"] for section in results.values())
    everyone = results["all"]
    codes = sorted({section["digest"] for section in results.values()})
    return (
        f"## How it was made\n\nAll {len(everyone['rows'])} policies x {everyone['seeds']} seeds on the hour of "
        f"`{everyone['scenario']}` took {everyone['seconds']:.0f} s on {everyone['jobs']} process"
        f"{'es' if everyone['jobs'] > 1 else ''}; the whole page {seconds / MINUTES:.0f} minutes. Code digest "
        f"{', '.join(codes)}. The same seeds give the same bytes on one process, on several and on a Dask cluster.\n"
    )

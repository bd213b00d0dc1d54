"""docs/benchmarks-long.md out of the results of the long benchmark that are there, each with its date."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pertoken_bench.report.document import Results, table
from pertoken_bench.report.long_sections import Group
from pertoken_bench.report.summary import summary, worst_of

HOUR: Final = 3600.0
SERVICES_OF: Final = ("pertoken", "static-best", "hpa-running", "llmd-queue", "llmd-slo")

INTRO: Final = """# Long benchmarks

The same simulator, policies and peers' grids as on the [page of short ones](benchmarks.md), on more traffic, models,
GPUs, pools, routers and start-up times. Written by `make bench-long`, which takes hours, keeps each section as soon as
it is done, and goes on where it was stopped. Figures are means over the seeds, ± half of the 95 % interval.

Policies with `:tuned` are searched over eight settings and their defaults on the first third of the time; everything is
then scored on the rest, all defaults included, so costs here are not those of the short page. pertoken is not tuned.
"""


def page(parts: Sequence[Group], results: Results) -> str:
    """The whole page; sections without results are named as missing."""
    shown = [results[section.name] for part in parts for section in part.sections if section.name in results]
    lines = [INTRO, *summary(shown)]
    for part in parts:
        lines += _group(part, results)
    return "\n".join([*lines, _made(parts, results)])


def _group(part: Group, results: Results) -> Iterator[str]:
    yield f"## {part.title}\n\n{part.words}\n"
    missing = [section.name for section in part.sections if section.name not in results]
    if missing:
        yield f"Not run yet: {', '.join(f'`{name}`' for name in missing)}.\n"
    for section in part.sections:
        if section.name in results:
            yield from _section(section.name, results[section.name])


def _section(name: str, result: Mapping[str, Any]) -> Iterator[str]:
    chosen = [
        f"`{row['policy']}` {', '.join(f'{knob} {value:g}' for knob, value in row['settings'].items()) or 'defaults'}"
        for row in result["rows"]
        if row["policy"].endswith(":tuned")
    ]
    yield (
        f"### `{name}`\n\n{result['description']}; {result['seeds']} seeds, {result['date']}, code "
        f"`{result['digest']}`, {result['seconds'] / HOUR:.1f} h on {result['jobs']} processes.\n"
    )
    yield table(result["rows"], result["required"])
    if chosen:
        yield f"Chosen: {'; '.join(chosen)}.\n"
    services = list(result["rows"][0]["services"])
    if len(services) > 1:
        yield from _services(services, result["rows"])


def _services(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Attained share and the worst ten minutes of each service, per cent."""
    yield f"| attained %, worst ten minutes % | {' | '.join(f'`{name}`' for name in names)} |"
    yield f"|---|{'---|' * len(names)}"
    for row in rows:
        if row["policy"] in SERVICES_OF:
            yield f"| {row['policy']} | {' | '.join(_service(row['services'][name]) for name in names)} |"
    yield ""


def _service(figures: Mapping[str, Any]) -> str:
    attained, worst = figures["slo_attainment"]["mean"], worst_of(figures)
    return f"{attained * 100.0:.2f}, {'-' if worst is None else format(worst * 100.0, '.1f')}"


def _made(parts: Sequence[Group], results: Results) -> str:
    wanted = [section.name for part in parts for section in part.sections]
    done = [results[name] for name in wanted if name in results]
    codes = sorted({result["digest"] for result in done})
    dates = sorted({result["date"] for result in done})
    hours = sum(result["seconds"] for result in done) / HOUR
    return (
        f"## How it was made\n\n{len(done)} of {len(wanted)} sections, {hours:.1f} hours in all"
        f"{f', from {dates[0]} to {dates[-1]}' if dates else ''}; code digest {', '.join(codes) or '-'}. Traffic: "
        "Azure LLM inference traces 2023 and 2024 (CC BY 4.0), ServeGen and Mooncake (Apache-2.0); step times: "
        "aiconfigurator (Apache-2.0).\n"
    )

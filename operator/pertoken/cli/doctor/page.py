"""One metrics page of an engine: whose it is, which signals it has, which it lacks, and what that costs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pertoken.adapters.prometheus.engines import ENGINES, EngineMetrics, Metric
from pertoken.adapters.prometheus.engines.model import Told, part_of
from pertoken.cli.doctor.findings import Finding, bad, doubt, good
from pertoken.domain.signal import GPU_SIGNALS, Counter, LatencyKind, Signal

_SAMPLE: Final = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+([^\s]+)(?:\s+-?\d+)?\s*$")
_LABEL: Final = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')
_WITHOUT: Final[Mapping[Told, str]] = {
    Signal.RUNNING: "no scale-down, no demand history",
    Signal.WAITING: "no scale-down by queue, backlogs are not seen",
    Signal.KV_USAGE: "no scaling by KV cache",
    Signal.KV_CAPACITY_TOKENS: "the KV cache's size is worked out from the catalog",
    Signal.DECODING_SEQUENCES: "no calibration",
    Signal.STEP_SECONDS: "no calibration",
    Signal.PROMPT_TOKENS_PER_SECOND: "no scale-down, no demand history",
    Signal.GENERATION_TOKENS_PER_SECOND: "no scale-down, no demand history",
    Signal.FINISHED_PER_SECOND: "no cost per token",
    Signal.CACHED_PROMPT_TOKENS_PER_SECOND: "no discount for cached prompts",
    Signal.PREEMPTIONS_PER_SECOND: "the batch cap does not see preemptions",
    Signal.REJECTIONS_PER_SECOND: "what engines refuse is not counted as demand",
    Counter.FINISHED_REQUESTS: "no cost index",
    Counter.FINISHED_INPUT_TOKENS: "no cost index",
    Counter.FINISHED_OUTPUT_TOKENS: "no cost index",
    LatencyKind.TTFT: "an objective on time to first token is not judged",
    LatencyKind.TIME_PER_OUTPUT_TOKEN: "inter-token objectives are judged by single tokens, if at all",
    LatencyKind.INTER_TOKEN: "an objective on inter-token latency is not judged by single tokens",
}
# Without one of these neither demand nor cost is known.
NEEDED: Final = frozenset(
    {
        *(Signal.RUNNING, Signal.WAITING, Signal.PROMPT_TOKENS_PER_SECOND, Signal.GENERATION_TOKENS_PER_SECOND),
        *(Counter.FINISHED_REQUESTS, Counter.FINISHED_INPUT_TOKENS, Counter.FINISHED_OUTPUT_TOKENS),
    }
)
TOLD: Final[tuple[Told, ...]] = (*(s for s in Signal if s not in GPU_SIGNALS), *LatencyKind, *Counter)
_OWN_POD_LABELS: Final = ("pod", "namespace", "instance", "job")


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of a page."""

    name: str
    labels: Mapping[str, str]
    value: float


def read_page(text: str) -> list[Sample]:
    """The samples of a page in the text format of Prometheus or OpenMetrics; other lines are no samples."""
    samples = []
    for line in text.splitlines():
        match = None if line.startswith("#") else _SAMPLE.match(line.split(" # ", 1)[0])
        if match is None:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        samples.append(Sample(match[1], dict(_LABEL.findall(match[2] or "")), value))
    return samples


def page_findings(samples: list[Sample]) -> Iterator[Finding]:
    """Everything that can be said of one engine's page."""
    rows = [row for row in ENGINES.values() if row.presence and _shown(row.presence, samples)]
    rows = rows or [row for row in ENGINES.values() if any(_shown(metric, samples) for metric in _all(row))]
    if not rows:
        known = ", ".join(row.name for row in ENGINES.values() if row.presence)
        words = f"{len(samples)} samples, none of an engine that is known ({known})"
        yield bad("engine", words, "is this the engine's /metrics? SGLang needs --enable-metrics, llama.cpp --metrics")
        return
    for row in rows:
        yield from _of_row(row, samples)
    yield from _labels(rows, samples)


def _of_row(row: EngineMetrics, samples: list[Sample]) -> Iterator[Finding]:
    shown = frozenset(metric for metric in row.evidence() if _shown(metric, samples))
    works = any(sample.value > 0 for metric in _busy(row) for sample in samples if _is(metric, sample))
    release = row.release(shown, works=works)
    models = sorted({sample.labels["model_name"] for sample in samples if sample.labels.get("model_name")})
    named = f", answers for {', '.join(models)}" if models else ""
    yield good("engine", f"{row.name} {release.versions or 'of any known version'}{named}".strip())
    if row.begins_with_traffic and not works:
        words = "no request was served yet: counters and histograms of this engine begin with the first one"
        yield doubt("engine", words, "send a request, then look again")
    for told in TOLD:
        carriers = list(dict.fromkeys(_carriers(row, told)))
        if not carriers:
            yield _lacking(told, f"{row.name} does not tell it in any version", fixable=False, row=row)
            continue
        present = next((metric for metric in carriers if _shown(metric, samples)), None)
        if present is not None:
            yield good(_words(told), present.name)
        elif told in release.lacks:
            newest = next((metric.since for metric in carriers if metric.since), "")
            why = f"this version has no {carriers[0].name}" + (f", {newest} and later do" if newest else "")
            yield _lacking(told, why, fixable=bool(newest), row=row)
        elif told in row.rare or ((row.begins_with_traffic or row.bare_at_start) and not works):
            yield good(_words(told), f"{carriers[0].name} appears with its first event")
        else:
            yield _lacking(told, f"{carriers[0].name} is not on the page", fixable=True, row=row)


def _lacking(told: Told, why: str, *, fixable: bool, row: EngineMetrics) -> Finding:
    cost = _WITHOUT.get(told, "what rests on it is left out")
    if told in NEEDED and fixable:
        return bad(_words(told), f"{why}: {cost}", f"upgrade {row.name}, or do not drop the metric")
    return doubt(
        _words(told), f"{why}: {cost}", f"a newer {row.name} tells it" if fixable else "nothing: it works without"
    )


def _labels(rows: list[EngineMetrics], samples: list[Sample]) -> Iterator[Finding]:
    """Labels of the engine's own that a scrape would rename, or that would stand for another pod (honorLabels)."""
    own = {
        name
        for row in rows
        for metric in _all(row)
        for sample in samples
        if _is(metric, sample)
        for name in sample.labels
    }
    risky = sorted(own & set(_OWN_POD_LABELS))
    if risky:
        words = f"the page sets {', '.join(risky)} itself, as a scrape does"
        todo = "scrape it with honorLabels: false: then they become exported_…, and pods are still told apart"
        yield doubt("labels", words, todo)


def _words(told: Told) -> str:
    return told.value.replace("_", " ") + (" histogram" if isinstance(told, LatencyKind) else "")


def _is(metric: Metric, sample: Sample) -> bool:
    if sample.name != metric.name:
        return False
    return all(_meets(sample.labels.get(label, ""), operator, value) for label, operator, value in metric.matchers)


def _meets(shown: str, operator: str, value: str) -> bool:
    matches = re.fullmatch(value, shown) is not None if operator.endswith("~") else shown == value
    return matches != operator.startswith("!")


def _shown(metric: Metric, samples: list[Sample]) -> bool:
    return any(_is(metric, sample) for sample in samples)


def _busy(row: EngineMetrics) -> Iterator[Metric]:
    yield from (gauge.metric for gauge in row.gauges.get(Signal.RUNNING, ()))
    yield from row.totals.get(Counter.FINISHED_REQUESTS, ())


def _carriers(row: EngineMetrics, told: Told) -> Iterator[Metric]:
    """Metrics of a page that carry a signal, the one that is read first."""
    if isinstance(told, Counter):
        yield from row.totals.get(told, ())
    elif isinstance(told, LatencyKind):
        yield from (part_of(base, "_bucket") for base in row.histograms.get(told, ()))
    else:
        yield from (gauge.metric for gauge in row.gauges.get(told, ()))
        yield from row.rates.get(told, ())
        yield from (mean.total for mean in row.means.get(told, ()))
        if told is Signal.KV_CAPACITY_TOKENS and row.capacity:
            yield Metric(row.capacity.name)


def _all(row: EngineMetrics) -> Iterator[Metric]:
    for told in TOLD:
        yield from _carriers(row, told)

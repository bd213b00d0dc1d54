"""Text of PromQL: literals, selectors, unions told apart by the label ``signal``. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pertoken.adapters.prometheus.engines import Metric
from pertoken.adapters.prometheus.profile import Matcher, MetricsProfile, Naming, SeriesLabels

TAG = "signal"
INSTANCE = "instance"
JOB = "job"
MOST_LETTERS = 12_000  # of one query: VictoriaMetrics refuses more than 16 KiB
PARTS = ("_sum", "_count", "_bucket")  # of a histogram family

_BARE_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_OR = "\nor\n"
_ESCAPES = {"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"}


@dataclass(frozen=True, slots=True)
class Query:
    """One instant query.

    Attributes:
        name: what it is about, for messages.
        required: without its answer the whole profile counts as not answered.
    """

    name: str
    promql: str
    required: bool = True


def union(name: str, terms: Sequence[str], *, required: bool = True) -> tuple[Query, ...]:
    """One query of all terms, or as many as the length of a query asks for; none without terms."""
    chunks: list[list[str]] = []
    for term in terms:
        if not chunks or len(_OR.join([*chunks[-1], term])) > MOST_LETTERS:
            chunks.append([])
        chunks[-1].append(term)
    return tuple(
        Query(f"{name} {number}" if number > 1 else name, _OR.join(chunk), required)
        for number, chunk in enumerate(chunks, 1)
    )


def tag_of(metric: Metric) -> str:
    """The value of the label `signal` under which a metric's figure comes back."""
    return metric.name + "".join(f"[{label}{operator}{value}]" for label, operator, value in metric.matchers)


def tagged(tag: str, expression: str) -> str:
    """The expression with `tag` as its label `signal`."""
    return f'label_replace({expression}, "{TAG}", {quote(tag.replace("$", "$$"))}, "", "")'


def quote(text: str) -> str:
    """A PromQL string literal that means exactly `text`."""
    return '"' + "".join(_ESCAPES.get(letter, letter) for letter in text) + '"'


def duration(seconds: float) -> str:
    """A PromQL duration, to the millisecond."""
    milliseconds = round(seconds * 1000)
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def selector(name: str, matchers: Iterable[tuple[str, str, str]]) -> str:
    """An instant selector; names outside the classic alphabet go through ``__name__``."""
    parts = [f"{label}{operator}{quote(value)}" for label, operator, value in matchers]
    if _BARE_NAME.fullmatch(name):
        return name + ("{" + ",".join(parts) + "}" if parts else "")
    return "{" + ",".join([f"__name__={quote(name)}", *parts]) + "}"


def extra(matchers: Iterable[Matcher]) -> list[tuple[str, str, str]]:
    """The profile's own matchers, as a selector takes them."""
    return [(matcher.label, matcher.operator, matcher.value) for matcher in matchers]


def pod_labels(labels: SeriesLabels, *more: str) -> str:
    """Labels that tell pods apart, and more."""
    return ", ".join(dict.fromkeys((labels.namespace, labels.pod, *more)))


def live(profile: MetricsProfile, series: str) -> str:
    """Which series are exposed now, with fresh samples; for the right side of ``and``."""
    return f"timestamp({series}) >= (time() - {profile.fresh_seconds:g})"


def name_here(naming: Naming, name: str) -> str:
    """What a metric is called in this installation: by its own name, by its family's, or by its prefix."""
    renamed = dict(naming.renamed)
    if name in renamed:
        return renamed[name]
    for part in PARTS:
        family = name.removesuffix(part)
        if family != name and family in renamed:
            return renamed[family] + part
    for prefix, here in sorted(naming.prefixes, key=lambda pair: -len(pair[0])):
        if name.startswith(prefix):
            return here + name.removeprefix(prefix)
    return name

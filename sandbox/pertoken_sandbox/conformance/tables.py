"""Tables of the comparison, and the places in the document where generated tables go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pertoken_sandbox.conformance.cases import CASES
from pertoken_sandbox.conformance.outcome import CaseOutcome

DOCUMENT = Path(__file__).parents[3] / "docs" / "conformance.md"


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """A row of the comparison: its title, how its value is read from an outcome, and its number format."""

    title: str
    read: Callable[[CaseOutcome], float]
    form: str


FIGURES: Sequence[ComparisonRow] = (
    ComparisonRow("running, time-mean of the gauge", lambda outcome: outcome.running, "{:.2f}"),
    ComparisonRow("waiting, time-mean of the gauge", lambda outcome: outcome.waiting, "{:.2f}"),
    ComparisonRow("decoding, time-mean by Little's law", lambda outcome: outcome.decoding, "{:.2f}"),
    ComparisonRow("steps that yielded tokens", lambda outcome: outcome.counts.steps, "{:.0f}"),
    ComparisonRow("preemptions", lambda outcome: outcome.counts.preemptions, "{:.0f}"),
    ComparisonRow("prompt tokens", lambda outcome: outcome.counts.prompt_tokens, "{:.0f}"),
    ComparisonRow("generated tokens", lambda outcome: outcome.counts.generated_tokens, "{:.0f}"),
    ComparisonRow("prefix hits, tokens", lambda outcome: outcome.counts.prefix_hits, "{:.0f}"),
    ComparisonRow(
        "queue time before first admission, s in all", lambda outcome: outcome.counts.queue_seconds, "{:.1f}"
    ),
    ComparisonRow("TTFT p50, ms", lambda outcome: outcome.latency.ttft(50), "{:.0f}"),
    ComparisonRow("TTFT p95, ms", lambda outcome: outcome.latency.ttft(95), "{:.0f}"),
    ComparisonRow("inter-token latency p50, ms", lambda outcome: outcome.latency.itl(50), "{:.2f}"),
    ComparisonRow("inter-token latency p95, ms", lambda outcome: outcome.latency.itl(95), "{:.2f}"),
    ComparisonRow("last token, s", lambda outcome: outcome.seconds, "{:.1f}"),
)
# In a page of the real vLLM and left out of the emulated one on purpose.
NOT_EMULATED = ("vllm:estimated_",)


def comparison(outcomes: Mapping[str, Sequence[CaseOutcome]]) -> str:
    """One table per case: the first engine, then the others with their ratio to it."""
    parts: list[str] = []
    for name, engines in outcomes.items():
        case = CASES[name]()
        parts.append(f"**{name}**: {case.about}; {len(case.requests)} requests.\n")
        parts.append(_table(engines))
    return "\n".join(parts)


def _table(engines: Sequence[CaseOutcome]) -> str:
    base_engine, *others = engines
    header = ["", base_engine.engine] + [text for engine in others for text in (engine.engine, "ratio")]
    lines = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1)]
    for figure in FIGURES:
        base = figure.read(base_engine)
        cells = [figure.title, figure.form.format(base)]
        for engine in others:
            value = figure.read(engine)
            cells += [figure.form.format(value), _ratio(value, base)]
        lines.append("| " + " | ".join(cells) + " |")
    lines.extend(
        f"\nIn {engine.engine}, steps began {engine.late_ms[0]:.0f} ms after their modelled start in the mean "
        f"(p95 {engine.late_ms[1]:.0f} ms)."
        for engine in engines
        if engine.late_ms is not None
    )
    return "\n".join(lines) + "\n"


def _ratio(value: float, base: float) -> str:
    if base == value:
        return "1"
    return f"{value / base:.3f}" if base else "-"


def family_differences(real: Mapping[str, str], emulated: Mapping[str, str]) -> str:
    """Metric families that only one page has, or that have another type there."""
    wanted = {name: kind for name, kind in real.items() if not name.startswith(NOT_EMULATED)}
    left_out = len(real) - len(wanted)
    missing = sorted(set(wanted) - set(emulated))
    invented = sorted(set(emulated) - set(wanted))
    other = sorted(name for name in set(wanted) & set(emulated) if wanted[name] != emulated[name])
    lines = [
        (
            f"vLLM's page has {len(real)} `vllm:` families (`_created` ones counted), the emulator's {len(emulated)}; "
            f"{left_out} of vLLM's are left out on purpose (`vllm:estimated_*`, filled only with a flag)."
        )
    ]
    for what, names in (("missing", missing), ("only emulated", invented), ("of another type", other)):
        lines.append(f"- {what}: {', '.join(f'`{name}`' for name in names) or 'none'}")
    return "\n".join(lines) + "\n"


def write_section(name: str, text: str, document: Path = DOCUMENT) -> None:
    """Put generated text between the document's markers of this name.

    Raises:
        ValueError: the document has no such markers.
    """
    begin, end = f"<!-- {name}: generated -->\n", f"<!-- {name}: end -->"
    content = document.read_text(encoding="utf-8")
    head, opening, rest = content.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not (opening and found_end):
        raise ValueError(f"{document}: no place for {name}: expected {begin.strip()} and {end}")
    document.write_text(f"{head}{begin}{text.rstrip()}\n{end}{tail}", encoding="utf-8")

"""pertoken's cost beside the cheapest peer that keeps the objective, the clairvoyant and the best fixed fleet.

`compared` lays the rows of one section side by side, `ratios` takes median and worst over the scenarios, `records`
counts for every policy; `summary` renders them for the two benchmark pages. Ratios are of mean costs over the seeds,
both of the same section: the same seeds, the same scored time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any, Final

Row = Mapping[str, Any]

OWN: Final = "pertoken"
TIE: Final = 0.03  # costs that differ by less are called equal
LOW: Final = 0.90  # least share of requests within the objectives that is aimed at in the worst ten minutes
CLAIRVOYANT: Final = "clairvoyant"
STATIC_BEST: Final = "static-best"
KNOWS_THE_TRACE: Final = frozenset({CLAIRVOYANT, STATIC_BEST, "static-peak", "actual"})
# Scenarios of the page before others were added to it: the additions are told apart from these.
NAMED: Final = frozenset(
    {
        "azure-conv", "azure-conv-16", "azure-conv-64", "azure-code-week", "cold-start-30", "cold-start-300",
        "cold-start-600", "heterogeneous", "spot-reclaim", "scale-to-zero", "offline-beside-online", "nine-services",
        "long-context", "long-output",
    }
)  # fmt: skip


class PeerVerdict(StrEnum):
    """How pertoken did beside the peers; each is the word of the table."""

    CHEAPER = "cheaper"
    TIE = "tie"
    DEARER = "**dearer**"
    ALONE = "no peer keeps it"
    MISSED = "**missed, a peer keeps it**"
    NOBODY = "missed by all"


@dataclass(frozen=True, slots=True)
class SectionComparison:
    """Cost and service of pertoken in one section, beside the others in it.

    Attributes:
        label: the scenario, with the scored time where that is not the whole.
        usd, attained, worst: pertoken's cost, its share of requests within the objectives, and that share in the worst
            ten minutes (None where it is not known).
        peer: the cheapest policy, default or tuned, that keeps the objective without knowing the trace; None: none.
        to_peer, to_clairvoyant, to_static: pertoken's cost over theirs; None where they do not keep it or did not run.
        kept: pertoken keeps the objective.
    """

    scenario: str
    label: str
    usd: float
    attained: float
    worst: float | None
    peer: str | None
    to_peer: float | None
    to_clairvoyant: float | None
    to_static: float | None
    kept: bool

    @property
    def verdict(self) -> PeerVerdict:
        """Beside the cheapest peer that keeps the objective."""
        if not self.kept:
            return PeerVerdict.NOBODY if self.peer is None else PeerVerdict.MISSED
        if self.to_peer is None:
            return PeerVerdict.ALONE
        if abs(self.to_peer - 1.0) < TIE:
            return PeerVerdict.TIE
        return PeerVerdict.CHEAPER if self.to_peer < 1.0 else PeerVerdict.DEARER


@dataclass(frozen=True, slots=True)
class Ratios:
    """A ratio over the scenarios: one value of each, the highest of its sections."""

    median: float
    worst: float
    count: int


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """One policy over all sections in which it ran.

    Attributes:
        ran, kept: sections, and those of them in which it kept the objective over the whole time.
        held: those in which also the worst ten minutes attained `LOW`.
        attained, worst: the lowest of all.
    """

    policy: str
    ran: int
    kept: int
    held: int
    attained: float
    worst: float | None


def compared(section: Mapping[str, Any]) -> SectionComparison | None:
    """What one section says of pertoken beside the others; None where pertoken or every other policy is missing."""
    rows = {row["policy"]: row for row in section["rows"]}
    if OWN not in rows or len(rows) == 1:
        return None
    required, own = section["required"], rows[OWN]
    peer = cheapest_peer(section["rows"], required)

    def over(name: str | None) -> float | None:
        row = rows.get(name or "")
        return own["usd"]["mean"] / row["usd"]["mean"] if row is not None and keeps(row, required) else None

    split = " (last two thirds)" if section.get("trials") else ""
    return SectionComparison(
        section["scenario"],
        f"`{section['scenario']}`{split}",
        own["usd"]["mean"],
        own["slo_attainment"]["mean"] or 0.0,
        worst_of(own),
        peer,
        over(peer),
        over(CLAIRVOYANT),
        over(STATIC_BEST),
        keeps(own, required),
    )


def cheapest_peer(rows: Iterable[Row], required: float) -> str | None:
    """Of the policies that know no more than pertoken, the cheapest one that keeps the objective."""
    able = [row for row in rows if is_peer(row["policy"]) and keeps(row, required)]
    return min(able, key=lambda row: (row["usd"]["mean"], row["policy"]))["policy"] if able else None


def is_peer(policy: str) -> bool:
    """Whether a policy is neither pertoken in any form nor one that knows the trace."""
    return policy.partition(":")[0] != OWN and policy not in KNOWS_THE_TRACE


def keeps(row: Row, required: float) -> bool:
    """Whether the mean attainment over the seeds reaches what is asked for."""
    return (row["slo_attainment"]["mean"] or 0.0) >= required


def worst_of(row: Row) -> float | None:
    """Share within the objectives in the worst ten minutes, mean over the seeds; None where it was not measured."""
    figure: Mapping[str, float | None] = row.get("worst_ten_minutes") or {"mean": None}
    return figure["mean"]


def ratios(comparisons: Iterable[SectionComparison], name: str) -> Ratios | None:
    """One ratio (`to_peer`, …) over the scenarios in which pertoken keeps the objective; None without any."""
    highest: dict[str, float] = {}
    for comparison in comparisons:
        ratio: float | None = getattr(comparison, name)
        if ratio is not None and comparison.kept:
            highest[comparison.scenario] = max(ratio, highest.get(comparison.scenario, 0.0))
    if not highest:
        return None
    return Ratios(median(highest.values()), max(highest.values()), len(highest))


def records(sections: Iterable[Mapping[str, Any]]) -> list[PolicyRecord]:
    """Every policy over all sections, those that keep the objective most often first."""
    ran: dict[str, list[tuple[Row, float]]] = {}
    for section in sections:
        for row in section["rows"]:
            ran.setdefault(row["policy"], []).append((row, section["required"]))
    return sorted(
        (_record(policy, runs) for policy, runs in ran.items()),
        key=lambda record: (-record.kept / record.ran, -record.held / record.ran, record.policy),
    )


def _record(policy: str, runs: Sequence[tuple[Row, float]]) -> PolicyRecord:
    worst = [share for row, _ in runs if (share := worst_of(row)) is not None]
    kept = [row for row, required in runs if keeps(row, required)]
    return PolicyRecord(
        policy,
        len(runs),
        len(kept),
        sum(1 for row in kept if (worst_of(row) or 0.0) >= LOW),
        min(row["slo_attainment"]["mean"] or 0.0 for row, _ in runs),
        min(worst, default=None),
    )


def summary(sections: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The summary's lines: the scenarios named first, the additions apart from them, then every policy."""
    comparisons = [each for section in sections if (each := compared(section)) is not None]
    if not comparisons:
        return
    yield (
        "## Summary\n\nEvery scenario that ran with pertoken at its defaults, those that it loses included. *Peer* is "
        "the cheapest policy, default or tuned, that keeps the objective without knowing the trace; `clairvoyant` and "
        "`static-best` know it. A ratio is pertoken's cost over theirs on the same seeds and the same scored time, and "
        f"stands only where they keep the objective; differences under {TIE:.0%} are ties. *Worst* is the share within "
        "the objectives in the worst ten minutes. Objectives missed in italics.\n"
    )
    named = [each for each in comparisons if each.scenario in NAMED]
    added = [each for each in comparisons if each.scenario not in NAMED]
    for title, group in (("Named scenarios", named), ("Additions", added)):
        if group:
            yield f"### {title}\n"
            yield from _table(group)
            yield _words(group)
    yield from _records(records(section for section in sections if compared(section) is not None))


def _table(comparisons: Sequence[SectionComparison]) -> Iterator[str]:
    yield "| scenario | USD | attained % | worst % | cheapest peer | ÷ peer | ÷ clairvoyant | ÷ static-best | |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for each in comparisons:
        attained = f"{each.attained:.2%}".rstrip("%")
        cells = (
            each.label,
            f"{each.usd:.2f}",
            attained if each.kept else f"*{attained}*",
            _share(each.worst),
            f"`{each.peer}`" if each.peer else "-",
            _ratio(each.to_peer),
            _ratio(each.to_clairvoyant),
            _ratio(each.to_static),
            each.verdict.value,
        )
        yield f"| {' | '.join(cells)} |"
    for name, at in (("median", "median"), ("worst", "worst")):
        values = [ratios(comparisons, ratio) for ratio in ("to_peer", "to_clairvoyant", "to_static")]
        cells_of = [_ratio(None if value is None else getattr(value, at)) for value in values]
        yield f"| **{name}** | | | | | {' | '.join(cells_of)} | |"
    yield ""


def _words(comparisons: Sequence[SectionComparison]) -> str:
    scenarios = {each.scenario for each in comparisons}
    kept = scenarios - {each.scenario for each in comparisons if not each.kept}
    low = {each.scenario for each in comparisons if each.worst is None or each.worst < LOW}
    counts = {verdict: sum(1 for each in comparisons if each.verdict is verdict) for verdict in PeerVerdict}
    told = [f"{count} {verdict.value.strip('*')}" for verdict, count in counts.items() if count]
    return (
        f"pertoken keeps the objective in {len(kept)} of {len(scenarios)} scenarios, and {LOW:.0%} in the worst ten "
        f"minutes of {len(scenarios) - len(low)}. Median and worst are over the scenarios in which it keeps the "
        f"objective, one ratio each, the highest of its lines. Lines: {', '.join(told)}.\n"
    )


def _records(policies: Sequence[PolicyRecord]) -> Iterator[str]:
    yield (
        "### Every policy\n\nOver all lines above in which a policy ran: how often it kept the objective, how often "
        f"also {LOW:.0%} in the worst ten minutes, and its lowest shares.\n"
    )
    yield "| policy | lines | kept | also the worst ten minutes | lowest attained % | lowest ten minutes % |"
    yield "|---|---|---|---|---|---|"
    for each in policies:
        attained = f"{each.attained:.2%}".rstrip("%")
        yield f"| {each.policy} | {each.ran} | {each.kept} | {each.held} | {attained} | {_share(each.worst)} |"
    yield ""


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value * 100.0:.1f}"

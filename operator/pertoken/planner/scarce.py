"""What a scarce pool means for one service, in words: refusals, missing access, priorities, doubts about places."""

from __future__ import annotations

from collections.abc import Mapping

from pertoken.domain.reasons import Reason
from pertoken.planner.allocate import Grant, no_access
from pertoken.planner.place import PoolState
from pertoken.planner.propose import Draft

Limits = list[tuple[Reason, str]]


def pool_limits(draft: Draft, grant: Grant, pools: Mapping[str, PoolState]) -> Limits:
    """What the pools keep from the service. A namespace without access is told even when it asks for nothing."""
    found = [(Reason.RECLAIMED_FOR_PRIORITY, words) for words in grant.reclaimed.values()]
    denied = _denied(draft, pools)
    found += [(Reason.ACCESS_DENIED, words) for words in denied.values()]
    for name, refused in grant.refused.items():
        if refused.reason is Reason.ACCESS_DENIED or name in grant.reclaimed:
            continue
        coming = f"; {grant.freed[name]}" if name in grant.freed else ""
        words = f"{grant.shortfall.get(name, 0)} GPUs short for {name}: {refused.words}{coming}"
        found.append((refused.reason, words))
    for name, words in grant.freed.items():
        if name not in grant.refused:
            found.append((Reason.POOL_EXHAUSTED, f"pods of {name} wait for room: {words}"))
    return found


def _denied(draft: Draft, pools: Mapping[str, PoolState]) -> dict[str, str]:
    labels, key = draft.facts.view.namespace_labels, draft.facts.spec.key
    denied: dict[str, str] = {}
    if draft.inactive is Reason.SWITCHED_OFF:
        return denied
    for variant in draft.facts.variants:
        pool = pools.get(variant.spec.pool)
        if pool is not None and pool.rule_of(labels) is None:
            kept = f"{variant.name} keeps its {variant.current} replicas and gets no more"
            denied[variant.name] = f"{no_access(key, pool)}; {kept}"
    return denied


def remarks(draft: Draft, pools: Mapping[str, PoolState]) -> list[str]:
    """What a reader must know about the service's place in the pools, whether or not anything is short."""
    words = []
    facts = draft.facts
    for variant in facts.variants:
        rules = variant.workload.placement
        if rules.unknown:
            words.append(
                f"where pods of {variant.name} fit is not known and left to the scheduler: {_list(rules.doubts)}"
            )
        elif rules.narrowed_by:
            words.append(f"free GPUs are an upper bound for {variant.name}: {_list(rules.narrowed_by)}")
        pool = pools.get(variant.spec.pool)
        if pool is not None:
            counts = pool.priority(facts.view.namespace_labels, facts.spec.priority)
            if counts != facts.spec.priority:
                words.append(
                    f"priority {facts.spec.priority} counts as {counts} in pool {pool.spec.name} (maxPriority)"
                )
    return list(dict.fromkeys(words))


def _list(words: tuple[str, ...]) -> str:
    return ", ".join(words)


def note_doubts(draft: Draft) -> None:
    """A step of the trace for every variant whose free GPUs a count does not tell."""
    for variant in draft.facts.variants:
        doubts = variant.workload.placement.doubts
        if doubts:
            change = ("", "")
            draft.trace.add("place", change, Reason.PLACEMENT_UNKNOWN, variant=variant.name, words=_list(doubts))

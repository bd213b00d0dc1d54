"""What a pod has to tell for a purpose. A signal that is not told is missing, never zero."""

from __future__ import annotations

from typing import Final

from pertoken.domain.metrics import Offer, PodMetrics
from pertoken.domain.signal import GPU_SIGNALS, Counter, LatencyKind, Signal
from pertoken.frozen import dataclass

NAMED_PODS: Final = 3  # in a message; the others are counted


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that every serving pod has to tell; any of the alternatives will do.

    Attributes:
        name: in the words of messages.
        once_seen: needed only after it has been seen of this service: some engines never have it.
        of_events: tells of requests that there were, so that some engines have none before the first one.
    """

    name: str
    signals: tuple[Signal, ...] = ()
    histograms: tuple[LatencyKind, ...] = ()
    counters: tuple[Counter, ...] = ()
    once_seen: bool = False
    of_events: bool = False

    def met(self, metrics: PodMetrics) -> bool:
        """Whether a pod tells it."""
        values, histograms, counters = metrics.values, metrics.histograms, metrics.counters
        for signal in self.signals:  # asked some dozen times per pod and cycle: loops take half the time of `any`
            if signal in values:
                return True
        for kind in self.histograms:
            if kind in histograms:
                return True
        return any(counter in counters for counter in self.counters) if self.counters else False

    def lacked(self, metrics: PodMetrics) -> bool:
        """Whether it is not told because the pod's engine version has none of the alternatives."""
        if not metrics.lacks:
            return False
        signals = (signal for signal in self.signals if signal not in GPU_SIGNALS)
        alternatives = {*signals, *self.histograms, *self.counters}
        return bool(alternatives) and not self.met(metrics) and metrics.lacks.issuperset(alternatives)

    def offered(self, offer: Offer) -> bool:
        """Whether an engine can tell it at all. Totals and GPU figures are in no offer: they are always asked for."""
        if self.counters or Signal.GPU_UTILIZATION in self.signals:
            return True
        return not offer.ever.isdisjoint(self.signals) or not offer.ever_histograms.isdisjoint(self.histograms)


@dataclass(frozen=True, slots=True)
class Lack:
    """A need that some serving pods do not meet."""

    need: str
    pods: tuple[str, ...]

    def __str__(self) -> str:
        named = ", ".join(self.pods[:NAMED_PODS])
        more = len(self.pods) - NAMED_PODS
        return f"{self.need} of {named}" + (f" and {more} more pods" if more > 0 else "")


def tells(need: Need, metrics: PodMetrics, offer: Offer | None) -> bool:
    """Whether a pod tells what is needed, or its engine never does: decisions are made by what it has."""
    if need.met(metrics) or (offer is not None and not need.offered(offer)):
        return True
    if offer is None or not (need.of_events and offer.begins_with_traffic):
        return False
    # Nothing runs and nothing waits: the first event of this kind is still to come.
    return all(metrics.values.get(signal) == 0 for signal in (Signal.RUNNING, Signal.WAITING))

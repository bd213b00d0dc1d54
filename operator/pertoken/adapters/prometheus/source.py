"""One profile's metrics as a snapshot: asks all queries, then assembles what they say about each pod.

Engine signals are all or nothing: if one of their queries fails, so does the snapshot, since half a picture (running
without waiting, rates without ages) misleads a planner more than none. GPU and gateway figures only add to it: their
failure leaves those signals out and is told in the health's text.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass

from pertoken.adapters.prometheus import queries
from pertoken.adapters.prometheus.client import Answers, QueryClient
from pertoken.adapters.prometheus.profile import MetricsProfile
from pertoken.adapters.prometheus.reading import Reading
from pertoken.domain.identity import PodKey
from pertoken.domain.metrics import MetricsHealth, MetricsSnapshot

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class QueryReport:
    """How the last cycle went, for telemetry and support.

    Attributes:
        queries: how many were sent.
        seconds: time until all were answered or given up.
        left_out: series that could not be used, in words; empty if none.
        gaps: pods whose rates were withheld because their window begins after a gap in the samples.
    """

    queries: int
    seconds: float
    left_out: str = ""
    gaps: frozenset[PodKey] = frozenset()


class PrometheusSource:
    """Implements `ports.MetricsSource` for one profile.

    Args:
        profile: the administrator's description of the endpoint.
        client: asks the queries; made from the profile if not given.
    """

    def __init__(self, profile: MetricsProfile, client: QueryClient | None = None) -> None:
        self._profile = profile
        self._plan = queries.plan(profile)
        self._client = client or QueryClient(profile)
        self.report = QueryReport(len(self._plan.queries()), 0.0)
        LOGGER.info("profile %s: %d queries per cycle at %s", profile.name, self.report.queries, profile.url)

    def observe(self) -> MetricsSnapshot:
        """All pods' metrics now. Never raises for an unreachable source: the snapshot's health tells."""
        asked = self._plan.queries()
        answers = self._client.run(asked)
        optional = {query.name for query in asked if not query.required}
        health = _health(self._profile, answers, optional)
        if not health.ok:
            self.report = QueryReport(len(asked), answers.seconds)
            return MetricsSnapshot(health, self._profile.window_seconds, self._profile.fresh_seconds)
        reading = Reading(self._profile, self._plan, answers)
        try:
            snapshot = reading.snapshot(health)
        except Exception:
            LOGGER.exception("profile %s: the answers could not be read", self._profile.name)
            why = f"Prometheus {self._profile.url}: the answers could not be read; see the log"
            health = MetricsHealth(ok=False, why=why)
            return MetricsSnapshot(health, self._profile.window_seconds, self._profile.fresh_seconds)
        self.report = QueryReport(len(asked), answers.seconds, str(reading.tally), reading.gaps)
        LOGGER.debug(
            "profile %s: %d queries in %.3f s, %d pods%s",
            self._profile.name,
            len(asked),
            answers.seconds,
            len(snapshot.pods),
            f", left out: {reading.tally}" if str(reading.tally) else "",
        )
        return snapshot

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _health(profile: MetricsProfile, answers: Answers, optional: set[str]) -> MetricsHealth:
    """Sound if every required query was answered; what failed is named once per distinct reason."""
    reasons: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for name, failure in answers.failures.items():
        reasons[failure.why, failure.partial].append(name)
    words = "; ".join(f"{', '.join(names)}: {why}" for (why, _), names in reasons.items())
    required = {name: failure for name, failure in answers.failures.items() if name not in optional}
    if not required:
        return MetricsHealth(ok=True, why=f"left out {words}" if words else "")
    return MetricsHealth(
        ok=False,
        why=f"Prometheus {profile.url}: {words}",
        partial=all(failure.partial for failure in required.values()),
    )

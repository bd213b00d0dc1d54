"""From the inventory and the metrics to the world that a cycle plans on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from pertoken.control.caps import CapReader
from pertoken.control.claims import DeviceLists
from pertoken.control.creation import CreationEvents
from pertoken.control.inventory import Snapshot
from pertoken.control.survey import Rules, Surveyed, survey
from pertoken.control.truth import Truth
from pertoken.control.workloads import ScalableFact, scalable_fact
from pertoken.control.world import build_world
from pertoken.domain.metrics import UNKNOWN_WINDOW_SECONDS, MetricsHealth, MetricsSnapshot
from pertoken.domain.world import PlannerSettings, World
from pertoken.ports import AdapterError, CatalogSource, ClusterReader, MetricsSource, NotFound
from pertoken.units import fault_words

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Observer:
    """Reads what the inventory does not hold, and puts everything together. It changes nothing in the cluster.

    Attributes:
        sources: metrics profile -> where its metrics come from.
        caps: reads batch caps out of other people's ConfigMaps.
        devices: reads claims of devices; None to do without.
        creation: reads why pods are not made, of targets whose status does not say so; None to do without.
        rules: of the administrator.
        truth: judges specs beside what runs.
    """

    reader: ClusterReader
    sources: Mapping[str, MetricsSource]
    catalog: CatalogSource
    caps: CapReader
    rules: Rules
    settings: PlannerSettings
    creation: CreationEvents | None = None
    devices: DeviceLists | None = None
    truth: Truth = field(default_factory=Truth)

    def measure(self) -> Mapping[str, MetricsSnapshot]:
        """What each metrics profile says now, all of them asked at once. A fault of one is that profile's answer."""
        with ThreadPoolExecutor(max(1, len(self.sources)), "metrics") as threads:
            snapshots = threads.map(_observed, self.sources.keys(), self.sources.values())
            return dict(zip(self.sources, snapshots, strict=True))

    def survey(self, snapshot: Snapshot) -> Surveyed:
        """Who takes part in this cycle, with the scale targets and caps that no watch covers."""
        surveyed = survey(snapshot, self.rules, self._unwatched_targets(snapshot))
        accounts = self.devices.accounts() if self.devices is not None and surveyed.claims_devices() else None
        return replace(surveyed, read_caps=self.caps.read(surveyed.foreign_caps()), accounts=accounts)

    def world(self, surveyed: Surveyed, metrics: Mapping[str, MetricsSnapshot]) -> World:
        """The world to plan on."""
        return build_world(surveyed, metrics, self.catalog.catalog(), self.settings, self.truth)

    def _unwatched_targets(self, snapshot: Snapshot) -> Iterator[ScalableFact]:
        """Targets of kinds without a watch are read one by one: there are few."""
        wanted = {
            variant.workload
            for service in snapshot.services
            if service.spec is not None
            for variant in service.spec.variants
            if variant.workload.kind != "Deployment"
        }
        for ref in sorted(wanted):
            try:
                yield self._explained(scalable_fact(self.reader.get(ref)))
            except NotFound:
                continue
            except AdapterError as error:
                LOGGER.warning("%s cannot be read: %s", ref, error)
            except Exception:
                LOGGER.exception("%s cannot be understood", ref)

    def _explained(self, target: ScalableFact) -> ScalableFact:
        """With the words of events for replicas that are missing, where its conditions have none."""
        if self.creation is None or target.failure or not target.waits:
            return target
        refused = self.creation.of(target.ref)
        return target if refused is None else replace(target, failure=refused.words, failed_at=refused.at)


def _observed(name: str, source: MetricsSource) -> MetricsSnapshot:
    try:
        return source.observe()
    except Exception as error:
        LOGGER.exception("metrics profile %s could not be asked", name)
        health = MetricsHealth(ok=False, why=f"metrics profile {name} could not be asked: {fault_words(error)}")
        return MetricsSnapshot(health, UNKNOWN_WINDOW_SECONDS, UNKNOWN_WINDOW_SECONDS)

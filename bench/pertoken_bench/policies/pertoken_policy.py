"""pertoken itself as a policy: the operator's own cycle, on the simulated cluster behind the operator's ports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial

from pertoken.control.cycle import CycleResult
from pertoken.control.fence import Fence
from pertoken.control.saved import NOTHING, Saved
from pertoken.domain.world import PlannerSettings, World
from pertoken.planner.tuning import TUNING, Tuning
from pertoken.settings import Settings
from pertoken_bench.cluster.api_server import ApiServer
from pertoken_bench.cluster.prometheus import Prometheus
from pertoken_bench.cluster.writer import Writer
from pertoken_bench.policies import simulated_operator
from pertoken_bench.policies.simulated_operator import SimulatedOperator
from pertoken_bench.policy import Orders, PolicyObservation
from pertoken_bench.policy import Settings as Knobs

# The shipped settings, whatever the environment says.
shipped_settings = partial(Settings.model_construct)


@dataclass(slots=True)
class Pertoken:
    """The operator behind the benchmark's interface.

    It watches the simulated API server and writes to it, so `decide` returns no orders of its own.

    Attributes:
        settings: the operator's.
        tuning: the planner's numbers.
        cap_fixed: the engines read neither cap nor chunk from pertoken's ConfigMap.
        chunk_fixed: they do not read their prefill chunk from it.
        change: what an ablation does to what the planner sees.
        last: what the last cycle did.
    """

    settings: Settings = field(default_factory=shipped_settings)
    cap_fixed: bool = False
    chunk_fixed: bool = False
    tuning: Tuning = TUNING
    change: Callable[[World], World] | None = None
    last: CycleResult | None = None
    _operator: SimulatedOperator | None = None

    @property
    def period_seconds(self) -> float:
        """The operator's cycle."""
        return self.settings.cycle_seconds

    @property
    def saved(self) -> Saved:
        """What the last cycle hands to the next one."""
        return NOTHING if self._operator is None else self._operator.saved

    def attach(self, server: ApiServer, prometheus: Prometheus) -> None:
        """Called once, before the run begins."""
        server.reads_cap = not self.cap_fixed
        server.reads_chunk = not self.chunk_fixed
        self._operator = simulated_operator.start(
            server, prometheus, self.settings, tuning=self.tuning, make_writer=self.writer, change=self.change
        )

    def writer(self, server: ApiServer, fence: Fence) -> Writer:
        """What the operator writes through."""
        return Writer(server, fence)

    def watch(self) -> None:
        """Called whenever something may have changed in the cluster."""
        self._attached().watch()

    def decide(self, seen: PolicyObservation) -> Orders:  # noqa: ARG002 - it sees the API server itself
        """One planning cycle."""
        self.last = self._attached().run_cycle()
        return {}

    def detach(self) -> None:
        """Called once, after the run."""
        self._attached().close()

    def _attached(self) -> SimulatedOperator:
        if self._operator is None:
            raise RuntimeError("attach() comes first")
        return self._operator


def pertoken(knobs: Knobs) -> Pertoken:
    """The operator with these fields of `PlannerSettings`.

    Raises:
        ValueError: no such field.
    """
    defaults = PlannerSettings()
    known = {setting.name: type(getattr(defaults, setting.name)) for setting in fields(PlannerSettings)}
    unknown = [name for name in knobs if name not in known]
    if unknown:
        raise ValueError(f"knob {unknown[0]!r} of pertoken: expected one of {', '.join(known)}")
    return Pertoken(shipped_settings(**{name: known[name](value) for name, value in knobs.items()}))
